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

/** As {@link free}, of what is alone in its memory, which may be larger. */
export function freeOwn(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
