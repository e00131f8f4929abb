/**
 * The seam between IP and what is carried by it.
 *
 * @module
 */

import type { IpAddress, IpVersion } from "./address.ts";
import type { Nic } from "./nic.ts";

/** IANA protocol numbers. */
export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;

/** A packet on its way up. One object per stack, refilled for every packet: valid until the call returns. */
export interface Inbound {
  /** The NIC it is delivered on. */
  nic: Nic;
  /** The NIC it came in on; answers leave there. */
  ingress: Nic;
  version: IpVersion;
  buffer: Uint8Array;
  /** Offset of the IP header. */
  ipOffset: number;
  /** Offsets of the addresses. */
  source: number;
  destination: number;
  /** Offset and length of what IP carries. */
  payload: number;
  length: number;
  hopLimit: number;
  trafficClass: number;
}

/** The fixed part of what a connection sends: made once, used for every packet. */
export class Path {
  readonly nic: Nic;
  readonly protocol: number;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly version: IpVersion;
  /** Bytes of the IP header. */
  readonly headerLength: 20 | 40;
  /** Unfolded sum of the pseudo header without the length (RFC 9293 §3.1, RFC 8200 §8.1). */
  readonly pseudoSum: number;
  hopLimit = 64;
  trafficClass = 0;
  dontFragment = true;

  /** @throws {TypeError} if the addresses are of two families. */
  constructor(nic: Nic, protocol: number, source: IpAddress, destination: IpAddress) {
    if (source.version !== destination.version) {
      throw new TypeError(`no path from ${source} to ${destination}: two address families`);
    }
    this.nic = nic;
    this.protocol = protocol;
    this.source = source;
    this.destination = destination;
    this.version = source.version;
    this.headerLength = source.version === 4 ? 20 : 40;
    let sum = protocol;
    for (const { bytes } of [source, destination]) {
      for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! << 8 | bytes[i + 1]!;
    }
    this.pseudoSum = sum;
  }
}

/** What an ICMP error says about a packet of ours, the same for both versions. */
export type IcmpErrorKind =
  | "net-unreachable"
  | "host-unreachable"
  | "protocol-unreachable"
  | "port-unreachable"
  | "prohibited"
  | "too-big"
  | "time-exceeded"
  | "parameter-problem";

/** What we say about a packet of others. */
export type UnreachableKind = "net" | "host" | "port" | "prohibited" | "no-route";

/** What IP does for the transport protocols. */
export interface IpOutput {
  /**
   * Takes a slot for one segment.
   *
   * @returns Offset of the transport header in `path.nic.link.buffer`; -1 if the link has no slot.
   */
  allocate(path: Path): number;
  /**
   * Writes the IP header in front and hands the packet to the link.
   *
   * @param length Transport header and payload, with the IP header at most the NIC's MTU.
   */
  transmit(path: Path, offset: number, length: number, now: number): void;
  release(path: Path, offset: number): void;
  /** Where packets to a destination leave, and from which address; undefined if there is no route. */
  route(destination: IpAddress): { nic: Nic; source: IpAddress } | undefined;
  /**
   * An ICMP error about a packet that came in by `ingress`, under the rate limit.
   *
   * @param original The packet or its beginning, from the IP header on.
   */
  sendUnreachable(
    kind: UnreachableKind,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void;
  random(out: Uint8Array): void;
  /** Asks for a flush. */
  markDirty(): void;
}

/** What IP calls. */
export interface TransportProtocol {
  handlePacket(inbound: Inbound, now: number): void;
  /**
   * An ICMP error about a packet of ours.
   *
   * @param mtu Of the next hop, for "too-big"; 0 if it was not told.
   * @param source Offsets of the addresses in the quoted IP header: `source` was ours.
   * @param transport Offset of the quoted transport header, of which `length` bytes are there.
   */
  handleIcmpError(
    kind: IcmpErrorKind,
    mtu: number,
    version: IpVersion,
    buffer: Uint8Array,
    source: number,
    destination: number,
    transport: number,
    length: number,
    now: number,
  ): void;
  /** Dispatches events, then sends. @returns whether something is left to send. */
  flush(now: number, budget: number): boolean;
  pollTimeout(): number;
  handleTimeout(now: number): void;
}
