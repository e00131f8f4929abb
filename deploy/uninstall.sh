#!/bin/sh
# Takes out what install.sh has installed, as root:
#
#   deploy/uninstall.sh [--purge] [--root DIR]
#
# Gateways are stopped first, so that tunnels are taken down. --purge removes /etc/wirestack too, with
# its private keys, and what gateways remember.
set -eu

purge=no
root=
while [ $# -gt 0 ]; do
  case $1 in
    --purge) purge=yes && shift ;;
    --root)
      [ $# -ge 2 ] || { echo "uninstall.sh: --root: expected a value" >&2 && exit 1; }
      root=${2%/}
      shift 2
      ;;
    -h | --help)
      sed -n '/^# Takes/,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
      exit 0
      ;;
    *) echo "uninstall.sh: $1: unknown, expected --purge or --root DIR" >&2 && exit 1 ;;
  esac
done
if [ "$(id -u)" != 0 ] && [ -z "$root" ]; then
  echo "uninstall.sh: run it as root, or with --root DIR" >&2
  exit 1
fi

runs=no
if [ -z "$root" ] && [ -d /run/systemd/system ]; then runs=yes; fi
if [ "$runs" = yes ]; then
  for unit in $(systemctl list-units --all --plain --no-legend 'wirestack@*' 'wirestack-tun@*' | awk '{ print $1 }'); do
    systemctl disable --now "$unit" 2>/dev/null || systemctl stop "$unit"
  done
  # Of tunnels that crashed and could not start again: their kill switches.
  for state in /run/wirestack/*@*.state; do
    [ ! -s "$state" ] || /usr/local/bin/wirestack down "$(basename "${state%@*}")" || true
  done
fi
rm -f "$root/etc/systemd/system/wirestack@.service" "$root/etc/systemd/system/wirestack-tun@.service" \
  "$root/usr/local/bin/wirestack"
[ "$runs" = no ] || systemctl daemon-reload
rm -rf "$root/var/cache/wirestack" "$root/var/cache/private/wirestack"
if [ "$purge" = yes ]; then
  rm -rf "$root/etc/wirestack" "$root/var/lib/wirestack" "$root/var/lib/private/wirestack"
  if [ -z "$root" ] && getent group wirestack-conf >/dev/null; then groupdel wirestack-conf; fi
  echo "removed, with its files and keys" >&2
else
  echo "removed; $root/etc/wirestack is left, --purge removes it too" >&2
fi
