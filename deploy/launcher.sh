# The figures are assigned by what pack.ts writes in front.
# shellcheck shell=sh disable=SC2154
#
# The self-contained executable is: `#!/bin/sh`, the figures that pack.ts measured, this script, padding to one block,
# the program, the rest that it loads when it has confined itself, each padded to whole blocks, the deno executable. It
# unpacks them into a private directory of the user, once, and at every start hands over to them with `exec`, after their
# digests were found right.
#
# Who may not be able to make us run something else: any user but root and ourselves. So a directory counts as private
# when it is ours and closed to everybody else, and nobody else can rename it or one of its parents away.
#
# POSIX sh and what is in every base system: cat chmod dd find id ls mkdir mv rm, and one of openssl, b2sum, sha256sum, shasum.

main() {
  set -f # words are split below, never globbed
  uid=$(id -u) || exit 126
  case $0 in
    */*) self=$0 ;;
    *) if [ -f "./$0" ]; then self=./$0; else self=$(command -v -- "$0"); fi ;;
  esac
  # No cache of deno's own, since nobody would verify it; and not a word about that on a terminal.
  export DENO_DIR=/dev/null/none DENO_LOG="${DENO_LOG:-info,deno::cache=off}" DENO_NO_UPDATE_CHECK=1

  refused=
  passed_over=
  place=
  # https://specifications.freedesktop.org/basedir-spec: relative paths are to be ignored.
  case ${XDG_CACHE_HOME-} in
    /*) consider "$XDG_CACHE_HOME/wirestack" ;;
    *) case ${HOME-} in /*) consider "$HOME/.cache/wirestack" ;; esac ;;
  esac
  case ${TMPDIR:-/tmp} in /*) [ -n "$place" ] || consider "${TMPDIR:-/tmp}/wirestack-$uid" ;; esac

  if [ -n "$place" ]; then
    [ -z "$passed_over" ] || say "passed over:$passed_over"
  else
    say "found no private place to unpack to:$refused"
    say "set XDG_CACHE_HOME to a directory of yours that is writable and not mounted noexec"
    exit 126
  fi
  # Where control sockets and state of this user are: what may be written is fixed from here on.
  state=${XDG_STATE_HOME-}
  case $state in
    /*) ;;
    *) state=${HOME:+$HOME/.local/state} ;;
  esac
  folders=
  for folder in "${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/wirestack}" \
    "${state:+$state/wirestack}" "${STATE_DIRECTORY-}"; do
    case $folder in
      *[!A-Za-z0-9/._-]*) ;; # no plain word
      /*) folders=$folders,$folder ;;
    esac
  done
  case $flags in *@FOLDERS@*) flags=${flags%%@FOLDERS@*}$folders${flags#*@FOLDERS@} ;; esac
  # shellcheck disable=SC2086 # the flags are plain words
  exec "$place/$runtime_name" run $flags "$place/$program_name" "$@"
}

# Sets $place if the directory $1 is private and holds, or can be made to hold, all files.
consider() {
  [ -d "$1" ] || (umask 077 && mkdir -p "$1") 2>/dev/null
  if trusted "$1" && holds; then
    place=$directory
  else
    refused="$refused
  $1: $reason"
    # A user without a home need not hear of it every time.
    [ ! -e "$1" ] || passed_over=$refused
  fi
}

# Sets $directory to the physical path of $1, through which nobody else can lead us astray, or $reason.
trusted() {
  reason='is a symbolic link'
  [ ! -h "$1" ] || return 1
  reason='is not there and cannot be created'
  [ -d "$1" ] || return 1
  read_row "$1"
  reason="cannot be entered ($mode, user $owner)"
  directory=$(cd -P "$1" 2>/dev/null && pwd -P) || return 1
  read_row "$directory"
  reason="belongs to user $owner, not to user $uid"
  [ "$owner" = "$uid" ] || return 1
  reason="is open to other users ($mode): chmod 700 it"
  case $mode in d???--[-S]---*) ;; *) return 1 ;; esac

  parent=$directory
  while [ "$parent" != / ]; do
    parent=${parent%/*}
    parent=${parent:-/}
    read_row "$parent"
    reason="its parent $parent belongs to user $owner"
    [ "$owner" = "$uid" ] || [ "$owner" = 0 ] || return 1
    reason="its parent $parent can be changed by other users ($mode)"
    case $mode in
      d????????[tT]*) ;;       # sticky: entries are renamed by their owner only
      d???????w*) return 1 ;;
      d????w*)                 # a user's private group, by the usual numbering
        [ "$group" = "$uid" ] && [ "$(id -g)" = "$uid" ] || return 1 ;;
    esac
  done
}

# Sets $mode $owner $group of the file $1 itself.
read_row() {
  # shellcheck disable=SC2046
  set -- $(LC_ALL=C ls -ldn "$1" 2>/dev/null) - - - -
  mode=$1 owner=$3 group=$4
}

# Whether $directory holds all files, unpacking what is not there or not as it was.
holds() {
  for name in "$program_name" "$rest_name" "$runtime_name"; do
    case $name in
      "$program_name") skip=1 count=$program_blocks sha256=$program_sha256 blake2b=$program_blake2b bits=400 ;;
      "$rest_name") skip=$((1 + program_blocks)) count=$rest_blocks sha256=$rest_sha256 blake2b=$rest_blake2b bits=400 ;;
      *) skip=$((1 + program_blocks + rest_blocks)) count='' sha256=$runtime_sha256 blake2b=$runtime_blake2b bits=500 ;;
    esac
    if [ -e "$directory/$name" ]; then
      intact "$directory/$name" && continue
      say "$directory/$name is not as it was unpacked ($reason): unpacking it again"
    fi
    reason=$(umask 077 && unpack) || return 1
  done
  reason='is mounted noexec'
  [ -x "$directory/$runtime_name" ]
}

# Whether $1 is a plain file of ours that nobody else can write to, with the right digest.
intact() {
  read_row "$1"
  reason="mode $mode, user $owner"
  [ "$owner" = "$uid" ] || return 1
  case $mode in -r-[x-]------*) ;; *) return 1 ;; esac
  reason='wrong digest'
  # Each tool is tried in turn, the quickest first: SHA-256 by the processor's own instructions, BLAKE2b, plain SHA-256.
  digest 64 openssl dgst -sha256 -r "$1" && { [ "$found" = "$sha256" ]; return; }
  digest 128 b2sum "$1" && { [ "$found" = "$blake2b" ]; return; }
  digest 64 sha256sum "$1" && { [ "$found" = "$sha256" ]; return; }
  digest 64 shasum -a 256 "$1" && { [ "$found" = "$sha256" ]; return; }
  say 'needs one of openssl, b2sum, sha256sum, shasum to verify what it unpacks'
  return 1
}

# Sets $found to the digest that a command prints first on its line; fails unless it is of $1 digits.
digest() {
  digits=$1
  shift
  found=$("$@" 2>/dev/null) || return 1
  found=${found%% *}
  found=${found#\\} # coreutils' mark of an escaped file name
  [ "${#found}" -eq "$digits" ]
}

# Unpacks $name beside its place, verifies it, and renames it there: whoever starts at the same time sees all of it or
# nothing, and a running copy keeps its file. Prints why it could not.
unpack() {
  [ -w "$directory" ] || { echo 'is not writable' && return 1; }
  find "$directory" -name 'new.*' -type d -mtime +0 -prune -exec rm -rf {} + 2>/dev/null
  attempt=0 # process numbers repeat where containers share a home
  until mkdir "$directory/new.$$.$attempt" 2>/dev/null; do
    attempt=$((attempt + 1))
    [ "$attempt" -lt 16 ] || { echo 'takes no new directory' && return 1; }
  done
  fresh=$directory/new.$$.$attempt
  trap 'rm -rf "$fresh"; exit 1' HUP INT TERM
  unpack_to "$fresh/$name" && mv -f "$fresh/$name" "$directory/$name"
  outcome=$?
  rm -rf "$fresh"
  return "$outcome"
}

unpack_to() {
  if ! { : >"$1" && chmod 700 "$1"; }; then echo 'takes no new file' && return 1; fi
  # access(2) says no on a file system that is mounted noexec.
  [ -x "$1" ] || { echo 'is mounted noexec' && return 1; }
  message=$(dd if="$self" of="$1" bs="$block" skip="$skip" ${count:+count="$count"} 2>&1) ||
    { echo "cannot be unpacked to: $message" && return 1; }
  chmod "$bits" "$1"
  intact "$1" || { echo "got a copy with $reason: $self is damaged" && return 1; }
  [ "$bits" = 400 ] || message=$("$1" --version 2>&1) ||
    { echo "holds a deno that cannot run on this system: $message" && return 1; }
}

say() {
  printf 'wirestack: %s\n' "$1" >&2
}

# Everything above is read before anything runs; nothing behind this line is.
main "$@"
exit
