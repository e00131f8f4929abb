/** The tunnel's life under the connections in it: new keys, other addresses, restarts. */

import assert from "node:assert/strict";
import { eventually, labTest } from "../lab.ts";
import { PORTS } from "../ports.ts";
import { endpoint, GATEWAY, LISTEN_PORT, OUTER, Site, TARGET } from "../site.ts";
import type { Process } from "../process.ts";

/** WireGuard whitepaper §6.1: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, and a margin. */
const BACK_WITHIN = 25_000;

labTest("rekeys every five seconds under load lose no connection", async () => {
  await using site = await Site.start({
    fileBytes: 50_000_000,
    // REKEY_TIMEOUT: handshakes begin at least 5 s apart, however old the key.
    interface: ["RekeyAfter = 5"],
    // Only who began a session renews it by age (whitepaper §6.2): the gateway shall begin.
    gatewaySidePeer: { endpoint: "192.0.2.2:51821", persistentKeepalive: 1 },
    clientSidePeer: { endpoint: undefined },
  });
  const held = site.spawnClient("hold", TARGET[6], PORTS.echo);
  const handshakes = new Set<number>();
  const poll = setInterval(async () => {
    handshakes.add((await site.wireguard.peer()).latestHandshake);
  }, 500);
  const download = `curl -sSf --limit-rate 2M 'http://${TARGET[4]}/file' | sha256sum`;
  const hashes = await Promise.all(
    Array.from({ length: 4 }, () => site.client.output(["sh", "-c", download])),
  ).finally(() => clearInterval(poll));
  for (const hash of hashes) assert.equal(hash.slice(0, 64), site.file.sha256);
  assert.ok(handshakes.size >= 4, `${handshakes.size} handshakes`);
  const { longestMs } = await release(held);
  assert.ok(longestMs < 1000, `an echo took ${longestMs} ms`);
}, ["curl"]);

labTest("a change of the client's address and port is followed", async () => {
  await using site = await Site.start();
  const held = site.spawnClient("hold", TARGET[4], PORTS.echo);
  await moreEchoes(held);

  await site.wireguard.set("listen-port", "51999");
  await moreEchoes(held);

  await site.client.ip("address del 192.0.2.2/24 dev wan", "address add 192.0.2.77/24 dev wan");
  await site.wireguard.set("listen-port", "52000");
  await moreEchoes(held);

  await site.wireguard.set(
    ...["peer", site.gatewayPublicKey, "endpoint", endpoint(OUTER[6], LISTEN_PORT)],
  );
  await moreEchoes(held);
  await release(held);
});

labTest("a restarted client is back within 25 s with PersistentKeepalive", async () => {
  await using site = await Site.start({ clientSidePeer: { persistentKeepalive: 25 } });
  await site.wireguard.stop();
  await site.wireguard.start();
  await reached(site);
});

labTest("a restarted gateway is back within 25 s with PersistentKeepalive", async () => {
  await using site = await Site.start({ clientSidePeer: { persistentKeepalive: 25 } });
  assert.equal(await site.gateway.stop(), 0);
  await site.startGateway();
  await reached(site);
});

labTest("SIGTERM gives connections their time, then the gateway ends with status 0", async () => {
  await using site = await Site.start();
  const held = site.spawnClient("hold", TARGET[4], PORTS.echo);
  await moreEchoes(held);
  const start = performance.now();
  site.gateway.process.signal("SIGTERM");
  // The connection is still served while it has its five seconds.
  await moreEchoes(held);
  assert.equal((await site.gateway.process.exit()).code, 0);
  const ms = performance.now() - start;
  assert.ok(ms < 7000, `${ms} ms`);
  assert.notEqual((await held.exit()).code, 0);
});

/** Ten more echoes on a connection that is held. */
async function moreEchoes(held: Process): Promise<void> {
  const from = held.lines.length;
  for (let count = 0, next = from; count < 10; count++) {
    await held.line(/^echo \d+$/, { from: next, timeoutMs: 30_000 });
    next = held.lines.length;
  }
}

/** Ends a held connection. @throws when it broke before */
async function release(held: Process): Promise<{ echoes: number; longestMs: number }> {
  held.endInput();
  assert.equal((await held.exit()).code, 0, String(held));
  return JSON.parse(held.lines.at(-1)!);
}

async function reached(site: Site): Promise<void> {
  await eventually("an answer of the gateway", async () => {
    return (await site.client.run(["ping", "-c", "1", "-W", "1", GATEWAY[4]])).code === 0;
  }, { timeoutMs: BACK_WITHIN });
  const { error } = await site.ask("connect", TARGET[4], PORTS.echo);
  assert.equal(error, null);
}
