/**
 * What the tunnel's unit runs, as its user, one after the other: there is no systemd here to do it. The
 * host has copies of /etc, /usr/local and /var, and a /run, of its own.
 *
 * @module
 */

import assert from "node:assert/strict";
import { installation } from "../e2e/gateway.ts";
import { labTest } from "../e2e/lab.ts";
import { onOwnHost } from "./own_host.ts";

const UNIT = await Deno.readTextFile(
  new URL("../../deploy/systemd/wirestack-tun@.service", import.meta.url),
);
const NAME = "wg7";

/** A line of the unit as a shell takes it. */
function line(key: string): string {
  const [, text] = new RegExp(`^${key}=-?(.*)$`, "m").exec(UNIT)!;
  return text!.replaceAll("%i", NAME).replaceAll("$$", "$");
}

const SCRIPT = `mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200
cat >/usr/local/bin/wirestack <<EOF
#!/bin/sh
cd $SOURCE && exec $DENO run --no-prompt -A main.ts "\\$@"
EOF
chmod 755 /usr/local/bin/wirestack
ip link set lo up

peer=$(wirestack genkey | wirestack pubkey)
printf '[Interface]\\nPrivateKey = %s\\nAddress = 10.9.0.2/32, fd09::2/128\\n[Peer]\\nPublicKey = %s\\nAllowedIPs = 0.0.0.0/0, ::/0\\n' \\
  "$(wirestack genkey)" "$peer" >"$scratch/${NAME}.conf"
"$ROOT/deploy/install.sh" --binary /usr/local/bin/wirestack --config "$scratch/${NAME}.conf" 2>/dev/null

# As systemd does: its folders, the credential, the environment, the user.
uid=61234
group=$(getent group wirestack-conf | cut -d: -f3)
for folder in /run/wirestack /var/lib/wirestack /var/cache/wirestack; do
  mkdir -p "$folder" && chown $uid:$uid "$folder" && chmod 700 "$folder"
done
mkdir -p /run/credentials && install -m 400 -o $uid /etc/wirestack/${NAME}.key /run/credentials/wirestack.private-key
chmod 755 "$scratch" /run /run/credentials
main=
trap '[ -z "$main" ] || kill -KILL $main 2>/dev/null' EXIT
as_unit() {
  [ ! -e /etc/wirestack/${NAME}.env ] || . /etc/wirestack/${NAME}.env
  exec env $UNIT_ENVIRONMENT CREDENTIALS_DIRECTORY=/run/credentials STATE_DIRECTORY=/var/lib/wirestack \\
    WIRESTACK_OPTIONS="\${WIRESTACK_OPTIONS-}" "$@"
}
SETPRIV="setpriv --reuid $uid --regid $uid --groups $group --no-new-privs \\
  --bounding-set -all,+net_admin --inh-caps +net_admin --ambient-caps +net_admin --"
state() {
  ip -j rule; ip -6 -j rule; ip -j route show table all; nft -j list ruleset
  ip -o link | cut -d' ' -f2; sysctl net.ipv4.conf.all.src_valid_mark; ls /run/wirestack
}
begin() {
  : >"$scratch/log"
  as_unit $SETPRIV sh -c "exec $EXEC_START" 2>"$scratch/log" &
  main=$!
  for _ in $(seq 3000); do
    ! grep -q "CAP_NET_ADMIN alone" "$scratch/log" || return 0
    kill -0 $main 2>/dev/null || break
    sleep 0.1
  done
  cat "$scratch/log" >&2
  return 1
}
after() { (as_unit env SERVICE_RESULT="$1" $SETPRIV sh -c "$EXEC_STOP_POST"); }
ended() { wait $main && echo "ended 0" || echo "ended $?"; main=; }
is_as_before() { state >"$scratch/now"; cmp -s "$scratch/before" "$scratch/now" && echo "as before" || echo "not as before"; }
state >"$scratch/before"

echo "- stopped"
begin; is_as_before
MAINPID=$main; export MAINPID
$SETPRIV sh -c "$EXEC_RELOAD"
for _ in $(seq 1000); do ! grep -qi "reload" "$scratch/log" || break; sleep 0.1; done
grep -ci "reload" "$scratch/log" >/dev/null && echo reloaded
kill -TERM $main; ended; after success; is_as_before

echo "- killed"
begin; kill -KILL $main; ended; is_as_before; after signal; is_as_before

echo "- killed, with a kill switch"
echo WIRESTACK_OPTIONS=--kill-switch=true >/etc/wirestack/${NAME}.env
begin; kill -KILL $main; ended; after signal; is_as_before
nft list tables | grep -c wirestack-kill-${NAME} || true
begin; grep -o "steps of an earlier ${NAME} taken back" "$scratch/log"
kill -TERM $main; ended; after success; is_as_before

echo "- whose commands hang"
rm /etc/wirestack/${NAME}.env
sed -i '/^Address/a PreDown = sleep 600' /etc/wirestack/${NAME}.conf
begin; kill -TERM $main
until grep -q "stopping" "$scratch/log"; do sleep 0.1; done
sleep 2; kill -TERM $main; ended; after exit-code; is_as_before
`;

labTest("a start, a reload and every end of the unit leave the host as it was", async () => {
  const { root, env } = await installation();
  const environment = [...UNIT.matchAll(/^Environment=(.*)$/gm)].map(([, text]) => text).join(" ");
  const { stdout, stderr } = await onOwnHost(["etc", "usr/local", "var"], SCRIPT, {
    env: {
      ...env,
      PATH: `${Deno.env.get("PATH")}:/usr/sbin:/sbin`,
      SOURCE: `${root}/source`,
      UNIT_ENVIRONMENT: environment,
      EXEC_START: line("ExecStart"),
      EXEC_RELOAD: line("ExecReload"),
      EXEC_STOP_POST: line("ExecStopPost"),
    },
  });
  assert.deepEqual(stdout.trim().split("\n"), [
    ...["- stopped", "not as before", "reloaded", "ended 0", "as before"],
    ...["- killed", "ended 137", "not as before"],
    `${NAME}: down, 6 steps of a process that had ended taken back`,
    "as before",
    ...["- killed, with a kill switch", "ended 137"],
    `the kill switch stays until the next start, or wirestack down ${NAME}`,
    ...["not as before", "1", `steps of an earlier ${NAME} taken back`, "ended 0", "as before"],
    ...["- whose commands hang", "ended 1", "as before"],
  ], stderr);
});
