import assert from "node:assert/strict";
import { memoryUsage } from "node:process";
import { Peers } from "./established.ts";

/** Segments between two looks: few enough that a collection comes into one round of several. */
const SEGMENTS = 2_000;
const ROUNDS = 21;
/** Until all is compiled, and buffers have grown. */
const WARM_UP = 100_000;
/**
 * Bytes. V8 makes a number object (16 bytes) of a time that is passed to a function it does not
 * inline: that is none to five, as its compiler decides. The smallest view of a buffer has more.
 */
const NUMBERS = 96;

const PATHS: [name: string, step: (peers: Peers) => void][] = [
  ["a segment in, read by the application", (peers) => peers.segmentIn()],
  ["a segment written by the application, and its ACK in", (peers) => peers.segmentOut()],
  ["an ACK", (peers) => peers.ack()],
];

for (const [name, step] of PATHS) {
  for (const count of [1, 100]) {
    Deno.test(`${name}: no object is made, ${count} connections`, () => {
      const peers = new Peers(count);
      for (let i = 0; i < WARM_UP; i++) step(peers);
      const used: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const before = memoryUsage().heapUsed;
        for (let i = 0; i < SEGMENTS; i++) step(peers);
        used.push((memoryUsage().heapUsed - before) / SEGMENTS);
      }
      // A collection, or the compiler, may come into a round or two.
      const median = used.toSorted((a, b) => a - b)[ROUNDS >> 1]!;
      assert.ok(median < NUMBERS, `${median} bytes a segment; by round ${used.map(Math.round)}`);
    });
  }
}
