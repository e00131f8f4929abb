/**
 * Frames of HTTP/2 in a stream of bytes: RFC 9113 §4.1.
 *
 * @module
 */

export const FRAME_HEADER_SIZE = 9;
/** Bytes that everybody takes in a frame, whatever its settings are. */
export const MAX_FRAME_SIZE = 16_384;
/** What a client sends before its first frame: RFC 9113 §3.4. */
export const PREFACE_SIZE = 24;
/** Of each stream and of the connection, as long as nothing else is said. */
export const FIRST_WINDOW = 65_535;
export const MAX_WINDOW = 2 ** 31 - 1;

export const FrameType = {
  data: 0,
  headers: 1,
  resetStream: 3,
  settings: 4,
  windowUpdate: 8,
} as const;

export const Flag = { endStream: 1, ack: 1, padded: 8 } as const;

export const INITIAL_WINDOW_SIZE = 4;
export const SETTING_SIZE = 6;
export const WINDOW_UPDATE_SIZE = 4;

/** What is done with the frames of a stream. */
export interface FrameUser {
  /** A frame begins. @returns whether it is taken: otherwise it is passed on. */
  begin(type: number, flags: number, stream: number, length: number): boolean;
  /** A part of its payload: `bytes`, between two places. */
  payload(bytes: Uint8Array, from: number, to: number): void;
  /** That was all of it. */
  end(): void;
  /** What is passed on, in order: several frames, or a part of one. */
  pass(bytes: Uint8Array, from: number, to: number): void;
}

/** Tells frames apart, in chunks of any size. Copies nothing. */
export class FrameSplitter {
  readonly #user: FrameUser;
  /** Bytes of the header that have come. */
  #have = 0;
  readonly #header = new Uint8Array(FRAME_HEADER_SIZE);
  /** Bytes of the payload, or of what comes before all frames, that have not. */
  #left: number;
  #isPreface: boolean;
  #isTaken = false;

  /** @param preface Bytes that come before all frames. */
  constructor(user: FrameUser, preface: number) {
    this.#user = user;
    this.#left = preface;
    this.#isPreface = preface > 0;
  }

  push(bytes: Uint8Array): void {
    let at = 0;
    let from = 0; // of what is passed on
    while (at < bytes.length) {
      if (!this.#isPreface && this.#have < FRAME_HEADER_SIZE) {
        const begin = at;
        const isWhole = this.#have === 0 && bytes.length - at >= FRAME_HEADER_SIZE;
        while (this.#have < FRAME_HEADER_SIZE && at < bytes.length) {
          this.#header[this.#have++] = bytes[at++]!;
        }
        const isThere = this.#have === FRAME_HEADER_SIZE;
        if (isThere) this.#begin();
        if (!isWhole || this.#isTaken) {
          this.#pass(bytes, from, begin);
          from = at;
        }
        if (!isThere) break;
        if (!isWhole && !this.#isTaken) this.#pass(this.#header.slice(), 0, FRAME_HEADER_SIZE);
      }
      const to = at + Math.min(this.#left, bytes.length - at);
      if (to > at && !this.#isPreface) this.#user.payload(bytes, at, to);
      this.#left -= to - at;
      at = to;
      if (this.#isTaken) from = at;
      if (this.#left > 0) break;
      if (!this.#isPreface) this.#user.end();
      this.#isPreface = this.#isTaken = false;
      this.#have = 0;
    }
    this.#pass(bytes, from, at);
  }

  #begin(): void {
    const header = this.#header;
    const length = header[0]! << 16 | header[1]! << 8 | header[2]!;
    const stream = (header[5]! & 0x7f) << 24 | header[6]! << 16 | header[7]! << 8 | header[8]!;
    this.#left = length;
    this.#isTaken = this.#user.begin(header[3]!, header[4]!, stream, length);
  }

  #pass(bytes: Uint8Array, from: number, to: number): void {
    if (to > from) this.#user.pass(bytes, from, to);
  }
}

export function writeFrameHeader(
  out: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  stream: number,
): void {
  out[at] = length >>> 16;
  out[at + 1] = length >>> 8;
  out[at + 2] = length;
  out[at + 3] = type;
  out[at + 4] = flags;
  writeUint32(out, at + 5, stream);
}

/** Big-endian. */
export function writeUint32(out: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) out[at + i] = value >>> 24 - 8 * i;
}
