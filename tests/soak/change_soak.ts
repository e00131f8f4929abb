/**
 * Changes for a minute while data moves.
 *
 * @module
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { hashOf, startChangeable } from "../proxy/embed/change_site.ts";
import { pattern, SITE } from "../proxy/pair.ts";

const CHANGES = 60;
const EVERY_MS = 1_000;
/** A reload is every so many, instead of a set. */
const RELOAD = 10;
const RATES = ["40Mbit", "200Mbit", null] as const;
const BITS = [40e6, 200e6, undefined] as const;

/** Sends bytes that do not repeat soon until `isOver`, then the end. @returns how many, and their hash. */
async function send(
  conn: Pick<Deno.TcpConn, "write" | "closeWrite">,
  seed: number,
  isOver: () => boolean,
) {
  const bytes = pattern(1 << 20, seed);
  const hash = createHash("sha256");
  let sent = 0;
  while (!isOver()) {
    const at = sent % (bytes.length - 65_536);
    const length = await conn.write(bytes.subarray(at, at + 65_536));
    hash.update(bytes.subarray(at, at + length));
    sent += length;
  }
  await conn.closeWrite();
  return { sent, hash: hash.digest("hex") };
}

Deno.test("a set or a reload a second for a minute, of rates, rules, timeouts and limits, during a download and an upload: no byte is lost", async () => {
  await using site = await startChangeable();
  const { gateway, client, config } = site;
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using conn = await client.connect({ hostname: SITE, port: listener.addr.port });
  using served = await listener.accept();
  let isOver = false;
  const [down, up] = [send(served, 1, () => isOver), send(conn, 2, () => isOver)];
  const [downloaded, uploaded] = [hashOf(conn), hashOf(served)];
  const moved = () => {
    const [flow] = gateway.flows();
    return [flow!.bytesUp, flow!.bytesDown] as const;
  };
  let before = moved();
  let at = performance.now();
  for (let i = 0; i < CHANGES; i++) {
    const next = new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    const [timeout, rateDown] = [1 + i % 7, RATES[i % RATES.length]!];
    if (i % RELOAD === RELOAD - 1) {
      const proxy = { ...config.proxy, tcpDialTimeout: timeout, maxDials: 100 + i };
      const peers = [{ ...config.peers[0]!, ...(rateDown !== null && { rateDown }) }];
      await gateway.reload({ ...config, proxy, peers });
    } else {
      gateway.set({
        proxy: { tcpDialTimeout: timeout, udpIdleTimeout: 10 + timeout, maxDials: 100 + i },
        rules: { 2: { maxConnections: 1_000 + i, rate: i % 2 === 0 ? "300Mbit" : null } },
        peers: { laptop: { rateDown, rateUp: RATES[(i + 1) % RATES.length]! } },
      });
    }
    await next;
    const now = moved();
    const [, bytes] = now.map((bytes, way) => bytes - before[way]!);
    before = now;
    const limit = BITS[i % BITS.length];
    const seconds = (performance.now() - at) / 1_000;
    at += 1_000 * seconds;
    // What has been saved up may go at once, and so may what was on its way at another rate.
    const most = 1.5 * limit! * seconds + 60e6;
    if (limit !== undefined) assert.ok(bytes! * 8 < most, `${bytes} bytes in ${seconds} s`);
    assert.ok(bytes! > 0, `nothing moved after change ${i + 1}`);
  }
  isOver = true;
  const [sentDown, sentUp] = await Promise.all([down, up]);
  assert.equal(await downloaded, sentDown.hash, "the download");
  assert.equal(await uploaded, sentUp.hash, "the upload");
  console.log(`${CHANGES} changes, ${sentDown.sent} bytes down and ${sentUp.sent} up, none lost`);
});
