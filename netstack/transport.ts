/**
 * The boundary between IP and what stands on it: what a transport protocol is handed, and what it
 * sends with.
 *
 * @module
 */

import type { IpAddress, IpVersion } from "./address.ts";
import { type Sum, sum } from "./checksum.ts";
import type { IcmpErrorKind } from "./icmp_types.ts";
import type { NextHop } from "./link.ts";
import type { Nic } from "./nic.ts";

/**
 * A packet on its way up: IP header read, fragments put together. One object per stack, refilled
 * for every packet and valid until the call returns.
 */
export interface Inbound {
  /** Where the packet is delivered: for proxied addresses NIC 2. */
  readonly nic: Nic;
  /** Where it came in, and where answers leave. */
  readonly ingress: Nic;
  /** Who sent it, as `Stack.handlePacket` was told: opaque here. */
  readonly from: unknown;
  readonly version: IpVersion;
  /** Whether the destination is an own address of {@link nic}; otherwise only forwarders answer. */
  readonly local: boolean;
  readonly buffer: Uint8Array;
  /** Offset of the IP header in {@link buffer}. */
  readonly ipOffset: number;
  /** Offset of the source address. */
  readonly source: number;
  /** Offset of the destination address. */
  readonly destination: number;
  /** Offset of the transport header. */
  readonly transport: number;
  /** Of transport header and data, bytes. */
  readonly length: number;
  /** What is left of it after this gateway's hop. */
  readonly hopLimit: number;
  readonly trafficClass: number;
}

/** What we can report about a packet we received. */
export type UnreachableKind = "net" | "host" | "port" | "prohibited" | "no-route";

/** The fixed part of what a flow sends: made once, reused for every packet. */
export class Path {
  readonly nic: Nic;
  readonly protocol: number;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly version: IpVersion;
  /** Of the IP header, bytes. */
  readonly headerLength: 20 | 40;
  /**
   * Unfolded sum of the pseudo header without the length (RFC 9293 §3.1, RFC 8200 §8.1): add the
   * length of transport header and data, and their own sum.
   */
  readonly pseudoSum: number;
  /** Of the NIC. The MTU of the path beyond is for the transport to find out. */
  readonly mtu: number;
  /** For the NIC's link. */
  readonly hop: NextHop = { to: undefined, generation: 0 };
  hopLimit: number;
  /** IPv4's DF. IPv6 has no other way. */
  dontFragment = true;

  /** @throws {TypeError} if the addresses are of different families. */
  constructor(
    nic: Nic,
    protocol: number,
    source: IpAddress,
    destination: IpAddress,
    hopLimit = 64,
  ) {
    if (source.version !== destination.version) {
      throw new TypeError(`no path from ${source} to ${destination}: different address families`);
    }
    this.nic = nic;
    this.protocol = protocol;
    this.source = source;
    this.destination = destination;
    this.version = source.version;
    this.headerLength = source.version === 4 ? 20 : 40;
    const addressLength = source.bytes.length;
    this.pseudoSum = sum(
      destination.bytes,
      0,
      addressLength,
      sum(source.bytes, 0, addressLength, protocol),
    );
    this.mtu = nic.mtu;
    this.hopLimit = hopLimit;
  }
}

/** What a transport protocol sends with. */
export interface IpOutput {
  /** Adds up the words of a segment. */
  readonly sum: Sum;

  /**
   * Takes a slot of `path.nic`'s link for a transport segment.
   *
   * @returns Offset of the transport header in `path.nic.link.buffer`; -1 if the link has none free.
   */
  allocate(path: Path): number;

  /**
   * Writes the IP header in front of the segment at `offset` and hands the packet to the link.
   *
   * @param length Transport header and data, bytes; with the IP header at most the MTU.
   */
  transmit(path: Path, offset: number, length: number, now: number): void;

  /** Gives back a slot unsent. `offset` as {@link allocate} returned it. */
  release(path: Path, offset: number): void;

  /** Which NIC leads to `destination` and what to send from; undefined if no route does. */
  route(destination: IpAddress): { nic: Nic; source: IpAddress } | undefined;

  /**
   * Reports a packet as undeliverable to its sender; left out when ICMP must stay silent about it,
   * or over the rate limit.
   *
   * @param ingress Where the packet came in and the report leaves.
   * @param original Buffer with the packet's IP header at `offset`, or a copy of its beginning.
   * @param length Bytes there. At least the IP header and the first 8 bytes of the transport's.
   * @returns Whether it was sent.
   */
  sendUnreachable(
    kind: UnreachableKind,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean;

  /** Fills `out` with unpredictable bytes. */
  random(out: Uint8Array): void;

  /** Asks for a flush. Wakes the engine when the call comes from outside of its turn. */
  markDirty(): void;
}

/** What IP calls. */
export interface TransportProtocol {
  /** A segment for this protocol. Sends nothing; marks what has to be sent at {@link flush}. */
  handlePacket(inbound: Inbound, now: number): void;

  /**
   * An ICMP error about a packet we may have sent. Anybody can forge one: the transport checks
   * ports and sequence numbers (RFC 5927).
   *
   * @param mtu Next-hop MTU for "too-big", 0 if not told.
   * @param buffer Holds the quoted packet at the following offsets.
   * @param source Offset of the quoted source address: ours.
   * @param destination Offset of the quoted destination address.
   * @param transport Offset of the quoted transport header.
   * @param length Bytes quoted from `transport` on, at least 8.
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

  /**
   * Dispatches events to the application, then emits what is due.
   *
   * @param budget Segments to emit at most.
   * @returns Whether work remains.
   */
  flush(now: number, budget: number): boolean;

  /** When {@link handleTimeout} is due, ms; Infinity = never. */
  pollTimeout(): number;

  /** Marks what has to be sent; {@link flush} sends it. */
  handleTimeout(now: number): void;

  /** Deadlines armed. Zero when nothing is going on. */
  readonly timers: number;
}
