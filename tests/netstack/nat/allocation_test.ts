import assert from "node:assert/strict";
import { memoryUsage } from "node:process";
import { type Link, Nat, Stack } from "../../../netstack/mod.ts";
import { ip, prefix, tcpSegment, tcpSyn, udp } from "../packets.ts";
import { A, EXTERNAL, X } from "./lab.ts";

const PACKETS = 2_000;
const ROUNDS = 21;
const WARM_UP = 50_000;
/** Bytes: numbers that V8 boxes, none to five a packet; see `tcp/allocation_test.ts`. */
const NUMBERS = 96;

/** A link that swallows what it is given. */
function nowhere(): Link {
  return {
    buffer: new Uint8Array(0),
    allocate: () => -1,
    release() {},
    transmit() {},
    forward: () => true,
  };
}

/** Known flows through a NAT, a packet of each in turn, both ways. */
function flows(count: number, isTcp: boolean): () => void {
  let seed = 1;
  const random = (out: Uint8Array) => {
    for (let i = 0; i < out.length; i++) out[i] = seed = Math.imul(seed, 48271) & 0x7fffffff;
  };
  const stack = new Stack({ random });
  const [inside, outside] = ["inside", "outside"].map((name) =>
    stack.addNic({ name, mtu: 1500, link: nowhere(), forwarding: true })
  );
  stack.routes.insert(prefix("192.168.0.0/24"), inside!);
  stack.routes.insert(prefix("0.0.0.0/0"), outside!);
  stack.setNat(inside!, new Nat({ addresses: [ip(EXTERNAL)], random }));
  const data = new Uint8Array(100);
  const packets = Array.from({ length: count }, (_, i) => {
    const port = 5_000 + i;
    if (isTcp) {
      const syn = tcpSyn(A, port, X, 80);
      stack.handlePacket(inside!, syn, 0, syn.length, 0);
    }
    return isTcp
      ? [tcpSegment(A, port, X, 80, 1, 1, 0x10), tcpSegment(X, 80, EXTERNAL, port, 1, 1, 0x10)]
      : [udp(A, port, X, 53, data), udp(X, 53, EXTERNAL, port, data)];
  });
  const work = new Uint8Array(1500);
  let i = 0;
  let now = 1;
  return () => {
    const [up, down] = packets[i++ % count]!;
    now += 0.001;
    for (const [nic, bytes] of [[inside!, up!], [outside!, down!]] as const) {
      work.set(bytes);
      stack.handlePacket(nic, work, 0, bytes.length, now);
    }
  };
}

for (const isTcp of [false, true]) {
  for (const count of [1, 100]) {
    const what = isTcp ? "TCP" : "UDP";
    Deno.test(`a packet of a known flow of ${what} makes no object, ${count} flows`, () => {
      const step = flows(count, isTcp);
      for (let i = 0; i < WARM_UP; i++) step();
      const used: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const before = memoryUsage().heapUsed;
        for (let i = 0; i < PACKETS; i++) step();
        used.push((memoryUsage().heapUsed - before) / PACKETS / 2);
      }
      const median = used.toSorted((a, b) => a - b)[ROUNDS >> 1]!;
      assert.ok(median < NUMBERS, `${median} bytes a packet; by round ${used.map(Math.round)}`);
    });
  }
}
