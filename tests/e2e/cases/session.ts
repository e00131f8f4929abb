/** The tunnel's life under the connections in it: new keys, other addresses, restarts. */

import assert from "node:assert/strict";
import { hold, moreEchoes, release } from "../held.ts";
import { eventually, labTest, measuredLabTest } from "../lab.ts";
import { PORTS } from "../ports.ts";
import { endpoint, GATEWAY, LISTEN_PORT, OUTER, Site, TARGET } from "../site.ts";
import { tries } from "../../tries.ts";

/** WireGuard whitepaper §6.1: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, and a margin. */
const BACK_WITHIN = 25_000;

measuredLabTest("rekeys every five seconds under load lose no connection", async () => {
  await using site = await Site.start({
    fileBytes: 50_000_000,
    // REKEY_TIMEOUT: handshakes begin at least 5 s apart, however old the key.
    interface: ["RekeyAfter = 5"],
    // Only who began a session renews it by age (whitepaper §6.2): the gateway shall begin.
    gatewaySidePeer: { endpoint: "192.0.2.2:51821", persistentKeepalive: 1 },
    clientSidePeer: { endpoint: undefined },
  });
  const download = `curl -sSf --limit-rate 2M 'http://${TARGET[4]}/file' | sha256sum`;
  await tries(3, async () => {
    const held = hold(site.client, TARGET[6]);
    const handshakes = new Set<number>();
    let isOver = false;
    const poll = async () => {
      while (!isOver) {
        handshakes.add((await site.wireguard.peer()).latestHandshake);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    };
    const [hashes] = await Promise.all([
      Promise.all(Array.from({ length: 4 }, () => site.client.output(["sh", "-c", download])))
        .finally(() => isOver = true),
      poll(),
    ]);
    for (const hash of hashes) assert.equal(hash.slice(0, 64), site.file.sha256);
    assert.ok(handshakes.size >= 4, `${handshakes.size} handshakes`);
    const { longestMs } = await release(held);
    assert.ok(longestMs < 1000, `an echo took ${longestMs} ms`);
  });
}, ["curl"]);

labTest("a change of the client's address and port is followed", async () => {
  await using site = await Site.start();
  const held = hold(site.client, TARGET[4]);
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
  await tries(3, async () => {
    await site.wireguard.stop();
    await site.wireguard.start();
    await reached(site);
  });
});

labTest("a restarted gateway is back within 25 s with PersistentKeepalive", async () => {
  await using site = await Site.start({ clientSidePeer: { persistentKeepalive: 25 } });
  await tries(3, async () => {
    assert.equal(await site.gateway.stop(), 0);
    await site.startGateway();
    await reached(site);
  });
});

labTest("SIGTERM gives connections their time, then the gateway ends with status 0", async () => {
  await using site = await Site.start();
  await tries(3, async () => {
    const held = hold(site.client, TARGET[4]);
    await moreEchoes(held);
    const start = performance.now();
    site.gateway.process.signal("SIGTERM");
    try {
      // The connection is still served while it has its five seconds.
      await moreEchoes(held);
      assert.equal((await site.gateway.process.exit()).code, 0);
      const ms = performance.now() - start;
      assert.ok(ms < 7000, `${ms} ms`);
      assert.notEqual((await held.exit()).code, 0);
    } catch (error) {
      await site.gateway.process.exit();
      await site.startGateway();
      throw error;
    }
  });
});

async function reached(site: Site): Promise<void> {
  await eventually("an answer of the gateway", async () => {
    return (await site.client.run(["ping", "-c", "1", "-w", "3", GATEWAY[4]])).code === 0;
  }, { timeoutMs: BACK_WITHIN });
  const { error } = await site.ask("connect", TARGET[4], PORTS.echo);
  assert.equal(error, null);
}
