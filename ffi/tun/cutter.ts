/**
 * What the kernel hands out in one piece, cut into packets: a segment of TCP of up to 64 KiB (TSO), or
 * several datagrams of UDP in one (USO). And checksums that the kernel has left to the device.
 *
 * Nothing is copied but headers: each packet's are written in front of its data, over the data of the
 * packet before it, which has been handed on by then.
 *
 * @module
 */

import {
  CWR,
  F_NEEDS_CSUM,
  FIN,
  fold,
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  IPV4_CHECKSUM,
  IPV4_HEADER,
  IPV4_ID,
  IPV4_LENGTH,
  IPV4_SOURCE,
  IPV6_HEADER,
  IPV6_LENGTH,
  IPV6_SOURCE,
  PSH,
  read16,
  read32,
  readVnet16,
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
  write16,
  write32,
} from "./layout.ts";

/** Headers up to here are cut: those of IPv6 may have extensions. */
export const MAX_HEADERS = 512;

export class Cutter {
  readonly memory: Uint8Array;
  /** The packet that {@link next} moved to. */
  offset = 0;
  length = 0;
  readonly #sum: Sum;
  /** Where the headers are kept: what takes a packet may change it. */
  readonly #template: number;
  /** Of the whole piece. */
  #at = 0;
  #left = 0;
  /** Zero when there is nothing to cut: the piece is the packet. */
  #segment = 0;
  #isFirst = false;
  #isTcp = false;
  #isIpv4 = false;
  /** Bytes of all headers, and of those in front of TCP's or UDP's. */
  #headers = 0;
  #transport = 0;
  #id = 0;
  #sequence = 0;
  #flags = 0;
  /** Sums of what is the same in every packet. */
  #ipSum = 0;
  #transportSum = 0;

  /**
   * @param memory Where the pieces are.
   * @param template Of {@link MAX_HEADERS} bytes that are this object's, in `memory`.
   */
  constructor(memory: Uint8Array, template: number, sum: Sum) {
    this.memory = memory;
    this.#template = template;
    this.#sum = sum;
  }

  /** Whether {@link next} has no more. */
  get isEmpty(): boolean {
    return this.#left === 0;
  }

  /**
   * Takes what the kernel has written: its header, then a packet. What was left of the last is gone.
   *
   * @returns false if the header does not fit the packet: there is nothing then.
   */
  begin(offset: number, length: number): boolean {
    const { memory } = this;
    this.#left = 0;
    if (length < VNET_HEADER + IPV4_HEADER) return false;
    const packet = offset + VNET_HEADER;
    const total = length - VNET_HEADER;
    const type = memory[offset + VNET_GSO_TYPE]! & ~GSO_ECN;
    const isPartial = (memory[offset + VNET_FLAGS]! & F_NEEDS_CSUM) !== 0;
    const start = readVnet16(memory, offset + VNET_CSUM_START);
    const field = start + readVnet16(memory, offset + VNET_CSUM_OFFSET);
    if (isPartial && field + 2 > total) return false;
    if (type === GSO_NONE) {
      if (isPartial) this.#complete(packet, total, start, field);
      this.#segment = 0;
    } else {
      // The kernel's own length of the headers may be that of a whole packet that it passes on: no use.
      const segment = readVnet16(memory, offset + VNET_GSO_SIZE);
      if (!isPartial || segment === 0 || !this.#prepare(packet, total, start, type)) return false;
      this.#segment = segment;
    }
    this.#at = packet;
    this.#left = total - (this.#segment === 0 ? 0 : this.#headers);
    this.#isFirst = true;
    return this.#left > 0;
  }

  /** Moves to the next packet. Its bytes are valid until the next call. @returns false if none is left. */
  next(): boolean {
    if (this.#left === 0) return false;
    if (this.#segment === 0) {
      this.offset = this.#at;
      this.length = this.#left;
      this.#left = 0;
      return true;
    }
    const data = Math.min(this.#segment, this.#left);
    this.#left -= data;
    this.offset = this.#at;
    this.length = this.#headers + data;
    this.#writeHeaders(data);
    this.#at += data;
    this.#isFirst = false;
    return true;
  }

  /** Fills in the checksum of a packet that is not cut. */
  #complete(packet: number, total: number, start: number, field: number): void {
    const { memory } = this;
    // The field has the pseudo header's sum, and counts with it.
    const checksum = ~fold(this.#sum(memory, packet + start, total - start, 0)) & 0xffff;
    // RFC 768: zero is "no checksum"; to TCP and ICMP both are the same.
    write16(memory, packet + field, checksum || 0xffff);
  }

  /** Keeps the headers, and the sums of what does not change. */
  #prepare(packet: number, total: number, transport: number, type: number): boolean {
    const { memory } = this;
    const template = this.#template;
    const isIpv4 = memory[packet]! >> 4 === 4;
    const isTcp = type === GSO_TCPV4 || type === GSO_TCPV6;
    if (!isTcp && type !== GSO_UDP_L4) return false;
    if (isTcp && isIpv4 !== (type === GSO_TCPV4)) return false;
    const least = isIpv4 ? (memory[packet]! & 15) * 4 : IPV6_HEADER;
    if (transport < Math.max(least, IPV4_HEADER)) return false;
    const headers = transport + (isTcp ? TCP_HEADER : UDP_HEADER);
    if (headers > total) return false;
    this.#headers = isTcp
      ? transport + (memory[packet + transport + TCP_DATA_OFFSET]! >> 4) * 4
      : headers;
    if (this.#headers < headers || this.#headers >= total || this.#headers > MAX_HEADERS) {
      return false;
    }
    memory.copyWithin(template, packet, packet + this.#headers);
    this.#isTcp = isTcp;
    this.#isIpv4 = isIpv4;
    this.#transport = transport;
    const at = template + transport;
    const source = template + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE);
    let sum = this.#sum(memory, source, isIpv4 ? 8 : 32, isTcp ? TCP : UDP);
    if (isTcp) {
      this.#sequence = read32(memory, at + TCP_SEQUENCE);
      this.#flags = memory[at + TCP_FLAGS]!;
      write32(memory, at + TCP_SEQUENCE, 0);
      memory[at + TCP_FLAGS] = 0;
      write16(memory, at + TCP_CHECKSUM, 0);
    } else {
      write16(memory, at + UDP_LENGTH, 0);
      write16(memory, at + UDP_CHECKSUM, 0);
    }
    sum = this.#sum(memory, at, this.#headers - transport, sum);
    this.#transportSum = fold(sum);
    if (isIpv4) {
      this.#id = read16(memory, template + IPV4_ID);
      write16(memory, template + IPV4_ID, 0);
      write16(memory, template + IPV4_LENGTH, 0);
      write16(memory, template + IPV4_CHECKSUM, 0);
      this.#ipSum = fold(this.#sum(memory, template, transport, 0));
    }
    return true;
  }

  /** Of the packet at {@link offset} with `data` bytes, which lie behind its headers already. */
  #writeHeaders(data: number): void {
    const { memory, offset, length } = this;
    const headers = this.#headers;
    memory.copyWithin(offset, this.#template, this.#template + headers);
    if (this.#isIpv4) {
      write16(memory, offset + IPV4_LENGTH, length);
      write16(memory, offset + IPV4_ID, this.#id);
      write16(memory, offset + IPV4_CHECKSUM, ~fold(this.#ipSum + length + this.#id));
      this.#id = this.#id + 1 & 0xffff;
    } else write16(memory, offset + IPV6_LENGTH, length - IPV6_HEADER);
    const transport = offset + this.#transport;
    const transportLength = length - this.#transport;
    let sum = this.#transportSum + transportLength; // of the pseudo header
    if (this.#isTcp) {
      const sequence = this.#sequence;
      let flags = this.#flags;
      if (this.#left > 0) flags &= ~(FIN | PSH);
      if (!this.#isFirst) flags &= ~CWR;
      write32(memory, transport + TCP_SEQUENCE, sequence);
      memory[transport + TCP_FLAGS] = flags;
      sum += (sequence >>> 16) + (sequence & 0xffff) + flags;
      this.#sequence = sequence + data | 0;
    } else {
      write16(memory, transport + UDP_LENGTH, transportLength);
      sum += transportLength;
    }
    const checksum = ~fold(this.#sum(memory, offset + headers, data, sum)) & 0xffff;
    if (this.#isTcp) write16(memory, transport + TCP_CHECKSUM, checksum);
    else write16(memory, transport + UDP_CHECKSUM, checksum || 0xffff); // RFC 768: zero is "none"
  }
}
