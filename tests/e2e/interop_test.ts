/**
 * Other implementations of WireGuard as peers of one gateway, each in either role: the one that
 * begins, and the one that answers.
 *
 * @module
 */

import assert from "node:assert/strict";
import { forgetEndpoints } from "./gateway.ts";
import { hold, moreEchoes, release } from "./held.ts";
import { type InteropPeer, InteropSite, PEER_PORT } from "./interop_site.ts";
import { eventually, promptLabTest, stepsAtOnce } from "./lab.ts";
import { Waiting } from "./waiting.ts";
import type { Process } from "./process.ts";
import { endpoint, type Family, GATEWAY, LISTEN_PORT, TARGET } from "./site.ts";
import { buildInBackground, PROGRAMS } from "./wireguard_programs.ts";

buildInBackground();

const FAMILIES: Family[] = [4, 6];
/** IP and ICMP. */
const PING_HEADERS: Record<Family, number> = { 4: 20 + 8, 6: 40 + 8 };

/** What the processes of a test may take beside the protocol's own times. */
const MARGIN = 2000;
/** Whitepaper §6.1, §6.4, in ms. */
const REKEY_TIMEOUT = 5000;
const MAX_JITTER = 333;
const KEEPALIVE_TIMEOUT = 10_000;
/** Of the gateway's file, so that a test sees several renewals. */
const REKEY_AFTER = 5000;

promptLabTest("other implementations of WireGuard are peers of one gateway", async (t) => {
  for (const { name, unavailable } of PROGRAMS) {
    if (unavailable === undefined) continue;
    await t.step({ name: `${name} [skipped: ${unavailable}]`, ignore: true, fn() {} });
  }
  const variants = [{ mtu: 1420, outer: 4 }, { mtu: 1280, outer: 6 }] as const;
  await stepsAtOnce(
    t,
    variants.map((variant) => ({ ...variant, name: `over IPv${variant.outer}` })),
    ({ mtu }) => `at an MTU of ${mtu}`,
    peersOfOneGateway,
  );
}, ["curl", "ping"]);

async function peersOfOneGateway(
  { mtu, outer }: { mtu: number; outer: Family },
  t: Deno.TestContext,
): Promise<void> {
  await using site = await InteropSite.start({
    programs: PROGRAMS.filter(({ unavailable }) => unavailable === undefined),
    outer,
    mtu,
    fileBytes: 2_000_000,
    interface: [`RekeyAfter = ${REKEY_AFTER / 1000}`],
  });
  const each = (what: string, fn: (peer: InteropPeer) => Promise<void>) =>
    stepsAtOnce(t, site.peers, () => what, fn);

  await each("packets of every size, both ways", async (peer) => {
    if (peer.beginner === "Wirestack") {
      // Or the peer's ping might make it begin as well.
      await within(
        MARGIN + REKEY_TIMEOUT,
        "a session",
        async () => (await peer.wireguard.peer()).latestHandshake > 0,
      );
    }
    await reached(peer, MARGIN + REKEY_TIMEOUT);
    for (const family of FAMILIES) {
      for (const bytes of [0, 1, 56, mtu - PING_HEADERS[family], 3 * mtu]) {
        await ping(peer, GATEWAY[family], bytes);
      }
    }
    assert.equal(site.handshakes(peer)[0], peer.beginner);
  });

  await each("a file there and back, whole", async ({ host }) => {
    const { path, sha256 } = site.file;
    for (const target of [TARGET[4], `[${TARGET[6]}]`]) {
      const url = `http://${target}/file`;
      assert.equal(await host.output(["curl", "-sSf", "--upload-file", path, url]), sha256);
      const downloaded = await host.output(["sh", "-c", `curl -sSf '${url}' | sha256sum`]);
      assert.equal(downloaded.slice(0, 64), sha256);
    }
  });

  await each("through the gateway to another peer", async (peer) => {
    const next = site.peers[(site.peers.indexOf(peer) + 1) % site.peers.length]!;
    for (const family of FAMILIES) {
      await ping(peer, next.address[family], mtu - PING_HEADERS[family]);
    }
  });

  await each("a connection outlives other addresses, ports, IP versions and keys", async (peer) => {
    const held = hold(peer.host, TARGET[4]);
    await moreEchoes(held);
    const waiting = new Waiting();
    const before = site.handshakes(peer).length;
    if (peer.beginner === "peer") {
      await moves(site, peer, () => moreEchoes(held));
    } else {
      await isFollowed(site, peer, () => moreEchoes(held));
      await within(
        REKEY_AFTER + REKEY_TIMEOUT + MAX_JITTER + MARGIN,
        "new keys",
        () => site.handshakes(peer).length > before,
      );
      // Whitepaper §6.2: only who began a session renews it by age.
      assert.deepEqual([...new Set(site.handshakes(peer))], ["Wirestack"]);
      await moreEchoes(held);
    }
    const waited = waiting.ms;
    const { longestMs, longest, echoes } = await release(held);
    const what = `echo ${longest} of ${echoes} took ${longestMs} ms, ${waited} of them waiting`;
    assert.ok(longestMs - waited < REKEY_TIMEOUT, what);
  });

  await each("the peer is back after a restart", async (peer) => {
    await peer.wireguard.stop();
    const before = site.handshakes(peer).length;
    await peer.wireguard.start();
    // The peer begins with its next packet, Wirestack when its key is too old. A handshake that
    // nobody answered is tried again after REKEY_TIMEOUT.
    const limit = peer.beginner === "peer" ? 0 : REKEY_AFTER + MAX_JITTER;
    await reached(peer, limit + REKEY_TIMEOUT + MAX_JITTER + MARGIN);
    assert.equal(site.handshakes(peer)[before], peer.beginner);
  });

  assert.equal(await site.gateway.stop(), 0);
  await site.startGateway();
  await each(
    "Wirestack is back after a restart, and begins: it knows where its peers are",
    async (peer) => {
      await reached(peer, REKEY_TIMEOUT + MAX_JITTER + MARGIN);
      assert.equal(site.handshakes(peer)[0], "Wirestack");
    },
  );

  assert.equal(await site.gateway.stop(), 0);
  await forgetEndpoints(site.gatewayHost, site.lab.directory);
  await site.startGateway();
  await each("Wirestack is back after a restart without that knowledge", async (peer) => {
    // §6.4, §6.5: a peer whose data is not answered begins anew after KEEPALIVE_TIMEOUT +
    // REKEY_TIMEOUT. Wirestack's keepalive is due at once.
    const limit = peer.beginner === "peer" ? KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + MAX_JITTER : 0;
    await reached(peer, limit + REKEY_TIMEOUT + MAX_JITTER + MARGIN);
    assert.equal(site.handshakes(peer)[0], peer.beginner);
  });
}

/** The peer goes v4 → v4 → v6, or v6 → v6 → v4, and the gateway follows. */
async function moves(site: InteropSite, peer: InteropPeer, more: () => Promise<void>) {
  const { host, wireguard, outer, program } = peer;
  await wireguard.set("listen-port", "51998");
  await more();
  await host.ip(
    `address del ${outer[4].peer}/24 dev wan`,
    `address add ${outer[4].peer}7/24 dev wan`,
    `address del ${outer[6].peer}/64 dev wan`,
    `address add ${outer[6].peer}7/64 dev wan`,
  );
  await wireguard.set("listen-port", "51999");
  await more();
  const [now, next] = (await site.endpointOf(peer))!.startsWith("[")
    ? [6, 4] as const
    : [4, 6] as const;
  assert.equal(await site.endpointOf(peer), endpoint(`${outer[now].peer}7`, 51999));
  if (!program.changesPeers) return;
  // An answer that is under way takes the peer back to where it comes from: then it is set again. To
  // and fro between the versions, so that what goes astray is better not the connection's.
  await using _pings = strays(peer);
  await eventually("the gateway follows to the other IP version", async () => {
    const to = endpoint(outer[next].gateway, LISTEN_PORT);
    await wireguard.set("peer", site.publicKey, "endpoint", to);
    await more();
    return await site.endpointOf(peer) === endpoint(`${outer[next].peer}7`, 51999);
  });
}

/**
 * Traffic that goes astray in the place of the connection's, for a program that has strays: each would
 * cost it a retransmission, every one after twice the time of the one before.
 */
function strays({ host, program }: InteropPeer): Process | undefined {
  if (!program.strays) return undefined;
  return host.spawn("pings", ["ping", "-n", "-q", "-i", "0.1", GATEWAY[4]]);
}

/** The gateway changes its address, then the IP version, and the peer follows. */
async function isFollowed(site: InteropSite, peer: InteropPeer, more: () => Promise<void>) {
  const { wireguard, outer } = peer;
  const device = `wan${site.peers.indexOf(peer) + 1}`;
  await site.gatewayHost.ip(
    `address del ${outer[4].gateway}/24 dev ${device}`,
    `address add ${outer[4].gateway}9/24 dev ${device}`,
    `address del ${outer[6].gateway}/64 dev ${device}`,
    `address add ${outer[6].gateway}9/64 dev ${device}`,
  );
  await more();
  const { endpoint: seen } = await wireguard.peer();
  const [now, next] = seen.startsWith("[") ? [6, 4] as const : [4, 6] as const;
  assert.equal(seen, endpoint(`${outer[now].gateway}9`, LISTEN_PORT));
  // As long as the peer is heard from where it was, that is where it is.
  const gone = `${outer[now].gateway}9/${now === 4 ? 24 : 64} dev ${device}`;
  await site.gatewayHost.ip(`address del ${gone}`);
  await site.gateway.set(
    ...["peer", peer.publicKey, "endpoint", endpoint(outer[next].peer, PEER_PORT)],
  );
  // Until the gateway is heard from its new address, these get nowhere too.
  await using _pings = strays(peer);
  await more();
  await eventually("the peer answers there", async () => {
    return (await wireguard.peer()).endpoint === endpoint(`${outer[next].gateway}9`, LISTEN_PORT);
  });
  await site.gatewayHost.ip(`address add ${gone}`);
}

async function ping({ host }: InteropPeer, address: string, bytes: number): Promise<void> {
  const report = await host.output(
    ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "30", "-s", `${bytes}`, address],
  );
  assert.match(report, / 0% packet loss/, `${bytes} bytes to ${address}`);
}

/** Until the gateway answers, within the time that the protocol allows. */
async function reached({ host, name }: InteropPeer, limitMs: number): Promise<void> {
  await within(limitMs, `${name}: an answer of the gateway`, async () => {
    return (await host.run(["ping", "-n", "-c", "1", "-w", "2", GATEWAY[4]])).code === 0;
  });
}

/** Beside what the programs have had to wait for a processor. */
async function within(
  limitMs: number,
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const start = performance.now();
  const waiting = new Waiting();
  await eventually(what, condition);
  const ms = performance.now() - start;
  assert.ok(ms - waiting.ms < limitMs, `${what}: after ${ms} ms, at most ${limitMs}`);
}
