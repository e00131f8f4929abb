/**
 * Segments that belong to no connection.
 *
 * @module
 */

import { IpAddress } from "../address.ts";
import { Deadlines } from "../deadlines.ts";
import type { Nic } from "../nic.ts";
import { PROTOCOL_TCP } from "../protocols.ts";
import { type Inbound, Path } from "../transport.ts";
import type { Connection } from "./connection.ts";
import type { Connections } from "./connections.ts";
import { decodeSack, decodeWindowScale, encodeOptions, SynCookies } from "./cookies.ts";
import { FlowTable } from "./demux.ts";
import type { TcpEndpoint } from "./endpoint.ts";
import { HalfOpen, type HalfOpenOwner, type TcpForwarderHandler } from "./forwarder.ts";
import type { HalfOpenLimits } from "./half_open.ts";
import { ACK, HEADER_LENGTH, opensAndCloses, RST, Segment, SYN } from "./header.ts";
import { handleSegment } from "./input.ts";
import { TcpListener, type TcpListenerHandler } from "./listener.ts";
import { type RequestPacing, RequestQueue } from "./request_queue.ts";
import { ACKNOWLEDGE, IGNORE, type TimeWait } from "./time_wait.ts";

/**
 * Segments that belong to no connection: those for listeners and forwarders, for connections in
 * TIME-WAIT, and for nobody.
 */
export class UnmatchedSegments implements HalfOpenOwner {
  readonly #connections: Connections;
  readonly #listeners = new Map<number, TcpListener[]>();
  readonly #forwarders = new Map<Nic, TcpForwarderHandler>();
  readonly #halfOpen = new FlowTable<HalfOpen>();
  readonly #deadlines = new Deadlines<HalfOpen>();
  readonly #limits: HalfOpenLimits;
  readonly #cookies: SynCookies;
  /** Half-open requests the forwarders have to hear of. */
  readonly #requests: RequestQueue;

  /** Gives up the oldest half-open connection or request of an owner, for another owner's. */
  readonly #evict = (owner: unknown) => {
    let oldest: HalfOpen | undefined;
    for (const request of this.#halfOpen) {
      if (request.from === owner && (oldest === undefined || request.at < oldest.at)) {
        oldest = request;
      }
    }
    this.#connections.counters.halfOpenEvicted++;
    // In silence: its SYN comes again.
    if (oldest !== undefined) oldest.abort();
    else this.#connections.evictHalfOpen(owner);
  };

  constructor(connections: Connections, pacing?: RequestPacing) {
    this.#connections = connections;
    this.#requests = new RequestQueue(pacing);
    this.#limits = connections.halfOpen;
    this.#cookies = new SynCookies((out) => connections.ip.random(out));
  }

  get halfOpenCount(): number {
    return this.#halfOpen.size;
  }

  get listenerCount(): number {
    let count = 0;
    for (const listeners of this.#listeners.values()) count += listeners.length;
    return count;
  }

  /** Deadlines that are armed. */
  get timers(): number {
    return this.#deadlines.size + (this.#connections.timeWait.size > 0 ? 1 : 0);
  }

  pollTimeout(): number {
    const { timeWait } = this.#connections;
    return Math.min(timeWait.next(), this.#deadlines.next(), this.#requests.next());
  }

  handleTimeout(now: number): void {
    this.#connections.timeWait.expire(now);
    for (;;) {
      const request = this.#deadlines.popDue(now);
      if (request === undefined) break;
      this.#connections.counters.requestsExpired++;
      request.abort();
    }
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
    const listener = new TcpListener(
      address,
      port,
      backlog,
      handler,
      (closed) => this.#removeListener(closed),
    );
    this.#listeners.set(port, [...there, listener]);
    return listener;
  }

  setForwarder(nic: Nic, handler: TcpForwarderHandler | undefined): void {
    if (handler !== undefined) this.#forwarders.set(nic, handler);
    else this.#forwarders.delete(nic);
  }

  /** Its forwarder, and the requests that came in by it. */
  removeNic(nic: Nic): void {
    this.#forwarders.delete(nic);
    for (const request of [...this.#halfOpen]) if (request.ingress === nic) request.abort();
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
    if (opensAndCloses(flags)) {
      this.#connections.counters.badFlags++;
      return;
    }
    let before: TimeWait | undefined;
    if (this.#connections.timeWait.size > 0) {
      before = this.#connections.timeWait.lookup(
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
        const verdict = this.#connections.timeWait.judge(before, segment, now);
        if (verdict === IGNORE) return;
        if (verdict === ACKNOWLEDGE) {
          this.#connections.replies.acknowledge(replyPath(inbound), before);
          return;
        }
        this.#connections.counters.timeWaitReused++;
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
    if ((flags & (SYN | ACK)) === ACK && inbound.local && this.#cookies.pending(now)) {
      if (this.#acceptCookie(inbound, segment, hash, localPort, remotePort, now)) return;
    }
    this.#connections.counters.noListener++;
    this.#connections.replies.reset(replyPath(inbound), localPort, remotePort, segment);
  }

  /**
   * Tells the forwarders of new requests, a few, and of clients that gave up.
   *
   * @returns whether more can be told now. When those that have to wait can, {@link pollTimeout} says.
   */
  dispatch(now: number): boolean {
    for (let told = 0; told < this.#requests.atOnce; told++) {
      let request = this.#requests.take(now);
      while (request?.settled && !request.told) request = this.#requests.take(now);
      if (request === undefined) return false;
      request.dispatch(this.#forwarders.get(request.nic));
    }
    return this.#requests.isReady;
  }

  queueRequest(request: HalfOpen): void {
    this.#requests.push(request);
    this.#connections.ip.markDirty();
  }

  removeHalfOpen(request: HalfOpen): void {
    request.settled = true;
    this.#halfOpen.remove(request);
    this.#deadlines.remove(request);
    this.#limits.release(request.limitedAs, request.from);
  }

  /** The dial succeeded: the SYN is answered. */
  accept(request: HalfOpen): TcpEndpoint | undefined {
    const connections = this.#connections;
    this.removeHalfOpen(request);
    if (connections.isFull) {
      connections.counters.connectionsFull++;
      return undefined;
    }
    const { local, localPort, remote, remotePort, ingress, from, hash, at } = request;
    const path = new Path(ingress, PROTOCOL_TCP, local, remote);
    const above = request.before?.sendNext;
    const c = connections.open(path, local, localPort, remote, remotePort, hash, from, above, at);
    // The other side of a relay has coalesced already.
    c.sender.noDelay = true;
    // It keeps its place among the half-open until the client answers.
    c.isHalfOpen = this.#limits.take(request.limitedAs, from, this.#evict);
    c.limitedAs = request.limitedAs;
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
      this.#connections.counters.resetsIn++;
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
    const connections = this.#connections;
    if (connections.isFull) {
      connections.counters.connectionsFull++;
      return;
    }
    const limitedAs = this.#sourceOf(inbound);
    if (
      listener.halfOpen >= listener.backlog ||
      !this.#limits.take(limitedAs, inbound.from, this.#evict)
    ) {
      connections.counters.backlogFull++;
      if (connections.settings.synCookies) {
        this.#sendCookie(inbound, syn, localPort, remotePort, now);
      }
      return;
    }
    const path = replyPath(inbound);
    const { source: local, destination: remote } = path;
    const { from } = inbound;
    const above = before?.sendNext;
    const c = connections.open(path, local, localPort, remote, remotePort, hash, from, above, now);
    c.listener = listener;
    listener.halfOpen++;
    c.isHalfOpen = true;
    c.limitedAs = limitedAs;
    this.#answer(c, syn, now);
  }

  #sourceOf(inbound: Inbound): number {
    const { buffer, source, version } = inbound;
    return this.#limits.sourceAt(buffer, source, version === 4 ? 4 : 16);
  }

  #sendCookie(
    inbound: Inbound,
    syn: Segment,
    localPort: number,
    remotePort: number,
    now: number,
  ): void {
    const connections = this.#connections;
    const { settings } = connections;
    const path = replyPath(inbound);
    const { source: local, destination: remote } = path;
    const { sequence, mss } = syn;
    // Without timestamps there is nowhere to keep the other options.
    const timestamps = settings.timestamps && syn.hasTimestamps;
    const scale = timestamps && settings.windowScale ? syn.windowScale : -1;
    const sack = timestamps && settings.sack && syn.sackPermitted;
    const clock = Math.floor(now) + connections.timestampOffset(path, localPort, remotePort, now);
    connections.counters.synCookiesSent++;
    connections.replies.synAck(path, localPort, remotePort, {
      sequence: this.#cookies.make(local, localPort, remote, remotePort, sequence, mss, now),
      acknowledgment: (sequence + 1) | 0,
      mss: Math.min(path.mtu - path.headerLength - HEADER_LENGTH, settings.maxMss),
      windowScale: scale < 0 ? -1 : connections.windowScale,
      sack,
      window: Math.min(0xffff, settings.initialBuffer, settings.receiveBuffer),
      timestamp: timestamps ? encodeOptions(clock | 0, scale, sack) : undefined,
      timestampEcho: syn.tsValue,
    });
  }

  /** The ACK of a cookie makes the connection that its SYN could not (RFC 4987 §3.6). */
  #acceptCookie(
    inbound: Inbound,
    segment: Segment,
    hash: number,
    localPort: number,
    remotePort: number,
    now: number,
  ): boolean {
    const connections = this.#connections;
    const { buffer, destination, version } = inbound;
    const listener = this.#findListener(localPort, buffer, destination, version);
    if (listener === undefined || connections.isFull) return false;
    const path = replyPath(inbound);
    const { source: local, destination: remote } = path;
    const irs = (segment.sequence - 1) | 0;
    const iss = (segment.acknowledgment - 1) | 0;
    const mss = this.#cookies.check(local, localPort, remote, remotePort, irs, iss, now);
    if (mss === 0) return false;
    const syn = new Segment();
    syn.sequence = irs;
    syn.mss = mss;
    syn.hasTimestamps = segment.hasTimestamps;
    syn.tsValue = segment.tsValue;
    syn.windowScale = segment.hasTimestamps ? decodeWindowScale(segment.tsEcho) : -1;
    syn.sackPermitted = segment.hasTimestamps && decodeSack(segment.tsEcho);
    const { from } = inbound;
    const c = connections.open(
      path,
      local,
      localPort,
      remote,
      remotePort,
      hash,
      from,
      undefined,
      now,
    );
    c.iss = iss;
    c.sender.una = iss;
    c.sender.nxt = (iss + 1) | 0;
    c.listener = listener;
    listener.halfOpen++;
    c.takeSyn(syn, now);
    c.state = "syn-received";
    // When the SYN-ACK left is not known; a timestamp may tell.
    c.synRetries = 1;
    connections.counters.synCookiesAccepted++;
    handleSegment(c, segment, now);
    return true;
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
    const limitedAs = this.#sourceOf(inbound);
    if (!this.#limits.take(limitedAs, inbound.from, this.#evict)) {
      // Silence: the client tries again, and nobody learns more from it.
      this.#connections.counters.halfOpenFull++;
      return;
    }
    const request = new HalfOpen(
      this,
      inbound,
      localPort,
      remotePort,
      hash,
      syn,
      before,
      limitedAs,
      now,
    );
    this.#halfOpen.insert(request);
    this.#deadlines.set(request, now + this.#connections.settings.requestMs);
    this.queueRequest(request);
  }

  /** A connection in SYN-RECEIVED by `syn`. */
  #answer(c: Connection, syn: Segment, now: number): void {
    c.takeSyn(syn, now);
    c.state = "syn-received";
    c.synPending = true;
    this.#connections.markDirty(c);
  }

  #removeListener(listener: TcpListener): void {
    const left = this.#listeners.get(listener.port)!.filter((other) => other !== listener);
    if (left.length > 0) this.#listeners.set(listener.port, left);
    else this.#listeners.delete(listener.port);
    this.#connections.abortHalfOpen(listener);
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

  refuse(request: HalfOpen, icmp: "host" | "net" | "prohibited" | undefined): void {
    const { replies } = this.#connections;
    const { ingress, local, localPort, remote, remotePort, original, syn } = request;
    const path = new Path(ingress, PROTOCOL_TCP, local, remote);
    if (icmp === undefined) replies.reset(path, localPort, remotePort, syn);
    else replies.unreachable(icmp, original, path, localPort, remotePort, syn);
  }
}

/** Back to where the segment came from. */
function replyPath(inbound: Inbound): Path {
  const { ingress, buffer, source, destination, version } = inbound;
  const local = IpAddress.from(buffer, destination, version);
  return new Path(ingress, PROTOCOL_TCP, local, IpAddress.from(buffer, source, version));
}
