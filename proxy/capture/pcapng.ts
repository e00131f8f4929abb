/**
 * Writes pcapng, block by block, in little-endian order
 * (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html). No input or output.
 *
 * @module
 */

import { copyBytes } from "../../netstack/mod.ts";

/** Block types. */
export const SECTION_HEADER = 0x0a0d0d0a;
export const INTERFACE_DESCRIPTION = 1;
export const INTERFACE_STATISTICS = 5;
export const ENHANCED_PACKET = 6;
export const DECRYPTION_SECRETS = 10;

const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** Each packet begins with its IP header. */
const LINKTYPE_RAW = 101;
/** "WGKL": lines of a WireGuard key log. */
const SECRETS_WIREGUARD = 0x57474b4c;

const OPT_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_TSRESOL = 9;
const IF_FILTER = 11;
const EPB_FLAGS = 2;
const EPB_DROPCOUNT = 4;
const ISB_STARTTIME = 2;
const ISB_ENDTIME = 3;
const ISB_IFRECV = 4;
const ISB_IFDROP = 5;
const ISB_FILTERACCEPT = 6;
const ISB_USRDELIV = 8;

/** Of the timestamps: 10 to the power of -9 seconds. */
const NANOSECONDS = 9;
/** `epb_flags`: bits 0 and 1. */
const INBOUND = 1;
const OUTBOUND = 2;

/** Type, two lengths; and what an enhanced packet block has in front of the packet. */
const BLOCK_OVERHEAD = 12;
const PACKET_HEADER = 28;
const FLAGS_BYTES = 8;
const DROPS_BYTES = 12;
const END_BYTES = 4;
/** Where in a block of figures the options begin. */
const STATISTICS_OPTIONS = 20;

/** A time as two halves of a 64-bit number of nanoseconds since the Unix epoch. */
export class Timestamp {
  high = 0;
  low = 0;

  /** @param ms Since the Unix epoch, with a fraction. */
  set(ms: number): void {
    const seconds = Math.floor(ms / 1000);
    const nanoseconds = Math.min(Math.round((ms - seconds * 1000) * 1e6), 999_999_999);
    // A thousand million is 1,953,125 times 2^9: no intermediate result has more than 53 bits.
    const part = seconds * 1_953_125;
    const low = (part % 0x80_0000) * 0x200 + nanoseconds;
    this.low = low >>> 0;
    this.high = Math.floor(part / 0x80_0000) + (low >= 0x1_0000_0000 ? 1 : 0);
  }
}

/** What a capture shows packets of. */
export interface InterfaceDescription {
  readonly name: string;
  readonly description: string;
  /** Bytes of each packet; 0 for all. */
  readonly snapLength: number;
  /** The text of the filter; missing for none. */
  readonly filter?: string | undefined;
}

/** Begins a file: what wrote it, and its interfaces, whose numbers are their places. */
export function headerBlocks(
  application: string,
  interfaces: readonly InterfaceDescription[],
): Uint8Array<ArrayBuffer> {
  const section = new BlockBuilder(SECTION_HEADER);
  section.uint32(BYTE_ORDER_MAGIC).uint16(1).uint16(0);
  section.uint32(0xffff_ffff).uint32(0xffff_ffff); // of unknown length
  section.text(SHB_USERAPPL, application);
  const blocks = [section.finish()];
  for (const { name, description, snapLength, filter } of interfaces) {
    const block = new BlockBuilder(INTERFACE_DESCRIPTION);
    block.uint16(LINKTYPE_RAW).uint16(0).uint32(snapLength);
    block.text(IF_NAME, name).text(IF_DESCRIPTION, description);
    block.option(IF_TSRESOL, Uint8Array.of(NANOSECONDS));
    // The first byte says that text follows, as libpcap's filters are.
    if (filter !== undefined) block.text(IF_FILTER, `\0${filter}`);
    blocks.push(block.finish());
  }
  return concat(blocks);
}

/** Packets of an interface since the capture began. */
export interface InterfaceCounts {
  /** That came by. */
  readonly seen: number;
  /** That the filter picked. */
  readonly accepted: number;
  /** Of these, lost because the reader was slow. */
  readonly dropped: number;
}

/** @param startMs When the capture began, and the time of the figures, ms since the Unix epoch. */
export function statisticsBlock(
  interfaceId: number,
  { seen, accepted, dropped }: InterfaceCounts,
  startMs: number,
  nowMs: number,
): Uint8Array<ArrayBuffer> {
  const block = new BlockBuilder(INTERFACE_STATISTICS);
  const time = new Timestamp();
  time.set(nowMs);
  block.uint32(interfaceId).uint32(time.high).uint32(time.low);
  block.timestamp(ISB_STARTTIME, startMs).timestamp(ISB_ENDTIME, nowMs);
  block.count(ISB_IFRECV, seen).count(ISB_IFDROP, dropped);
  block.count(ISB_FILTERACCEPT, accepted).count(ISB_USRDELIV, accepted - dropped);
  return block.finish();
}

/** What a {@link statisticsBlock} says of packets lost. */
export function droppedIn(block: Uint8Array): number {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  for (let at = STATISTICS_OPTIONS; at + 12 < block.length;) {
    const code = view.getUint16(at, true);
    if (code === ISB_IFDROP) {
      return view.getUint32(at + 4, true) + view.getUint32(at + 8, true) * 0x1_0000_0000;
    }
    at += 4 + padded(view.getUint16(at + 2, true));
  }
  return 0;
}

/** Secrets for the packets behind it. @param lines Of a WireGuard key log. */
export function keyLogBlock(lines: string): Uint8Array<ArrayBuffer> {
  const secrets = new TextEncoder().encode(lines);
  const block = new BlockBuilder(DECRYPTION_SECRETS);
  block.uint32(SECRETS_WIREGUARD).uint32(secrets.length).bytes(secrets);
  secrets.fill(0);
  return block.finish();
}

/** A comment as an option, to be put behind packets. Text that is too long is cut off. */
export function commentOption(text: string): Uint8Array<ArrayBuffer> {
  const encoded = new TextEncoder().encode(text).subarray(0, 1024);
  const option = new Uint8Array(4 + padded(encoded.length));
  const view = new DataView(option.buffer);
  view.setUint16(0, OPT_COMMENT, true);
  view.setUint16(2, encoded.length, true);
  option.set(encoded, 4);
  return option;
}

/**
 * Bytes of an enhanced packet block.
 *
 * @param captured Of the packet.
 * @param commentBytes Of {@link commentOption}; 0 for none.
 * @param hasDrops Whether it says how many packets were lost before it.
 */
export function packetBlockLength(
  captured: number,
  commentBytes: number,
  hasDrops: boolean,
): number {
  return PACKET_HEADER + padded(captured) + FLAGS_BYTES + (hasDrops ? DROPS_BYTES : 0) +
    commentBytes + END_BYTES + 4;
}

/** Where in an enhanced packet block the packet begins. */
export const PACKET_DATA_OFFSET = PACKET_HEADER;

/**
 * Writes an enhanced packet block but for the packet itself, which the caller puts at
 * {@link PACKET_DATA_OFFSET}.
 *
 * @param blockLength As {@link packetBlockLength} has it for the same arguments.
 * @param original Bytes of the whole packet.
 * @param drops Packets of the interface lost since the last block; 0 writes no count.
 * @param commentBytes As {@link packetBlockLength} was told: more than the comment has leave room behind it,
 * which is the end of options over and over, until somebody fills it.
 */
export function writePacketBlock(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  blockLength: number,
  interfaceId: number,
  time: Timestamp,
  captured: number,
  original: number,
  isInbound: boolean,
  drops: number,
  comment: Uint8Array | undefined,
  commentBytes: number,
): void {
  view.setUint32(at, ENHANCED_PACKET, true);
  view.setUint32(at + 4, blockLength, true);
  view.setUint32(at + 8, interfaceId, true);
  view.setUint32(at + 12, time.high, true);
  view.setUint32(at + 16, time.low, true);
  view.setUint32(at + 20, captured, true);
  view.setUint32(at + 24, original, true);
  let end = at + PACKET_HEADER + captured;
  while ((end - at & 3) !== 0) bytes[end++] = 0;
  view.setUint32(end, EPB_FLAGS | 4 << 16, true);
  view.setUint32(end + 4, isInbound ? INBOUND : OUTBOUND, true);
  end += FLAGS_BYTES;
  if (drops > 0) {
    view.setUint32(end, EPB_DROPCOUNT | 8 << 16, true);
    view.setUint32(end + 4, drops % 0x1_0000_0000, true);
    view.setUint32(end + 8, Math.floor(drops / 0x1_0000_0000), true);
    end += DROPS_BYTES;
  }
  if (comment !== undefined) {
    copyBytes(comment, 0, bytes, end, comment.length);
    if (commentBytes > comment.length) bytes.fill(0, end + comment.length, end + commentBytes);
    end += commentBytes;
  }
  view.setUint32(end, 0, true);
  view.setUint32(end + END_BYTES, blockLength, true);
}

/** Where in a block its comment is, of `commentBytes`. */
export function commentOffset(blockLength: number, commentBytes: number): number {
  return blockLength - 4 - END_BYTES - commentBytes;
}

/** Bytes of {@link commentOption} for the text that one has, and so many more. */
export function longerComment(comment: Uint8Array, more: number): number {
  return 4 + padded((comment[2]! | comment[3]! << 8) + more);
}

/** What a block that {@link writePacketBlock} has begun says. The packet is copied. */
export function packetIn(block: Uint8Array): {
  readonly interfaceId: number;
  /** Milliseconds since the Unix epoch. */
  readonly time: number;
  readonly data: Uint8Array<ArrayBuffer>;
  readonly original: number;
  readonly isInbound: boolean;
  readonly drops: number;
  /** Empty for none. */
  readonly comment: string;
} {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  const captured = view.getUint32(20, true);
  let [isInbound, drops, comment] = [false, 0, ""];
  for (let at = PACKET_HEADER + padded(captured); at + 8 < block.length;) {
    const code = view.getUint16(at, true);
    const length = view.getUint16(at + 2, true);
    if (code === EPB_FLAGS) isInbound = view.getUint32(at + 4, true) === INBOUND;
    else if (code === EPB_DROPCOUNT) {
      drops = view.getUint32(at + 4, true) + view.getUint32(at + 8, true) * 0x1_0000_0000;
    } else if (code === OPT_COMMENT) {
      comment = new TextDecoder().decode(block.subarray(at + 4, at + 4 + length));
    }
    at += 4 + padded(length);
  }
  const nanoseconds = BigInt(view.getUint32(12, true)) << 32n | BigInt(view.getUint32(16, true));
  return {
    interfaceId: view.getUint32(8, true),
    time: Number(nanoseconds / 1000n) / 1000,
    data: Uint8Array.from(block.subarray(PACKET_HEADER, PACKET_HEADER + captured)),
    original: view.getUint32(24, true),
    isInbound,
    drops,
    comment,
  };
}

function padded(length: number): number {
  return length + 3 & ~3;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** For the rare blocks: grows as it needs. */
class BlockBuilder {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 8;
  #hasOptions = false;

  constructor(type: number) {
    this.#view.setUint32(0, type, true);
  }

  uint16(value: number): this {
    this.#reserve(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
    return this;
  }

  uint32(value: number): this {
    this.#reserve(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
    return this;
  }

  /** Followed by zeros up to a multiple of four. */
  bytes(value: Uint8Array): this {
    this.#reserve(value.length + 3);
    this.#bytes.set(value, this.#length);
    this.#length += padded(value.length);
    return this;
  }

  option(code: number, value: Uint8Array): this {
    this.#hasOptions = true;
    return this.uint16(code).uint16(value.length).bytes(value);
  }

  text(code: number, text: string): this {
    return this.option(code, new TextEncoder().encode(text).subarray(0, 0xffff));
  }

  count(code: number, value: number): this {
    this.#hasOptions = true;
    this.uint16(code).uint16(8);
    return this.uint32(value % 0x1_0000_0000).uint32(Math.floor(value / 0x1_0000_0000));
  }

  timestamp(code: number, ms: number): this {
    const time = new Timestamp();
    time.set(ms);
    this.#hasOptions = true;
    return this.uint16(code).uint16(8).uint32(time.high).uint32(time.low);
  }

  finish(): Uint8Array<ArrayBuffer> {
    if (this.#hasOptions) this.uint32(0);
    this.#reserve(4);
    const length = this.#length + 4;
    this.#view.setUint32(4, length, true);
    this.#view.setUint32(this.#length, length, true);
    const block = this.#bytes.slice(0, length);
    this.#bytes.fill(0); // it may have held secrets
    return block;
  }

  #reserve(more: number): void {
    if (this.#length + more + BLOCK_OVERHEAD <= this.#bytes.length) return;
    const bytes = new Uint8Array(2 * (this.#bytes.length + more));
    bytes.set(this.#bytes);
    this.#bytes.fill(0);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}
