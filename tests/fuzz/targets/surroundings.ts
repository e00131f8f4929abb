import assert from "node:assert/strict";
import type { Random } from "../../sim/random.ts";

/** Bytes in the middle of a larger buffer whose rest must neither matter nor change. */
export class Surrounded {
  readonly buffer: Uint8Array;
  readonly offset: number;
  readonly length: number;
  readonly #before: Uint8Array;

  constructor(random: Random, bytes: Uint8Array) {
    this.offset = random.below(40);
    this.length = bytes.length;
    this.buffer = random.bytes(this.offset + bytes.length + random.below(80));
    this.buffer.set(bytes, this.offset);
    this.#before = this.buffer.slice();
  }

  /** Nothing outside of the packet has been written to, nor, unless `inside`, in it. */
  check(inside = false): void {
    const { buffer, offset, length } = this;
    const before = this.#before;
    for (let i = 0; i < buffer.length; i++) {
      if (inside && i >= offset && i < offset + length) continue;
      if (buffer[i] !== before[i]) {
        assert.fail(`byte ${i - offset} of a packet of ${length} bytes was overwritten`);
      }
    }
  }
}
