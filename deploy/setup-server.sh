#!/bin/sh
# A server that carries all traffic of its clients, in one command, as root:
#
#   deploy/setup-server.sh --endpoint HOST[:PORT] [--client NAME]… [--name NAME]
#       [--pool PREFIX[,PREFIX]] [--masquerade[=DEVICE]]
#
# Installs wirestack if it is not there, makes keys and /etc/wirestack/NAME.conf (NAME: wg0), a file
# NAME.conf in this folder for each client, and starts the service. Without --masquerade traffic leaves
# by sockets of a process without privileges, and nothing of this host is changed; with it the kernel
# forwards, through a TUN device. Another run adds clients, and leaves what is there as it is.
set -eu

main() {
  here=$(cd "$(dirname "$0")" && pwd)
  endpoint=
  name=wg0
  pool=10.66.0.0/24,fd66::/64
  masquerade=
  clients=
  while [ $# -gt 0 ]; do
    case $1 in
      --endpoint | --client | --name | --pool)
        [ $# -ge 2 ] || fail "$1: expected a value"
        case $1 in
          --endpoint) endpoint=$2 ;;
          --client) clients="$clients $2" ;;
          --name) name=$2 ;;
          --pool) pool=$2 ;;
        esac
        shift 2
        ;;
      --masquerade | --masquerade=*) masquerade=$1 && shift ;;
      -h | --help) usage && exit 0 ;;
      *) fail "$1: unknown; --help lists the options" ;;
    esac
  done
  [ -n "$endpoint" ] || fail "--endpoint: missing, expected the name or address that clients reach this host by"
  [ "$(id -u)" = 0 ] || fail "run it as root"
  umask 077

  [ -x /usr/local/bin/wirestack ] || "$here/install.sh"
  config=/etc/wirestack/$name.conf
  if [ -e "$config" ]; then
    masquerade=$("$here/install.sh" --options-of "$name" --options "$masquerade")
    say "$config is there already: clients are added to it"
  fi
  new=
  for client in $clients; do new_client "$client"; done
  [ -e "$config" ] || make_server
  unit=wirestack@$name
  [ -z "$masquerade" ] || unit=wirestack-tun@$name
  start
  public_key=$(wirestack pubkey <"/etc/wirestack/$name.key")
  for client in $new; do
    wirestack add-peer "$client" --config "$config" --endpoint "$endpoint" --public-key "$public_key" \
      --allowed-ips 0.0.0.0/0,::/0 --control-dir /run/wirestack --out "$client.conf"
    say "give $client its file, $client.conf: deploy/setup-client.sh $client.conf there, or any WireGuard"
  done
}

# Puts a client into $new, unless this server has it, and its file is here, from an earlier run.
new_client() {
  if [ -e "$config" ] && grep -qi "^[[:blank:]]*Name[[:blank:]]*=[[:blank:]]*$1[[:blank:]]*\$" "$config"; then
    [ -e "$1.conf" ] || fail "--client: $config has a peer $1 already, whose file is not here: wirestack remove-peer $1 takes it out"
    say "$1 is a client already, and has its file, $1.conf"
  else
    [ ! -e "$1.conf" ] || fail "--client: $1.conf is here already, and is no client's of this server"
    new="$new $1"
  fi
}

make_server() {
  port=51820
  case $endpoint in
    *]:* | [!:]*:[0-9]*) case ${endpoint##*:} in '' | *[!0-9]*) ;; *) port=${endpoint##*:} ;; esac ;;
  esac
  draft=$(mktemp -d)
  trap 'rm -rf "$draft"' EXIT
  {
    echo "[Interface]"
    echo "PrivateKey = $(wirestack genkey)"
    echo "Address = $(first_hosts "$pool")"
    echo "ListenPort = $port"
    if [ -z "$masquerade" ]; then
      printf '\n[Proxy]\nSubnets = 0.0.0.0/0, ::/0\n'
    fi
  } >"$draft/$name.conf"
  wirestack check ${masquerade:+--tun} "$draft/$name.conf" >/dev/null
  "$here/install.sh" --config "$draft/$name.conf" --name "$name" --binary /usr/local/bin/wirestack \
    ${masquerade:+--options "$masquerade"}
}

# 10.66.0.0/24,fd66::/64 as 10.66.0.1/24, fd66::1/64
first_hosts() {
  for prefix in $(echo "$1" | tr ',' ' '); do
    address=${prefix%/*}
    length=${prefix#*/}
    [ "$length" != "$prefix" ] || fail "--pool: $prefix: expected a network as 10.66.0.0/24"
    case $address in
      *::) address=${address}1 ;;
      *.0) address=${address%0}1 ;;
      *) fail "--pool: $prefix: expected a network that ends in .0 or ::" ;;
    esac
    printf '%s%s/%s' "${comma-}" "$address" "$length"
    comma=", "
  done
}

start() {
  if [ -d /run/systemd/system ]; then
    systemctl enable --quiet --now "$unit"
    say "$unit runs: systemctl status $unit; wirestack show --control-dir /run/wirestack"
  else
    say "no systemd here: start it with"
    if [ -z "$masquerade" ]; then
      say "  wirestack up --private-key-file /etc/wirestack/$name.key $config"
    else
      say "  wirestack up --tun=$name $masquerade --private-key-file /etc/wirestack/$name.key $config"
    fi
  fi
}

usage() {
  sed -n '/^# A server/,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
}

say() {
  printf '%s\n' "$*" >&2
}

fail() {
  say "setup-server.sh: $*"
  exit 1
}

main "$@"
