/** How long the module waits where a program does not say. */

import assert from "node:assert/strict";
import { generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { captureLog } from "../log/capture.ts";
import { pattern } from "../pair.ts";
import { startWirestack } from "../start.ts";

/** A tunnel to somebody who takes datagrams and is no WireGuard. */
async function mute() {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = socket.addr as Deno.NetAddr;
  const net = await startWirestack({
    interface: { privateKey: generatePrivateKey(), address: "10.9.0.1/24" },
    peers: [{
      publicKey: publicKeyOf(generatePrivateKey()),
      name: "attic",
      allowedIps: "10.9.0.8/32",
      endpoint: `127.0.0.1:${port}`,
    }],
  });
  return { net, socket, endpoint: `127.0.0.1:${port}` };
}

/** How long something took, ms: a timer may fire a moment early, and later on a busy machine. */
async function timed(what: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await what();
  return performance.now() - begin;
}

Deno.test("who connects to a silent peer is told after 20 s, and who closes waits 5 s for it and is told", async () => {
  using log = captureLog("warning");
  const [dialling, closing] = await Promise.all([mute(), mute()]);
  await Promise.all([
    (async () => {
      const { net, endpoint } = dialling;
      const took = await timed(() =>
        assert.rejects(net.connect({ hostname: "10.9.0.8", port: 80 }), {
          name: "TimedOut",
          message: "connect: no answer from 10.9.0.8:80 in 20 s, " +
            `peer attic at ${endpoint} does not answer either`,
        })
      );
      assert.ok(took > 19_900, `${took} ms`);
      await net.close({ graceMs: 0 });
    })(),
    (async () => {
      const { net } = closing;
      using socket = net.listenDatagram();
      await socket.send(pattern(9), { transport: "udp", hostname: "10.9.0.8", port: 5000 });
      const took = await timed(async () => {
        await using _net = net;
      });
      assert.ok(took > 4_900, `${took} ms`);
    })(),
  ]);
  const said = log.lines.map((line) => line.trim().replace(/^\S+ /, ""));
  assert.deepEqual(said.filter((line) => line.includes("closing:")), [
    "warning engine: closing: 1 connections or peers had not finished after 5 s",
  ]);
  for (const { socket } of [dialling, closing]) socket.close();
});
