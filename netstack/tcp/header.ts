/**
 * The TCP header in place (RFC 9293 §3.1) and its options (RFC 9293 §3.2, RFC 7323, RFC 2018).
 *
 * @module
 */

import { readInt32, readUint16, writeUint16, writeUint32 } from "../bytes.ts";

export const SOURCE_PORT = 0;
export const DESTINATION_PORT = 2;
export const SEQUENCE = 4;
export const ACKNOWLEDGMENT = 8;
export const DATA_OFFSET = 12;
export const FLAGS = 13;
export const WINDOW = 14;
export const CHECKSUM = 16;
/** Bytes without options. */
export const HEADER_LENGTH = 20;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;

export const OPTION_END = 0;
export const OPTION_NOP = 1;
export const OPTION_MSS = 2;
export const OPTION_WINDOW_SCALE = 3;
export const OPTION_SACK_PERMITTED = 4;
export const OPTION_SACK = 5;
export const OPTION_TIMESTAMPS = 8;

/** Length of the timestamps option, padded to four (RFC 7323 appendix A). */
export const TIMESTAMPS_LENGTH = 12;
/** RFC 7323 §2.3. */
export const MAX_WINDOW_SCALE = 14;
/** Blocks that fit beside timestamps (RFC 2018 §3). */
export const MAX_SACK_BLOCKS = 3;

/** NOP, NOP, kind 8, length 10: how everybody writes timestamps. */
const TIMESTAMPS_WORD = OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_TIMESTAMPS << 8 | 10;

/**
 * SYN with FIN: RFC 9293 has no use for it. Where it would open something it is dropped, as in Linux.
 */
export function opensAndCloses(flags: number): boolean {
  return (flags & (SYN | FIN)) === (SYN | FIN);
}

const NO_BYTES = new Uint8Array(0);

/** One received segment. A single object per stack, refilled for each. */
export class Segment {
  buffer: Uint8Array = NO_BYTES;
  sequence = 0;
  acknowledgment = 0;
  flags = 0;
  /** As on the wire, not scaled. */
  window = 0;
  /** Offset of the payload in {@link buffer}. */
  payload = 0;
  /** Of the payload. */
  length = 0;
  hasTimestamps = false;
  tsValue = 0;
  tsEcho = 0;
  /** 0 = option absent or zero. */
  mss = 0;
  /** -1 = absent. */
  windowScale = -1;
  sackPermitted = false;
  sackCount = 0;
  /** Left and right edge of each block. */
  readonly sack: Int32Array;

  /** @param sack Where the blocks are written: empty for one that is not to be parsed. */
  constructor(sack = new Int32Array(8)) {
    this.sack = sack;
  }

  /**
   * Reads the segment of `length` bytes at `offset`.
   *
   * @returns Whether the header is whole. Options behind a malformed one are ignored.
   */
  parse(buffer: Uint8Array, offset: number, length: number): boolean {
    if (length < HEADER_LENGTH) return false;
    const headerLength = (buffer[offset + DATA_OFFSET]! >> 4) * 4;
    if (headerLength < HEADER_LENGTH || headerLength > length) return false;
    this.buffer = buffer;
    this.sequence = readInt32(buffer, offset + SEQUENCE);
    this.acknowledgment = readInt32(buffer, offset + ACKNOWLEDGMENT);
    this.flags = buffer[offset + FLAGS]!;
    this.window = readUint16(buffer, offset + WINDOW);
    this.payload = offset + headerLength;
    this.length = length - headerLength;
    this.hasTimestamps = false;
    this.sackCount = 0;
    const options = offset + HEADER_LENGTH;
    if (
      headerLength === HEADER_LENGTH + TIMESTAMPS_LENGTH &&
      readInt32(buffer, options) === TIMESTAMPS_WORD && (this.flags & SYN) === 0
    ) {
      this.hasTimestamps = true;
      this.tsValue = readInt32(buffer, options + 4);
      this.tsEcho = readInt32(buffer, options + 8);
      return true;
    }
    this.mss = 0;
    this.windowScale = -1;
    this.sackPermitted = false;
    if (headerLength > HEADER_LENGTH) this.#parseOptions(buffer, options, offset + headerLength);
    return true;
  }

  /** Length in sequence space: payload, SYN and FIN (RFC 9293 §3.4). */
  get span(): number {
    const flags = this.flags;
    return this.length + ((flags & SYN) >> 1) + (flags & FIN);
  }

  #parseOptions(buffer: Uint8Array, offset: number, end: number): void {
    const syn = (this.flags & SYN) !== 0;
    while (offset < end) {
      const kind = buffer[offset]!;
      if (kind === OPTION_END) return;
      if (kind === OPTION_NOP) {
        offset++;
        continue;
      }
      // RFC 9293 §3.1 (MUST-7): a length of 0 or 1 would never end, one past the header lies.
      if (offset + 1 >= end) return;
      const length = buffer[offset + 1]!;
      if (length < 2 || offset + length > end) return;
      if (kind === OPTION_TIMESTAMPS && length === 10) {
        this.hasTimestamps = true;
        this.tsValue = readInt32(buffer, offset + 2);
        this.tsEcho = readInt32(buffer, offset + 6);
      } else if (kind === OPTION_SACK && length >= 10 && (length - 2) % 8 === 0) {
        const count = Math.min(4, (length - 2) / 8);
        for (let i = 0; i < 2 * count; i++) this.sack[i] = readInt32(buffer, offset + 2 + 4 * i);
        this.sackCount = count;
      } else if (syn && kind === OPTION_MSS && length === 4) {
        this.mss = readUint16(buffer, offset + 2);
      } else if (syn && kind === OPTION_WINDOW_SCALE && length === 3) {
        // RFC 7323 §2.3: more than 14 is taken as 14.
        this.windowScale = Math.min(MAX_WINDOW_SCALE, buffer[offset + 2]!);
      } else if (syn && kind === OPTION_SACK_PERMITTED && length === 2) {
        this.sackPermitted = true;
      }
      offset += length;
    }
  }
}

/** Writes the fixed header without checksum. `headerLength` includes the options. */
export function writeHeader(
  buffer: Uint8Array,
  offset: number,
  sourcePort: number,
  destinationPort: number,
  sequence: number,
  acknowledgment: number,
  headerLength: number,
  flags: number,
  window: number,
): void {
  writeUint16(buffer, offset + SOURCE_PORT, sourcePort);
  writeUint16(buffer, offset + DESTINATION_PORT, destinationPort);
  writeUint32(buffer, offset + SEQUENCE, sequence);
  writeUint32(buffer, offset + ACKNOWLEDGMENT, acknowledgment);
  buffer[offset + DATA_OFFSET] = headerLength << 2;
  buffer[offset + FLAGS] = flags;
  writeUint16(buffer, offset + WINDOW, window);
  writeUint32(buffer, offset + CHECKSUM, 0);
}

/** @returns The offset behind the option. */
export function writeTimestamps(
  buffer: Uint8Array,
  offset: number,
  value: number,
  echo: number,
): number {
  writeUint32(buffer, offset, TIMESTAMPS_WORD);
  writeUint32(buffer, offset + 4, value);
  writeUint32(buffer, offset + 8, echo);
  return offset + TIMESTAMPS_LENGTH;
}

/**
 * Writes the options of a SYN, padded to a multiple of four.
 *
 * @param windowScale -1 = none.
 * @returns The offset behind them.
 */
export function writeSynOptions(
  buffer: Uint8Array,
  offset: number,
  mss: number,
  windowScale: number,
  sackPermitted: boolean,
): number {
  buffer[offset] = OPTION_MSS;
  buffer[offset + 1] = 4;
  writeUint16(buffer, offset + 2, mss);
  offset += 4;
  if (windowScale >= 0) {
    buffer[offset] = OPTION_NOP;
    buffer[offset + 1] = OPTION_WINDOW_SCALE;
    buffer[offset + 2] = 3;
    buffer[offset + 3] = windowScale;
    offset += 4;
  }
  if (sackPermitted) {
    buffer[offset] = OPTION_NOP;
    buffer[offset + 1] = OPTION_NOP;
    buffer[offset + 2] = OPTION_SACK_PERMITTED;
    buffer[offset + 3] = 2;
    offset += 4;
  }
  return offset;
}

/** Writes the first `count` blocks (two edges each) of `edges`. @returns The offset behind them. */
export function writeSack(
  buffer: Uint8Array,
  offset: number,
  edges: Int32Array,
  count: number,
): number {
  buffer[offset] = OPTION_NOP;
  buffer[offset + 1] = OPTION_NOP;
  buffer[offset + 2] = OPTION_SACK;
  buffer[offset + 3] = 2 + 8 * count;
  offset += 4;
  for (let i = 0; i < 2 * count; i++, offset += 4) writeUint32(buffer, offset, edges[i]!);
  return offset;
}
