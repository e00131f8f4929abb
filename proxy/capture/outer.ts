/**
 * The IP and UDP headers that WireGuard's datagrams travelled with, as far as this process knows them:
 * the kernel keeps them. The own address is the one the socket is bound to, most often unspecified.
 *
 * @module
 */

import { IpAddress, PROTOCOL_UDP } from "../../netstack/mod.ts";
import type { Endpoint, Sender } from "../../wireguard/mod.ts";
import { parseIpAddress } from "../address.ts";
import type { Direction } from "../link/tap.ts";
import { ADDRESS_OFFSETS } from "./packet.ts";

const UDP_HEADER_LENGTH = 8;
const HOP_LIMIT = 64;
/** Of either family: as many of its bytes as are needed. */
const ANY = new IpAddress(new Uint8Array(16));

export class OuterHeaders {
  /** Room for an IPv6 and a UDP header, written by {@link write}. */
  readonly bytes = new Uint8Array(40 + UDP_HEADER_LENGTH);
  version: 4 | 6 = 4;
  sourcePort = 0;
  destinationPort = 0;
  readonly #view = new DataView(this.bytes.buffer);
  readonly #remote = new Uint8Array(16);
  #ownText: string | undefined = undefined;
  #own: IpAddress = ANY;

  /**
   * Writes the headers of a datagram.
   *
   * @param end The other one.
   * @param port The own one.
   * @param address The own one; undefined for any.
   * @returns their bytes.
   */
  write(
    direction: Direction,
    end: Sender | Endpoint,
    port: number,
    address: string | undefined,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): number {
    const remote = this.#remote;
    let size: number;
    if ("readAddress" in end) size = end.readAddress(remote);
    else {
      size = end.address.length;
      remote.set(end.address);
    }
    if (size === 16 && isMapped(remote)) { // as a socket of both families has it
      remote.copyWithin(0, 12);
      size = 4;
    }
    this.version = size === 4 ? 4 : 6;
    const isInbound = direction === "in";
    this.sourcePort = isInbound ? end.port : port;
    this.destinationPort = isInbound ? port : end.port;
    const at = ADDRESS_OFFSETS[this.version];
    const { bytes } = this;
    bytes.fill(0);
    const own = this.#ownAddress(address);
    bytes.set(own.subarray(0, size), isInbound ? at.destination : at.source);
    for (let i = 0; i < size; i++) {
      bytes[(isInbound ? at.source : at.destination) + i] = remote[i]!;
    }
    const udp = UDP_HEADER_LENGTH + length;
    if (this.version === 4) this.#writeIpv4(udp);
    else this.#writeIpv6(udp, buffer, offset, length);
    return at.destination + size + UDP_HEADER_LENGTH;
  }

  /** Parsed once for as long as it stays. */
  #ownAddress(text: string | undefined): Uint8Array {
    if (text !== this.#ownText) {
      this.#ownText = text;
      this.#own = parseIpAddress(text ?? "") ?? ANY;
    }
    return this.#own.version === this.version ? this.#own.bytes : ANY.bytes;
  }

  #writeIpv4(udpLength: number): void {
    const view = this.#view;
    view.setUint8(0, 0x45);
    view.setUint16(2, 20 + udpLength);
    view.setUint8(8, HOP_LIMIT);
    view.setUint8(9, PROTOCOL_UDP);
    view.setUint16(10, ~folded(sumOf(this.bytes, 0, 20)) & 0xffff);
    this.#writeUdp(20, udpLength); // without a checksum, which IPv4 allows
  }

  #writeIpv6(udpLength: number, buffer: Uint8Array, offset: number, length: number): void {
    const view = this.#view;
    view.setUint8(0, 0x60);
    view.setUint16(4, udpLength);
    view.setUint8(6, PROTOCOL_UDP);
    view.setUint8(7, HOP_LIMIT);
    this.#writeUdp(40, udpLength);
    // RFC 8200 §8.1: over the addresses, the length, the protocol, header and data; never 0.
    const headers = sumOf(this.bytes, 8, 40) + udpLength + PROTOCOL_UDP;
    const sum = folded(headers + sumOf(buffer, offset, length));
    view.setUint16(46, ~sum & 0xffff || 0xffff);
  }

  #writeUdp(at: number, udpLength: number): void {
    const view = this.#view;
    view.setUint16(at, this.sourcePort);
    view.setUint16(at + 2, this.destinationPort);
    view.setUint16(at + 4, udpLength);
  }
}

/** RFC 4291 §2.5.5.2: ::ffff:a.b.c.d. */
function isMapped(address: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return false;
  return address[10] === 0xff && address[11] === 0xff;
}

/** RFC 1071, not folded. */
function sumOf(bytes: Uint8Array, offset: number, length: number): number {
  let sum = 0;
  for (let i = 0; i + 1 < length; i += 2) sum += bytes[offset + i]! << 8 | bytes[offset + i + 1]!;
  return length % 2 === 0 ? sum : sum + (bytes[offset + length - 1]! << 8);
}

function folded(sum: number): number {
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
  return sum;
}
