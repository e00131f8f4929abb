/**
 * Big-endian fields in a packet, and copies between packets.
 *
 * @module
 */

export function readUint16(buffer: Uint8Array, offset: number): number {
  return buffer[offset]! << 8 | buffer[offset + 1]!;
}

export function writeUint16(buffer: Uint8Array, offset: number, value: number): void {
  buffer[offset] = value >>> 8;
  buffer[offset + 1] = value;
}

export function readUint32(buffer: Uint8Array, offset: number): number {
  return (buffer[offset]! << 24 | buffer[offset + 1]! << 16 | buffer[offset + 2]! << 8 |
    buffer[offset + 3]!) >>> 0;
}

/** The same bits, signed: V8 keeps an int32 unboxed, a uint32 may need a heap object. */
export function readInt32(buffer: Uint8Array, offset: number): number {
  return buffer[offset]! << 24 | buffer[offset + 1]! << 16 | buffer[offset + 2]! << 8 |
    buffer[offset + 3]!;
}

/** Signed or unsigned. */
export function writeUint32(buffer: Uint8Array, offset: number, value: number): void {
  buffer[offset] = value >>> 24;
  buffer[offset + 1] = value >>> 16;
  buffer[offset + 2] = value >>> 8;
  buffer[offset + 3] = value;
}

/** Below this a plain loop beats a block copy. */
const SHORT_COPY = 64;

/** Copies `length` bytes between two buffers, or within one, which allocates no view. */
export function copyBytes(
  from: Uint8Array,
  fromOffset: number,
  into: Uint8Array,
  intoOffset: number,
  length: number,
): void {
  if (from === into) into.copyWithin(intoOffset, fromOffset, fromOffset + length);
  else if (length >= SHORT_COPY) {
    into.set(from.subarray(fromOffset, fromOffset + length), intoOffset);
  } else for (let i = 0; i < length; i++) into[intoOffset + i] = from[fromOffset + i]!;
}

export function equalBytes(
  a: Uint8Array,
  aOffset: number,
  b: Uint8Array,
  bOffset: number,
  length: number,
): boolean {
  for (let i = 0; i < length; i++) {
    if (a[aOffset + i] !== b[bOffset + i]) return false;
  }
  return true;
}
