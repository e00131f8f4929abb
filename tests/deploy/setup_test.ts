/**
 * The set-up scripts as root of a host of its own: /etc and /usr/local are copies that go with the test.
 *
 * @module
 */

import assert from "node:assert/strict";
import { labTest } from "../e2e/lab.ts";
import { onOwnHost } from "./own_host.ts";

/** With a `wirestack` that is these sources. */
const PREPARE = `mkdir "$scratch/here"
printf '#!/bin/sh\\ncd %s && exec %s run --no-lock -A %smain.ts "$@"\\n' "$scratch/here" "$DENO" "$ROOT" >/usr/local/bin/wirestack
chmod 755 /usr/local/bin/wirestack
cd "$scratch/here"
status() { "$@" && echo "status 0" || echo "status $?"; }
files() { (cd /etc/wirestack && ls && sha256sum *); }
`;

/** Runs a script on such a host. @returns what it said. */
async function onHost(script: string): Promise<string> {
  const { stdout } = await onOwnHost(["etc", "usr/local"], `${PREPARE}exec 2>&1\n${script}`);
  return stdout;
}

labTest(
  "setup-client.sh again is the same again, or a refusal, and no file is half-made",
  async () => {
    const said = await onHost(`
key() { wirestack genkey; }
conf() { printf '[Interface]\\nPrivateKey = %s\\nAddress = %s/32\\n[Peer]\\nPublicKey = %s\\nAllowedIPs = 0.0.0.0/0\\n' "$1" "$2" "$peer"; }
peer=$(key | wirestack pubkey) own=$(key)
conf "$own" 10.9.0.2 >wg7.conf
conf "$own" 10.9.0.3 >other.conf
chmod 600 *.conf
client=$ROOT/deploy/setup-client.sh
status $client wg7.conf --kill-switch; files >first
status $client wg7.conf --kill-switch; files >second
cmp first second && echo same
status $client wg7.conf; files | cmp first - && echo same
status $client other.conf --name wg7; files | cmp first - && echo same
cat /etc/wirestack/wg7.env; ls /etc/wirestack
status $client --remove wg7; ls /etc/wirestack
status $client --remove wg7
status $client wg7.conf
status $client wg7.conf --kill-switch; ls /etc/wirestack
`);
    const lines = said.split("\n").filter((line) =>
      /^(?:status|same|setup-client|WIRE|wg7)/.test(line)
    );
    assert.deepEqual(lines, [
      ...["status 0", "status 0", "same", "status 0", "same"],
      "setup-client.sh: setup-client.sh --remove wg7 takes out what is there",
      ...[
        "status 1",
        "same",
        "WIRESTACK_OPTIONS=--kill-switch=true",
        "wg7.conf",
        "wg7.env",
        "wg7.key",
      ],
      "status 0",
      ...["setup-client.sh: --remove: there is no /etc/wirestack/wg7.conf", "status 1", "status 0"],
      "setup-client.sh: setup-client.sh --remove wg7 takes out what is there",
      ...["status 1", "wg7.conf", "wg7.key"],
    ], said);
    assert.match(said, /wg7\.conf is there already, and another: change that one, or remove it/);
    assert.match(
      said,
      /^install\.sh: .*wg7\.conf is set up without --kill-switch=true: change it/m,
    );
  },
);

labTest("setup-server.sh again adds clients, and knows those that are there", async () => {
  const said = await onHost(`
server="$ROOT/deploy/setup-server.sh --endpoint vpn.example.com"
status $server --client a --client b
status $server --client a --client c; ls
cp a.conf d.conf
status $server --client e --client d; ls
mv b.conf away
status $server --client b
status $server --masquerade
grep -c PublicKey /etc/wirestack/wg0.conf; ls /etc/wirestack
rm /etc/wirestack/*
status $server --masquerade --client f
status $server; cat /etc/wirestack/wg0.env
`);
  const lines = said.split("\n").filter((line) =>
    /^(?:status|setup-server|install\.sh:|WIRE|\w\.conf$|\d$|wg0|a is)/.test(line)
  );
  assert.deepEqual(lines, [
    "status 0",
    ...[
      "a is a client already, and has its file, a.conf",
      "status 0",
      "a.conf",
      "b.conf",
      "c.conf",
    ],
    "setup-server.sh: --client: d.conf is here already, and is no client's of this server",
    ...["status 1", "a.conf", "b.conf", "c.conf", "d.conf"],
    "setup-server.sh: --client: /etc/wirestack/wg0.conf has a peer b already, whose file is not here: " +
    "wirestack remove-peer b takes it out",
    "status 1",
    "install.sh: /etc/wirestack/wg0.conf is set up without --masquerade: change it, or remove it and " +
    "its .key and .env",
    ...["status 1", "3", "wg0.conf", "wg0.key"],
    ...["status 0", "status 0", "WIRESTACK_OPTIONS=--masquerade"],
  ], said);
  assert.match(
    said,
    /wirestack up --tun=wg0 --masquerade .*\nstatus 0\nWIRESTACK_OPTIONS/,
    "as it is set up",
  );
});
