import type { IpAddress } from "../address.ts";
import { readUint16 } from "../bytes.ts";
import { finish, sum } from "../checksum.ts";
import { Deadlines } from "../deadlines.ts";
import type { Nic } from "../nic.ts";
import {
  type IcmpErrorKind,
  type Inbound,
  type IpOutput,
  Path,
  PROTOCOL_TCP,
  type TransportProtocol,
} from "../transport.ts";
import { ChallengeLimiter } from "./challenge.ts";
import { ANNOUNCED, Connection } from "./connection.ts";
import { TcpCounters } from "./counters.ts";
import { FlowHash, FlowTable } from "./demux.ts";
import type { TcpEndpoint, TcpError } from "./endpoint.ts";
import { Ensembles } from "./ensemble.ts";
import type { TcpForwarderHandler } from "./forwarder.ts";
import {
  DESTINATION_PORT,
  MAX_WINDOW_SCALE,
  readInt32,
  Segment,
  SEQUENCE,
  SOURCE_PORT,
} from "./header.ts";
import { handleIcmpError } from "./icmp_error.ts";
import { Identity } from "./identity.ts";
import { handleSegment } from "./input.ts";
import type { TcpListener, TcpListenerHandler } from "./listener.ts";
import { BLOCKED, DONE, emit } from "./output.ts";
import { checkPort, Ports } from "./ports.ts";
import { Replies } from "./replies.ts";
import { RingMemory } from "./ring_memory.ts";
import { after } from "./sequence.ts";
import { resolveSettings, type TcpSettings } from "./settings.ts";
import { Strangers } from "./strangers.ts";
import { tell } from "./tell.ts";
import { handleDeadline } from "./timers.ts";
import { Worklist } from "./worklist.ts";

/** Segments one connection may send before the next has its turn. */
const QUANTUM = 64;
export interface TcpConnectOptions {
  remote: IpAddress;
  remotePort: number;
  /** Default: by route. */
  local?: IpAddress;
  /** Default: an ephemeral port. */
  localPort?: number;
}

export interface TcpListenOptions {
  /** Default: every own address. */
  address?: IpAddress;
  /** 0 = an ephemeral port. */
  port: number;
  /** Connections in handshake at most. */
  backlog?: number;
}

/** TCP of one stack: demultiplexing, listeners, forwarders, timers, and turns to send. */
export class Tcp implements TransportProtocol {
  readonly ip: IpOutput;
  readonly settings: TcpSettings;
  /** Where connections keep what they have sent and received. */
  readonly memory: RingMemory;
  readonly counters = new TcpCounters();
  readonly replies: Replies;
  readonly challenges: ChallengeLimiter;
  /** Of the windows we announce: the largest must fit (RFC 7323 §2.3). */
  readonly windowScale: number;
  /** Segments with text since the flush began. */
  sentThisFlush = 0;

  readonly #identity: Identity;
  readonly #ports: Ports;
  readonly #hash: FlowHash;
  readonly #strangers: Strangers;
  readonly #flows = new FlowTable<Connection>();
  readonly #deadlines = new Deadlines<Connection>();
  readonly #ensembles = new Ensembles();
  /** Every connection whose last callback has not been made. */
  readonly #connections = new Set<Connection>();
  readonly #segment = new Segment();
  #dirty = new Worklist<Connection>();
  #waiting = new Worklist<Connection>();
  readonly #events = new Worklist<Connection>();

  /** @throws {RangeError} for settings out of range. */
  constructor(ip: IpOutput, settings: Partial<TcpSettings>, memory = new RingMemory()) {
    this.ip = ip;
    this.memory = memory;
    this.settings = resolveSettings(settings);
    this.replies = new Replies(ip, this.counters);
    const random = (out: Uint8Array) => ip.random(out);
    this.challenges = new ChallengeLimiter(this.settings.challengeAcksPerSecond, random);
    this.#identity = new Identity(random);
    this.#hash = new FlowHash(random);
    this.#strangers = new Strangers(this);
    this.#ports = new Ports(
      this.settings,
      this.#identity,
      this.#hash,
      this.#strangers,
      this.#flows,
    );
    let scale = 0;
    while (this.settings.receiveBuffer >> scale > 0xffff && scale < MAX_WINDOW_SCALE) scale++;
    this.windowScale = scale;
  }

  // Commands.

  /**
   * Opens a connection. The endpoint's handler hears of success or failure.
   *
   * @throws {RangeError} for a port out of range.
   * @throws {Error} if no route leads there, no port is free, or the limit is reached.
   */
  connect(options: TcpConnectOptions, now: number): TcpEndpoint {
    const { remote, remotePort } = options;
    checkPort(remotePort, 1);
    const route = this.ip.route(remote);
    if (route === undefined) throw new Error(`no route to ${remote}`);
    if (this.isFull) {
      throw new Error(`${this.settings.maxConnections} TCP connections are open already`);
    }
    const local = options.local ?? route.source;
    const localPort = this.#ports.local(local, remote, remotePort, options.localPort, now);
    const path = new Path(route.nic, PROTOCOL_TCP, local, remote);
    const hash = this.#hash.ofFlow(local, localPort, remote, remotePort);
    const { timeWait } = this.#strangers;
    const before = timeWait.find(hash, local, localPort, remote, remotePort);
    if (before !== undefined) {
      timeWait.remove(before);
      this.counters.timeWaitReused++;
    }
    const above = before?.sendNext;
    const c = this.open(path, local, localPort, remote, remotePort, hash, undefined, above, now);
    c.active = true;
    c.state = "syn-sent";
    c.synPending = true;
    this.markDirty(c);
    return c.endpoint;
  }

  /**
   * Listens on own addresses.
   *
   * @throws {RangeError} for a port out of range.
   * @throws {Error} if the port is taken.
   */
  listen(options: TcpListenOptions, handler: TcpListenerHandler): TcpListener {
    const { address, backlog = this.settings.backlog } = options;
    checkPort(options.port, 0);
    const port = options.port === 0 ? this.#ports.listen() : options.port;
    return this.#strangers.listen(address, port, backlog, handler);
  }

  /** Who answers for foreign addresses behind `nic`; undefined = nobody. */
  setForwarder(nic: Nic, handler: TcpForwarderHandler | undefined): void {
    this.#strangers.setForwarder(nic, handler);
  }

  // Inputs.

  handlePacket(inbound: Inbound, now: number): void {
    this.counters.segmentsIn++;
    const { buffer, payload, length, source, destination, version } = inbound;
    const segment = this.#segment;
    if (!segment.parse(buffer, payload, length)) {
      this.counters.malformed++;
      return;
    }
    const size = version === 4 ? 4 : 16;
    // Source and destination lie side by side in both headers: the pseudo header.
    const pseudo = sum(buffer, source, 2 * size, PROTOCOL_TCP + length);
    if (finish(this.ip.sum(buffer, payload, length, pseudo)) !== 0) {
      this.counters.badChecksum++;
      return;
    }
    const localPort = readUint16(buffer, payload + DESTINATION_PORT);
    const remotePort = readUint16(buffer, payload + SOURCE_PORT);
    const hash = this.#hash.of(buffer, destination, localPort, buffer, source, remotePort, size);
    const c = this.#flows.lookup(
      hash,
      buffer,
      destination,
      localPort,
      buffer,
      source,
      remotePort,
      version,
    );
    if (c !== undefined) handleSegment(c, segment, now);
    else this.#strangers.handleSegment(inbound, segment, hash, localPort, remotePort, now);
  }

  handleIcmpError(
    kind: IcmpErrorKind,
    mtu: number,
    version: 4 | 6,
    buffer: Uint8Array,
    source: number,
    destination: number,
    transport: number,
    length: number,
    _now: number,
  ): void {
    if (length < 8) return;
    const localPort = readUint16(buffer, transport + SOURCE_PORT);
    const remotePort = readUint16(buffer, transport + DESTINATION_PORT);
    const size = version === 4 ? 4 : 16;
    const hash = this.#hash.of(buffer, source, localPort, buffer, destination, remotePort, size);
    const c = this.#flows.lookup(
      hash,
      buffer,
      source,
      localPort,
      buffer,
      destination,
      remotePort,
      version,
    );
    const sequence = readInt32(buffer, transport + SEQUENCE);
    if (c === undefined || !handleIcmpError(c, kind, mtu, sequence)) {
      this.counters.icmpIgnored++;
    }
  }

  handleTimeout(now: number): void {
    for (;;) {
      const c = this.#deadlines.popDue(now);
      if (c === undefined) break;
      handleDeadline(c, now);
      this.#schedule(c);
    }
    this.#strangers.handleTimeout(now);
  }

  // Outputs.

  pollTimeout(): number {
    return Math.min(this.#deadlines.next(), this.#strangers.pollTimeout());
  }

  flush(now: number, budget: number): boolean {
    this.#dispatch();
    let done = this.replies.flush(now);
    this.sentThisFlush = 0;
    // Connections that become dirty while others send wait for the next flush.
    const queue = this.#dirty;
    this.#dirty = this.#waiting;
    this.#waiting = queue;
    for (let i = 0; i < queue.length; i++) {
      const c = queue.take(i);
      c.dirty = false;
      const quota = Math.min(QUANTUM, budget - this.sentThisFlush);
      const result = emit(c, quota, now);
      this.#schedule(c);
      if (result !== DONE) {
        if (!c.dirty) {
          c.dirty = true;
          this.#dirty.push(c);
        }
        if (result === BLOCKED) done = false;
      }
    }
    queue.clear();
    return !done || this.#dirty.length > 0 || this.#events.length > 0;
  }

  // Figures.

  /** Every connection until its closed() callback. */
  *connections(): Generator<TcpEndpoint> {
    for (const c of this.#connections) yield c.endpoint;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  get halfOpenCount(): number {
    return this.#strangers.halfOpenCount;
  }

  get timeWaitCount(): number {
    return this.#strangers.timeWait.size;
  }

  /** Remote addresses with established connections. */
  get ensembleCount(): number {
    return this.#ensembles.size;
  }

  get listenerCount(): number {
    return this.#strangers.listenerCount;
  }

  get timers(): number {
    return this.#deadlines.size + this.#strangers.timers;
  }

  // For the parts of TCP.

  /** `c` has something to send, or its deadlines moved. */
  markDirty(c: Connection): void {
    if (c.dirty) return;
    c.dirty = true;
    this.#dirty.push(c);
    if (this.#dirty.length === 1) this.ip.markDirty();
  }

  queueEvents(c: Connection): void {
    this.#events.push(c);
    if (this.#events.length === 1) this.ip.markDirty();
  }

  /** The timestamp clock of `c`: milliseconds from a start nobody knows (RFC 7323 §5.4). */
  timestamp(c: Connection, now: number): number {
    return (Math.floor(now) + c.tsOffset) | 0;
  }

  /** How long ago the timestamp that `segment` echoes was sent, ms; -1 = never. */
  echoDelay(c: Connection, segment: Segment, now: number): number {
    const delay = (this.timestamp(c, now) - segment.tsEcho) | 0;
    return delay >= 0 && delay < 0x1000_0000 ? delay : -1;
  }

  /** `c` is over. */
  finish(c: Connection, error: TcpError | undefined): void {
    this.#forget(c);
    c.state = "closed";
    c.end(error);
  }

  /** Both FINs are acknowledged, ours first: a record stays behind (RFC 9293 §3.10.7.4). */
  enterTimeWait(c: Connection, now: number): void {
    this.#forget(c);
    c.state = "time-wait";
    const { local, localPort, remote, remotePort, hash, timestamps, tsRecent, tsOffset } = c;
    this.#strangers.timeWait.add({
      local,
      localPort,
      remote,
      remotePort,
      hash,
      sendNext: c.sender.nxt,
      receiveNext: c.receiver.next,
      timestamps,
      tsRecent,
      tsOffset,
    }, now);
    this.counters.timeWaitOverflow = this.#strangers.timeWait.overflow;
    c.end(undefined);
  }

  /** The limit on connections is reached. */
  get isFull(): boolean {
    return this.#connections.size >= this.settings.maxConnections;
  }

  /**
   * Makes a connection and its control block.
   *
   * @param from Who sent the SYN; undefined = we do.
   * @param above The connection in TIME-WAIT before it had used numbers up to here
   * (RFC 1122 §4.2.2.13).
   */
  open(
    path: Path,
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
    hash: number,
    from: unknown,
    above: number | undefined,
    now: number,
  ): Connection {
    const c = new Connection(this, path, local, localPort, remote, remotePort, hash, from, now);
    c.iss = this.#identity.initialSequence(local, localPort, remote, remotePort, now);
    c.tsOffset = this.#identity.timestampOffset;
    if (above !== undefined && !after(c.iss, above)) c.iss = (above + 0x10000) | 0;
    c.sender.una = c.iss;
    c.sender.nxt = (c.iss + 1) | 0;
    this.#flows.insert(c);
    this.#connections.add(c);
    return c;
  }

  /** Half-open connections of a closed listener end with it. */
  removeListener(listener: TcpListener): void {
    this.#strangers.removeListener(listener);
    for (const c of this.#connections) {
      if (c.listener === listener && !c.finished) c.abort();
    }
  }

  /** A closed endpoint waits for the peer's FIN, but not for ever. */
  startFinWait2(c: Connection): void {
    c.finWait2Pending = true;
    this.markDirty(c);
  }

  /** `c` is established, or over. */
  leaveHalfOpen(c: Connection): void {
    if (!c.isHalfOpen) return;
    c.isHalfOpen = false;
    this.#strangers.limits.release(c.limitedAs);
  }

  /** `c` no longer counts for its listener: it was handed over, or is over. */
  leaveBacklog(c: Connection): void {
    if (c.listener !== undefined) c.listener.halfOpen--;
    c.listener = undefined;
  }

  /** The last callback of `c` is being made. */
  remove(c: Connection): void {
    this.#connections.delete(c);
  }

  /** `c` is established: it shares the path to its peer. */
  joinEnsemble(c: Connection): void {
    c.sender.ensemble = this.#ensembles.join(c.remote, c.sender);
  }

  /** The timestamp offset of the flow {@link open} would make. */
  timestampOffset(path: Path, localPort: number, remotePort: number, now: number): number {
    this.#identity.initialSequence(path.source, localPort, path.destination, remotePort, now);
    return this.#identity.timestampOffset;
  }

  #forget(c: Connection): void {
    this.leaveHalfOpen(c);
    const { ensemble } = c.sender;
    if (ensemble !== undefined) {
      this.#ensembles.leave(c.remote, ensemble, c.sender);
      c.sender.ensemble = undefined;
    }
    this.#flows.remove(c);
    this.#deadlines.remove(c);
    if (c.listener !== undefined && (c.events & ANNOUNCED) === 0) this.leaveBacklog(c);
  }

  #schedule(c: Connection): void {
    this.#deadlines.set(c, c.nextDeadline());
  }

  #dispatch(): void {
    this.#strangers.dispatch();
    const queue = this.#events;
    for (let i = 0; i < queue.length; i++) tell(queue.take(i));
    queue.clear();
  }
}
