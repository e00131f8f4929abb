/**
 * Packets in a byte stream: a length of 2 or 4 bytes, big-endian, then as many bytes of an IP packet.
 *
 * @module
 */

/** `length16`: 2 bytes of length, so up to 65,535. `length32`: 4 bytes, as much and no more. */
export type StreamFraming = "length16" | "length32";

/** The largest IPv4 packet, and the largest that is taken of IPv6. */
export const MAX_PACKET = 65_535;

/** Bytes in front of each packet. */
export function headerLength(framing: StreamFraming): 2 | 4 {
  return framing === "length16" ? 2 : 4;
}

/** Writes what goes in front of a packet of `length` bytes, which begins behind it. */
export function writeHeader(
  framing: StreamFraming,
  buffer: Uint8Array,
  offset: number,
  length: number,
): void {
  if (framing === "length32") {
    buffer[offset++] = 0;
    buffer[offset++] = 0;
  }
  buffer[offset] = length >>> 8;
  buffer[offset + 1] = length;
}

/**
 * Takes packets out of a stream that comes in pieces of any size. Holds a fixed number of bytes,
 * whatever the stream says.
 */
export class FrameReader {
  /** Where the pieces go, and packets are found. */
  readonly buffer: Uint8Array<ArrayBuffer>;
  /** Of the packet that {@link next} has found, in {@link buffer}. */
  offset = 0;
  /** As {@link offset}. 0: a frame without a packet. */
  length = 0;
  /** Why nothing can be found in the stream any more. */
  problem: string | undefined;
  readonly #header: 2 | 4;
  #start = 0;
  #end = 0;

  /** @param capacity Bytes; more than one frame may have. */
  constructor(framing: StreamFraming, capacity = 256 << 10) {
    this.#header = headerLength(framing);
    if (capacity < this.#header + MAX_PACKET) {
      throw new RangeError(`a frame may have ${this.#header + MAX_PACKET} bytes, got ${capacity}`);
    }
    this.buffer = new Uint8Array(capacity);
  }

  /** Bytes that came and are in no packet yet. */
  get pending(): number {
    return this.#end - this.#start;
  }

  /**
   * Where the next piece goes. Packets that were found before are no longer there. Never empty while
   * {@link next} finds nothing.
   */
  room(): Uint8Array<ArrayBuffer> {
    const { buffer } = this;
    if (this.#start > 0) {
      buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return buffer.subarray(this.#end);
  }

  /** `count` bytes have been written to {@link room}. */
  filled(count: number): void {
    this.#end += count;
  }

  /** Whether {@link next} would find something, or that nothing can be found any more. */
  get hasNext(): boolean {
    const length = this.#nextLength();
    return length >= 0 && (length > MAX_PACKET || this.pending >= this.#header + length);
  }

  /** @returns Whether there is a packet, at {@link offset}. If not, see {@link problem}. */
  next(): boolean {
    const length = this.#nextLength();
    if (length > MAX_PACKET) {
      this.problem ??= `a frame of ${length} bytes, and a packet has at most ${MAX_PACKET}`;
      return false;
    }
    if (length < 0 || this.pending < this.#header + length) return false;
    this.offset = this.#start + this.#header;
    this.length = length;
    this.#start = this.offset + length;
    return true;
  }

  /** Forgets everything: another stream begins. */
  reset(): void {
    this.#start = this.#end = 0;
    this.problem = undefined;
  }

  /** @returns -1 if not all of it has come. */
  #nextLength(): number {
    const { buffer } = this;
    let at = this.#start;
    if (this.pending < this.#header) return -1;
    let length = 0;
    if (this.#header === 4) {
      length = (buffer[at]! << 8 | buffer[at + 1]!) * 0x10000;
      at += 2;
    }
    return length + (buffer[at]! << 8 | buffer[at + 1]!);
  }
}
