#!/usr/bin/env bash
# Builds an implementation of WireGuard from its published source, unless it is in the user's cache:
#   build_peer.sh wireguard-go|boringtun VERSION
# The last line on standard output is the program. Whoever else builds it is waited for.
set -euo pipefail
name=$1 version=$2
directory=${XDG_CACHE_HOME:-$HOME/.cache}/wirestack-tests/$name-$version
mkdir -p "$directory"
exec 9>"$directory/lock"
flock 9

case $name in
  wireguard-go)
    program=$directory/wireguard
    [ -x "$program" ] ||
      CGO_ENABLED=0 GOBIN=$directory go install "golang.zx2c4.com/wireguard@$version" >&2
    ;;
  boringtun)
    program=$directory/bin/boringtun-cli
    [ -x "$program" ] ||
      cargo install --quiet --locked --root "$directory" --version "$version" boringtun-cli >&2
    ;;
esac
echo "$program"
