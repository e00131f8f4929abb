/**
 * A process that may wait in place, for `turns_test.ts`: it takes datagrams, answers over the runtime's own
 * sockets, and has timers; as `flood` it has something to do at any time beside. It prints its ports, and what it has seen when its standard input ends.
 */

import { openUdpLibc, ReceiveRing, tryStreams, turns, UdpSocket } from "../../ffi/mod.ts";
import { DescriptorWait } from "../../ffi/descriptor_wait.ts";
import { openLibc } from "../../ffi/libc.ts";

const TIMER_MS = 7;

turns.begin();
await tryStreams();
const libc = openUdpLibc();
const socket = new UdpSocket(libc, { hostname: "127.0.0.1", port: 0 });
const ring = new ReceiveRing(libc, new Uint8Array(1 << 20));
const wait = new DescriptorWait(socket.fd);
const order: number[] = [];
let datagrams = 0;
let queued = 0;
const onReadable = () => {
  ring.fill(socket.fd);
  while (ring.next()) {
    datagrams++;
    const number = datagrams;
    turns.soon(() => {
      order.push(number);
      // What is asked for in turn comes too, behind what was asked for before.
      turns.soon(() => void queued++);
    });
  }
  ring.release();
  wait.wait(onReadable);
};
onReadable();

// A descriptor that is always readable, and takes time each time: datagrams without a pause.
if (Deno.args[0] === "flood") {
  const { symbols } = openLibc({ eventfd: { parameters: ["u32", "i32"], result: "i32" } });
  const flood = new DescriptorWait(symbols.eventfd(1, 0));
  const onFlood = () => {
    for (const end = performance.now() + 0.1; performance.now() < end;);
    flood.wait(onFlood);
  };
  onFlood();
}

let latest = 0;
let timers = 0;
const again = () => {
  const due = performance.now() + TIMER_MS;
  setTimeout(() => {
    timers++;
    latest = Math.max(latest, performance.now() - due);
    again();
  }, TIMER_MS);
};
again();

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
(async () => {
  for await (const connection of listener) void connection.readable.pipeTo(connection.writable);
})();

console.log(JSON.stringify({
  begun: turns.hasBegun,
  udp: socket.address.port,
  tcp: (listener.addr as Deno.NetAddr).port,
}));
for await (const _ of Deno.stdin.readable);
const inOrder = order.every((number, i) => number === i + 1);
console.log(JSON.stringify({
  datagrams,
  called: order.length,
  inOrder,
  queued,
  inPlace: turns.inPlace,
  timers,
  latestMs: latest,
}));
Deno.exit(0);
