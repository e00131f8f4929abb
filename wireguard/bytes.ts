/**
 * Small operations on bytes: little-endian words, comparison, wiping.
 *
 * @module
 */

export const EMPTY: Uint8Array = new Uint8Array(0);

/** Little-endian 32-bit word, signed: a small integer in V8, so it can be a map key without boxing. */
export function readI32(buffer: Uint8Array, offset: number): number {
  return buffer[offset]! | buffer[offset + 1]! << 8 | buffer[offset + 2]! << 16 |
    buffer[offset + 3]! << 24;
}

/** Little-endian 32-bit word, unsigned. */
export function readU32(buffer: Uint8Array, offset: number): number {
  return readI32(buffer, offset) >>> 0;
}

/** Writes a little-endian 32-bit word. */
export function writeU32(buffer: Uint8Array, offset: number, value: number): void {
  buffer[offset] = value;
  buffer[offset + 1] = value >>> 8;
  buffer[offset + 2] = value >>> 16;
  buffer[offset + 3] = value >>> 24;
}

/** Whether all bytes are zero, in time that depends on the length only. */
export function isZero(bytes: Uint8Array): boolean {
  let bits = 0;
  for (let i = 0; i < bytes.length; i++) bits |= bytes[i]!;
  return bits === 0;
}

/** Overwrites secrets that are no longer needed. */
export function wipe(...secrets: Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}
