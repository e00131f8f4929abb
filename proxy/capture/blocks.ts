/**
 * A stream of pcapng cut into whole blocks, wherever it was cut before.
 *
 * @module
 */

import { concat } from "./pcapng.ts";

const MIN_BLOCK = 12;
/** No block of ours is longer. */
const MAX_BLOCK = 1 << 20;

/** One block of a piece. */
export interface Block {
  readonly type: number;
  /** Where it is in the piece. */
  readonly start: number;
  readonly end: number;
}

export class BlockSplitter {
  #rest: Uint8Array<ArrayBufferLike> = new Uint8Array(0);

  /**
   * Hands over the whole blocks of what came before and `bytes`.
   *
   * @param take The blocks lie one behind the other in `piece`, which is borrowed until it returns.
   * @throws {Error} if that is no pcapng.
   */
  push(bytes: Uint8Array, take: (piece: Uint8Array, blocks: readonly Block[]) => void): void {
    const piece = this.#rest.length === 0 ? bytes : concat([this.#rest, bytes]);
    const view = new DataView(piece.buffer, piece.byteOffset, piece.length);
    const blocks: Block[] = [];
    let start = 0;
    while (piece.length - start >= MIN_BLOCK) {
      const length = view.getUint32(start + 4, true);
      if (length < MIN_BLOCK || length > MAX_BLOCK || length % 4 !== 0) {
        throw new Error(`a block of ${length} bytes, expected pcapng`);
      }
      if (start + length > piece.length) break;
      blocks.push({ type: view.getUint32(start, true), start, end: start + length });
      start += length;
    }
    this.#rest = piece.slice(start);
    if (blocks.length > 0) take(piece, blocks);
  }
}
