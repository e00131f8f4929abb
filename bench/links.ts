/**
 * What a stream link carries: packets pushed into one end and taken out of the other, both in this
 * process, over a socket on loopback.
 *
 *   deno task bench:links --size 1400 --seconds 5
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { StreamLink } from "../proxy/link/stream.ts";
import { ConnectingSource, ListeningSource } from "../proxy/link/stream_source.ts";

const { values } = parseArgs({
  options: { size: { type: "string", default: "1400" }, seconds: { type: "string", default: "5" } },
});
const size = Number(values.size);
const seconds = Number(values.seconds);
/** Packets of one turn, as the engine has them. */
const BATCH = 64;

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const { port } = listener.addr as Deno.NetAddr;
const options = { framing: "length16", mtu: 1500 } as const;
const near = new StreamLink({
  ...options,
  name: "near",
  source: new ListeningSource("near", listener),
});
const far = new StreamLink({
  ...options,
  name: "far",
  source: new ConnectingSource("far", "far", () => Deno.connect({ hostname: "127.0.0.1", port })),
});

let received = 0;
let isScheduled = false;
function turn(): void {
  isScheduled = false;
  if (far.hasReady) far.drain(0);
  if (far.hasReady) schedule();
}
function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(turn);
}
far.start({ receive: () => received++, onReadable: schedule, onClosed() {} });
near.start({ receive() {}, onReadable() {}, onClosed() {} });
while (near.state !== "connected" || far.state !== "connected") {
  await new Promise((resolve) => setTimeout(resolve, 5));
}

const packet = new Uint8Array(size);
packet[0] = 0x45;
const before = Deno.memoryUsage().rss;
const cpu = process.cpuUsage();
const start = performance.now();
while (performance.now() - start < seconds * 1000) {
  for (let i = 0; i < BATCH; i++) {
    const slot = near.allocate();
    if (slot < 0) break;
    near.buffer.set(packet, slot);
    near.transmit(near.buffer, slot, size);
  }
  near.flush();
  await new Promise((resolve) => setImmediate(resolve));
}
const elapsed = (performance.now() - start) / 1000;
const { user, system } = process.cpuUsage(cpu);
const perSecond = received / elapsed;
console.log(
  `${size} bytes: ${Math.round(perSecond).toLocaleString("en")} packets/s, ` +
    `${(perSecond * size * 8 / 1e9).toFixed(2)} Gbit/s, both ends ${
      ((user + system) / 1e4 / elapsed).toFixed(0)
    } % CPU, ${((Deno.memoryUsage().rss - before) / 1e6).toFixed(0)} MB more`,
);
near.close();
far.close();
