/**
 * The SACK blocks of a received segment, before the scoreboard sees them.
 *
 * @module
 */
import type { Segment } from "./header.ts";
import { after, before } from "./sequence.ts";

/** RFC 2883 §4: the first block lies behind the acknowledgment, or within the second block. */
export function isDuplicateReport(segment: Segment, una: number): boolean {
  const { sack, sackCount } = segment;
  const left = sack[0]!;
  const right = sack[1]!;
  if (!before(left, right)) return false;
  if (before(left, una)) return !after(right, una);
  return sackCount > 1 && !before(left, sack[2]!) && !after(right, sack[3]!);
}

/** Insertion sort of at most four blocks, by their left edges. */
export function sortBlocks(sack: Int32Array, from: number, count: number): void {
  for (let i = from + 1; i < count; i++) {
    const left = sack[2 * i]!;
    const right = sack[2 * i + 1]!;
    let to = i;
    for (; to > from && after(sack[2 * to - 2]!, left); to--) {
      sack[2 * to] = sack[2 * to - 2]!;
      sack[2 * to + 1] = sack[2 * to - 1]!;
    }
    sack[2 * to] = left;
    sack[2 * to + 1] = right;
  }
}
