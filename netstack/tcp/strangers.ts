import { IpAddress } from "../address.ts";
import type { Nic } from "../nic.ts";
import { type Inbound, Path, PROTOCOL_TCP } from "../transport.ts";
import type { Connection } from "./connection.ts";
import { FlowTable } from "./demux.ts";
import type { TcpEndpoint } from "./endpoint.ts";
import { HalfOpen, type TcpForwarderHandler } from "./forwarder.ts";
import { ACK, RST, type Segment, SYN } from "./header.ts";
import { TcpListener, type TcpListenerHandler } from "./listener.ts";
import type { Tcp } from "./tcp.ts";
import { ACKNOWLEDGE, IGNORE, type TimeWait, TimeWaitTable } from "./time_wait.ts";

/**
 * Segments that belong to no connection: those for listeners and forwarders, for connections in
 * TIME-WAIT, and for nobody.
 */
export class Strangers {
  readonly timeWait: TimeWaitTable;
  readonly #tcp: Tcp;
  readonly #listeners = new Map<number, TcpListener[]>();
  readonly #forwarders = new Map<Nic, TcpForwarderHandler>();
  readonly #halfOpen = new FlowTable<HalfOpen>();
  /** Half-open requests the forwarders have to hear of. */
  #requests: HalfOpen[] = [];

  constructor(tcp: Tcp) {
    this.#tcp = tcp;
    this.timeWait = new TimeWaitTable(tcp.settings.timeWaitMs, tcp.settings.maxTimeWait);
  }

  get halfOpenCount(): number {
    return this.#halfOpen.size;
  }

  get listenerCount(): number {
    let count = 0;
    for (const listeners of this.#listeners.values()) count += listeners.length;
    return count;
  }

  isListening(port: number): boolean {
    return this.#listeners.has(port);
  }

  /** @throws {Error} if the port is taken. */
  listen(
    address: IpAddress | undefined,
    port: number,
    backlog: number,
    handler: TcpListenerHandler,
  ): TcpListener {
    const there = this.#listeners.get(port) ?? [];
    for (const other of there) {
      const same = address === undefined || other.address === undefined ||
        address.equals(other.address);
      if (same) throw new Error(`TCP port ${port} is in use`);
    }
    const listener = new TcpListener(this.#tcp, address, port, backlog, handler);
    this.#listeners.set(port, [...there, listener]);
    return listener;
  }

  removeListener(listener: TcpListener): void {
    const left = this.#listeners.get(listener.port)!.filter((other) => other !== listener);
    if (left.length > 0) this.#listeners.set(listener.port, left);
    else this.#listeners.delete(listener.port);
  }

  setForwarder(nic: Nic, handler: TcpForwarderHandler | undefined): void {
    if (handler !== undefined) this.#forwarders.set(nic, handler);
    else this.#forwarders.delete(nic);
  }

  handleSegment(
    inbound: Inbound,
    segment: Segment,
    hash: number,
    localPort: number,
    remotePort: number,
    now: number,
  ): void {
    const { buffer, source, destination, version } = inbound;
    const flags = segment.flags;
    let before: TimeWait | undefined;
    if (this.timeWait.size > 0) {
      before = this.timeWait.lookup(
        hash,
        buffer,
        destination,
        localPort,
        buffer,
        source,
        remotePort,
        version,
      );
      if (before !== undefined) {
        const verdict = this.timeWait.judge(before, segment, now);
        if (verdict === IGNORE) return;
        if (verdict === ACKNOWLEDGE) {
          this.#tcp.replies.acknowledge(replyPath(inbound), before);
          return;
        }
        this.#tcp.counters.timeWaitReused++;
      }
    }
    const waiting = this.#halfOpen.lookup(
      hash,
      buffer,
      destination,
      localPort,
      buffer,
      source,
      remotePort,
      version,
    );
    if (waiting !== undefined && !this.#replaces(waiting, segment)) return;
    if ((flags & (SYN | ACK | RST)) === SYN) {
      if (inbound.local) {
        const listener = this.#findListener(localPort, buffer, destination, version);
        if (listener !== undefined) {
          this.#handleListen(listener, inbound, segment, hash, localPort, remotePort, before, now);
          return;
        }
      } else if (this.#forwarders.has(inbound.nic)) {
        this.#handleForward(inbound, segment, hash, localPort, remotePort, before, now);
        return;
      }
    }
    if ((flags & RST) !== 0) return;
    this.#tcp.counters.noListener++;
    this.#tcp.replies.reset(replyPath(inbound), localPort, remotePort, segment);
  }

  /** Tells the forwarders of new requests and of clients that gave up. */
  dispatch(): void {
    const requests = this.#requests;
    if (requests.length === 0) return;
    this.#requests = [];
    for (const request of requests) request.dispatch(this.#forwarders.get(request.nic));
  }

  queueRequest(request: HalfOpen): void {
    this.#requests.push(request);
    this.#tcp.ip.markDirty();
  }

  removeHalfOpen(request: HalfOpen): void {
    request.settled = true;
    this.#halfOpen.remove(request);
  }

  /** The dial succeeded: the SYN is answered. */
  accept(request: HalfOpen): TcpEndpoint | undefined {
    const tcp = this.#tcp;
    this.removeHalfOpen(request);
    if (tcp.isFull) {
      tcp.counters.connectionsFull++;
      return undefined;
    }
    const { local, localPort, remote, remotePort, ingress, hash, before, at } = request;
    const path = new Path(ingress, PROTOCOL_TCP, local, remote);
    const c = tcp.open(path, local, localPort, remote, remotePort, hash, before?.sendNext, at);
    // The other side of a relay has coalesced already.
    c.sender.noDelay = true;
    this.#answer(c, request.syn, at);
    return c.endpoint;
  }

  /**
   * A segment for a request that waits for the dial.
   *
   * @returns Whether it is a SYN that takes its place.
   */
  #replaces(waiting: HalfOpen, segment: Segment): boolean {
    const flags = segment.flags;
    if ((flags & RST) !== 0) {
      // Nothing was sent yet, so the client can only know its own number.
      this.#tcp.counters.resetsIn++;
      const offset = (segment.sequence - waiting.syn.sequence) | 0;
      if (offset >= 0 && offset <= 1) waiting.abort();
      return false;
    }
    if ((flags & SYN) === 0 || (flags & ACK) !== 0) return false;
    if (segment.sequence === waiting.syn.sequence) return false;
    waiting.abort();
    return true;
  }

  /** RFC 9293 §3.10.7.2 */
  #handleListen(
    listener: TcpListener,
    inbound: Inbound,
    syn: Segment,
    hash: number,
    localPort: number,
    remotePort: number,
    before: TimeWait | undefined,
    now: number,
  ): void {
    const tcp = this.#tcp;
    if (listener.halfOpen >= listener.backlog) {
      tcp.counters.backlogFull++;
      return;
    }
    if (tcp.isFull) {
      tcp.counters.connectionsFull++;
      return;
    }
    const path = replyPath(inbound);
    const { source: local, destination: remote } = path;
    const c = tcp.open(path, local, localPort, remote, remotePort, hash, before?.sendNext, now);
    c.listener = listener;
    listener.halfOpen++;
    this.#answer(c, syn, now);
  }

  #handleForward(
    inbound: Inbound,
    syn: Segment,
    hash: number,
    localPort: number,
    remotePort: number,
    before: TimeWait | undefined,
    now: number,
  ): void {
    if (this.#halfOpen.size >= this.#tcp.settings.maxHalfOpen) {
      this.#tcp.counters.halfOpenFull++;
      return;
    }
    const request = new HalfOpen(this, inbound, localPort, remotePort, hash, syn, before, now);
    this.#halfOpen.insert(request);
    this.queueRequest(request);
  }

  /** A connection in SYN-RECEIVED by `syn`. */
  #answer(c: Connection, syn: Segment, now: number): void {
    c.takeSyn(syn, now);
    c.state = "syn-received";
    c.synPending = true;
    this.#tcp.markDirty(c);
  }

  #findListener(
    port: number,
    buffer: Uint8Array,
    destination: number,
    version: 4 | 6,
  ): TcpListener | undefined {
    const listeners = this.#listeners.get(port);
    if (listeners === undefined) return undefined;
    for (let i = 0; i < listeners.length; i++) {
      const address = listeners[i]!.address;
      if (address === undefined || address.matches(buffer, destination, version)) {
        return listeners[i];
      }
    }
    return undefined;
  }

  /** Refuses `request` with RST, and with an ICMP error unless that is all. */
  refuse(request: HalfOpen, icmp: "host" | "net" | "prohibited" | undefined): void {
    const { replies } = this.#tcp;
    const { ingress, local, localPort, remote, remotePort, original, syn } = request;
    if (icmp !== undefined) replies.unreachable(icmp, ingress, original);
    const path = new Path(ingress, PROTOCOL_TCP, local, remote);
    replies.reset(path, localPort, remotePort, syn);
  }
}

/** Back to where the segment came from. */
function replyPath(inbound: Inbound): Path {
  const { ingress, buffer, source, destination, version } = inbound;
  const local = IpAddress.from(buffer, destination, version);
  return new Path(ingress, PROTOCOL_TCP, local, IpAddress.from(buffer, source, version));
}
