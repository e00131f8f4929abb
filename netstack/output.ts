/**
 * IP on the way out.
 *
 * @module
 */

import type { IpAddress, IpVersion } from "./address.ts";
import { copyBytes } from "./bytes.ts";
import type { Sum } from "./checksum.ts";
import type { IcmpCounters, IpCounters } from "./counters.ts";
import { sendFragments } from "./fragmentation.ts";
import { IcmpErrors } from "./icmp_error.ts";
import { Identification } from "./identification.ts";
import { DONT_FRAGMENT, IPV4_HEADER_LENGTH, isMartianIpv4, writeIpv4Header } from "./ipv4.ts";
import { IPV6_HEADER_LENGTH, isMartianIpv6, writeIpv6Header } from "./ipv6.ts";
import type { Nic } from "./nic.ts";
import type { RouteTable } from "./route.ts";
import type { IpOutput, Path, UnreachableKind } from "./transport.ts";

/** Everything that leaves: headers, slots, and the queues of what has to wait for the flush. */
export class Output implements IpOutput {
  readonly random: (out: Uint8Array) => void;
  readonly sum: Sum;
  readonly hopLimit: number;
  readonly errors: IcmpErrors;
  readonly #nics: ReadonlySet<Nic>;
  readonly #routes: RouteTable;
  readonly #counters: IpCounters;
  readonly #identification: Identification;
  readonly #wake: () => void;
  /** While packets come in nothing is sent, only queued (see `Stack.handlePacket`). */
  holding = false;
  /** Whether a flush is sure to come. */
  awake = false;

  constructor(
    nics: ReadonlySet<Nic>,
    routes: RouteTable,
    counters: IpCounters,
    icmpCounters: IcmpCounters,
    random: (out: Uint8Array) => void,
    sum: Sum,
    hopLimit: number,
    wake: () => void,
  ) {
    this.#nics = nics;
    this.#routes = routes;
    this.#counters = counters;
    this.random = random;
    this.sum = sum;
    this.hopLimit = hopLimit;
    this.#identification = new Identification(random);
    this.#wake = wake;
    this.errors = new IcmpErrors(this, icmpCounters);
  }

  allocate(path: Path): number {
    const slot = path.nic.link.allocate();
    if (slot < 0) return -1;
    return slot + path.headerLength;
  }

  transmit(path: Path, offset: number, length: number, now: number): void {
    const { nic, headerLength } = path;
    const start = offset - headerLength;
    const total = headerLength + length;
    if (total > nic.mtu) {
      throw new RangeError(`a packet of ${total} bytes on ${nic.name} with MTU ${nic.mtu}`);
    }
    const { buffer } = nic.link;
    this.#writeHeader(path, buffer, start, length);
    this.#counters.sent++;
    nic.link.transmit(buffer, start, total, now, path.hop);
  }

  release(path: Path, offset: number): void {
    path.nic.link.release(offset - path.headerLength);
  }

  route(destination: IpAddress): { nic: Nic; source: IpAddress } | undefined {
    const { bytes, version } = destination;
    if (version === 4 ? isMartianIpv4(bytes, 0) : isMartianIpv6(bytes, 0)) return undefined;
    const nic = this.#routes.lookupAddress(destination);
    // An own address has no link that leads to it.
    if (nic === undefined || nic.owns(bytes, 0, version)) return undefined;
    const source = nic.sourceFor(destination) ?? this.anyAddress(version);
    return source && { nic, source };
  }

  /** For what leaves by an interface without an address of its own. */
  anyAddress(version: IpVersion): IpAddress | undefined {
    for (const nic of this.#nics) {
      const address = nic.firstAddress(version);
      if (address !== undefined) return address;
    }
    return undefined;
  }

  sendUnreachable(
    kind: UnreachableKind,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    return this.errors.unreachable(kind, ingress, original, offset, length, now);
  }

  /**
   * Queues a packet on `path`, larger than the MTU if need be, for the caller to fill in and then
   * {@link push}.
   *
   * @param length Of transport header and data.
   * @returns Offset of the transport header in `path.nic.queue.buffer`; -1 when the queue is full.
   */
  enqueue(path: Path, length: number): number {
    const { queue } = path.nic;
    const start = queue.reserve(path.headerLength + length, path.hop);
    if (start < 0) {
      this.#counters.noBuffer++;
      return -1;
    }
    this.#writeHeader(path, queue.buffer, start, length);
    return start + path.headerLength;
  }

  /**
   * As {@link enqueue}, between addresses that lie in a packet.
   *
   * @param nic Where it leaves.
   */
  enqueueBetween(
    nic: Nic,
    version: IpVersion,
    protocol: number,
    source: Uint8Array,
    sourceOffset: number,
    destination: Uint8Array,
    destinationOffset: number,
    length: number,
  ): number {
    const { queue } = nic;
    const headerLength = version === 4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
    const start = queue.reserve(headerLength + length);
    if (start < 0) {
      this.#counters.noBuffer++;
      return -1;
    }
    if (version === 4) {
      writeIpv4Header(
        queue.buffer,
        start,
        headerLength + length,
        this.#identification.ipv4(),
        0,
        this.hopLimit,
        protocol,
        source,
        sourceOffset,
        destination,
        destinationOffset,
      );
    } else {
      writeIpv6Header(
        queue.buffer,
        start,
        length,
        protocol,
        this.hopLimit,
        source,
        sourceOffset,
        destination,
        destinationOffset,
      );
    }
    return start + headerLength;
  }

  /** Queues a finished packet that the link of `nic` cannot take in one piece. */
  enqueuePacket(nic: Nic, buffer: Uint8Array, offset: number, length: number): boolean {
    const start = nic.queue.reserve(length);
    if (start < 0) {
      this.#counters.noBuffer++;
      return false;
    }
    copyBytes(buffer, offset, nic.queue.buffer, start, length);
    return true;
  }

  /** Sends what was queued on `nic`, unless it has to wait for the flush. */
  push(nic: Nic, now: number): void {
    if (!this.holding) this.#drain(nic, now);
    this.markDirty();
  }

  /**
   * Empties the queues as far as the links have slots.
   *
   * @param budget Packets of each queue at most.
   * @returns Whether packets remain.
   */
  drain(now: number, budget = Infinity): boolean {
    let remains = false;
    for (const nic of this.#nics) {
      if (!nic.queue.isEmpty && !this.#drain(nic, now, budget)) remains = true;
    }
    return remains;
  }

  markDirty(): void {
    if (this.awake) return;
    this.awake = true;
    this.#wake();
  }

  #drain(nic: Nic, now: number, budget = Infinity): boolean {
    const { queue, link, mtu } = nic;
    for (let left = budget; !queue.isEmpty; left--) {
      if (left <= 0) return false;
      const { length } = queue;
      if (length > mtu) {
        if (!sendFragments(nic, this.#identification, this.#counters, now)) return false;
      } else {
        const slot = link.allocate();
        if (slot < 0) return false;
        copyBytes(queue.buffer, queue.offset, link.buffer, slot, length);
        this.#counters.sent++;
        link.transmit(link.buffer, slot, length, now, queue.hop);
      }
      queue.shift();
    }
    return true;
  }

  #writeHeader(path: Path, buffer: Uint8Array, start: number, length: number): void {
    if (path.version === 6) {
      writeIpv6Header(
        buffer,
        start,
        length,
        path.protocol,
        path.hopLimit,
        path.source.bytes,
        0,
        path.destination.bytes,
        0,
      );
      return;
    }
    writeIpv4Header(
      buffer,
      start,
      IPV4_HEADER_LENGTH + length,
      // RFC 6864 §4.1: where nothing fragments, the field means nothing.
      path.dontFragment ? 0 : this.#identification.ipv4(),
      path.dontFragment ? DONT_FRAGMENT : 0,
      path.hopLimit,
      path.protocol,
      path.source.bytes,
      0,
      path.destination.bytes,
      0,
    );
  }
}
