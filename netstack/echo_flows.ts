/**
 * Pings of clients behind a forwarder.
 *
 * @module
 */

import { IpAddress } from "./address.ts";
import { copyBytes, readInt32, readUint16, writeUint16, writeUint32 } from "./bytes.ts";
import { finish } from "./checksum.ts";
import { type ClientFlow, ClientTable } from "./client_table.ts";
import type { IcmpCounters } from "./counters.ts";
import {
  ECHO_REPLY,
  ECHO_REQUEST,
  ICMP_HEADER_LENGTH,
  type IcmpErrorKind,
  V6_ECHO_REPLY,
  V6_ECHO_REQUEST,
} from "./icmp_types.ts";
import {
  DONT_FRAGMENT,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV4_TTL,
  writeIpv4Checksum,
} from "./ipv4.ts";
import { IPV6_DESTINATION, IPV6_HEADER_LENGTH, IPV6_NEXT_HEADER, IPV6_SOURCE } from "./ipv6.ts";
import type { Nic } from "./nic.ts";
import type { Output } from "./output.ts";
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6 } from "./protocols.ts";
import { type Inbound, Path } from "./transport.ts";

/** Offsets in an echo message (RFC 792, RFC 4443 §4.1), from its type. */
const CODE = 1;
const CHECKSUM = 2;
const IDENTIFIER = 4;
const SEQUENCE = 6;

/** What a forwarder does with an echo request. */
export type EchoVerdict =
  | "accept"
  /** ICMP administratively prohibited. */
  | "prohibited"
  /** Silence. */
  | "drop";

/** Takes the echo requests for foreign addresses behind a NIC. Called while packets come in. */
export interface IcmpForwarderHandler {
  /**
   * One echo request of a client, to anybody. Its hop limit and whether it may be fragmented are the
   * flow's {@link EchoFlow.hopLimit} and {@link EchoFlow.dontFragment}. The bytes are borrowed until
   * the call returns; addresses may be kept.
   *
   * @param buffer Holds the ICMP message, header included, in `length` bytes from `offset` on.
   * @returns What becomes of it. If that is not "accept" and `flow.session` is undefined, the flow
   * is gone again.
   */
  echo(
    flow: EchoFlow,
    destination: IpAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): EchoVerdict;
}

/** Flows of all forwarders at once: a bound for handlers that have none of their own. */
const MAX_FLOWS = 16_384;

/** The flows of all forwarders. Forwarders end them; the stack only limits their number. */
export class EchoFlows {
  readonly #output: Output;
  readonly #counters: IcmpCounters;
  readonly #handlers = new Map<Nic, IcmpForwarderHandler>();
  readonly #table: ClientTable<EchoFlow>;

  constructor(output: Output, counters: IcmpCounters) {
    this.#output = output;
    this.#counters = counters;
    this.#table = new ClientTable(output.random);
  }

  get size(): number {
    return this.#table.size;
  }

  setHandler(nic: Nic, handler: IcmpForwarderHandler | undefined): void {
    if (handler === undefined) this.#handlers.delete(nic);
    else this.#handlers.set(nic, handler);
  }

  /** A checked echo request for a foreign address. */
  handlePacket(inbound: Inbound, now: number): void {
    const counters = this.#counters;
    const { nic, ingress, buffer, transport, length } = inbound;
    const handler = this.#handlers.get(nic);
    // RFC 792, RFC 4443 §4.1: the code is 0.
    if (handler === undefined || buffer[transport + CODE] !== 0) {
      counters.echoIgnored++;
      return;
    }
    const flow = this.#flow(inbound);
    if (flow === undefined) {
      counters.flowLimit++;
      return;
    }
    const destination = flow.noteRequest(inbound);
    const verdict = handler.echo(flow, destination, buffer, transport, length, now);
    if (verdict === "accept") {
      counters.echoForwarded++;
      return;
    }
    if (flow.session === undefined) flow.close();
    if (verdict === "prohibited") {
      counters.echoProhibited++;
      const { ipOffset } = inbound;
      const whole = transport + length - ipOffset;
      this.#output.errors.unreachable("prohibited", ingress, buffer, ipOffset, whole, now);
    } else counters.echoDropped++;
  }

  /** Closes every flow that came in by `nic` or was delivered there. */
  removeNic(nic: Nic): void {
    this.#handlers.delete(nic);
    this.#table.closeAll(nic);
  }

  /** For flows. */
  remove(flow: EchoFlow): void {
    this.#table.remove(flow);
  }

  #flow(inbound: Inbound): EchoFlow | undefined {
    const { nic, ingress, buffer, source, transport, version } = inbound;
    const identifier = readUint16(buffer, transport + IDENTIFIER);
    const table = this.#table;
    const key = table.keyOf(inbound, identifier);
    const known = table.find(key, inbound, identifier);
    if (known !== undefined || table.size >= MAX_FLOWS) return known;
    const client = IpAddress.from(buffer, source, version);
    const flow = new EchoFlow(
      this,
      this.#output,
      this.#counters,
      key,
      client,
      identifier,
      nic,
      ingress,
    );
    table.add(flow);
    return flow;
  }
}

/** Requests of a flow whose headers can be quoted; traceroute has up to 16 on their way. */
const REMEMBERED = 64;
/** Of each: the first two words of the IP header, the TTL, the first word of the ICMP header. */
const QUOTED_WORDS = 4;

/** All echo requests of one client address and identifier, whoever they are for. */
export class EchoFlow implements ClientFlow<EchoFlow> {
  readonly client: IpAddress;
  readonly identifier: number;
  /** Where the client's requests are delivered. */
  readonly nic: Nic;
  /** Where they come in and the replies leave. */
  readonly ingress: Nic;
  /** Of the latest request: who sent it, as `Stack.handlePacket` was told. */
  from: unknown = undefined;
  /** Of the latest request: what is left of its hop limit after this gateway, 1 to 255. */
  hopLimit = 0;
  /** Of the latest request: whether no router may fragment it; always true with IPv6. */
  dontFragment = true;
  /** The forwarder's own. */
  session: unknown = undefined;

  /** For the table. */
  readonly key: number;
  next: EchoFlow | undefined = undefined;
  readonly #flows: EchoFlows;
  readonly #output: Output;
  readonly #counters: IcmpCounters;
  #closed = false;
  #lastDestination: IpAddress | undefined;
  /** Words of the latest requests' headers, for {@link report}, at their sequence number's place. */
  readonly #quoted = new Int32Array(REMEMBERED * QUOTED_WORDS);
  /** Which sequence number is in which place; -1 for none. */
  readonly #sequences = new Int32Array(REMEMBERED).fill(-1);
  #lastPlace = 0;

  constructor(
    flows: EchoFlows,
    output: Output,
    counters: IcmpCounters,
    key: number,
    client: IpAddress,
    identifier: number,
    nic: Nic,
    ingress: Nic,
  ) {
    this.#flows = flows;
    this.#output = output;
    this.#counters = counters;
    this.key = key;
    this.client = client;
    this.identifier = identifier;
    this.nic = nic;
    this.ingress = ingress;
  }

  /**
   * What {@link reply} sends on, made once for each target.
   *
   * @param from Who the client shall see as the sender: any address if the NIC is spoofing.
   * @returns undefined if `from` is not allowed or of the other family.
   */
  pathFrom(from: IpAddress): Path | undefined {
    const { client, nic } = this;
    if (from.version !== client.version) return undefined;
    if (!nic.spoofing && !nic.owns(from.bytes, 0, from.version)) return undefined;
    const protocol = client.version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
    const path = new Path(this.ingress, protocol, from, client, this.#output.hopLimit);
    path.dontFragment = false;
    return path;
  }

  /**
   * Sends an echo reply to the client, in fragments if it has to be. The bytes are copied.
   *
   * @param buffer Holds the ICMP message, of either family, in `length` bytes from `offset` on: its
   * sequence number and data are kept, the rest of its header becomes right for this client.
   * @returns false if the flow is closed, the message too short or too long for the family, or there
   * is no room on the link and in its queue.
   */
  reply(path: Path, buffer: Uint8Array, offset: number, length: number, now: number): boolean {
    if (this.#closed || length < ICMP_HEADER_LENGTH) return false;
    const isIpv4 = path.version === 4;
    if (length > 0xffff - (isIpv4 ? IPV4_HEADER_LENGTH : 0)) return false;
    const output = this.#output;
    // What is queued already goes first, and nothing goes out while packets come in.
    const direct = !output.holding && path.nic.queue.isEmpty &&
      path.headerLength + length <= path.mtu;
    const at = direct ? output.allocate(path) : output.enqueue(path, length);
    if (at < 0) return false;
    const into = direct ? path.nic.link.buffer : path.nic.queue.buffer;
    copyBytes(buffer, offset, into, at, length);
    into[at] = isIpv4 ? ECHO_REPLY : V6_ECHO_REPLY;
    into[at + CODE] = 0;
    writeUint16(into, at + CHECKSUM, 0);
    writeUint16(into, at + IDENTIFIER, this.identifier);
    // RFC 4443 §2.3: only ICMPv6 covers a pseudo header.
    const pseudo = isIpv4 ? 0 : path.pseudoSum + length;
    writeUint16(into, at + CHECKSUM, finish(output.sum(into, at, length, pseudo)));
    this.#counters.echoReturned++;
    this.#counters.sent++;
    if (direct) {
      output.transmit(path, at, length, now);
      output.markDirty();
    } else output.push(path.nic, now);
    return true;
  }

  /**
   * Reports by ICMP what became of the request with that sequence number, quoting the client's own
   * headers; with many more requests since then, those of another with a checksum of 0.
   *
   * @param mtu For "too-big": the path MTU beyond, converted to the size of the client's packet.
   * @param reporter Who found it out, if the client shall see that. Undefined, or of the other family:
   * the destination, or this gateway, as the kind has it.
   * @returns Whether it is of a kind that is passed on. The stack's rate limit applies.
   */
  report(
    kind: IcmpErrorKind,
    mtu: number,
    destination: IpAddress,
    sequence: number,
    reporter: IpAddress | undefined,
    now: number,
  ): boolean {
    if (this.#closed || this.#lastDestination === undefined) return false;
    if (destination.version !== this.client.version) return false;
    const headers = this.#headersTo(destination, sequence);
    const { errors } = this.#output;
    return errors.relay(kind, mtu, reporter, this.ingress, headers, 0, headers.length, now);
  }

  /** Forgets the flow; the client's next request makes a new one. More than once does no harm. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#flows.remove(this);
  }

  /** For the table: whether a request with that identifier belongs here. */
  isOf(inbound: Inbound, identifier: number): boolean {
    return this.identifier === identifier && this.ingress === inbound.ingress &&
      this.nic === inbound.nic &&
      this.client.matches(inbound.buffer, inbound.source, inbound.version);
  }

  /** For the table: keeps what {@link report} quotes. @returns The destination. */
  noteRequest(inbound: Inbound): IpAddress {
    const { buffer, ipOffset, transport, destination, version } = inbound;
    this.from = inbound.from;
    this.hopLimit = inbound.hopLimit;
    this.dontFragment = version === 6 ||
      (readUint16(buffer, ipOffset + IPV4_FRAGMENT) & DONT_FRAGMENT) !== 0;
    const sequence = readUint16(buffer, transport + SEQUENCE);
    const place = this.#lastPlace = sequence % REMEMBERED;
    this.#sequences[place] = sequence;
    const quoted = this.#quoted;
    const at = place * QUOTED_WORDS;
    quoted[at] = readInt32(buffer, ipOffset);
    quoted[at + 1] = readInt32(buffer, ipOffset + 4);
    if (version === 4) quoted[at + 2] = buffer[ipOffset + IPV4_TTL]!;
    quoted[at + 3] = readInt32(buffer, transport);
    if (!this.#lastDestination?.matches(buffer, destination, version)) {
      this.#lastDestination = IpAddress.from(buffer, destination, version);
    }
    return this.#lastDestination!;
  }

  /** IP header without options and ICMP header of a request, as if sent to `destination`. */
  #headersTo(destination: IpAddress, sequence: number): Uint8Array {
    const { client, identifier } = this;
    const quoted = this.#quoted;
    const isIpv4 = client.version === 4;
    const isKnown = this.#sequences[sequence % REMEMBERED] === sequence;
    const at = (isKnown ? sequence % REMEMBERED : this.#lastPlace) * QUOTED_WORDS;
    const message = isIpv4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
    const headers = new Uint8Array(message + ICMP_HEADER_LENGTH);
    writeUint32(headers, 0, quoted[at]!);
    writeUint32(headers, 4, quoted[at + 1]!);
    headers.set(client.bytes, isIpv4 ? IPV4_SOURCE : IPV6_SOURCE);
    headers.set(destination.bytes, isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    if (isIpv4) {
      headers[0] = 0x45;
      headers[IPV4_TTL] = quoted[at + 2]!;
      headers[IPV4_PROTOCOL] = PROTOCOL_ICMP;
      writeIpv4Checksum(headers, 0, IPV4_HEADER_LENGTH);
    } else headers[IPV6_NEXT_HEADER] = PROTOCOL_ICMPV6;
    writeUint32(headers, message, quoted[at + 3]!);
    headers[message] = isIpv4 ? ECHO_REQUEST : V6_ECHO_REQUEST;
    if (!isKnown) writeUint16(headers, message + CHECKSUM, 0);
    writeUint16(headers, message + IDENTIFIER, identifier);
    writeUint16(headers, message + SEQUENCE, sequence);
    return headers;
  }
}
