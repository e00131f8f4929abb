import { IpAddress, type IpVersion } from "./address.ts";
import { copyBytes, readUint16, writeUint16 } from "./bytes.ts";
import { finish, sum } from "./checksum.ts";
import type { UdpCounters } from "./counters.ts";
import { IPV4_HEADER_LENGTH } from "./ipv4.ts";
import type { Nic } from "./nic.ts";
import type { Output } from "./output.ts";
import type { RouteTable } from "./route.ts";
import {
  type IcmpErrorKind,
  type Inbound,
  Path,
  PROTOCOL_UDP,
  type TransportProtocol,
} from "./transport.ts";
import { UdpFlows, type UdpForwarderHandler } from "./udp_forwarder.ts";

// RFC 768
export const UDP_SOURCE_PORT = 0;
export const UDP_DESTINATION_PORT = 2;
export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;
export const UDP_HEADER_LENGTH = 8;

/** What the 16-bit total length of IPv4 and the payload length of IPv6 leave for data. */
export const MAX_UDP_DATA_IPV4 = 65_535 - IPV4_HEADER_LENGTH - UDP_HEADER_LENGTH;
export const MAX_UDP_DATA_IPV6 = 65_535 - UDP_HEADER_LENGTH;

/** Ephemeral ports (RFC 6335 §6). */
const FIRST_EPHEMERAL = 49_152;
const EPHEMERAL_COUNT = 16_384;

/** Takes what arrives at a {@link UdpEndpoint}. Called while packets come in. */
export interface UdpHandler {
  /**
   * The bytes are borrowed until the call returns. The address may be kept.
   *
   * @param from Who sent the packet, as `Stack.handlePacket` was told.
   */
  datagram(
    endpoint: UdpEndpoint,
    source: IpAddress,
    sourcePort: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    from: unknown,
  ): void;

  /** ICMP reported something about a datagram sent before (RFC 1122 §4.1.3.3). */
  error?(kind: IcmpErrorKind): void;
}

export interface UdpBindOptions {
  /** One of the stack's own; default: all of them. */
  address?: IpAddress;
  /** Default: an ephemeral port. */
  port?: number;
}

/** UDP of one stack: own ports, and the flows of forwarders. */
export class Udp implements TransportProtocol {
  readonly flows: UdpFlows;
  readonly #output: Output;
  readonly #routes: RouteTable;
  readonly #counters: UdpCounters;
  readonly #endpoints = new Map<number, UdpEndpoint[]>();
  #endpointCount = 0;

  constructor(
    output: Output,
    routes: RouteTable,
    counters: UdpCounters,
    maxFlows: number,
  ) {
    this.#output = output;
    this.#routes = routes;
    this.#counters = counters;
    this.flows = new UdpFlows(this, output, counters, maxFlows);
  }

  get endpointCount(): number {
    return this.#endpointCount;
  }

  get timers(): number {
    return 0;
  }

  /**
   * Takes a port.
   *
   * @throws {RangeError} for a port that is none.
   * @throws {PortInUseError} if somebody has it, or if none is free.
   */
  bind(options: UdpBindOptions): UdpEndpoint {
    const { address, port = 0 } = options;
    if (!Number.isInteger(port) || port < 0 || port > 0xffff) {
      throw new RangeError(`a UDP port is 0 to 65535, got ${port}`);
    }
    if (port !== 0 && !this.#isFree(address, port)) {
      throw new PortInUseError(`UDP port ${port} is in use`);
    }
    const endpoint = new UdpEndpoint(this, address, port === 0 ? this.#ephemeral(address) : port);
    const there = this.#endpoints.get(endpoint.port);
    if (there === undefined) this.#endpoints.set(endpoint.port, [endpoint]);
    else there.push(endpoint);
    this.#endpointCount++;
    return endpoint;
  }

  setForwarder(nic: Nic, handler: UdpForwarderHandler | undefined): void {
    this.flows.setHandler(nic, handler);
  }

  handlePacket(inbound: Inbound, now: number): void {
    const { buffer, payload, version } = inbound;
    this.#counters.received++;
    const length = inbound.length < UDP_HEADER_LENGTH
      ? 0
      : readUint16(buffer, payload + UDP_LENGTH);
    const port = readUint16(buffer, payload + UDP_DESTINATION_PORT);
    if (length < UDP_HEADER_LENGTH || length > inbound.length || port === 0) {
      this.#counters.malformed++;
      return;
    }
    if (!this.#isChecksumRight(inbound, length)) {
      this.#counters.badChecksum++;
      return;
    }
    if (!inbound.local) {
      this.flows.handlePacket(inbound, length, now);
      return;
    }
    const endpoint = this.#find(buffer, inbound.destination, version, port);
    if (endpoint !== undefined) endpoint.handleDatagram(inbound, length, now);
    else this.refuse(inbound, now);
  }

  /** Nobody has that port (RFC 1122 §4.1.3.1). */
  refuse(inbound: Inbound, now: number): void {
    this.#counters.portUnreachable++;
    const { ingress, buffer, ipOffset, payload, length } = inbound;
    const whole = payload + length - ipOffset;
    this.#output.errors.unreachable("port", ingress, buffer, ipOffset, whole, now);
  }

  handleIcmpError(
    kind: IcmpErrorKind,
    _mtu: number,
    version: IpVersion,
    buffer: Uint8Array,
    source: number,
    _destination: number,
    transport: number,
    _length: number,
    _now: number,
  ): void {
    const port = readUint16(buffer, transport + UDP_SOURCE_PORT);
    const endpoint = this.#find(buffer, source, version, port);
    endpoint?.handler?.error?.(kind);
  }

  flush(): boolean {
    return false;
  }

  pollTimeout(): number {
    return Infinity;
  }

  handleTimeout(): void {}

  /** The way to `destination`; undefined if there is none. */
  path(source: IpAddress | undefined, destination: IpAddress): Path | undefined {
    const route = this.#output.route(destination);
    if (route === undefined) return undefined;
    return udpPath(route.nic, source ?? route.source, destination, this.#output.hopLimit);
  }

  /** What a {@link Path} made now stays good for. */
  get routeGeneration(): number {
    return this.#routes.generation;
  }

  countNoRoute(): void {
    this.#counters.noRoute++;
  }

  /**
   * Sends one datagram, in fragments if it has to be.
   *
   * @returns Whether it was taken: not when the link has no slot and the queue no room.
   */
  send(
    path: Path,
    sourcePort: number,
    destinationPort: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    const most = path.version === 4 ? MAX_UDP_DATA_IPV4 : MAX_UDP_DATA_IPV6;
    if (length < 0 || length > most) {
      throw new RangeError(`a UDP datagram has 0 to ${most} bytes of data, got ${length}`);
    }
    const output = this.#output;
    const udpLength = UDP_HEADER_LENGTH + length;
    // What is queued already goes first, and nothing goes out while packets come in.
    const direct = !output.holding && path.nic.queue.isEmpty &&
      path.headerLength + udpLength <= path.mtu;
    const at = direct ? output.allocate(path) : output.enqueue(path, udpLength);
    if (at < 0) {
      this.#counters.noBuffer++;
      return false;
    }
    const into = direct ? path.nic.link.buffer : path.nic.queue.buffer;
    copyBytes(buffer, offset, into, at + UDP_HEADER_LENGTH, length);
    writeUint16(into, at + UDP_SOURCE_PORT, sourcePort);
    writeUint16(into, at + UDP_DESTINATION_PORT, destinationPort);
    writeUint16(into, at + UDP_LENGTH, udpLength);
    writeUint16(into, at + UDP_CHECKSUM, 0);
    const checksum = finish(output.sum(into, at, udpLength, path.pseudoSum + udpLength));
    // 0 would mean "none" (RFC 768, RFC 8200 §8.1).
    writeUint16(into, at + UDP_CHECKSUM, checksum === 0 ? 0xffff : checksum);
    this.#counters.sent++;
    if (direct) {
      output.transmit(path, at, udpLength, now);
      output.markDirty();
    } else output.push(path.nic, now);
    return true;
  }

  /** For endpoints: gives the port back. */
  remove(endpoint: UdpEndpoint): void {
    const left = this.#endpoints.get(endpoint.port)!.filter((other) => other !== endpoint);
    if (left.length > 0) this.#endpoints.set(endpoint.port, left);
    else this.#endpoints.delete(endpoint.port);
    this.#endpointCount--;
  }

  #isChecksumRight(inbound: Inbound, length: number): boolean {
    const { buffer, payload, version } = inbound;
    // RFC 768: over IPv4 the sender may leave it out; over IPv6 it must not (RFC 8200 §8.1).
    if (readUint16(buffer, payload + UDP_CHECKSUM) === 0) return version === 4;
    const addresses = version === 4 ? 8 : 32;
    const pseudo = sum(buffer, inbound.source, addresses, PROTOCOL_UDP + length);
    return finish(this.#output.sum(buffer, payload, length, pseudo)) === 0;
  }

  /** An endpoint bound to the address before one bound to all. */
  #find(
    buffer: Uint8Array,
    address: number,
    version: IpVersion,
    port: number,
  ): UdpEndpoint | undefined {
    const there = this.#endpoints.get(port);
    if (there === undefined) return undefined;
    let wildcard: UdpEndpoint | undefined;
    for (let i = 0; i < there.length; i++) {
      const endpoint = there[i]!;
      if (endpoint.address === undefined) wildcard = endpoint;
      else if (endpoint.address.matches(buffer, address, version)) return endpoint;
    }
    return wildcard;
  }

  #isFree(address: IpAddress | undefined, port: number): boolean {
    const there = this.#endpoints.get(port) ?? [];
    return !there.some((other) =>
      address === undefined || other.address === undefined || other.address.equals(address)
    );
  }

  /** RFC 6056 §3.3.1: a random port, or the next free one. */
  #ephemeral(address: IpAddress | undefined): number {
    const bytes = new Uint8Array(2);
    this.#output.random(bytes);
    const start = readUint16(bytes, 0);
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      const port = FIRST_EPHEMERAL + (start + i) % EPHEMERAL_COUNT;
      if (this.#isFree(address, port)) return port;
    }
    throw new PortInUseError("every ephemeral UDP port is in use");
  }
}

/** An own port. Made by `Stack.bindUdp`. */
export class UdpEndpoint {
  /** undefined = every own address. */
  readonly address: IpAddress | undefined;
  readonly port: number;
  handler: UdpHandler | undefined;
  readonly #udp: Udp;
  #closed = false;
  /** Of the last datagram received: the same bytes give the same object. */
  #lastSource: IpAddress | undefined;
  /** Of the last datagram sent. */
  #path: Path | undefined;
  #pathGeneration = -1;

  constructor(udp: Udp, address: IpAddress | undefined, port: number) {
    this.#udp = udp;
    this.address = address;
    this.port = port;
  }

  /**
   * Sends one datagram. The bytes are copied.
   *
   * @returns false if there is no route, or no room on the link and in its queue.
   * @throws {RangeError} for more than 65,507 bytes over IPv4, 65,527 over IPv6.
   * @throws {TypeError} if the endpoint is closed, or bound to an address of the other family.
   */
  send(
    to: IpAddress,
    port: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    if (this.#closed) throw new TypeError(`the UDP endpoint on port ${this.port} is closed`);
    const path = this.#pathTo(to);
    if (path !== undefined) {
      return this.#udp.send(path, this.port, port, buffer, offset, length, now);
    }
    this.#udp.countNoRoute();
    return false;
  }

  /** Gives the port back. More than once does no harm. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#udp.remove(this);
  }

  /** For the stack. @param length Of header and data. */
  handleDatagram(inbound: Inbound, length: number, now: number): void {
    if (this.handler === undefined) return;
    const { buffer, payload, source, version } = inbound;
    if (!this.#lastSource?.matches(buffer, source, version)) {
      this.#lastSource = IpAddress.from(buffer, source, version);
    }
    this.handler.datagram(
      this,
      this.#lastSource!,
      readUint16(buffer, payload + UDP_SOURCE_PORT),
      buffer,
      payload + UDP_HEADER_LENGTH,
      length - UDP_HEADER_LENGTH,
      now,
      inbound.from,
    );
  }

  #pathTo(to: IpAddress): Path | undefined {
    const generation = this.#udp.routeGeneration;
    const last = this.#path;
    if (
      last !== undefined && this.#pathGeneration === generation &&
      (last.destination === to || last.destination.equals(to))
    ) return last;
    this.#path = this.#udp.path(this.address, to);
    this.#pathGeneration = generation;
    return this.#path;
  }
}

/** The port is taken. */
export class PortInUseError extends Error {
  override readonly name = "PortInUseError";
}

/** A path for datagrams, which later hops may fragment. */
export function udpPath(
  nic: Nic,
  source: IpAddress,
  destination: IpAddress,
  hopLimit: number,
): Path {
  const path = new Path(nic, PROTOCOL_UDP, source, destination, hopLimit);
  path.dontFragment = false;
  return path;
}
