/**
 * One client's UDP address and port, and its sockets towards the targets.
 *
 * @module
 */

import type {
  IcmpErrorKind,
  IpAddress,
  IpVersion,
  Prefix,
  Timed,
  UdpFlow,
} from "../../netstack/mod.ts";
import type { TargetSocket, TargetSocketHandler, TargetSockets } from "../target/udp.ts";
import { type Asked, AskedTable } from "./udp_filter.ts";
import type { UdpForwarderCounters } from "./udp_forwarder.ts";

/** What a session needs of the forwarder it belongs to. */
export interface UdpSessionOwner {
  readonly counters: UdpForwarderCounters;
  readonly sockets: TargetSockets;
  /** What to send to for an address that the client asks; undefined: it is refused. */
  resolve(destination: IpAddress, port: number): IpAddress | undefined;
  /** A datagram went either way. */
  touch(session: UdpSession, now: number): void;
  onEnded(session: UdpSession): void;
}

const DNS_PORT = 53;
/** An IPv6 target's datagram may be larger than IPv4 can carry (RFC 768, RFC 791 §3.1). */
const MAX_IPV4_DATA = 65507;
/** By how much an IPv6 header is longer than one of IPv4. */
const IPV6_HEADER_EXTRA = 20;

export class UdpSession implements Timed, TargetSocketHandler {
  deadline = Infinity;
  heapIndex = -1;
  /** Milliseconds, monotonic. */
  lastActivity: number;
  /** Whether the client has talked to name servers alone. */
  isDnsOnly = true;
  readonly flow: UdpFlow;
  /** Whom the session is counted with. */
  readonly sharer: object | undefined;
  readonly #owner: UdpSessionOwner;
  readonly #asked = new AskedTable();
  #ipv4: TargetSocket | undefined;
  #ipv6: TargetSocket | undefined;
  #hasEnded = false;

  constructor(owner: UdpSessionOwner, flow: UdpFlow, sharer: object | undefined, now: number) {
    this.#owner = owner;
    this.flow = flow;
    this.sharer = sharer;
    this.lastActivity = now;
  }

  /** Addresses that replies pass from. */
  get askedCount(): number {
    return this.#asked.size;
  }

  hasAsked(prefix: Prefix): boolean {
    return this.#asked.has(prefix);
  }

  /** Notes that the client sends to `destination`. @returns undefined if that target is refused. */
  ask(destination: IpAddress, port: number): Asked | undefined {
    const known = this.#asked.ask(destination, port);
    if (known !== undefined) return known;
    const target = this.#owner.resolve(destination, port);
    if (target === undefined) return undefined;
    if (port !== DNS_PORT) this.isDnsOnly = false;
    return this.#asked.add(destination, port, target);
  }

  /** Sends a datagram to a target, from this client's one port. The bytes are copied. */
  send(asked: Asked, buffer: Uint8Array, offset: number, length: number): void {
    const { counters } = this.#owner;
    const { target } = asked;
    if (!this.#socket(target.version)?.send(target, buffer, offset, length)) return;
    counters.datagramsUp++;
    counters.bytesUp += length;
  }

  datagram(
    senders: Int32Array,
    sender: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const { counters } = this.#owner;
    const asked = this.#asked.at(senders, sender);
    if (asked === undefined) {
      counters.unasked++;
      return;
    }
    this.#owner.touch(this, now);
    const fits = length <= MAX_IPV4_DATA || this.flow.client.version === 6;
    if (fits && this.flow.send(asked.destination, asked.port, buffer, offset, length, now)) {
      counters.datagramsDown++;
      counters.bytesDown += length;
    } else {
      counters.noRoom++;
    }
  }

  /** The session lives on (RFC 4787 §9). */
  report(
    receivers: Int32Array,
    receiver: number,
    kind: IcmpErrorKind,
    mtu: number,
    now: number,
  ): void {
    const asked = this.#asked.at(receivers, receiver);
    if (asked === undefined) return;
    const { destination, port, target } = asked;
    // RFC 7915 §4.2, §5.2: the header that a map between families makes longer or shorter.
    if (target.version < destination.version) mtu += IPV6_HEADER_EXTRA;
    else if (target.version > destination.version) mtu -= IPV6_HEADER_EXTRA;
    if (this.flow.report(kind, mtu, destination, port, now)) this.#owner.counters.reports++;
  }

  failed(): void {
    this.end(); // the client's next datagram opens another
  }

  /** Closes the sockets. */
  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#ipv4?.close();
    this.#ipv6?.close();
    this.flow.close();
    this.#owner.onEnded(this);
  }

  /** The socket of a family, opened when it is first needed. */
  #socket(version: IpVersion): TargetSocket | undefined {
    const open = version === 4 ? this.#ipv4 : this.#ipv6;
    if (open !== undefined) return open;
    try {
      const socket = this.#owner.sockets.open(version, this);
      return version === 4 ? this.#ipv4 = socket : this.#ipv6 = socket;
    } catch {
      this.#owner.counters.socketErrors++;
      return undefined;
    }
  }
}
