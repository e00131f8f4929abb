/**
 * Changes of a packet in place, with the checksums kept right and a way back.
 *
 * @module
 */

import { readUint16, writeUint16 } from "../bytes.ts";
import { finish } from "../checksum.ts";

/** Words that one packet may have changed: a hairpinned ICMPv6 error has 45. */
const MOST = 128;

/**
 * Each change returns what it adds to a sum that covers it (RFC 1624 §3: `~m + m'`), so the sums of
 * what changed are added up and given to the checksums that cover it. All of it can be undone, for a
 * packet that goes no further and is quoted to its sender as it came.
 */
export class Rewrite {
  #buffer: Uint8Array = new Uint8Array(0);
  readonly #places = new Int32Array(MOST);
  readonly #before = new Uint16Array(MOST);
  #count = 0;

  /** Begins with a packet in `buffer`; what was changed before stays as it is. */
  begin(buffer: Uint8Array): void {
    this.#buffer = buffer;
    this.#count = 0;
  }

  /** Puts everything back, the last change first. */
  undo(): void {
    while (this.#count > 0) {
      const i = --this.#count;
      writeUint16(this.#buffer, this.#places[i]!, this.#before[i]!);
    }
  }

  word(at: number, value: number): number {
    const before = readUint16(this.#buffer, at);
    if (before !== value) {
      const i = this.#count++;
      this.#places[i] = at;
      this.#before[i] = before;
      writeUint16(this.#buffer, at, value);
    }
    return (~before & 0xffff) + value;
  }

  /** @param length 4 or 16. */
  address(at: number, from: Uint8Array, fromOffset: number, length: number): number {
    let change = 0;
    for (let i = 0; i < length; i += 2) {
      change += this.word(at + i, readUint16(from, fromOffset + i));
    }
    return change;
  }

  /** @param change Of everything that the checksum at `at` covers. */
  checksum(at: number, change: number): number {
    const before = readUint16(this.#buffer, at);
    return this.word(at, finish((~before & 0xffff) + change));
  }

  /** RFC 768: zero says that there is none, and a sum that comes out as zero is written as ones. */
  udpChecksum(at: number, change: number): number {
    const before = readUint16(this.#buffer, at);
    if (before === 0) return 0;
    return this.word(at, finish((~before & 0xffff) + change) || 0xffff);
  }
}
