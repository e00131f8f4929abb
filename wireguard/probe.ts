/**
 * The probe: a question inside of a session whether a path carries packets both ways. WireGuard itself
 * has none: data gets no answer before ten seconds, a handshake costs new keys.
 *
 * It is transport data whose content is no IP packet, so that any other implementation drops it (and
 * this one answers it). It is answered where it came from, under any path, and neither question nor
 * answer is data to the timers of §6. A question only asks, or claims: then the peer moves to where it
 * came from, as it does for any other authentic packet.
 *
 *     0        version 0, where an IP packet has 4 or 6
 *     1…3      "way"
 *     4        1 question, 2 answer, 3 claim
 *     5…7      0
 *     8…11     identifier, little-endian, repeated by the answer
 *     12…15    0
 *
 * @module
 */

import { readU32, writeU32 } from "./bytes.ts";
import { KEEPALIVE_SIZE } from "./messages.ts";

/** No IP packet is as short, and it needs no padding. */
export const PROBE_SIZE = 16;

export const PROBE_QUESTION = 1;
export const PROBE_ANSWER = 2;
/** A question whose sender wants to be reached where it came from. */
export const PROBE_CLAIM = 3;

/** Of the datagram that it is sent in. */
export const PROBE_DATAGRAM_SIZE = KEEPALIVE_SIZE + PROBE_SIZE;

const PROBE_KIND = 4;
const PROBE_ID = 8;
const MAGIC = [0, 0x77, 0x61, 0x79]; // "way"

/** Fills {@link PROBE_SIZE} bytes. */
export function writeProbe(buffer: Uint8Array, offset: number, kind: number, id: number): void {
  buffer.fill(0, offset, offset + PROBE_SIZE);
  buffer.set(MAGIC, offset);
  buffer[offset + PROBE_KIND] = kind;
  writeU32(buffer, offset + PROBE_ID, id);
}

/** @returns what kind of probe `length` bytes of authentic data are; 0 for none. */
export function probeKind(buffer: Uint8Array, offset: number, length: number): number {
  if (length !== PROBE_SIZE) return 0;
  for (let i = 0; i < MAGIC.length; i++) {
    if (buffer[offset + i] !== MAGIC[i]) return 0;
  }
  const kind = buffer[offset + PROBE_KIND]!;
  return kind >= PROBE_QUESTION && kind <= PROBE_CLAIM ? kind : 0;
}

export function probeId(buffer: Uint8Array, offset: number): number {
  return readU32(buffer, offset + PROBE_ID);
}
