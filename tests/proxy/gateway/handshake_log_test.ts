/** The lines that somebody looks for who has set up a peer and gets no connection. */

import assert from "node:assert/strict";
import { reset } from "npm:@logtape/logtape@2.4.2";
import {
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
} from "../../../proxy/base64.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { configureLog } from "../../../proxy/log/log.ts";
import { MoveLog, RejectionLog } from "../../../proxy/gateway/handshake_log.ts";
import { Pair } from "../../wireguard/pair.ts";
import { until } from "../pair.ts";
import { startWirestack } from "../start.ts";

const gatewayKey = generatePrivateKey();
const clientKey = generatePrivateKey();

/** A gateway with a peer "laptop" (10.9.0.2), and a client that is set up in another way. */
async function startPair(
  address: string,
  presharedKey: string | undefined,
  use: (lines: readonly string[], gateway: Wirestack) => Promise<void>,
): Promise<void> {
  const lines: string[] = [];
  configureLog({ level: "info", format: "text", write: (line) => lines.push(line) });
  try {
    await using gateway = await startWirestack({
      interface: { privateKey: encodeKey(gatewayKey), address: "10.9.0.1/24" },
      peers: [{
        publicKey: encodeKey(publicKeyOf(clientKey)),
        name: "laptop",
        allowedIps: "10.9.0.2/32",
      }],
    });
    await using client = await startWirestack({
      interface: { privateKey: encodeKey(clientKey), address },
      peers: [{
        publicKey: encodeKey(publicKeyOf(gatewayKey)),
        allowedIps: "10.9.0.0/24",
        endpoint: `127.0.0.1:${gateway.port}`,
        persistentKeepalive: 1,
        ...(presharedKey !== undefined && { presharedKey }),
      }],
    }, { timers: { rekeyTimeoutMs: 50, rekeyJitterMs: 1 } });
    void client.connect({ hostname: "10.9.0.1", port: 7 }).then((conn) => conn.close(), () => {});
    try {
      await use(lines, gateway);
    } finally {
      await client.close({ graceMs: 0 }); // its packets never leave
    }
  } finally {
    await reset();
  }
}

Deno.test("a client that uses an address outside its AllowedIPs is named with the address, in one line", async () => {
  await startPair("10.9.0.3/24", undefined, async (lines) => {
    const about = () => lines.filter((line) => line.includes("AllowedIPs"));
    await until(() => about().length > 0, "it is told");
    assert.match(
      about()[0]!,
      / warning engine: peer laptop: a packet from 10\.9\.0\.3 dropped, not in its AllowedIPs\n$/,
    );
  });
});

Deno.test("a client with another preshared key is named with the likely reason, once", async () => {
  await startPair("10.9.0.2/24", encodeKey(generatePresharedKey()), async (lines, gateway) => {
    const about = () => lines.filter((line) => line.includes("not confirmed"));
    await until(() => about().length > 0, "it is told");
    assert.match(about()[0]!, / warning engine: peer laptop: .*preshared keys differ, most likely/);
    assert.match(
      about()[0]!,
      /: 3 answers to its handshakes were not confirmed by 127\.0\.0\.1:\d+/,
    );
    const answers = () => gateway.stats().counters.wireguard!.responsesSent!;
    await until(() => answers() >= 8, "it goes on");
    assert.equal(about().length, 1, "not with every answer");
  });
});

Deno.test("a peer that moves with every datagram has a line a second, with the number of the others", async () => {
  const pair = new Pair();
  const lines: string[] = [];
  configureLog({ level: "info", format: "text", write: (line) => lines.push(line) });
  try {
    const log = new MoveLog();
    for (let now = 0; now <= 2000; now += 10) log.moved(pair.ab, now);
  } finally {
    await reset();
  }
  assert.deepEqual(lines.map((line) => /now at .*/.exec(line)![0]), [
    "now at 192.0.2.2:1002",
    "now at 192.0.2.2:1002 (99 moves went unlogged before)",
    "now at 192.0.2.2:1002 (99 moves went unlogged before)",
  ]);
});

Deno.test("a peer whose handshakes are refused has a line a minute for each reason, with the number of the others", async () => {
  const { ab: peer } = new Pair();
  const lines: string[] = [];
  configureLog({ level: "info", format: "text", write: (line) => lines.push(line) });
  try {
    const log = new RejectionLog();
    const from = peer.endpoint!;
    const event = { type: "handshake-rejected", from, peer, publicKey: undefined } as const;
    for (let now = 0; now <= 120_000; now += 5_000) {
      log.rejected({ ...event, reason: "bad-response", suppressed: now === 5_000 ? 7 : 0 }, now);
      if (now === 10_000) log.rejected({ ...event, reason: "old-timestamp", suppressed: 0 }, now);
    }
    // Of strangers each that the device reports.
    for (let i = 0; i < 2; i++) {
      log.rejected({ ...event, peer: undefined, reason: "bad-initiation", suppressed: 0 }, 120_000);
    }
  } finally {
    await reset();
  }
  assert.deepEqual(lines.map((line) => /refused: .*/.exec(line)![0]), [
    "refused: its answer does not authenticate: the preshared keys may differ",
    "refused: it is a replay, or the peer's clock was set back (7 more went unlogged before)",
    "refused: its answer does not authenticate: the preshared keys may differ (11 more went unlogged before)",
    "refused: its answer does not authenticate: the preshared keys may differ (11 more went unlogged before)",
    "refused: it does not decrypt with this gateway's private key",
    "refused: it does not decrypt with this gateway's private key",
  ]);
});
