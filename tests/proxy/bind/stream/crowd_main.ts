/**
 * Many carriers to one place, from a process of their own: `TRANSPORT PORT COUNT CERT KEY CA`. Says a
 * line when all are there, and ends with its input.
 *
 * @module
 */

import { GrpcDialer } from "../../../../proxy/bind/stream/grpc/mod.ts";
import { TlsDialer } from "../../../../proxy/bind/stream/tls/mod.ts";

import { tries } from "../../../tries.ts";

const [transport, port, count, certPath, keyPath, caPath] = Deno.args as [string, ...string[]];
const AT_ONCE = 32;
const never = new AbortController().signal;
const dialer = new (transport === "tls" ? TlsDialer : GrpcDialer)({
  url: `${transport}://localhost:${port}`,
  host: "127.0.0.1",
  port: Number(port),
  pins: [],
  certPath: certPath!,
  keyPath: keyPath!,
  caPath: caPath!,
});
let left = Number(count);
await Promise.all(Array.from({ length: AT_ONCE }, async () => {
  while (left-- > 0) {
    const carrier = await tries(10, () => dialer.dial(never));
    carrier.start({ chunk() {}, writable() {}, closed() {} });
    // A frame that does not end, and a message for it: what a hub has to keep.
    const half = new Uint8Array(60_000);
    half.set([0xff, 0xff]);
    carrier.write(half, () => {});
    setInterval(() => carrier.write(new Uint8Array(1), () => {}), 4_000); // it is there
  }
}));
console.log("all");
for await (const _ of Deno.stdin.readable);
Deno.exit();
