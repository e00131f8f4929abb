/**
 * One client's UDP address and port, and its socket towards the targets.
 *
 * @module
 */

import type { IpAddress, IpVersion, Prefix, Timed, UdpFlow } from "../netstack/mod.ts";
import type { DatagramBuffers, ReceiveBuffers } from "./datagram_buffers.ts";
import type { UdpForwarderCounters } from "./udp_forwarder.ts";

/** What a session needs of the forwarder it belongs to. */
export interface UdpSessionOwner {
  readonly counters: UdpForwarderCounters;
  readonly buffers: DatagramBuffers;
  readonly receiveBuffers: ReceiveBuffers;
  now(): number;
  /** What to send to for an address that the client asks; undefined: it is refused. */
  resolve(destination: IpAddress, port: number): IpAddress | undefined;
  /** A datagram went either way. */
  touch(session: UdpSession, now: number): void;
  /** A socket was opened; `ended` resolves when nothing of it is left. */
  onSocket(ended: Promise<void>): void;
  onEnded(session: UdpSession): void;
}

/** An address and port that the client has sent to. */
interface Asked {
  readonly destination: IpAddress;
  readonly port: number;
  /** The same after the policy's maps, as the runtime takes it. */
  readonly target: Deno.NetAddr;
  readonly version: IpVersion;
}

const DNS_PORT = 53;
// Replies pass from as many addresses; the one asked longest ago is forgotten first.
const MAX_ASKED = 256;
// A send to a neighbour that does not answer stays pending for seconds. No session may hold the
// buffers that the others need meanwhile.
const MAX_PENDING = 64;

export class UdpSession implements Timed {
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
  readonly #byDestination = new Map<string, Asked>();
  readonly #byTarget = new Map<string, Asked>();
  #lastAsked: Asked | undefined;
  #lastReply: Asked | undefined;
  #ipv4: Deno.DatagramConn | undefined;
  #ipv6: Deno.DatagramConn | undefined;
  #pending = 0;
  #hasEnded = false;

  constructor(owner: UdpSessionOwner, flow: UdpFlow, sharer: object | undefined, now: number) {
    this.#owner = owner;
    this.flow = flow;
    this.sharer = sharer;
    this.lastActivity = now;
  }

  /** Addresses that replies pass from. */
  get askedCount(): number {
    return this.#byTarget.size;
  }

  hasAsked(prefix: Prefix): boolean {
    for (const { destination } of this.#byDestination.values()) {
      if (prefix.contains(destination)) return true;
    }
    return false;
  }

  /** Notes that the client sends to `destination`. @returns undefined if that target is refused. */
  ask(destination: IpAddress, port: number): Asked | undefined {
    const last = this.#lastAsked;
    // The stack hands out the same object as long as the destination stays the same.
    if (last !== undefined && last.destination === destination && last.port === port) return last;
    const key = `${destination} ${port}`;
    let asked = this.#byDestination.get(key);
    if (asked === undefined) {
      const target = this.#owner.resolve(destination, port);
      if (target === undefined) return undefined;
      const netAddr: Deno.NetAddr = { transport: "udp", hostname: target.toString(), port };
      asked = { destination, port, target: netAddr, version: target.version };
    } else {
      this.#byDestination.delete(key);
      if (asked.destination !== destination) asked = { ...asked, destination };
    }
    this.#byDestination.set(key, asked); // now the youngest
    this.#byTarget.set(keyOf(asked.target), asked);
    if (this.#byDestination.size > MAX_ASKED) this.#forgetOldest();
    if (port !== DNS_PORT) this.isDnsOnly = false;
    return this.#lastAsked = this.#lastReply = asked;
  }

  /** Sends a datagram to a target, from this client's one port. The bytes are copied. */
  send(asked: Asked, buffer: Uint8Array, offset: number, length: number): void {
    const { counters, buffers } = this.#owner;
    const socket = this.#socket(asked.version);
    if (socket === undefined) return;
    const bytes = this.#pending < MAX_PENDING ? buffers.copy(buffer, offset, length) : undefined;
    if (bytes === undefined) {
      counters.noBuffer++;
      return;
    }
    counters.datagramsUp++;
    counters.bytesUp += length;
    this.#send(socket, bytes, asked.target);
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

  async #send(socket: Deno.DatagramConn, bytes: Uint8Array, to: Deno.NetAddr): Promise<void> {
    this.#pending++;
    try {
      await socket.send(bytes, to);
    } catch {
      if (!this.#hasEnded) this.#owner.counters.sendErrors++;
    }
    this.#pending--;
    this.#owner.buffers.give(bytes);
  }

  /** The socket of a family, opened when it is first needed. */
  #socket(version: IpVersion): Deno.DatagramConn | undefined {
    const open = version === 4 ? this.#ipv4 : this.#ipv6;
    if (open !== undefined) return open;
    try {
      const hostname = version === 4 ? "0.0.0.0" : "::";
      const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
      if (version === 4) this.#ipv4 = socket;
      else this.#ipv6 = socket;
      this.#owner.onSocket(this.#receive(socket));
      return socket;
    } catch {
      this.#owner.counters.socketErrors++;
      return undefined;
    }
  }

  async #receive(socket: Deno.DatagramConn): Promise<void> {
    const { receiveBuffers } = this.#owner;
    const buffer = receiveBuffers.take();
    await this.#receiveInto(buffer, socket);
    receiveBuffers.give(buffer);
  }

  /** Passes replies on until the session has ended. */
  async #receiveInto(buffer: Uint8Array, socket: Deno.DatagramConn): Promise<void> {
    const { counters } = this.#owner;
    for (;;) {
      let length: number;
      let asked: Asked | undefined;
      try {
        const [bytes, from] = await socket.receive(buffer);
        length = bytes.length;
        asked = this.#askedAt(from as Deno.NetAddr);
      } catch {
        if (this.#hasEnded) return;
        counters.receiveErrors++;
        this.end(); // the client's next datagram opens another
        return;
      }
      if (this.#hasEnded) return;
      if (asked === undefined) {
        counters.unasked++;
        continue;
      }
      const now = this.#owner.now();
      this.#owner.touch(this, now);
      // An IPv6 target's datagram may be larger than IPv4 can carry (RFC 768, RFC 791 §3.1).
      const fits = length <= MAX_IPV4_DATA || this.flow.client.version === 6;
      if (fits && this.flow.send(asked.destination, asked.port, buffer, 0, length, now)) {
        counters.datagramsDown++;
        counters.bytesDown += length;
      } else {
        counters.noRoom++;
      }
    }
  }

  #askedAt(from: Deno.NetAddr): Asked | undefined {
    const last = this.#lastReply;
    if (
      last !== undefined && last.target.port === from.port && last.target.hostname === from.hostname
    ) return last;
    const asked = this.#byTarget.get(keyOf(from));
    if (asked !== undefined) this.#lastReply = asked;
    return asked;
  }

  #forgetOldest(): void {
    const [key, oldest] = this.#byDestination.entries().next().value!;
    this.#byDestination.delete(key);
    const target = keyOf(oldest.target);
    // Two destinations may be mapped to one target.
    if (this.#byTarget.get(target) === oldest) this.#byTarget.delete(target);
  }
}

const MAX_IPV4_DATA = 65507;

function keyOf({ hostname, port }: Deno.NetAddr): string {
  return `${hostname} ${port}`;
}
