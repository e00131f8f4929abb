/**
 * UDP flows of clients behind a forwarder (RFC 4787).
 *
 * @module
 */

import { IpAddress } from "./address.ts";
import { readInt32, readUint16, writeUint16, writeUint32 } from "./bytes.ts";
import { type ClientFlow, ClientTable } from "./client_table.ts";
import type { UdpCounters } from "./counters.ts";
import type { IcmpErrorKind } from "./icmp_types.ts";
import {
  IPV4_DESTINATION,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV4_TTL,
  writeIpv4Checksum,
} from "./ipv4.ts";
import { IPV6_DESTINATION, IPV6_HEADER_LENGTH, IPV6_NEXT_HEADER, IPV6_SOURCE } from "./ipv6.ts";
import type { Nic } from "./nic.ts";
import { PROTOCOL_UDP } from "./protocols.ts";
import { type Inbound, type Path } from "./transport.ts";
import {
  UDP_DESTINATION_PORT,
  UDP_HEADER_LENGTH,
  UDP_LENGTH,
  UDP_SOURCE_PORT,
} from "./udp_header.ts";
import type { UdpOutput } from "./udp_output.ts";

/** What a forwarder does with a datagram. */
export type UdpVerdict =
  | "accept"
  /** ICMP port unreachable. */
  | "refuse"
  /** ICMP administratively prohibited. */
  | "prohibited"
  /** Silence. */
  | "drop";

/** Takes the datagrams for foreign addresses behind a NIC. Called while packets come in. */
export interface UdpForwarderHandler {
  /**
   * One datagram of a client, to anybody. The bytes are borrowed until the call returns; addresses
   * may be kept, and the same destination bytes as the flow's last give the same object. A handler
   * that decides by {@link UdpFlow.from} must compare it here: the client's address may have moved
   * to another peer.
   *
   * @returns What becomes of it. If that is not "accept" and `flow.session` is undefined, the flow
   * is gone again.
   */
  datagram(
    flow: UdpFlow,
    destination: IpAddress,
    destinationPort: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): UdpVerdict;
}

/**
 * The first two words of the IP header, the second of the UDP header (length and checksum), the TTL.
 */
const QUOTED_WORDS = 4;

/** The flows of all forwarders. Forwarders end them; the stack only limits their number. */
export class UdpFlows {
  readonly #output: UdpOutput;
  readonly #counters: UdpCounters;
  readonly #maxFlows: number;
  readonly #handlers = new Map<Nic, UdpForwarderHandler>();
  readonly #table: ClientTable<UdpFlow>;
  /** Of the last datagram: traffic comes in runs. */
  #last: UdpFlow | undefined;

  constructor(output: UdpOutput, maxFlows: number) {
    this.#output = output;
    this.#counters = output.counters;
    this.#maxFlows = maxFlows;
    this.#table = new ClientTable(output.ip.random);
  }

  get size(): number {
    return this.#table.size;
  }

  setHandler(nic: Nic, handler: UdpForwarderHandler | undefined): void {
    if (handler === undefined) this.#handlers.delete(nic);
    else this.#handlers.set(nic, handler);
  }

  /** A checked datagram of `length` bytes, header included, for a foreign address. */
  handlePacket(inbound: Inbound, length: number, now: number): void {
    const handler = this.#handlers.get(inbound.nic);
    if (handler === undefined) {
      this.#output.refuse(inbound, now);
      return;
    }
    const { buffer, transport } = inbound;
    // RFC 768: port 0 asks for no answer, and endpoint-independent mapping needs one to send to.
    const clientPort = readUint16(buffer, transport);
    if (clientPort === 0) {
      this.#counters.malformed++;
      return;
    }
    const flow = this.#flow(inbound, clientPort);
    if (flow === undefined) {
      this.#counters.flowLimit++;
      return;
    }
    const verdict = handler.datagram(
      flow,
      flow.noteDatagram(inbound),
      readUint16(buffer, transport + UDP_DESTINATION_PORT),
      buffer,
      transport + UDP_HEADER_LENGTH,
      length - UDP_HEADER_LENGTH,
      now,
    );
    if (verdict === "accept") return;
    if (flow.session === undefined) flow.close();
    if (verdict === "refuse") this.#output.refuse(inbound, now);
    else if (verdict === "prohibited") {
      this.#counters.prohibited++;
      const { ingress, ipOffset } = inbound;
      const whole = transport + inbound.length - ipOffset;
      this.#output.ip.errors.unreachable("prohibited", ingress, buffer, ipOffset, whole, now);
    } else this.#counters.dropped++;
  }

  /** Closes every flow that came in by `nic` or was delivered there. */
  removeNic(nic: Nic): void {
    this.#handlers.delete(nic);
    this.#table.closeAll(nic);
  }

  /** For flows. */
  remove(flow: UdpFlow): void {
    if (this.#last === flow) this.#last = undefined;
    this.#table.remove(flow);
  }

  #flow(inbound: Inbound, clientPort: number): UdpFlow | undefined {
    if (this.#last?.isOf(inbound, clientPort)) return this.#last;
    const table = this.#table;
    const key = table.keyOf(inbound, clientPort);
    let flow = table.find(key, inbound, clientPort);
    if (flow === undefined) {
      if (table.size >= this.#maxFlows) return undefined;
      const { nic, ingress, buffer, source, version } = inbound;
      const client = IpAddress.from(buffer, source, version);
      flow = new UdpFlow(this, this.#output, key, client, clientPort, nic, ingress);
      table.add(flow);
    }
    this.#last = flow;
    return flow;
  }
}

/**
 * All datagrams of one client address and port, whoever they are for: endpoint-independent mapping
 * (RFC 4787 §4.1).
 */
export class UdpFlow implements ClientFlow<UdpFlow> {
  readonly client: IpAddress;
  readonly clientPort: number;
  /** Where the client's datagrams are delivered. */
  readonly nic: Nic;
  /** Where they come in and the answers leave. */
  readonly ingress: Nic;
  /** Who sent the latest datagram, as `Stack.handlePacket` was told. */
  from: unknown = undefined;
  /** Of the latest datagram: what is left of its hop limit after this gateway, 1 to 255. */
  hopLimit = 0;
  /** The forwarder's own. */
  session: unknown = undefined;

  /** For the table. */
  readonly key: number;
  next: UdpFlow | undefined = undefined;
  readonly #flows: UdpFlows;
  readonly #output: UdpOutput;
  #closed = false;
  #lastDestination: IpAddress | undefined;
  /** Words of the last datagram's headers, for {@link report}. */
  readonly #quoted = new Int32Array(QUOTED_WORDS);
  #path: Path | undefined;

  constructor(
    flows: UdpFlows,
    output: UdpOutput,
    key: number,
    client: IpAddress,
    clientPort: number,
    nic: Nic,
    ingress: Nic,
  ) {
    this.#flows = flows;
    this.#output = output;
    this.key = key;
    this.client = client;
    this.clientPort = clientPort;
    this.nic = nic;
    this.ingress = ingress;
  }

  /**
   * Sends one datagram to the client. The bytes are copied.
   *
   * @param from Who the client shall see as the sender: any address if the NIC is spoofing.
   * @returns false if the flow is closed, `from` is not allowed or of the other family, or there is
   * no room on the link and in its queue.
   * @throws {RangeError} for more than 65,507 bytes over IPv4, 65,527 over IPv6.
   */
  send(
    from: IpAddress,
    fromPort: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    if (this.#closed) return false;
    const path = this.#pathFrom(from);
    if (path === undefined) return false;
    return this.#output.send(path, fromPort, this.clientPort, buffer, offset, length, now);
  }

  /**
   * Reports by ICMP what became of a datagram that the client sent to `destination`, quoting the
   * client's headers. "Too big" is not passed on to a client that allows fragmentation.
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
    destinationPort: number,
    reporter: IpAddress | undefined,
    now: number,
  ): boolean {
    if (this.#closed || this.#lastDestination === undefined) return false;
    if (destination.version !== this.client.version) return false;
    const headers = this.#headersTo(destination, destinationPort);
    const { errors } = this.#output.ip;
    return errors.relay(kind, mtu, reporter, this.ingress, headers, 0, headers.length, now);
  }

  /** Forgets the flow; the client's next datagram makes a new one. More than once does no harm. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#flows.remove(this);
  }

  /** For the table: whether a datagram from `clientPort` belongs here. */
  isOf(inbound: Inbound, clientPort: number): boolean {
    return this.clientPort === clientPort && this.ingress === inbound.ingress &&
      this.nic === inbound.nic &&
      this.client.matches(inbound.buffer, inbound.source, inbound.version);
  }

  /** For the table: keeps what {@link report} quotes. @returns The destination. */
  noteDatagram(inbound: Inbound): IpAddress {
    const { buffer, ipOffset, transport, destination, version } = inbound;
    this.from = inbound.from;
    this.hopLimit = inbound.hopLimit;
    const quoted = this.#quoted;
    quoted[0] = readInt32(buffer, ipOffset);
    quoted[1] = readInt32(buffer, ipOffset + 4);
    quoted[2] = readInt32(buffer, transport + UDP_LENGTH);
    if (version === 4) quoted[3] = buffer[ipOffset + IPV4_TTL]!;
    if (!this.#lastDestination?.matches(buffer, destination, version)) {
      this.#lastDestination = IpAddress.from(buffer, destination, version);
    }
    return this.#lastDestination!;
  }

  /** IP header without options and UDP header of the last datagram, as if sent to `destination`. */
  #headersTo(destination: IpAddress, port: number): Uint8Array {
    const { client, clientPort } = this;
    const quoted = this.#quoted;
    const isIpv4 = client.version === 4;
    const udp = isIpv4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
    const headers = new Uint8Array(udp + UDP_HEADER_LENGTH);
    writeUint32(headers, 0, quoted[0]!);
    writeUint32(headers, 4, quoted[1]!);
    headers.set(client.bytes, isIpv4 ? IPV4_SOURCE : IPV6_SOURCE);
    headers.set(destination.bytes, isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION);
    if (isIpv4) {
      headers[0] = 0x45;
      headers[IPV4_TTL] = quoted[3]!;
      headers[IPV4_PROTOCOL] = PROTOCOL_UDP;
      writeIpv4Checksum(headers, 0, IPV4_HEADER_LENGTH);
    } else headers[IPV6_NEXT_HEADER] = PROTOCOL_UDP;
    writeUint16(headers, udp + UDP_SOURCE_PORT, clientPort);
    writeUint16(headers, udp + UDP_DESTINATION_PORT, port);
    writeUint32(headers, udp + UDP_LENGTH, quoted[2]!);
    return headers;
  }

  #pathFrom(from: IpAddress): Path | undefined {
    const last = this.#path;
    if (last !== undefined && (last.source === from || last.source.equals(from))) return last;
    if (from.version !== this.client.version) return undefined;
    if (!this.nic.spoofing && !this.nic.owns(from.bytes, 0, from.version)) return undefined;
    this.#path = this.#output.path(this.ingress, from, this.client);
    return this.#path;
  }
}
