/** Names that are invited again, and what tokens are to those who look at the hub's peers. */

import assert from "node:assert/strict";
import { generatePrivateKey, publicKeyOf } from "../../../../proxy/base64.ts";
import { join } from "../../../../proxy/cli/join.ts";
import type { Terminal } from "../../../../proxy/cli/terminal.ts";
import type { PeerStats } from "../../../../proxy/gateway/gateway.ts";
import { decodeToken } from "../../../../proxy/enrol/token.ts";
import { LoopDelay } from "../../../../proxy/watch/loop_delay.ts";
import { Metrics } from "../../../../proxy/watch/metrics/metrics.ts";
import { captureLog } from "../../log/capture.ts";
import { HubLab } from "./hub_lab.ts";

const HOUR = 3_600_000;

Deno.test("a name whose invitation was revoked, or has expired, is invited again and gets in", async () => {
  await using hub = await HubLab.start();
  using log = captureLog();
  const revoked = await hub.invite("zz");
  assert.equal((await hub.ask("revoke", "zz")).status, 0);
  const expired = await hub.invite("zz");
  hub.clock.ahead = HOUR + 1_000;
  const token = await hub.invite("zz");
  const grant = await hub.handIn(token, generatePrivateKey(), 5_000);
  assert.deepEqual(grant.addresses.map(String), ["10.9.0.2"]);
  // And those that came before are still told why not.
  await assert.rejects(hub.handIn(revoked, generatePrivateKey(), 5_000), /was revoked/);
  await assert.rejects(hub.handIn(expired, generatePrivateKey(), 5_000), /has expired/);
  assert.doesNotMatch(log.lines.join(""), /left out/);
});

Deno.test("a machine that was thrown out is invited again under its name, through a restart too", async () => {
  const first = await HubLab.start();
  await first.handIn(await first.invite("zz"), generatePrivateKey(), 5_000);
  assert.equal((await first.ask("revoke", "zz")).status, 0);
  const token = await first.invite("zz");
  await using hub = await first.restart();
  const key = generatePrivateKey();
  await hub.handIn(token, key, 5_000);
  assert.equal(hub.gateway.engine.device.peer(publicKeyOf(key))?.name, "zz");
});

Deno.test("an invitation whose token is not heard is none, and the line says why", async () => {
  await using hub = await HubLab.start();
  const { peerSources } = hub.gateway;
  const { addAll } = peerSources;
  // What takes its place, such as a peer of the file with its name, is found no other way.
  peerSources.addAll = (source, configs) =>
    addAll.call(peerSources, source, configs.map((config) => ({ ...config, name: "taken" })));
  await hub.invite("one");
  const { status, error } = await hub.ask("invite", "two", "--endpoint", "hub:1", "--client");
  assert.equal(status, 2);
  assert.match(
    error,
    /^NAME: two could not come in with its token \(taken is another peer's name\), expected /,
  );
  assert.deepEqual(await hub.statuses(), ["one invited", "two revoked"]);
});

Deno.test("tokens are not among the peers that are listed and counted, nor missed when they are gone", async () => {
  await using hub = await HubLab.start();
  using log = captureLog();
  const token = await hub.invite("paris");
  const { gateway } = hub;
  const { device } = gateway.engine;
  await hub.handIn(token, generatePrivateKey(), 5_000);
  await hub.invite("waiting");
  const { privateKey } = decodeToken(token);
  const peer = device.peer(publicKeyOf(privateKey))!;
  assert.ok(peer.isHeard(gateway.engine.now()), "the token was here");
  const { out } = await hub.ask("peers", "--json");
  assert.deepEqual((JSON.parse(out) as PeerStats[]).map(({ name }) => name), ["paris"]);
  assert.match((await hub.ask("peers")).out, /^1 peer: 0 connected, 0 silent, 1 never heard$/m);
  const loop = new LoopDelay();
  const server = { connections: 0, displaced: 0 };
  const text = new Metrics().text({ gateway, loop, server, maxPeers: 9 }, 0);
  assert.match(text, /^wirestack_peers 1$/m);
  assert.match(text, /^wirestack_peers_connected 0$/m);
  assert.match(text, /^wirestack_sessions 0$/m);
  // As after a minute and a half of calls: the machine is at its own key's place by now.
  peer.giveUpHandshake(gateway.engine.now());
  assert.equal(gateway.handshakes.unanswered, 1);
  assert.doesNotMatch(log.lines.join(""), /given up/);
});

Deno.test("a machine that has joined is told what runs it, before that is tried", async () => {
  await using hub = await HubLab.start();
  const out = `${hub.folder}/laptop.conf`;
  const told: string[] = [];
  let result = "";
  const status = await join(undefined, {
    out,
    tokenFile: writeToken(hub, await hub.invite("laptop")),
  }, {
    out: (text: string) => void (result += text),
    error: (text: string) => void told.push(text),
  } as unknown as Terminal, (args) => {
    told.push(`ran ${args.join(" ")}\n`);
    return Promise.resolve(1);
  });
  assert.deepEqual([status, result], [1, ""]);
  assert.deepEqual(told.slice(1), [
    `it is run by: wirestack up --tun ${out}\n`,
    `ran up --tun ${out}\n`,
  ]);
});

function writeToken({ folder }: HubLab, token: string): string {
  const path = `${folder}/token`;
  Deno.writeTextFileSync(path, token);
  return path;
}

Deno.test("the command that runs a machine is one for a shell, whatever its file is called", async () => {
  await using hub = await HubLab.start();
  const [client, agent] = [
    await hub.invite("laptop"),
    await hub.invite("paris", "--subnet", "192.168.1.0/24"),
  ];
  const { folder } = hub;
  const long = await hub.join(client, "it's my laptop.conf");
  assert.equal(
    long.out,
    `wirestack up --tun --name laptop '${folder}/it'\\''s my laptop.conf'\n`,
    long.error,
  );
  const { out } = await hub.join(agent, "an-agent-in-paris.conf", "--control-dir", "/a b");
  assert.equal(
    out,
    `wirestack agent --name paris ${folder}/an-agent-in-paris.conf --control-dir '/a b'\n`,
  );
});
