#!/usr/bin/env bash
# Removes what test runs that were killed have left behind. Everything a run makes outside its own
# process carries the process id of that run in its name (lab.ts); a run that is alive is left alone.
set -u

dead() { # wirestack-PID-…, wstPIDn…
  local pid=${1##wirestack-}
  pid=${pid##wst}
  [ ! -d "/proc/${pid%%[-n]*}" ]
}

if command -v ip >/dev/null; then
  ip netns list 2>/dev/null | awk '/^wirestack-[0-9]+-/ { print $1 }' | while read -r netns; do
    dead "$netns" || continue
    ip netns pids "$netns" | xargs --no-run-if-empty kill -KILL
    ip netns delete "$netns"
    rm -rf "/etc/netns/$netns"
  done
fi
for directory in "${TMPDIR:-/tmp}"/wirestack-[0-9]*-*; do
  [ -d "$directory" ] || continue
  dead "$(basename "$directory")" && rm -rf "$directory"
done
for socket in /var/run/wireguard/wst[0-9]*n*.sock; do
  [ -S "$socket" ] || [ -L "$socket" ] || continue
  dead "$(basename "$socket")" && rm -f "$socket"
done
exit 0
