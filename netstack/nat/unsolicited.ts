/**
 * SYNs from beyond that nobody asked for: answered late, or not at all when the host behind the NAT
 * opens the same connection meanwhile (RFC 5382 REQ-4, simultaneous open).
 *
 * @module
 */

import { copyBytes, equalBytes } from "../bytes.ts";
import type { TransitPacket } from "../transit.ts";

/** RFC 5382 REQ-4: silence for so long. */
const SILENCE_MS = 6_000;
/** SYNs that wait; more are dropped in silence, as a NAT that reports none would. */
const MOST = 256;
/** Bytes kept of each, for an ICMP error to quote: the headers, with all the options they can have. */
const QUOTED = 128;

/** Where it came in, and as much of it as is kept. Borrowed. */
export type Report = (
  ingress: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  now: number,
) => void;

/** A ring: all wait equally long, so the first to come is the first to go. */
export class UnsolicitedSyns {
  readonly #ingress = new Int32Array(MOST);
  readonly #ends = new Float64Array(MOST);
  readonly #lengths = new Uint8Array(MOST);
  /**
   * Ports, and where in the packet the remote address is; 0 = its host has opened the connection
   * since.
   */
  readonly #localPorts = new Uint16Array(MOST);
  readonly #remotePorts = new Uint16Array(MOST);
  readonly #addresses = new Uint8Array(MOST);
  /** Allocated with the first. */
  #packets: Uint8Array = new Uint8Array(0);
  #first = 0;
  #count = 0;

  get size(): number {
    return this.#count;
  }

  get nextEnd(): number {
    return this.#count === 0 ? Infinity : this.#ends[this.#first]!;
  }

  /** @param ingress Number of the NIC it came in by. */
  add(packet: TransitPacket, ingress: number, now: number): void {
    const { buffer, offset, length, source, version, sourcePort, destinationPort } = packet;
    const size = version === 4 ? 4 : 16;
    if (this.#count === MOST) return;
    if (this.#find(buffer, source, size, sourcePort, destinationPort) >= 0) return;
    if (this.#packets.length === 0) this.#packets = new Uint8Array(MOST * QUOTED);
    const i = (this.#first + this.#count++) % MOST;
    const kept = Math.min(length, QUOTED);
    copyBytes(buffer, offset, this.#packets, i * QUOTED, kept);
    this.#ingress[i] = ingress;
    this.#ends[i] = now + SILENCE_MS;
    this.#lengths[i] = kept;
    this.#remotePorts[i] = sourcePort;
    this.#localPorts[i] = destinationPort;
    this.#addresses[i] = source - offset;
  }

  /** The host behind the NAT opens it. @param size Of the remote address at `remote`: 4 or 16. */
  forget(
    buffer: Uint8Array,
    remote: number,
    size: number,
    remotePort: number,
    localPort: number,
  ): void {
    const i = this.#find(buffer, remote, size, remotePort, localPort);
    if (i >= 0) this.#addresses[i] = 0;
  }

  /** @returns How many were reported. */
  handleTimeout(now: number, report: Report): number {
    let reported = 0;
    while (this.nextEnd <= now) {
      const i = this.#first;
      this.#first = (i + 1) % MOST;
      this.#count--;
      if (this.#addresses[i] === 0) continue;
      reported++;
      report(this.#ingress[i]!, this.#packets, i * QUOTED, this.#lengths[i]!, now);
    }
    return reported;
  }

  #find(
    buffer: Uint8Array,
    remote: number,
    size: number,
    remotePort: number,
    localPort: number,
  ): number {
    for (let n = 0; n < this.#count; n++) {
      const i = (this.#first + n) % MOST;
      const address = this.#addresses[i]!;
      if (
        this.#remotePorts[i] === remotePort && this.#localPorts[i] === localPort &&
        address === (size === 4 ? 12 : 8) &&
        equalBytes(this.#packets, i * QUOTED + address, buffer, remote, size)
      ) return i;
    }
    return -1;
  }
}
