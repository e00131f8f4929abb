/**
 * Memory that is given back at once. What a socket has read lies outside of V8's heap, and to V8 the heap
 * grows by it: at 600 Mbit/s all of it was marked ten times a second, which took half of the CPU.
 *
 * @module
 */

/** Frees what nobody looks at any more. Memory that is shared with others stays. */
export function free(bytes: Uint8Array): void {
  const { buffer } = bytes;
  const isAll = bytes.length > 0 && bytes.length === buffer.byteLength;
  if (isAll && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** What a message of gRPC has before what it holds, bytes. */
const MOST_BEFORE = 16;
/** Smaller ones may lie in memory that is dealt out in pieces. */
const LEAST_MESSAGE = 8 << 10;

/** As {@link free}, of what is all of its memory but for a few bytes before it. */
export function freeMessage(bytes: Uint8Array): void {
  const { buffer, byteOffset, length } = bytes;
  const isAll = byteOffset > 0 && byteOffset <= MOST_BEFORE && length > LEAST_MESSAGE &&
    byteOffset + length === buffer.byteLength;
  if (isAll && buffer instanceof ArrayBuffer) buffer.transfer(0);
  else free(bytes);
}
