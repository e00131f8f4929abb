/**
 * A UDP port of the stack's own, as an application has it.
 *
 * @module
 */

import { IpAddress } from "./address.ts";
import { readUint16 } from "./bytes.ts";
import type { IcmpErrorKind } from "./icmp_types.ts";
import type { Inbound, Path } from "./transport.ts";
import { UDP_HEADER_LENGTH, UDP_SOURCE_PORT } from "./udp_header.ts";
import type { UdpOutput } from "./udp_output.ts";

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

/** Where an endpoint is bound. */
export interface UdpEndpointOptions {
  /** One of the stack's own; default: all of them. */
  address?: IpAddress;
  /** Default: an ephemeral port. */
  port?: number;
}

/** An own port. Made by `Stack.bindUdp`. */
export class UdpEndpoint {
  /** undefined = every own address. */
  readonly address: IpAddress | undefined;
  readonly port: number;
  handler: UdpHandler | undefined;
  readonly #output: UdpOutput;
  readonly #onClose: (endpoint: UdpEndpoint) => void;
  #closed = false;
  /** Of the last datagram received: the same bytes give the same object. */
  #lastSource: IpAddress | undefined;
  /** Of the last datagram sent. */
  #path: Path | undefined;
  #pathGeneration = -1;

  constructor(
    output: UdpOutput,
    address: IpAddress | undefined,
    port: number,
    onClose: (endpoint: UdpEndpoint) => void,
  ) {
    this.#output = output;
    this.#onClose = onClose;
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
      return this.#output.send(path, this.port, port, buffer, offset, length, now);
    }
    this.#output.counters.noRoute++;
    return false;
  }

  /** Gives the port back. More than once does no harm. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose(this);
  }

  /** For the stack. @param length Of header and data. */
  handleDatagram(inbound: Inbound, length: number, now: number): void {
    if (this.handler === undefined) return;
    const { buffer, transport, source, version } = inbound;
    if (!this.#lastSource?.matches(buffer, source, version)) {
      this.#lastSource = IpAddress.from(buffer, source, version);
    }
    this.handler.datagram(
      this,
      this.#lastSource!,
      readUint16(buffer, transport + UDP_SOURCE_PORT),
      buffer,
      transport + UDP_HEADER_LENGTH,
      length - UDP_HEADER_LENGTH,
      now,
      inbound.from,
    );
  }

  #pathTo(to: IpAddress): Path | undefined {
    const generation = this.#output.routeGeneration;
    const last = this.#path;
    if (
      last !== undefined && this.#pathGeneration === generation &&
      (last.destination === to || last.destination.equals(to))
    ) return last;
    this.#path = this.#output.pathTo(this.address, to);
    this.#pathGeneration = generation;
    return this.#path;
  }
}

/** The port is taken. */
export class PortInUseError extends Error {
  override readonly name = "PortInUseError";
}
