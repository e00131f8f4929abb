/**
 * UDP of one stack: own ports, and the flows of forwarders.
 *
 * @module
 */

import type { IpAddress, IpVersion } from "./address.ts";
import { readUint16 } from "./bytes.ts";
import { finish, sum } from "./checksum.ts";
import type { UdpCounters } from "./counters.ts";
import type { IcmpErrorKind } from "./icmp_types.ts";
import type { Nic } from "./nic.ts";
import type { Output } from "./output.ts";
import { PROTOCOL_UDP } from "./protocols.ts";
import type { RouteTable } from "./route.ts";
import { type Inbound, type TransportProtocol } from "./transport.ts";
import { PortInUseError, UdpEndpoint, type UdpEndpointOptions } from "./udp_endpoint.ts";
import { UdpFlows, type UdpForwarderHandler } from "./udp_flows.ts";
import {
  UDP_CHECKSUM,
  UDP_DESTINATION_PORT,
  UDP_HEADER_LENGTH,
  UDP_LENGTH,
  UDP_SOURCE_PORT,
} from "./udp_header.ts";
import { UdpOutput } from "./udp_output.ts";

/** Ephemeral ports (RFC 6335 §6). */
const FIRST_EPHEMERAL = 49_152;
const EPHEMERAL_COUNT = 16_384;

export class Udp implements TransportProtocol {
  readonly flows: UdpFlows;
  readonly #output: UdpOutput;
  readonly #counters: UdpCounters;
  readonly #endpoints = new Map<number, UdpEndpoint[]>();
  #endpointCount = 0;

  constructor(
    output: Output,
    routes: RouteTable,
    counters: UdpCounters,
    maxFlows: number,
  ) {
    this.#output = new UdpOutput(output, routes, counters);
    this.#counters = counters;
    this.flows = new UdpFlows(this.#output, maxFlows);
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
   * @throws {RangeError} for a port out of range.
   * @throws {PortInUseError} if it is taken, or if none is free.
   */
  bind(options: UdpEndpointOptions): UdpEndpoint {
    const { address, port = 0 } = options;
    if (!Number.isInteger(port) || port < 0 || port > 0xffff) {
      throw new RangeError(`a UDP port is 0 to 65535, got ${port}`);
    }
    if (port !== 0 && !this.#isFree(address, port)) {
      throw new PortInUseError(`UDP port ${port} is in use`);
    }
    const endpoint = new UdpEndpoint(
      this.#output,
      address,
      port === 0 ? this.#ephemeral(address) : port,
      (closed) => this.#remove(closed),
    );
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
    const { buffer, transport, version } = inbound;
    this.#counters.received++;
    const length = inbound.length < UDP_HEADER_LENGTH
      ? 0
      : readUint16(buffer, transport + UDP_LENGTH);
    const port = readUint16(buffer, transport + UDP_DESTINATION_PORT);
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
    else this.#output.refuse(inbound, now);
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

  #remove(endpoint: UdpEndpoint): void {
    const left = this.#endpoints.get(endpoint.port)!.filter((other) => other !== endpoint);
    if (left.length > 0) this.#endpoints.set(endpoint.port, left);
    else this.#endpoints.delete(endpoint.port);
    this.#endpointCount--;
  }

  #isChecksumRight(inbound: Inbound, length: number): boolean {
    const { buffer, transport, version } = inbound;
    // RFC 768: over IPv4 the sender may leave it out; over IPv6 it must not (RFC 8200 §8.1).
    if (readUint16(buffer, transport + UDP_CHECKSUM) === 0) return version === 4;
    const addresses = version === 4 ? 8 : 32;
    const pseudo = sum(buffer, inbound.source, addresses, PROTOCOL_UDP + length);
    return finish(this.#output.ip.sum(buffer, transport, length, pseudo)) === 0;
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
    this.#output.ip.random(bytes);
    const start = readUint16(bytes, 0);
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      const port = FIRST_EPHEMERAL + (start + i) % EPHEMERAL_COUNT;
      if (this.#isFree(address, port)) return port;
    }
    throw new PortInUseError("every ephemeral UDP port is in use");
  }
}
