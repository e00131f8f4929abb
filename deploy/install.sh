#!/bin/sh
# Installs wirestack for systemd, or brings an installation up to date, as root:
#
#   deploy/install.sh [--binary FILE] [--root DIR] [--config FILE [--name NAME] [--options WORDS]]
#   deploy/install.sh --options-of NAME [--options WORDS] [--root DIR]
#
# The executable is the one named, the one beside this script, or the clone's: dist/wirestack, made
# with Deno from npm if it is not there. --config also installs a gateway's file as
# /etc/wirestack/NAME.conf, and its private key beside it as NAME.key, which is root's alone; one that
# is there already and is another is refused. --options are what a tunnel's unit gives to up; other
# ones than a gateway has already are refused. --options-of prints those that it has, and installs
# nothing. --root installs below another directory, for packages and images. Running gateways go on as
# they are.
set -eu

main() {
  here=$(cd "$(dirname "$0")" && pwd)
  binary=
  root=
  config=
  name=
  options=
  options_of=
  fresh=
  key=
  env=
  trap cleanup EXIT
  trap 'exit 1' HUP INT TERM
  while [ $# -gt 0 ]; do
    case $1 in
      --binary | --root | --config | --name | --options | --options-of)
        [ $# -ge 2 ] || fail "$1: expected a value"
        case $1 in
          --binary) binary=$2 ;;
          --root) root=${2%/} ;;
          --config) config=$2 ;;
          --name) name=$2 ;;
          --options) options=$2 ;;
          --options-of) options_of=$2 ;;
        esac
        shift 2
        ;;
      -h | --help) usage && exit 0 ;;
      *) fail "$1: unknown, expected --binary FILE, --root DIR, --config FILE, --name NAME, --options WORDS or --options-of NAME" ;;
    esac
  done
  [ -z "$name" ] || [ -n "$config" ] || fail "--name: expected --config FILE with it"
  [ -z "$options" ] || [ -n "$config$options_of" ] || fail "--options: expected --config FILE with it"
  if [ -n "$config" ]; then
    [ -f "$config" ] || fail "--config: $config is not a file"
    [ -n "$name" ] || name=$(basename "$config" .conf)
    valid_name "$name"
  fi
  [ "$(id -u)" = 0 ] || [ -n "$root" ] || fail "run it as root, or with --root DIR"
  if [ -n "$options_of" ]; then
    valid_name "$options_of"
    [ -e "$root/etc/wirestack/$options_of.conf" ] ||
      fail "--options-of: there is no $root/etc/wirestack/$options_of.conf"
    check_options "$options_of"
    printf '%s\n' "$given"
    exit 0
  fi

  find_binary
  install -d -m 755 "$root/usr/local/bin" "$root/etc/systemd/system"
  replace 755 "$binary" "$root/usr/local/bin/wirestack" # one that runs keeps its file
  for unit in wirestack@.service wirestack-tun@.service; do
    file=$(unit_file "$unit")
    replace 644 "$file" "$root/etc/systemd/system/$unit"
  done
  make_folder
  [ -z "$config" ] || install_config
  if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
  say "installed $root/usr/local/bin/wirestack and the units wirestack@ and wirestack-tun@"
  [ -z "$name" ] || say "now: systemctl enable --now wirestack@$name    (or wirestack-tun@$name)"
}

find_binary() {
  if [ -z "$binary" ]; then
    for candidate in "$here/wirestack" "$here/../dist/wirestack"; do
      if [ -f "$candidate" ]; then binary=$candidate && break; fi
    done
  fi
  if [ -z "$binary" ]; then
    [ -f "$here/../deno.json" ] || fail "found no executable, expected --binary FILE"
    command -v npx >/dev/null || fail "found no executable and no npx to make it, expected --binary FILE"
    say "making dist/wirestack"
    (cd "$here/.." && npx -y deno@2.9.6 task compile) >&2
    binary=$here/../dist/wirestack
  fi
  [ -x "$binary" ] || fail "--binary: $binary cannot be run"
}

# Beside this script in systemd/, or beside it with the executable.
unit_file() {
  for file in "$here/systemd/$1" "$here/$1"; do
    if [ -f "$file" ]; then echo "$file" && return; fi
  done
  fail "$1 is not beside $0"
}

# Files there are for the gateways to read, through a group that nobody else is in.
make_folder() {
  if [ -z "$root" ]; then
    getent group wirestack-conf >/dev/null || groupadd --system wirestack-conf
    install -d -m 750 -o root -g wirestack-conf /etc/wirestack
  else
    install -d -m 750 "$root/etc/wirestack"
  fi
}

# Whoever is interrupted leaves nothing half-made: the file is written last, and its presence means all.
install_config() {
  target=$root/etc/wirestack/$name.conf
  key=$root/etc/wirestack/$name.key
  umask 077
  env=$root/etc/wirestack/$name.env
  if [ -e "$target" ]; then check_options "$name"; fi
  fresh=$target.new
  # The key leaves the file: the service is given it by systemd, and cannot read the file it is in.
  awk -F= 'tolower($1) ~ /^[ \t]*privatekey[ \t]*$/ {
      sub(/^[^=]*=[ \t]*/, ""); sub(/[ \t]*([#;].*)?$/, ""); print; exit }' "$config" >"$key.new"
  awk -F= 'tolower($1) !~ /^[ \t]*privatekey[ \t]*$/' "$config" >"$target.new"
  if [ ! -s "$key.new" ]; then
    [ -s "$key" ] || fail "$config: [Interface] PrivateKey: missing, and there is no $key"
  elif [ -s "$key" ] && ! cmp -s "$key.new" "$key"; then
    fail "$key is there already, and another: change $target, or remove both"
  fi
  if [ ! -e "$target" ]; then
    if [ -n "$options" ]; then
      echo "WIRESTACK_OPTIONS=$options" >"$env.new"
      mv -f "$env.new" "$env"
    fi
    [ ! -s "$key.new" ] || mv -f "$key.new" "$key"
    chmod 640 "$target.new"
    [ -n "$root" ] || chgrp wirestack-conf "$target.new"
    mv -f "$target.new" "$target"
    say "installed $target, and its private key as $key"
  elif cmp -s "$target.new" "$target"; then
    say "$target is there already, and the same"
  else
    fail "$target is there already, and another: change that one, or remove it"
  fi
}

# Puts the options that a gateway has into $given. Others are refused; none asks for none.
check_options() {
  given=$(sed -n 's/^WIRESTACK_OPTIONS=//p' "$root/etc/wirestack/$1.env" 2>/dev/null) || true
  how=without
  [ -z "$given" ] || how="with $given, not with"
  [ -z "$options" ] || [ "$options" = "$given" ] ||
    fail "$root/etc/wirestack/$1.conf is set up $how $options: change it, or remove it and its .key and .env"
}

# Puts a file, of mode $1, in another's place at once.
replace() {
  fresh=$3.new
  install -m "$1" "$2" "$3.new"
  mv -f "$3.new" "$3"
  fresh=
}

cleanup() {
  [ -z "$fresh" ] || rm -f "$fresh" "${key:-$fresh}.new" "${env:-$fresh}.new"
}

valid_name() {
  case $1 in
    '' | *[!a-zA-Z0-9_=+.-]*) fail "--name: $1 is no name of an interface" ;;
  esac
  [ "${#1}" -le 15 ] || fail "--name: $1 is longer than the 15 characters of an interface's name"
}

usage() {
  sed -n '/^# Installs/,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
}

say() {
  printf '%s\n' "$*" >&2
}

fail() {
  say "install.sh: $*"
  exit 1
}

main "$@"
