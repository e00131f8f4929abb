/**
 * ICMP and ICMPv6 on the way in.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";
import { copyBytes, equalBytes, readUint16, readUint32 } from "./bytes.ts";
import { finish, sum } from "./checksum.ts";
import type { IcmpCounters } from "./counters.ts";
import { writeIcmpChecksum } from "./icmp_error.ts";
import { EchoFlows } from "./echo_flows.ts";
import {
  ECHO_REPLY,
  ECHO_REQUEST,
  ICMP_HEADER_LENGTH,
  type IcmpErrorKind,
  icmpErrorKind,
  V6_ECHO_REPLY,
  V6_ECHO_REQUEST,
} from "./icmp_types.ts";
import {
  FRAGMENT_OFFSET_MASK,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  ipv4HeaderLength,
} from "./ipv4.ts";
import {
  FRAGMENT_HEADER_LENGTH,
  FRAGMENT_OFFSET,
  HeaderChain,
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_NEXT_HEADER,
  IPV6_SOURCE,
} from "./ipv6.ts";
import type { Output } from "./output.ts";
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from "./protocols.ts";
import type { Inbound, TransportProtocol } from "./transport.ts";

/** Bytes quoted behind the IP header (RFC 792): the ports are needed to find the flow. */
const QUOTED_TRANSPORT = 8;

/** @param source Offset of the address that it comes from, borrowed as the buffer is. */
export type EchoReplyHandler = (
  version: IpVersion,
  buffer: Uint8Array,
  source: number,
  identifier: number,
) => void;

/**
 * What arrives as ICMP (RFC 792) and ICMPv6 (RFC 4443): answers pings of own addresses, hands the
 * others to forwarders, and errors to transports.
 */
export class Icmp {
  readonly flows: EchoFlows;
  /** As of `Stack.onEchoReply`. */
  onEchoReply: EchoReplyHandler | undefined = undefined;
  readonly #output: Output;
  readonly #counters: IcmpCounters;
  readonly #transports: ReadonlyMap<number, TransportProtocol>;
  readonly #chain = new HeaderChain();

  /** @param transports By protocol number. */
  constructor(
    output: Output,
    counters: IcmpCounters,
    transports: ReadonlyMap<number, TransportProtocol>,
  ) {
    this.#output = output;
    this.#counters = counters;
    this.#transports = transports;
    this.flows = new EchoFlows(output, counters);
  }

  handlePacket(inbound: Inbound, now: number): void {
    const { buffer, transport: message, length, version } = inbound;
    this.#counters.received++;
    if (length < ICMP_HEADER_LENGTH) {
      this.#counters.malformed++;
      return;
    }
    // Source and destination lie side by side in the header: the pseudo header of RFC 4443 §2.3.
    const pseudo = version === 4 ? 0 : sum(buffer, inbound.source, 32, PROTOCOL_ICMPV6 + length);
    if (finish(sum(buffer, message, length, pseudo)) !== 0) {
      this.#counters.badChecksum++;
      return;
    }
    const type = buffer[message]!;
    if (type === (version === 4 ? ECHO_REQUEST : V6_ECHO_REQUEST)) this.#echo(inbound, now);
    else if (
      this.onEchoReply !== undefined && inbound.local &&
      type === (version === 4 ? ECHO_REPLY : V6_ECHO_REPLY)
    ) {
      this.onEchoReply(version, buffer, inbound.source, readUint16(buffer, message + 4));
    } else {
      const code = buffer[message + 1]!;
      const kind = icmpErrorKind(version, type, code);
      if (kind === undefined) this.#counters.unhandled++;
      else this.#handleError(inbound, kind, now);
    }
  }

  #echo(inbound: Inbound, now: number): void {
    const { nic, ingress, buffer, transport: message, length, version } = inbound;
    if (!inbound.local) {
      this.flows.handlePacket(inbound, now);
      return;
    }
    if (nic !== ingress && nic.promiscuous) {
      this.#counters.echoIgnored++;
      return;
    }
    const at = this.#output.enqueueBetween(
      ingress,
      version,
      version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6,
      buffer,
      inbound.destination,
      buffer,
      inbound.source,
      length,
    );
    if (at < 0) return;
    const into = ingress.queue.buffer;
    copyBytes(buffer, message, into, at, length);
    into[at] = version === 4 ? ECHO_REPLY : V6_ECHO_REPLY;
    into[at + 1] = 0;
    writeIcmpChecksum(into, at, length, version);
    this.#counters.echoReplies++;
    this.#counters.sent++;
    this.#output.push(ingress, now);
  }

  #handleError(inbound: Inbound, kind: IcmpErrorKind, now: number): void {
    this.#counters.errorsReceived++;
    if (!this.#dispatchError(inbound, kind, now)) this.#counters.errorsIgnored++;
  }

  /** Finds the transport header in the quoted packet. @returns Whether a transport handles it. */
  #dispatchError(inbound: Inbound, kind: IcmpErrorKind, now: number): boolean {
    const { buffer, transport: message, length, version } = inbound;
    const quoted = message + ICMP_HEADER_LENGTH;
    const end = message + length;
    const isIpv4 = version === 4;
    const headerLength = isIpv4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
    if (quoted + headerLength + QUOTED_TRANSPORT > end) return false;
    if (buffer[quoted]! >> 4 !== version) return false;
    const source = quoted + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE);
    const destination = quoted + (isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    // An error goes to the sender of the packet it quotes, so the quoted source is its destination.
    if (!equalBytes(buffer, source, buffer, inbound.destination, isIpv4 ? 4 : 16)) return false;
    let protocol = buffer[quoted + IPV4_PROTOCOL]!;
    let transport = quoted + ipv4HeaderLength(buffer, quoted);
    if (isIpv4) {
      if (transport < quoted + IPV4_HEADER_LENGTH) return false;
      const fragment = readUint16(buffer, quoted + IPV4_FRAGMENT);
      if ((fragment & FRAGMENT_OFFSET_MASK) !== 0) return false;
    } else {
      const chain = this.#chain;
      const field = quoted + IPV6_NEXT_HEADER;
      const first = quoted + IPV6_HEADER_LENGTH;
      let stop = chain.walk(buffer, buffer[field]!, first, field, end);
      if (stop === "fragment") {
        const header = chain.offset;
        if ((readUint16(buffer, header + FRAGMENT_OFFSET) & ~7) !== 0) return false;
        stop = chain.walk(buffer, buffer[header]!, header + FRAGMENT_HEADER_LENGTH, header, end);
      }
      if (stop !== "upper") return false;
      protocol = chain.protocol;
      transport = chain.offset;
    }
    if (transport + QUOTED_TRANSPORT > end) return false;
    const to = this.#transports.get(protocol);
    if (to === undefined) return false;
    const mtu = kind !== "too-big" ? 0 : isIpv4
      // RFC 1191 §4: the lower half of the unused word.
      ? readUint16(buffer, message + 6)
      : readUint32(buffer, message + 4);
    to.handleIcmpError(
      kind,
      mtu,
      version,
      buffer,
      source,
      destination,
      transport,
      end - transport,
      now,
    );
    return true;
  }
}
