/**
 * Coalesces packets for the kernel: successive segments of a TCP connection, and datagrams of a UDP flow,
 * go to it in one piece of up to 64 KiB, as from a network card (GRO). Only packets that the kernel would
 * get back by cutting the piece are coalesced; the order within a flow is kept.
 *
 * @module
 */

import {
  ACK,
  DONT_FRAGMENT,
  ECE,
  F_NEEDS_CSUM,
  FIN,
  fold,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  IPV4_CHECKSUM,
  IPV4_FRAGMENT,
  IPV4_HEADER,
  IPV4_ID,
  IPV4_LENGTH,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV6_HEADER,
  IPV6_LENGTH,
  IPV6_NEXT_HEADER,
  IPV6_SOURCE,
  IS_FRAGMENT,
  MAX_PACKET,
  PSH,
  read16,
  read32,
  type Sum,
  TCP,
  TCP_CHECKSUM,
  TCP_DATA_OFFSET,
  TCP_FLAGS,
  TCP_HEADER,
  TCP_SEQUENCE,
  UDP,
  UDP_CHECKSUM,
  UDP_HEADER,
  UDP_LENGTH,
  VNET_CSUM_OFFSET,
  VNET_CSUM_START,
  VNET_FLAGS,
  VNET_GSO_SIZE,
  VNET_GSO_TYPE,
  VNET_HEADER,
  VNET_HEADER_LENGTH,
  write16,
  writeVnet16,
} from "./layout.ts";

/** Flows whose packets are coalesced at the same time. */
export const BINS = 16;
/** From one bin to the next: a header of the kernel's in front, so that the packet is aligned. */
export const BIN_BYTES = 16 + 65_536 + 48;
const PACKET_AT = 16;
/** Where the kernel's header begins in a bin. */
export const PIECE_AT: number = PACKET_AT - VNET_HEADER;
/** Linux's UDP_MAX_SEGMENTS was 64 before 6.9. */
const MAX_DATAGRAMS = 64;
/** Where the ports are, in TCP and UDP alike; the acknowledged sequence number, and the window. */
const TCP_ACKNOWLEDGMENT = 8;
const TCP_WINDOW = 14;
const TCP_URGENT = 18;

/**
 * Takes the kernel's header and a packet behind it, `length` bytes of both, which begin
 * {@link PIECE_AT} bytes into the n-th bin. They are borrowed.
 */
export type PieceHandler = (bin: number, length: number) => void;

/** Packets of one flow. */
class Bin {
  readonly index: number;
  /** Where its packet starts; the kernel's header is in front of that. */
  readonly at: number;
  isOpen = false;
  isIpv4 = false;
  isTcp = false;
  ports = 0;
  /** Bytes of IP's header, and of all. */
  transport = 0;
  headers = 0;
  length = 0;
  /** Bytes of data in each packet but the last, which may have less. */
  segment = 0;
  count = 0;
  /** Sequence number, and IP identification, of the packet that would come next. */
  sequence = 0;
  id = 0;
  /** No packet may be added: the last one was short, or has PSH or FIN. */
  isEnded = false;
  /** Whether the checksum of the first packet has been looked at, and is right. */
  isChecked = false;

  constructor(index: number, at: number) {
    this.index = index;
    this.at = at;
  }
}

export class Coalescer {
  /** Where the bins are. */
  readonly memory: Uint8Array;
  /** Whether UDP is put together too: the kernel knows it since Linux 6.2. */
  readonly datagrams: boolean;
  readonly #sum: Sum;
  readonly #emit: PieceHandler;
  readonly #bins: readonly Bin[];
  /** Open bins, oldest first. */
  readonly #open: Bin[] = [];
  /** Offset of the room for a packet that goes alone. */
  readonly #alone: number;
  // What the packet at hand is; see #parse.
  #isIpv4 = false;
  #isTcp = false;
  #transport = 0;
  #headers = 0;
  #mayStart = false;
  #mayJoin = false;

  /** Bytes that {@link BINS} and a packet that goes alone need. */
  static readonly bytes = (BINS + 1) * BIN_BYTES;

  /** @param offset Of {@link bytes} bytes in `memory` that are this object's, a multiple of 16. */
  constructor(
    memory: Uint8Array,
    offset: number,
    sum: Sum,
    datagrams: boolean,
    emit: PieceHandler,
  ) {
    this.memory = memory;
    this.datagrams = datagrams;
    this.#sum = sum;
    this.#emit = emit;
    this.#bins = Array.from(
      { length: BINS },
      (_, i) => new Bin(i, offset + i * BIN_BYTES + PACKET_AT),
    );
    this.#alone = offset + BINS * BIN_BYTES + PACKET_AT;
  }

  /**
   * Takes an IP packet of at most 65,535 bytes from any buffer. Before the call returns, or at the next
   * {@link flush}, it is emitted.
   */
  push(buffer: Uint8Array, offset: number, length: number): void {
    if (!this.#parse(buffer, offset, length)) {
      this.pass(buffer, offset, length);
      return;
    }
    const ports = read32(buffer, offset + this.#transport);
    const open = this.#open;
    for (let i = 0; i < open.length; i++) {
      const bin = open[i]!;
      if (bin.ports !== ports || !this.#isOfFlow(bin, buffer, offset)) continue;
      if (this.#mayJoin && this.#join(bin, buffer, offset, length)) return;
      // What has come before it goes before it.
      open.splice(i, 1);
      this.#close(bin);
      break;
    }
    if (this.#mayStart) this.#start(ports, buffer, offset, length);
    else this.pass(buffer, offset, length);
  }

  /** Emits a packet as it is, at once. */
  pass(buffer: Uint8Array, offset: number, length: number): void {
    const { memory } = this;
    const at = this.#alone;
    memory.fill(0, at - VNET_HEADER, at);
    copy(buffer, offset, memory, at, length);
    this.#emit(BINS, VNET_HEADER + length);
  }

  /** Emits all that has been kept. */
  flush(): void {
    const open = this.#open;
    for (let i = 0; i < open.length; i++) this.#close(open[i]!);
    open.length = 0;
  }

  /** @returns false if it is neither TCP nor UDP, or nothing to look into. */
  #parse(buffer: Uint8Array, offset: number, length: number): boolean {
    if (length < IPV4_HEADER) return false;
    let protocol: number;
    const version = buffer[offset]!;
    this.#isIpv4 = version === 0x45;
    if (version === 0x45) {
      if (read16(buffer, offset + IPV4_LENGTH) !== length) return false;
      if ((read16(buffer, offset + IPV4_FRAGMENT) & IS_FRAGMENT) !== 0) return false;
      protocol = buffer[offset + IPV4_PROTOCOL]!;
      this.#transport = IPV4_HEADER;
    } else if (version >> 4 === 6 && length >= IPV6_HEADER) {
      if (read16(buffer, offset + IPV6_LENGTH) + IPV6_HEADER !== length) return false;
      protocol = buffer[offset + IPV6_NEXT_HEADER]!;
      this.#transport = IPV6_HEADER;
    } else return false;
    const at = offset + this.#transport;
    const left = length - this.#transport;
    this.#isTcp = protocol === TCP;
    if (protocol === TCP) {
      if (left < TCP_HEADER) return false;
      const header = (buffer[at + TCP_DATA_OFFSET]! >> 4) * 4;
      if (header < TCP_HEADER || header > left) return false;
      this.#headers = this.#transport + header;
      const flags = buffer[at + TCP_FLAGS]!;
      // The kernel puts FIN and PSH on the last segment, and copies ECE to all.
      this.#mayJoin = (flags & ~(ACK | ECE | PSH | FIN)) === 0 && (flags & ACK) !== 0 &&
        left > header;
      this.#mayStart = this.#mayJoin && (flags & (PSH | FIN)) === 0;
      return true;
    }
    if (protocol !== UDP || left < UDP_HEADER) return false;
    this.#headers = this.#transport + UDP_HEADER;
    this.#mayStart = this.#mayJoin = this.datagrams && left > UDP_HEADER &&
      read16(buffer, at + UDP_LENGTH) === left && read16(buffer, at + UDP_CHECKSUM) !== 0;
    return true;
  }

  /** Whether protocol and addresses are the same; the ports are. */
  #isOfFlow(bin: Bin, buffer: Uint8Array, offset: number): boolean {
    if (bin.isIpv4 !== this.#isIpv4 || bin.isTcp !== this.#isTcp) return false;
    const source = bin.isIpv4 ? IPV4_SOURCE : IPV6_SOURCE;
    return this.#equals(bin, buffer, offset, source, bin.transport);
  }

  /** Appends the packet's data, if the kernel would cut just this packet off again. */
  #join(bin: Bin, buffer: Uint8Array, offset: number, length: number): boolean {
    const { memory } = this;
    const headers = this.#headers;
    const data = length - headers;
    if (
      bin.isEnded || headers !== bin.headers || data > bin.segment || bin.length + data > MAX_PACKET
    ) return false;
    const transport = bin.transport;
    if (bin.isIpv4) {
      // Type of service; TTL and protocol; flags.
      if (memory[bin.at + 1] !== buffer[offset + 1]) return false;
      if (read16(memory, bin.at + 8) !== read16(buffer, offset + 8)) return false;
      const flags = read16(buffer, offset + IPV4_FRAGMENT);
      if (read16(memory, bin.at + IPV4_FRAGMENT) !== flags) return false;
      // RFC 6864: where nothing fragments the field means nothing, else it must count up.
      if ((flags & DONT_FRAGMENT) === 0 && read16(buffer, offset + IPV4_ID) !== bin.id) {
        return false;
      }
    } else {
      // Version, traffic class, flow label; next header and hop limit.
      if (read32(memory, bin.at) !== read32(buffer, offset)) return false;
      if (read16(memory, bin.at + 6) !== read16(buffer, offset + 6)) return false;
    }
    let isLast = data < bin.segment;
    if (bin.isTcp) {
      const at = offset + transport;
      if (read32(buffer, at + TCP_SEQUENCE) !== bin.sequence) return false;
      const flags = buffer[at + TCP_FLAGS]!;
      const start = bin.at + transport;
      if ((flags & ~(PSH | FIN)) !== memory[start + TCP_FLAGS]) return false;
      if (read32(buffer, at + TCP_ACKNOWLEDGMENT) !== read32(memory, start + TCP_ACKNOWLEDGMENT)) {
        return false;
      }
      if (buffer[at + TCP_DATA_OFFSET] !== memory[start + TCP_DATA_OFFSET]) return false;
      if (read16(buffer, at + TCP_WINDOW) !== read16(memory, start + TCP_WINDOW)) return false;
      if (read16(buffer, at + TCP_URGENT) !== read16(memory, start + TCP_URGENT)) return false;
      if (!this.#equals(bin, buffer, offset, transport + TCP_HEADER, headers)) return false;
      isLast ||= (flags & (PSH | FIN)) !== 0;
    } else if (bin.count === MAX_DATAGRAMS) return false;
    // In one piece nobody looks at the checksums again.
    if (!bin.isChecked && !this.#isRight(memory, bin.at, bin.length)) return false;
    bin.isChecked = true;
    if (!this.#isRight(buffer, offset, length)) return false;
    copy(buffer, offset + headers, memory, bin.at + bin.length, data);
    if (bin.isTcp) memory[bin.at + transport + TCP_FLAGS] = buffer[offset + transport + TCP_FLAGS]!;
    bin.length += data;
    bin.sequence = bin.sequence + data | 0;
    bin.id = bin.id + 1 & 0xffff;
    bin.count++;
    bin.isEnded = isLast;
    return true;
  }

  #start(ports: number, buffer: Uint8Array, offset: number, length: number): void {
    const open = this.#open;
    if (open.length === BINS) this.#close(open.shift()!);
    let bin = this.#bins[0]!;
    for (let i = 1; bin.isOpen; i++) bin = this.#bins[i]!;
    bin.isOpen = true;
    bin.isIpv4 = this.#isIpv4;
    bin.isTcp = this.#isTcp;
    bin.ports = ports;
    bin.transport = this.#transport;
    bin.headers = this.#headers;
    bin.length = length;
    bin.segment = length - this.#headers;
    bin.count = 1;
    bin.sequence = bin.isTcp
      ? read32(buffer, offset + bin.transport + TCP_SEQUENCE) + bin.segment | 0
      : 0;
    bin.id = bin.isIpv4 ? read16(buffer, offset + IPV4_ID) + 1 & 0xffff : 0;
    bin.isEnded = bin.isChecked = false;
    copy(buffer, offset, this.memory, bin.at, length);
    open.push(bin);
  }

  /** Emits what a bin has, which is taken out of the list by the caller. */
  #close(bin: Bin): void {
    const { memory } = this;
    bin.isOpen = false;
    const header = bin.at - VNET_HEADER;
    memory.fill(0, header, bin.at);
    if (bin.count > 1) {
      const { length, transport } = bin;
      const rest = length - transport;
      let sum = bin.isTcp ? TCP : UDP;
      if (bin.isIpv4) {
        write16(memory, bin.at + IPV4_LENGTH, length);
        write16(memory, bin.at + IPV4_CHECKSUM, 0);
        write16(memory, bin.at + IPV4_CHECKSUM, ~fold(this.#sum(memory, bin.at, transport, 0)));
        sum = this.#sum(memory, bin.at + IPV4_SOURCE, 8, sum);
      } else {
        write16(memory, bin.at + IPV6_LENGTH, rest);
        sum = this.#sum(memory, bin.at + IPV6_SOURCE, 32, sum);
      }
      const field = bin.isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
      if (!bin.isTcp) write16(memory, bin.at + transport + UDP_LENGTH, rest);
      write16(memory, bin.at + transport + field, fold(sum + rest));
      memory[header + VNET_FLAGS] = F_NEEDS_CSUM;
      memory[header + VNET_GSO_TYPE] = bin.isTcp ? bin.isIpv4 ? GSO_TCPV4 : GSO_TCPV6 : GSO_UDP_L4;
      writeVnet16(memory, header + VNET_HEADER_LENGTH, bin.headers);
      writeVnet16(memory, header + VNET_GSO_SIZE, bin.segment);
      writeVnet16(memory, header + VNET_CSUM_START, transport);
      writeVnet16(memory, header + VNET_CSUM_OFFSET, field);
    }
    this.#emit(bin.index, VNET_HEADER + bin.length);
  }

  /** Whether TCP's or UDP's checksum is right. */
  #isRight(buffer: Uint8Array, offset: number, length: number): boolean {
    const transport = this.#transport;
    const rest = length - transport;
    const isIpv4 = this.#isIpv4;
    const source = offset + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE);
    // Addresses and what is behind them are in one piece: one call sums both.
    const sum = (this.#isTcp ? TCP : UDP) + rest;
    return fold(this.#sum(buffer, source, offset + length - source, sum)) === 0xffff;
  }

  /**
   * Whether the bytes from `from` to `to` are the same, counted from the start of the packet. They are
   * whole words: addresses, or options.
   */
  #equals(bin: Bin, buffer: Uint8Array, offset: number, from: number, to: number): boolean {
    const { memory } = this;
    for (let i = from; i < to; i += 4) {
      if (read32(memory, bin.at + i) !== read32(buffer, offset + i)) return false;
    }
    return true;
  }
}

function copy(
  from: Uint8Array,
  fromOffset: number,
  into: Uint8Array,
  intoOffset: number,
  length: number,
): void {
  if (from === into) into.copyWithin(intoOffset, fromOffset, fromOffset + length);
  else into.set(from.subarray(fromOffset, fromOffset + length), intoOffset);
}
