/**
 * What TCP connections to targets are read into, and how much at once.
 *
 * @module
 */

/**
 * Every socket reads into this one, and hands on in one go what was read: handlers take what they want of
 * it before they return. So a connection that waits holds no buffer at all.
 */
export const READ_BUFFER = new Uint8Array(65536);

const LEAST_READ = 2_048;

/** What is asked for at once, bytes: what does not fit into a full ring is kept, so less may be wanted. */
export const READ_SIZES: readonly number[] = Array.from({ length: 6 }, (_, i) => LEAST_READ << i);

/** Of the largest of {@link READ_SIZES} that is no larger than `most` bytes, or else the smallest. */
export function sizeIndex(most: number): number {
  return Math.max(0, Math.min(READ_SIZES.length - 1, 31 - Math.clz32(most / LEAST_READ)));
}
