/**
 * Sends datagrams of endpoints and flows, and refuses those for closed ports.
 *
 * @module
 */

import type { IpAddress } from "./address.ts";
import { copyBytes, writeUint16 } from "./bytes.ts";
import { finish } from "./checksum.ts";
import type { UdpCounters } from "./counters.ts";
import type { Nic } from "./nic.ts";
import type { Output } from "./output.ts";
import { PROTOCOL_UDP } from "./protocols.ts";
import type { RouteTable } from "./route.ts";
import { type Inbound, Path } from "./transport.ts";
import {
  MAX_UDP_DATA_IPV4,
  MAX_UDP_DATA_IPV6,
  UDP_CHECKSUM,
  UDP_DESTINATION_PORT,
  UDP_HEADER_LENGTH,
  UDP_LENGTH,
  UDP_SOURCE_PORT,
} from "./udp_header.ts";

export class UdpOutput {
  readonly ip: Output;
  readonly counters: UdpCounters;
  readonly #routes: RouteTable;

  constructor(ip: Output, routes: RouteTable, counters: UdpCounters) {
    this.ip = ip;
    this.#routes = routes;
    this.counters = counters;
  }

  /** The path to `destination`, valid until {@link routeGeneration} changes; undefined if none. */
  pathTo(source: IpAddress | undefined, destination: IpAddress): Path | undefined {
    const route = this.ip.route(destination);
    if (route === undefined) return undefined;
    return this.path(route.nic, source ?? route.source, destination);
  }

  /** A path by `nic`, for datagrams that later hops may fragment. */
  path(nic: Nic, source: IpAddress, destination: IpAddress): Path {
    const path = new Path(nic, PROTOCOL_UDP, source, destination, this.ip.hopLimit);
    path.dontFragment = false;
    return path;
  }

  get routeGeneration(): number {
    return this.#routes.generation;
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
    const output = this.ip;
    const udpLength = UDP_HEADER_LENGTH + length;
    // What is queued already goes first, and nothing goes out while packets come in.
    const direct = !output.holding && path.nic.queue.isEmpty &&
      path.headerLength + udpLength <= path.mtu;
    const at = direct ? output.allocate(path) : output.enqueue(path, udpLength);
    if (at < 0) {
      this.counters.noBuffer++;
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
    this.counters.sent++;
    if (direct) {
      output.transmit(path, at, udpLength, now);
      output.markDirty();
    } else output.push(path.nic, now);
    return true;
  }

  /** Nobody has that port (RFC 1122 §4.1.3.1). */
  refuse(inbound: Inbound, now: number): void {
    this.counters.portUnreachable++;
    const { ingress, buffer, ipOffset, transport, length } = inbound;
    const whole = transport + length - ipOffset;
    this.ip.errors.unreachable("port", ingress, buffer, ipOffset, whole, now);
  }
}
