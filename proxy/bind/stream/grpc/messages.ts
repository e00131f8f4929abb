/**
 * Messages of gRPC that hold `Datagrams` of `proto/relay.proto`, as bytes of a call: one byte that says
 * whether it is compressed, four with its length, and what protobuf makes of it.
 *
 * @module
 */

import { writeUint32 } from "./frames.ts";
import { MAX_MESSAGE } from "./limits.ts";

/** A field's number and wire type. */
const PACKED = 1;
const WIRE = { varint: 0, bytes8: 1, bytes: 2, bytes4: 5 } as const;
const PACKED_TAG = PACKED << 3 | WIRE.bytes;
const PREFIX_SIZE = 5;
/** The longest that is one: of 64 bits. */
const VARINT_SIZE = 10;
/** What matters of a varint is less than 2^28: what is more is too much in any case. */
const VARINT_BITS = 28;

/** Bytes before `length` packed ones: the message's prefix, the field's tag and length. */
export function messagePrefixSize(length: number): number {
  return PREFIX_SIZE + 1 + varintSize(length);
}

function varintSize(value: number): number {
  return value < 1 << 7 ? 1 : value < 1 << 14 ? 2 : 3;
}

/** Writes what comes before `length` packed bytes, at most 2 MB, into `out` at `at`. */
export function writeMessagePrefix(out: Uint8Array, at: number, length: number): void {
  const size = varintSize(length);
  out[at] = 0;
  writeUint32(out, at + 1, 1 + size + length);
  out[at + PREFIX_SIZE] = PACKED_TAG;
  for (let i = 0; i < size; i++) {
    const more = i < size - 1 ? 0x80 : 0;
    out[at + PREFIX_SIZE + 1 + i] = length >>> 7 * i & 0x7f | more;
  }
}

/** Finds packed bytes in messages that come in pieces of any size, and moves them together in place. */
export class MessageReader {
  /** Why nothing can be found any more. */
  problem: string | undefined;
  /** Of the prefix, bytes that have come. */
  #prefix = 0;
  /** Of the message, bytes that have not come. */
  #left = 0;
  /** Of the field, bytes that have not come, which are packed ones or are skipped. */
  #packed = 0;
  #skip = 0;
  #expects: "tag" | "length" | "value" = "tag";
  #isPacked = false;
  /** The message has had its packed bytes. */
  #hadPacked = false;
  #varint = 0;
  #varintBytes = 0;

  /**
   * Reads what lies between `from` and `to`.
   *
   * @param at Where the packed bytes of it are moved to: not behind `from`.
   * @returns where they end.
   */
  take(bytes: Uint8Array, from: number, to: number, at: number): number {
    let i = from;
    while (i < to && this.problem === undefined) {
      if (this.#packed > 0) {
        const count = Math.min(this.#packed, to - i);
        if (at !== i) bytes.copyWithin(at, i, i + count);
        at += count;
        i += count;
        this.#packed -= count;
        this.#took(count);
      } else if (this.#skip > 0) {
        const count = Math.min(this.#skip, to - i);
        i += count;
        this.#skip -= count;
        this.#took(count);
      } else if (this.#left === 0) {
        this.#takePrefix(bytes[i++]!);
      } else {
        this.#left--;
        this.#takeVarint(bytes[i++]!);
        this.#took(0);
      }
    }
    return at;
  }

  #took(count: number): void {
    this.#left -= count;
    if (this.#left > 0 || this.#packed > 0 || this.#skip > 0) return;
    if (this.#expects !== "tag" || this.#varintBytes > 0) this.#fail("it ends too early");
    this.#hadPacked = false;
  }

  #takePrefix(byte: number): void {
    if (this.#prefix++ === 0) {
      if (byte !== 0) this.problem = "a message that is compressed";
      return;
    }
    this.#varint = this.#varint * 256 + byte;
    if (this.#prefix < PREFIX_SIZE) return;
    if (this.#varint > MAX_MESSAGE) this.problem = "a message longer than allowed";
    this.#left = this.#varint;
    this.#varint = this.#prefix = 0;
  }

  #takeVarint(byte: number): void {
    const shift = 7 * this.#varintBytes++;
    const bits = byte & 0x7f;
    if (shift < VARINT_BITS) this.#varint |= bits << shift;
    else if (bits > 0 && this.#expects !== "value") this.#fail("a number is too large");
    if (byte >= 0x80) {
      if (this.#varintBytes === VARINT_SIZE) this.#fail("a number is too large");
      return;
    }
    const value = this.#varint;
    this.#varint = this.#varintBytes = 0;
    if (this.#expects === "tag") this.#takeTag(value);
    else if (this.#expects === "length") this.#takeLength(value);
    else this.#expects = "tag";
  }

  #takeTag(tag: number): void {
    const wire = tag & 7;
    this.#isPacked = tag === PACKED_TAG;
    if (tag >>> 3 === 0) this.#fail("a field has the number 0");
    else if (wire === WIRE.varint) this.#expects = "value";
    else if (wire === WIRE.bytes) this.#expects = "length";
    else if (wire === WIRE.bytes8) this.#begin(8);
    else if (wire === WIRE.bytes4) this.#begin(4);
    else this.#fail(`a field is of the wire type ${wire}`);
  }

  #takeLength(length: number): void {
    this.#expects = "tag";
    // Of two the last would count, and the first has been handed over by then.
    if (this.#isPacked && this.#hadPacked) this.#fail("it has its field twice");
    this.#hadPacked ||= this.#isPacked;
    this.#begin(length);
  }

  #begin(length: number): void {
    if (length > this.#left) this.#fail("it ends too early");
    else if (this.#isPacked) this.#packed = length;
    else this.#skip = length;
  }

  #fail(why: string): void {
    this.problem ??= `not a message of Datagrams: ${why}`;
  }
}
