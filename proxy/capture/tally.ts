/**
 * Counts what a stream of pcapng has.
 *
 * @module
 */

import type { Block } from "./blocks.ts";
import { droppedIn, ENHANCED_PACKET, INTERFACE_STATISTICS } from "./pcapng.ts";

const INTERFACE_OFFSET = 8;

export class Tally {
  packets = 0;
  /** By interface, as last told. */
  readonly #lost = new Map<number, number>();

  get lost(): number {
    return [...this.#lost.values()].reduce((sum, lost) => sum + lost, 0);
  }

  note(piece: Uint8Array, blocks: readonly Block[]): void {
    const view = new DataView(piece.buffer, piece.byteOffset, piece.length);
    for (const { type, start, end } of blocks) {
      if (type === ENHANCED_PACKET) this.packets++;
      if (type !== INTERFACE_STATISTICS) continue;
      const of = view.getUint32(start + INTERFACE_OFFSET, true);
      this.#lost.set(of, droppedIn(piece.subarray(start, end)));
    }
  }
}
