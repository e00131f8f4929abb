/**
 * ICMP and ICMPv6 errors on the way out.
 *
 * @module
 */

import type { IpAddress, IpVersion } from "./address.ts";
import { copyBytes, readUint16, writeUint16, writeUint32 } from "./bytes.ts";
import { finish, sum } from "./checksum.ts";
import type { IcmpCounters } from "./counters.ts";
import {
  ECHO_REPLY,
  ECHO_REQUEST,
  ICMP_HEADER_LENGTH,
  type IcmpErrorKind,
  TIME_EXCEEDED,
  UNREACHABLE,
  V6_PARAMETER_PROBLEM,
  V6_REDIRECT,
  V6_TIME_EXCEEDED,
  V6_TOO_BIG,
  V6_UNREACHABLE,
} from "./icmp_types.ts";
import {
  DONT_FRAGMENT,
  FRAGMENT_OFFSET_MASK,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  ipv4HeaderLength,
  isMartianIpv4,
} from "./ipv4.ts";
import {
  FRAGMENT_HEADER_LENGTH,
  FRAGMENT_OFFSET,
  HeaderChain,
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_NEXT_HEADER,
  IPV6_SOURCE,
  isMartianIpv6,
} from "./ipv6.ts";
import { MIN_IPV6_MTU, type Nic } from "./nic.ts";
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from "./protocols.ts";
import { type UnreachableKind } from "./transport.ts";

/** RFC 1812 §4.3.2.3: as much of the packet as fits into 576 bytes. */
const IPV4_MOST = 576;
/** RFC 4443 §2.4 (c): the minimum MTU of IPv6. */
const IPV6_MOST = 1280;
/** Extension headers skipped to find what a packet carries, though a walk stops at them. */
const MAX_SKIPPED = 8;

/**
 * The address an error is sent from: the packet's destination, or the gateway's own on the NIC that
 * the packet came in by (RFC 1812 §4.3.2.4). "either": the gateway's if it has one there, else the
 * destination. Or that of the host beyond whose report is passed on.
 */
type Reporter = "destination" | "gateway" | "either" | IpAddress;

/** Code of a Destination Unreachable. */
const IPV4_CODES: Record<UnreachableKind, number> = {
  "net": 0,
  "no-route": 0,
  "host": 1,
  "port": 3,
  "prohibited": 13, // RFC 1812 §5.2.7.1
};
const IPV6_CODES: Record<UnreachableKind, number> = {
  "net": 0,
  "no-route": 0,
  "prohibited": 1,
  "host": 3,
  "port": 4,
};

/** Type and code of a report that is passed on, and where it comes from if nobody is named. */
const RELAYED: Partial<
  Record<IcmpErrorKind, {
    readonly ipv4: readonly [type: number, code: number];
    readonly ipv6: readonly [type: number, code: number];
    readonly from: Reporter;
  }>
> = {
  "net-unreachable": { ipv4: [UNREACHABLE, 0], ipv6: [V6_UNREACHABLE, 0], from: "either" },
  "host-unreachable": { ipv4: [UNREACHABLE, 1], ipv6: [V6_UNREACHABLE, 3], from: "either" },
  "prohibited": { ipv4: [UNREACHABLE, 13], ipv6: [V6_UNREACHABLE, 1], from: "either" },
  "port-unreachable": { ipv4: [UNREACHABLE, 3], ipv6: [V6_UNREACHABLE, 4], from: "destination" },
  "protocol-unreachable": {
    ipv4: [UNREACHABLE, 2],
    ipv6: [V6_PARAMETER_PROBLEM, 1],
    from: "destination",
  },
  "too-big": { ipv4: [UNREACHABLE, 4], ipv6: [V6_TOO_BIG, 0], from: "either" },
  "time-exceeded": { ipv4: [TIME_EXCEEDED, 0], ipv6: [V6_TIME_EXCEEDED, 0], from: "gateway" },
};

/** The way out for errors. */
export interface ReportOutput {
  random(out: Uint8Array): void;
  /** @returns Where in the NIC's queue the message goes, -1 if there is no room for it. */
  enqueueBetween(
    nic: Nic,
    version: IpVersion,
    protocol: number,
    source: Uint8Array,
    sourceOffset: number,
    destination: Uint8Array,
    destinationOffset: number,
    length: number,
  ): number;
  push(nic: Nic, now: number): void;
  /** One of the stack's own, for an interface that has none (RFC 1812 §4.3.2.4). */
  anyAddress(version: IpVersion): IpAddress | undefined;
}

/** Tells senders what became of their packets, where RFC 1122 §3.2.2 and RFC 4443 §2.4 allow. */
export class IcmpErrors {
  readonly #output: ReportOutput;
  readonly #counters: IcmpCounters;
  readonly #chain = new HeaderChain();
  readonly #dice = new Uint8Array(1);

  constructor(output: ReportOutput, counters: IcmpCounters) {
    this.#output = output;
    this.#counters = counters;
  }

  /**
   * A closed port is reported from the destination's address, everything else from the gateway's.
   *
   * @returns Whether it was sent.
   */
  unreachable(
    kind: UnreachableKind,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    const isIpv4 = versionOf(original, offset) === 4;
    const type = isIpv4 ? UNREACHABLE : V6_UNREACHABLE;
    const code = isIpv4 ? IPV4_CODES[kind] : IPV6_CODES[kind];
    const from = kind === "port" ? "destination" : "either";
    return this.#send(type, code, 0, from, ingress, original, offset, length, now);
  }

  /** @param reassembly True: reassembly timed out. False: the hop limit ran out. */
  timeExceeded(
    reassembly: boolean,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const type = versionOf(original, offset) === 4 ? TIME_EXCEEDED : V6_TIME_EXCEEDED;
    const code = reassembly ? 1 : 0;
    this.#send(type, code, 0, "gateway", ingress, original, offset, length, now);
  }

  /** @param mtu Of the link the packet does not fit (RFC 1191 §4, RFC 4443 §3.2). */
  tooBig(
    mtu: number,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const isIpv4 = versionOf(original, offset) === 4;
    const type = isIpv4 ? UNREACHABLE : V6_TOO_BIG;
    this.#send(type, isIpv4 ? 4 : 0, mtu, "either", ingress, original, offset, length, now);
  }

  /** No transport of that number (RFC 1122 §3.2.2.1, RFC 4443 §3.4). @param pointer IPv6 only. */
  unknownProtocol(
    pointer: number,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const isIpv4 = versionOf(original, offset) === 4;
    const type = isIpv4 ? UNREACHABLE : V6_PARAMETER_PROBLEM;
    const code = isIpv4 ? 2 : 1;
    const parameter = isIpv4 ? 0 : pointer;
    this.#send(type, code, parameter, "destination", ingress, original, offset, length, now);
  }

  /** IPv6 only. @param code 0 = bad field, 2 = unknown option. @param pointer From the IP header. */
  parameterProblem(
    code: number,
    pointer: number,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    this.#send(
      V6_PARAMETER_PROBLEM,
      code,
      pointer,
      "destination",
      ingress,
      original,
      offset,
      length,
      now,
    );
  }

  /**
   * Passes on what was reported about a packet that left this host in another form. "Parameter
   * problem" is not: it points into that form. "Too big" is not for a packet that may be fragmented.
   *
   * @param mtu For "too-big".
   * @param reporter Who reported it. Undefined, or of the other family: the error comes from where one
   * of this gateway's own would.
   * @returns Whether it is of a kind that is passed on. The rate limit applies.
   */
  relay(
    kind: IcmpErrorKind,
    mtu: number,
    reporter: IpAddress | undefined,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    const isIpv4 = versionOf(original, offset) === 4;
    const as = RELAYED[kind];
    if (as === undefined) return false;
    let parameter = 0;
    if (kind === "too-big") {
      const field = isIpv4 ? readUint16(original, offset + IPV4_FRAGMENT) : DONT_FRAGMENT;
      if ((field & DONT_FRAGMENT) === 0) return false;
      // RFC 8200 §5: no link of IPv6 takes less.
      parameter = isIpv4 ? mtu : Math.max(mtu, MIN_IPV6_MTU);
    } else if (kind === "protocol-unreachable" && !isIpv4) parameter = IPV6_NEXT_HEADER;
    const [type, code] = isIpv4 ? as.ipv4 : as.ipv6;
    const from = reporter !== undefined && (reporter.version === 4) === isIpv4 ? reporter : as.from;
    this.#send(type, code, parameter, from, ingress, original, offset, length, now);
    return true;
  }

  #send(
    type: number,
    code: number,
    parameter: number,
    from: Reporter,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    const version = versionOf(original, offset);
    if (!this.#isAllowed(version, ingress, original, offset, length)) {
      this.#counters.errorsForbidden++;
      return false;
    }
    this.#output.random(this.#dice);
    if (!ingress.icmpErrors.take(now, this.#dice[0]! % 3)) {
      this.#counters.errorsRateLimited++;
      return false;
    }
    const own = ingress.firstAddress(version) ??
      (from === "gateway" ? this.#output.anyAddress(version) : undefined);
    if (own === undefined && from === "gateway") {
      this.#counters.errorsForbidden++;
      return false;
    }
    const foreign = typeof from === "object" ? from : undefined;
    const fromDestination = foreign === undefined && (from === "destination" || own === undefined);
    const reporter = foreign ?? own;
    const isIpv4 = version === 4;
    const headerLength = isIpv4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
    const most = (isIpv4 ? IPV4_MOST : IPV6_MOST) - headerLength - ICMP_HEADER_LENGTH;
    const quoted = Math.min(length, most);
    const destination = offset + (isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    const at = this.#output.enqueueBetween(
      ingress,
      version,
      isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6,
      fromDestination ? original : reporter!.bytes,
      fromDestination ? destination : 0,
      original,
      offset + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE),
      ICMP_HEADER_LENGTH + quoted,
    );
    if (at < 0) return false;
    const { buffer } = ingress.queue;
    buffer[at] = type;
    buffer[at + 1] = code;
    writeUint32(buffer, at + 4, parameter);
    copyBytes(original, offset, buffer, at + ICMP_HEADER_LENGTH, quoted);
    writeIcmpChecksum(buffer, at, ICMP_HEADER_LENGTH + quoted, version);
    this.#counters.errorsSent++;
    this.#counters.sent++;
    this.#output.push(ingress, now);
    return true;
  }

  /** Never about ICMP errors, later fragments, or packets that are not unicast. */
  #isAllowed(
    version: IpVersion,
    ingress: Nic,
    original: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    if (version === 4) {
      const headerLength = ipv4HeaderLength(original, offset);
      if (length < headerLength) return false;
      if ((readUint16(original, offset + IPV4_FRAGMENT) & FRAGMENT_OFFSET_MASK) !== 0) return false;
      if (isMartianIpv4(original, offset + IPV4_SOURCE)) return false;
      if (isMartianIpv4(original, offset + IPV4_DESTINATION)) return false;
      if (ingress.isBroadcast(original, offset + IPV4_DESTINATION)) return false;
      if (original[offset + IPV4_PROTOCOL] !== PROTOCOL_ICMP) return true;
      return length > headerLength && isIcmpQuery(original[offset + headerLength]!);
    }
    if (length < IPV6_HEADER_LENGTH) return false;
    if (isMartianIpv6(original, offset + IPV6_SOURCE)) return false;
    if (isMartianIpv6(original, offset + IPV6_DESTINATION)) return false;
    const chain = this.#chain;
    const end = offset + length;
    const field = offset + IPV6_NEXT_HEADER;
    let stop = chain.walk(original, original[field]!, offset + IPV6_HEADER_LENGTH, field, end);
    // Looks behind headers that stop the walk too: what the packet carries is what counts.
    for (let skipped = 0; stop !== "upper" && stop !== "drop"; skipped++) {
      if (skipped === MAX_SKIPPED) return false;
      const header = chain.offset;
      let size = FRAGMENT_HEADER_LENGTH;
      if (stop !== "fragment") size = (original[header + 1]! + 1) * 8;
      else if ((readUint16(original, header + FRAGMENT_OFFSET) & ~7) !== 0) return false;
      stop = chain.walk(original, original[header]!, header + size, header, end);
    }
    if (stop === "drop") return false;
    if (chain.protocol !== PROTOCOL_ICMPV6) return true;
    if (chain.offset >= end) return false;
    // RFC 4443 §2.1: errors have types below 128.
    const type = original[chain.offset]!;
    return type >= 128 && type !== V6_REDIRECT;
  }
}

/** The header of the IP packet is already in front of the message. */
export function writeIcmpChecksum(
  buffer: Uint8Array,
  offset: number,
  length: number,
  version: IpVersion,
): void {
  writeUint16(buffer, offset + 2, 0);
  // RFC 4443 §2.3: ICMPv6 covers a pseudo header; the addresses stand right in front.
  const pseudo = version === 4 ? 0 : sum(buffer, offset - 32, 32, PROTOCOL_ICMPV6 + length);
  writeUint16(buffer, offset + 2, finish(sum(buffer, offset, length, pseudo)));
}

function versionOf(original: Uint8Array, offset: number): IpVersion {
  return original[offset]! >> 4 === 4 ? 4 : 6;
}

/** Echo, timestamp, information, address mask (RFC 792, RFC 950). Unknown types may be errors. */
function isIcmpQuery(type: number): boolean {
  return type === ECHO_REPLY || type === ECHO_REQUEST || (type >= 13 && type <= 18);
}
