#!/bin/sh
# Sends all of this host's traffic through a tunnel, in one command, as root:
#
#   deploy/setup-client.sh FILE [--name NAME] [--kill-switch]
#   deploy/setup-client.sh --remove NAME
#
# FILE is the client's wg-quick file, as setup-server.sh or any WireGuard server makes it; NAME, of the
# device and the service, is the file's unless given. --kill-switch lets nothing leave around the
# tunnel. Installs wirestack if it is not there. Another run for the same NAME and file starts it again;
# with another file it is refused.
set -eu

main() {
  here=$(cd "$(dirname "$0")" && pwd)
  file=
  name=
  remove=
  kill_switch=no
  while [ $# -gt 0 ]; do
    case $1 in
      --name | --remove)
        [ $# -ge 2 ] || fail "$1: expected a value"
        case $1 in --name) name=$2 ;; --remove) remove=$2 ;; esac
        shift 2
        ;;
      --kill-switch) kill_switch=yes && shift ;;
      -h | --help) usage && exit 0 ;;
      -*) fail "$1: unknown; --help lists the options" ;;
      *)
        [ -z "$file" ] || fail "$1: one file alone, got $file too"
        file=$1 && shift
        ;;
    esac
  done
  [ "$(id -u)" = 0 ] || fail "run it as root"
  if [ -n "$remove" ]; then
    remove_tunnel "$remove" && exit 0
  fi
  [ -n "$file" ] || fail "expected the client's file"
  [ -f "$file" ] || fail "$file: is not a file"
  [ -n "$name" ] || name=$(basename "$file" .conf)

  [ -x /usr/local/bin/wirestack ] || "$here/install.sh"
  options=
  if [ "$kill_switch" = yes ]; then
    options=--kill-switch=true
  fi
  is_there=no
  if [ -e "/etc/wirestack/$name.conf" ]; then
    is_there=yes
    options=$("$here/install.sh" --options-of "$name" --options "$options") || not_another
  else
    wirestack check --tun "$file" >/dev/null
  fi
  "$here/install.sh" --config "$file" --name "$name" --binary /usr/local/bin/wirestack \
    ${options:+--options "$options"} || not_another
  if [ -d /run/systemd/system ]; then
    systemctl enable --quiet --now "wirestack-tun@$name"
    say "wirestack-tun@$name runs: systemctl status wirestack-tun@$name; ends with setup-client.sh --remove $name"
  else
    say "no systemd here: start it with"
    say "  wirestack up --tun=$name${options:+ $options} --private-key-file /etc/wirestack/$name.key /etc/wirestack/$name.conf"
  fi
}

# When install.sh has said what is wrong.
not_another() {
  [ "$is_there" = no ] || say "setup-client.sh: setup-client.sh --remove $name takes out what is there"
  exit 1
}

remove_tunnel() {
  [ -e "/etc/wirestack/$1.conf" ] || fail "--remove: there is no /etc/wirestack/$1.conf"
  if [ -d /run/systemd/system ]; then systemctl disable --quiet --now "wirestack-tun@$1"; fi
  # Of one that crashed and could not start again: its kill switch.
  if ls "/run/wirestack/$1@"*.state >/dev/null 2>&1; then wirestack down "$1"; fi
  rm -f "/etc/wirestack/$1.conf" "/etc/wirestack/$1.key" "/etc/wirestack/$1.env"
  say "removed $1, its file and key"
}

usage() {
  sed -n '/^# Sends/,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
}

say() {
  printf '%s\n' "$*" >&2
}

fail() {
  say "setup-client.sh: $*"
  exit 1
}

main "$@"
