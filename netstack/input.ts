/**
 * IP on the way in.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";
import { readUint16 } from "./bytes.ts";
import type { IpCounters } from "./counters.ts";
import { Forwarding } from "./forwarding.ts";
import type { Icmp } from "./icmp.ts";
import { InboundPacket } from "./inbound.ts";
import type { IngressFilter } from "./ingress.ts";
import {
  BAD_CHECKSUM,
  checkIpv4Options,
  FRAGMENT_OFFSET_MASK,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV4_TOS,
  IPV4_TTL,
  ipv4HeaderLength,
  isMartianIpv4,
  MALFORMED,
  MORE_FRAGMENTS,
  OPTIONS_FINE,
  OPTIONS_MALFORMED,
  validateIpv4,
} from "./ipv4.ts";
import {
  FRAGMENT_HEADER_LENGTH,
  FRAGMENT_OFFSET,
  HeaderChain,
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_SOURCE,
  isMartianIpv6,
  validateIpv6,
} from "./ipv6.ts";
import type { Nic } from "./nic.ts";
import type { Output } from "./output.ts";
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from "./protocols.ts";
import type { Reassembly } from "./reassembly.ts";
import type { RouteTable } from "./route.ts";
import { type TransportProtocol } from "./transport.ts";

/** Everything that arrives: checked, then delivered here, forwarded, or reported back. */
export class Input {
  readonly #routes: RouteTable;
  readonly #output: Output;
  readonly #reassembly: Reassembly;
  readonly #icmp: Icmp;
  readonly #transports: ReadonlyMap<number, TransportProtocol>;
  readonly #counters: IpCounters;
  readonly #chain = new HeaderChain();
  readonly #inbound = new InboundPacket();
  /** What passes through. */
  readonly forwarding: Forwarding;
  /** Undefined: everybody may send to everybody, as far as there is a way. */
  filter: IngressFilter | undefined = undefined;

  constructor(
    routes: RouteTable,
    output: Output,
    reassembly: Reassembly,
    icmp: Icmp,
    transports: ReadonlyMap<number, TransportProtocol>,
    counters: IpCounters,
  ) {
    this.#routes = routes;
    this.#output = output;
    this.#reassembly = reassembly;
    this.#icmp = icmp;
    this.#transports = transports;
    this.#counters = counters;
    this.forwarding = new Forwarding(output, counters, {
      deliver: (nic, version, buffer, offset, total, hopLimit, now) => {
        this.#deliver(nic, nic, version, buffer, offset, total, hopLimit, now);
      },
      receive: (nic, version, packet, now) => {
        this.#receive(nic, version, packet, 0, packet.length, now);
      },
    });
  }

  /** @param from Who sent it: opaque. */
  handlePacket(
    nic: Nic,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    from: unknown,
  ): void {
    this.#counters.received++;
    this.#inbound.from = from;
    const version = length > 0 ? buffer[offset]! >> 4 : 0;
    let total = 0;
    if (version === 4) total = this.#checkIpv4(buffer, offset, length);
    else if (version === 6) total = validateIpv6(buffer, offset, length);
    else total = MALFORMED;
    if (total > 0) this.#receive(nic, version as IpVersion, buffer, offset, total, now);
    else if (total === MALFORMED) this.#counters.malformed++;
  }

  /** Checks header and options. @returns As {@link validateIpv4}, or 0 if it has been counted. */
  #checkIpv4(buffer: Uint8Array, offset: number, length: number): number {
    const counters = this.#counters;
    const total = validateIpv4(buffer, offset, length);
    if (total === BAD_CHECKSUM) {
      counters.badChecksum++;
      return 0;
    }
    const headerLength = ipv4HeaderLength(buffer, offset);
    if (total === MALFORMED || headerLength === IPV4_HEADER_LENGTH) return total;
    const options = checkIpv4Options(buffer, offset, headerLength);
    if (options === OPTIONS_FINE) return total;
    if (options === OPTIONS_MALFORMED) counters.badOptions++;
    else counters.sourceRouted++;
    return 0;
  }

  /** A packet of `total` bytes whose header is whole: for this host, or one to pass on. */
  #receive(
    nic: Nic,
    version: IpVersion,
    buffer: Uint8Array,
    offset: number,
    total: number,
    now: number,
  ): void {
    const counters = this.#counters;
    const isIpv4 = version === 4;
    const source = offset + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE);
    if (isMartian(buffer, source, version) || nic.owns(buffer, source, version)) {
      counters.badSource++;
      return;
    }
    const destination = offset + (isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    if (
      isMartian(buffer, destination, version) || isIpv4 && nic.isBroadcast(buffer, destination)
    ) {
      counters.badDestination++;
      return;
    }
    const { filter } = this;
    if (filter?.admits(this.#inbound.from, buffer, offset, total, version) === false) {
      counters.filtered++;
      this.#output.errors.unreachable("prohibited", nic, buffer, offset, total, now);
      return;
    }
    const hopLimit = buffer[offset + (isIpv4 ? IPV4_TTL : IPV6_HOP_LIMIT)]!;
    if (nic.promiscuous || nic.owns(buffer, destination, version)) {
      this.#deliver(nic, nic, version, buffer, offset, total, hopLimit, now);
      return;
    }
    const target = this.#route(nic, buffer, offset, destination, total, version, now);
    if (target === undefined) return;
    // RFC 1122 §3.3.4.2, the weak model: an own address may be asked for by any interface.
    if (target !== nic && target.owns(buffer, destination, version)) {
      this.#deliver(target, nic, version, buffer, offset, total, hopLimit, now);
      return;
    }
    const isHop = target === nic || !nic.keepsHopLimit && !target.keepsHopLimit;
    if (isHop && hopLimit <= 1) {
      counters.hopLimitExceeded++;
      this.#output.errors.timeExceeded(false, nic, buffer, offset, total, now);
      return;
    }
    if (isDeliveredOn(target, nic)) {
      target.observer?.(buffer, offset, total, now, this.#inbound.from);
      const left = isHop ? hopLimit - 1 : hopLimit;
      this.#deliver(target, nic, version, buffer, offset, total, left, now);
      return;
    }
    const { from } = this.#inbound;
    this.forwarding.handlePacket(
      target,
      nic,
      version,
      buffer,
      offset,
      total,
      hopLimit,
      isHop,
      from,
      now,
    );
  }

  /** The NIC to route a packet for another host to; undefined if none, which has been reported. */
  #route(
    ingress: Nic,
    buffer: Uint8Array,
    offset: number,
    destination: number,
    total: number,
    version: IpVersion,
    now: number,
  ): Nic | undefined {
    const target = this.#routes.lookup(buffer, destination, version);
    if (
      target !== undefined && (isDeliveredOn(target, ingress) ||
        target.forwarding && (target !== ingress || target.forwardsBack) ||
        target !== ingress && target.owns(buffer, destination, version))
    ) return target;
    if (ingress.uplink !== undefined) return ingress.uplink;
    this.#counters.noRoute++;
    this.#output.errors.unreachable("no-route", ingress, buffer, offset, total, now);
    return undefined;
  }

  #deliver(
    nic: Nic,
    ingress: Nic,
    version: IpVersion,
    buffer: Uint8Array,
    offset: number,
    total: number,
    hopLimit: number,
    now: number,
  ): void {
    if (version === 4) this.#deliverIpv4(nic, ingress, buffer, offset, total, hopLimit, now);
    else this.#deliverIpv6(nic, ingress, buffer, offset, total, hopLimit, now);
  }

  #deliverIpv4(
    nic: Nic,
    ingress: Nic,
    buffer: Uint8Array,
    offset: number,
    total: number,
    hopLimit: number,
    now: number,
  ): void {
    const fragment = readUint16(buffer, offset + IPV4_FRAGMENT);
    if ((fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) !== 0) {
      this.#counters.fragmentsReceived++;
      const { from } = this.#inbound;
      total = this.#reassembly.handleIpv4(ingress, from, buffer, offset, total, now);
      if (total === 0) return;
      buffer = this.#reassembly.buffer;
      offset = this.#reassembly.offset;
    }
    const headerLength = ipv4HeaderLength(buffer, offset);
    const inbound = this.#describe(nic, ingress, buffer, offset, 4, hopLimit);
    inbound.source = offset + IPV4_SOURCE;
    inbound.destination = offset + IPV4_DESTINATION;
    inbound.transport = offset + headerLength;
    inbound.length = total - headerLength;
    inbound.trafficClass = buffer[offset + IPV4_TOS]!;
    inbound.local = nic.owns(buffer, inbound.destination, 4);
    this.#handUp(inbound, buffer[offset + IPV4_PROTOCOL]!, 0, now);
  }

  #deliverIpv6(
    nic: Nic,
    ingress: Nic,
    buffer: Uint8Array,
    offset: number,
    total: number,
    hopLimit: number,
    now: number,
  ): void {
    const chain = this.#chain;
    let field = offset + IPV6_NEXT_HEADER;
    let first = offset + IPV6_HEADER_LENGTH;
    let stop = chain.walk(buffer, buffer[field]!, first, field, offset + total);
    if (stop === "fragment") {
      const header = chain.offset;
      // RFC 6946: a "fragment" that is the whole packet has nothing to do with any other.
      if ((readUint16(buffer, header + FRAGMENT_OFFSET) & ~6) === 0) {
        first = header + FRAGMENT_HEADER_LENGTH;
        field = header;
      } else {
        this.#counters.fragmentsReceived++;
        const { from } = this.#inbound;
        total = this.#reassembly.handleIpv6(ingress, from, buffer, offset, header, total, now);
        if (total === 0) return;
        buffer = this.#reassembly.buffer;
        offset = this.#reassembly.offset;
        field = offset + IPV6_NEXT_HEADER;
        first = offset + IPV6_HEADER_LENGTH;
      }
      stop = chain.walk(buffer, buffer[field]!, first, field, offset + total);
    }
    if (stop !== "upper") {
      if (stop === "routing") this.#counters.sourceRouted++;
      else this.#counters.badExtension++;
      if (stop === "routing" || stop === "option") {
        const code = stop === "routing" ? 0 : 2;
        const pointer = chain.pointer - offset;
        this.#output.errors.parameterProblem(code, pointer, ingress, buffer, offset, total, now);
      }
      return;
    }
    const inbound = this.#describe(nic, ingress, buffer, offset, 6, hopLimit);
    inbound.source = offset + IPV6_SOURCE;
    inbound.destination = offset + IPV6_DESTINATION;
    inbound.transport = chain.offset;
    inbound.length = offset + total - chain.offset;
    inbound.trafficClass = readUint16(buffer, offset) >> 4 & 0xff;
    inbound.local = nic.owns(buffer, inbound.destination, 6);
    this.#handUp(inbound, chain.protocol, chain.nextHeaderField - offset, now);
  }

  #describe(
    nic: Nic,
    ingress: Nic,
    buffer: Uint8Array,
    offset: number,
    version: IpVersion,
    hopLimit: number,
  ): InboundPacket {
    const inbound = this.#inbound;
    inbound.nic = nic;
    inbound.ingress = ingress;
    inbound.buffer = buffer;
    inbound.ipOffset = offset;
    inbound.version = version;
    inbound.hopLimit = hopLimit;
    return inbound;
  }

  /** @param field Offset, from the IP header, of the field that holds `protocol`. */
  #handUp(inbound: InboundPacket, protocol: number, field: number, now: number): void {
    if (protocol === (inbound.version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) {
      this.#counters.delivered++;
      this.#icmp.handlePacket(inbound, now);
      return;
    }
    const handler = this.#transports.get(protocol);
    if (handler !== undefined) {
      this.#counters.delivered++;
      handler.handlePacket(inbound, now);
      return;
    }
    this.#counters.unknownProtocol++;
    const { ingress, buffer, ipOffset, transport, length } = inbound;
    const total = transport + length - ipOffset;
    this.#output.errors.unknownProtocol(field, ingress, buffer, ipOffset, total, now);
  }
}

/** Whether an address can never be that of a remote host. */
function isMartian(buffer: Uint8Array, offset: number, version: IpVersion): boolean {
  return version === 4 ? isMartianIpv4(buffer, offset) : isMartianIpv6(buffer, offset);
}

/** Whether `target` delivers packets for other hosts, instead of passing them on to its link. */
function isDeliveredOn(target: Nic, ingress: Nic): boolean {
  return target.promiscuous && target !== ingress;
}
