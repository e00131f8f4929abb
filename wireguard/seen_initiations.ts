/**
 * Initiations that have been worked on. A genuine one never comes twice: its timestamp increases.
 * The timestamp is encrypted, though, so to find out costs two Diffie-Hellmans; to find it here costs
 * next to nothing.
 *
 * @module
 */

import { readI32 } from "./bytes.ts";
import { MAC1_FROM_END } from "./messages.ts";

const SLOTS = 2048;
const WORDS = 4;

/**
 * The mac1 of the last ones, a slot per hash value. It is a MAC of all that comes before it, so
 * another message has another mac1. What an attacker pushes out is handled as if it were new.
 */
export class SeenInitiations {
  #macs: Int32Array | undefined;

  /** Whether exactly this message has been {@link add}ed. */
  has(buffer: Uint8Array, offset: number, length: number): boolean {
    const macs = this.#macs;
    if (macs === undefined) return false;
    const mac1 = offset + length - MAC1_FROM_END;
    const slot = slotOf(buffer, mac1);
    for (let i = 0; i < WORDS; i++) {
      if (macs[slot + i] !== readI32(buffer, mac1 + 4 * i)) return false;
    }
    return true;
  }

  add(buffer: Uint8Array, offset: number, length: number): void {
    this.#macs ??= new Int32Array(SLOTS * WORDS);
    const mac1 = offset + length - MAC1_FROM_END;
    const slot = slotOf(buffer, mac1);
    for (let i = 0; i < WORDS; i++) this.#macs[slot + i] = readI32(buffer, mac1 + 4 * i);
  }
}

function slotOf(buffer: Uint8Array, mac1: number): number {
  return (readI32(buffer, mac1) & SLOTS - 1) * WORDS;
}
