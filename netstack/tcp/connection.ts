/**
 * The control block of a connection, shared by all that works on it.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import type { MemoryAccount, MemoryBudget } from "../memory_budget.ts";
import type { IpOutput, Path } from "../transport.ts";
import type { ChallengeLimiter } from "./challenge.ts";
import type { TcpCounters } from "./counters.ts";
import type { Flow } from "./demux.ts";
import {
  type EndpointConnection,
  TcpEndpoint,
  type TcpError,
  type TcpInfo,
  type TcpState,
} from "./endpoint.ts";
import { HEADER_LENGTH, type Segment, TIMESTAMPS_LENGTH } from "./header.ts";
import type { TcpListener } from "./listener.ts";
import { Receiver } from "./receiver.ts";
import type { Replies } from "./replies.ts";
import type { RingMemory } from "./ring_memory.ts";
import { Sender } from "./sender.ts";
import type { KeepAlive, TcpSettings } from "./settings.ts";

/** Bits of {@link Connection.events}, delivered in this order. */
export const CONNECTED = 1;
export const READABLE = 2;
export const WRITABLE = 4;
export const CLOSED = 8;
/** For the listener; before all others. */
export const ANNOUNCED = 16;
/** Before {@link CLOSED}, which waits until everything was read. */
export const BROKEN = 32;

/** ACKs without delay at the start, so that the peer's window opens quickly. */
const QUICK_ACKS = 16;
/** Assumed without an MSS option (RFC 9293 §3.7.1). */
const DEFAULT_MSS_V4 = 536;
const DEFAULT_MSS_V6 = 1_220;

/** Less than 1/16 of the memory held is no progress, see {@link Connection.moved}. */
const NOTICEABLE = 16;
/** After a pause this long a connection has to earn its buffer again, ms. */
const PAUSE_MS = 2_000;
/** What an application should write at once, bytes. */
const APPETITE = 65_536;
/**
 * A connection that moved this much without a pause may hold as much when memory is short, bytes. A stalled
 * peer's buffer alone does not take so many.
 */
const MOVES = 131_072;

const NO_MEMORY: TcpError = {
  kind: "memory",
  message: "the connection held memory for long without moving, and others needed it",
};

/** What a connection needs of the TCP that it is part of. */
export interface TcpContext {
  readonly ip: IpOutput;
  readonly settings: TcpSettings;
  readonly memory: RingMemory;
  readonly budget: MemoryBudget;
  readonly counters: TcpCounters;
  readonly replies: Replies;
  readonly challenges: ChallengeLimiter;
  /** Of the windows we announce. */
  readonly windowScale: number;
  /** Segments with data since the flush began. */
  sentThisFlush: number;

  /** `c` has something to send, or its deadlines moved. */
  markDirty(c: Connection): void;
  /** `c` has something for the application. */
  queueEvents(c: Connection): void;
  /** `c` is over. */
  finish(c: Connection, error: TcpError | undefined): void;
  /** Both FINs are acknowledged, ours first: a record stays behind (RFC 9293 §3.10.7.4). */
  enterTimeWait(c: Connection, now: number): void;
  /** `c` is established, or over. */
  leaveHalfOpen(c: Connection): void;
  /** `c` is established: it shares the path to its peer. */
  joinEnsemble(c: Connection): void;
  /** The last callback of `c` is being made. */
  remove(c: Connection): void;
}

/**
 * A connection's control block and what an application may do with it. Segments come in through
 * input.ts and leave through output.ts.
 */
export class Connection implements Flow, EndpointConnection {
  readonly tcp: TcpContext;
  readonly path: Path;
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
  readonly hash: number;
  /** Who opened it: see {@link TcpEndpoint.from}. */
  readonly from: unknown;
  /** Whom its buffers are accounted to. */
  readonly account: MemoryAccount;
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly endpoint: TcpEndpoint;
  /** Where this one is announced once established. */
  listener: TcpListener | undefined;

  state: TcpState = "closed";
  error: TcpError | undefined;
  /** Opened by us: a SYN that fails is a refused connection, not a half-open one to forget. */
  active = false;
  /** Opened by the peer's SYN and not established yet: counts in `HalfOpenLimits`. */
  isHalfOpen = false;
  limitedAs = 0;

  /** Initial sequence numbers (ISS, IRS). */
  iss = 0;
  irs = 0;
  /** Path MTU, bytes; starts at the NIC's. */
  mtu: number;
  /** What the peer can take in one segment, its MSS option; 0 = not known yet. */
  peerMss = 0;
  /** Whether both SYNs carried a window scale; and the scale of the peer's windows. */
  scaled = false;
  sendScale = 0;
  timestamps = false;
  /** TS.Recent, and when it was taken (RFC 7323 §4.3). */
  tsRecent = 0;
  tsRecentAt = 0;
  /** Added to the clock, so that timestamps do not tell our uptime (RFC 7323 §7.1). */
  tsOffset = 0;
  /** Last.ACK.sent */
  lastAckSent = 0;

  /** SYN or SYN-ACK to be sent. */
  synPending = false;
  synSentAt = 0;
  synRetries = 0;
  resetPending = false;
  ackNow = false;
  keepAliveProbePending = false;
  /** Received in order since our last ACK, bytes. */
  unacknowledgedBytes = 0;
  /** Segments with data in order, and out of order, since our last ACK. */
  dataSegments = 0;
  outOfOrderSegments = 0;
  quickAcks = QUICK_ACKS;
  /** When the delayed ACK is due, ms. */
  ackTimer = Infinity;
  /** FIN-WAIT-2 of a closed endpoint, ms. */
  stateTimer = Infinity;
  /** When to look whether the connection is idle, ms. */
  idleTimer = Infinity;
  /** When the path is asked whether it carries full segments after all, ms. */
  raiseAt = Infinity;
  /** The timer of FIN-WAIT-2 starts at the next flush, where the time is known. */
  finWait2Pending = false;
  keepAliveTimer = Infinity;
  keepAlive: KeepAlive | undefined;
  keepAliveProbes = 0;
  // Initialised: a declared field begins as undefined, and then each number stored is a new object.
  lastReceived = -Infinity;
  /** When it last {@link moved} data, ms. Reads count only at the next call of that. */
  movedAt = -Infinity;
  /** Bytes since then. */
  #movedBytes = 0;
  /** Bytes without a pause, see {@link PAUSE_MS}. */
  #movedOn = 0;
  #held = 0;
  /** Its last callback was made. */
  isGone = false;
  /** When a segment out of the window was last answered, ms. */
  lastInvalidAnswered = -Infinity;

  /** The application reads no more. */
  readClosed = false;
  /** What arrives before the FIN is acknowledged is discarded: a reset would overtake our data. */
  lingering = false;
  /** The last write was short. */
  wantsWritable = false;
  /** No segment can change anything any more; data may wait to be read. */
  finished = false;
  /** It failed with unread data, which is lost: what was read may not be all that the peer sent. */
  truncated = false;
  #closedQueued = false;
  #brokenQueued = false;

  /** Waits in the stack's list for flush. */
  dirty = false;
  events = 0;
  /** Of the entry in the stack's deadline heap. */
  deadline = Infinity;
  heapIndex = -1;
  /** In the list of all connections. */
  rosterIndex = -1;

  bytesIn = 0;
  segmentsIn = 0;
  segmentsOutOfOrder = 0;
  bytesOut = 0;
  segmentsOut = 0;

  constructor(
    tcp: TcpContext,
    path: Path,
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
    hash: number,
    from: unknown,
    now: number,
  ) {
    this.tcp = tcp;
    this.path = path;
    this.local = local;
    this.localPort = localPort;
    this.remote = remote;
    this.remotePort = remotePort;
    this.hash = hash;
    this.from = from;
    this.mtu = path.mtu;
    this.account = tcp.budget.join(from);
    this.sender = new Sender(tcp.settings, tcp.memory, this.account);
    this.receiver = new Receiver(tcp.settings, tcp.memory, this.account);
    this.#earn(0);
    this.endpoint = new TcpEndpoint(this);
    this.lastReceived = now;
    this.movedAt = now;
    this.keepAlive = tcp.settings.keepAlive;
  }

  /** The MSS to announce (RFC 6691: the MTU without fixed headers, options not counted). */
  get announcedMss(): number {
    const mss = this.path.mtu - this.path.headerLength - HEADER_LENGTH;
    return Math.min(mss, this.tcp.settings.maxMss);
  }

  /** Payload of a full segment in packets of `mtu`, as path and peer stand. */
  effectiveMss(mtu: number = this.mtu): number {
    const fallback = this.path.version === 4 ? DEFAULT_MSS_V4 : DEFAULT_MSS_V6;
    const { minMss, maxMss } = this.tcp.settings;
    const byPath = mtu - this.path.headerLength - HEADER_LENGTH;
    const mss = Math.max(minMss, Math.min(byPath, this.peerMss || fallback, maxMss));
    return mss - (this.timestamps ? TIMESTAMPS_LENGTH : 0);
  }

  /** Takes the options of the peer's SYN (RFC 9293 §3.7.1, RFC 7323 §2.2, RFC 2018 §2). */
  takeSyn(syn: Segment, now: number): void {
    const settings = this.tcp.settings;
    this.irs = syn.sequence;
    this.peerMss = syn.mss;
    this.timestamps = settings.timestamps && syn.hasTimestamps;
    if (this.timestamps) {
      this.tsRecent = syn.tsValue;
      this.tsRecentAt = now;
    }
    this.sender.sack = settings.sack && syn.sackPermitted;
    this.scaled = settings.windowScale && syn.windowScale >= 0;
    this.sendScale = this.scaled ? syn.windowScale : 0;
    this.receiver.start((syn.sequence + 1) | 0, this.scaled ? this.tcp.windowScale : 0);
    this.lastAckSent = this.receiver.next;
  }

  /** The handshake is complete; `segment` did it. Windows in SYNs are not scaled (RFC 7323 §2.2). */
  establish(segment: Segment, window: number, now: number): void {
    const sender = this.sender;
    if (!sender.finQueued) this.state = "established";
    else this.state = "fin-wait-1";
    if (this.synRetries === 0) sender.rto.sample(now - this.synSentAt, 1);
    else if (this.timestamps && segment.hasTimestamps) {
      sender.rto.sample(this.echoDelay(segment, now), 1);
    }
    if (this.synRetries > 0) sender.rto.synWasLost();
    sender.start((this.iss + 1) | 0, segment, window, this.effectiveMss());
    this.tcp.counters.established++;
    this.tcp.leaveHalfOpen(this);
    this.tcp.joinEnsemble(this);
    this.#armKeepAlive(now);
    this.raise(CONNECTED);
    if (this.wantsWritable) this.raise(WRITABLE);
    this.tcp.markDirty(this);
  }

  /** The timestamp clock: milliseconds from a start nobody knows (RFC 7323 §5.4). */
  timestamp(now: number): number {
    return (Math.floor(now) + this.tsOffset) | 0;
  }

  /** How long ago the timestamp that `segment` echoes was sent, ms; -1 = never. */
  echoDelay(segment: Segment, now: number): number {
    const delay = (this.timestamp(now) - segment.tsEcho) | 0;
    return delay >= 0 && delay < 0x1000_0000 ? delay : -1;
  }

  get readable(): number {
    return this.receiver.ring.length;
  }

  get endOfFile(): boolean {
    return this.receiver.finished && this.readable === 0 && !this.truncated;
  }

  get unsent(): number {
    return this.sender.unsent;
  }

  get unacknowledged(): number {
    return this.sender.inFlight;
  }

  get isDelivering(): boolean {
    if (this.finished || this.state === "syn-sent" || this.state === "syn-received") return false;
    const { unsent, inFlight, finQueued, finAcknowledged } = this.sender;
    return unsent > 0 || inFlight > 0 || finQueued && !finAcknowledged;
  }

  get isOrphaned(): boolean {
    return this.sender.orphaned;
  }

  get writable(): number {
    if (this.sender.finQueued || this.finished) return 0;
    return Math.max(0, this.sender.limit - this.sender.ring.length);
  }

  get appetite(): number {
    const { budget } = this.tcp;
    if (!budget.isFilling || this.#movedOn >= MOVES && !budget.isExhausted) return APPETITE;
    return budget.isFull ? APPETITE >> 5 : APPETITE >> 3;
  }

  read(into: Uint8Array, offset: number, length: number): number {
    if (this.readClosed) return 0;
    const receiver = this.receiver;
    const taken = receiver.read(into, offset, length);
    if (taken > 0) {
      this.#movedBytes += taken;
      if (receiver.updateDue && !this.finished) {
        this.ackNow = true;
        this.tcp.markDirty(this);
      }
      this.#closeIfDone();
    }
    return taken;
  }

  write(from: Uint8Array, offset: number, length: number): number {
    if (this.sender.finQueued || this.finished) return 0;
    const taken = this.sender.write(from, offset, length);
    if (taken < length) this.wantsWritable = true;
    if (taken > 0) this.tcp.markDirty(this);
    return taken;
  }

  shutdownWrite(): void {
    if (this.sender.finQueued || this.finished) return;
    this.sender.finQueued = true;
    if (this.state === "established") this.state = "fin-wait-1";
    else if (this.state === "close-wait") this.state = "last-ack";
    this.tcp.markDirty(this);
  }

  close(lingering: boolean): void {
    if (this.readClosed) return;
    if (this.finished) {
      this.readClosed = true;
      this.#closeIfDone();
      return;
    }
    if (this.state === "syn-sent") {
      // RFC 9293 §3.10.4
      this.readClosed = true;
      this.tcp.finish(this, undefined);
      return;
    }
    // RFC 2525 §2.17: what was not read was not delivered, and the peer has to know.
    if (this.receiver.ring.length > 0 && !lingering) return this.abort();
    this.readClosed = true;
    this.lingering = lingering;
    if (lingering) this.#discard();
    this.sender.orphaned = true;
    this.shutdownWrite();
    if (this.state === "fin-wait-2") this.startFinWait2();
  }

  abort(): void {
    this.readClosed = true;
    if (this.finished) return this.#closeIfDone();
    this.fail({ kind: "aborted", message: "the connection was aborted by this side" }, true);
  }

  /** Ends the connection; with `reset`, the peer is told. */
  fail(error: TcpError, reset: boolean): void {
    if (this.finished) return;
    // In SYN-SENT there is nothing to reset yet (RFC 9293 §3.10.5).
    if (reset && this.state !== "syn-sent") this.resetPending = true;
    if (this.active && this.state === "syn-sent") this.tcp.counters.failedConnects++;
    else this.tcp.counters.aborted++;
    this.tcp.finish(this, error);
    if (this.resetPending) this.tcp.markDirty(this);
  }

  /** A closed endpoint waits for the peer's FIN, but not for ever. */
  startFinWait2(): void {
    this.finWait2Pending = true;
    this.tcp.markDirty(this);
  }

  /** Leaves the listener's backlog: the connection was accepted, or is over. */
  leaveBacklog(): void {
    if (this.listener !== undefined) this.listener.halfOpen--;
    this.listener = undefined;
  }

  /** Gives back the memory of empty buffers: the connection has been idle for a while. */
  trim(): void {
    this.sender.trim();
    this.receiver.trim();
  }

  /**
   * The peer or the application has taken data. Less than a noticeable part of what is held does
   * not count: a probe of a closed window, or a reader that takes a byte now and then.
   */
  moved(bytes: number, now: number): void {
    this.#movedBytes += bytes;
    const total = this.#movedBytes;
    if (total === 0 || NOTICEABLE * total < this.bufferBytes) return;
    this.#movedBytes = 0;
    this.#movedOn = now - this.movedAt > PAUSE_MS ? total : this.#movedOn + total;
    if (this.tcp.budget.isPressed) this.#earn(this.#movedOn); // nobody asks before
    this.movedAt = now;
    this.account.noteMoving();
  }

  #earn(moved: number): void {
    const earned = this.tcp.budget.earned(moved);
    this.sender.ring.earned = earned;
    this.receiver.ring.earned = earned;
  }

  /** Memory is short: limits shrink, and what is not needed is given back. */
  shrink(): void {
    this.sender.shrink();
    this.receiver.shrink();
  }

  /** Memory has run out: the connection is reset, and its buffers are free at once. */
  giveWay(): void {
    if (!this.finished) this.fail(NO_MEMORY, true);
    this.error ??= NO_MEMORY;
    this.truncated = true;
    this.sender.ring.clear();
    this.receiver.clear();
    this.#closeIfDone();
  }

  /** Memory that the application holds for it. */
  hold(bytes: number): void {
    if (bytes === this.#held || this.isGone) return;
    this.tcp.budget.charge(this.from, bytes - this.#held);
    this.#held = bytes;
  }

  /** Memory held for data in both directions, bytes. */
  get bufferBytes(): number {
    return this.sender.ring.capacity + this.receiver.ring.capacity + this.#held;
  }

  /** Drops what has arrived in order, which nobody will read: the window opens for more. */
  #discard(): void {
    this.receiver.discard();
    if (this.receiver.updateDue) this.ackNow = true;
  }

  /** Data has arrived in order: for the application, or for nobody any more. */
  received(): void {
    if (this.readClosed) this.#discard();
    else this.raise(READABLE);
  }

  /** No segment can change anything any more. Called by {@link TcpContext.finish} and for TIME-WAIT. */
  end(error: TcpError | undefined): void {
    this.finished = true;
    this.error = error;
    this.sender.stopTimers();
    this.ackTimer = Infinity;
    this.stateTimer = Infinity;
    this.keepAliveTimer = Infinity;
    this.idleTimer = Infinity;
    this.#closeIfDone();
  }

  setNoDelay(on: boolean): void {
    this.sender.noDelay = on;
    if (on && !this.finished) this.tcp.markDirty(this);
  }

  setUserTimeout(ms: number): void {
    this.sender.userTimeout = ms;
  }

  setKeepAlive(keepAlive: KeepAlive | undefined): void {
    this.keepAlive = keepAlive;
    this.keepAliveProbes = 0;
    const on = this.state !== "syn-sent" && this.state !== "syn-received" && !this.finished;
    if (on) this.#armKeepAlive(this.lastReceived);
    if (on) this.tcp.markDirty(this);
  }

  /** When the first of its timers expires, ms. */
  nextDeadline(): number {
    const sender = this.sender;
    return Math.min(
      sender.nextDeadline(),
      this.ackTimer,
      this.stateTimer,
      this.keepAliveTimer,
      this.idleTimer,
    );
  }

  /** Something for the application, told in the next dispatch. */
  raise(event: number): void {
    if (this.events === 0) this.tcp.queueEvents(this);
    this.events |= event;
  }

  info(): TcpInfo {
    const { sender, receiver } = this;
    return {
      state: this.state,
      rttMs: sender.rto.smoothed,
      rttVariationMs: sender.rto.variation,
      rtoMs: sender.rto.current,
      congestionWindow: sender.congestion.window,
      slowStartThreshold: sender.congestion.threshold,
      mss: sender.mss,
      sendWindow: sender.peer.size,
      receiveWindow: receiver.window,
      inFlight: sender.inFlight,
      unsent: sender.unsent,
      retransmits: sender.retransmits,
      timeouts: sender.timeouts,
      spurious: sender.spurious,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      segmentsIn: this.segmentsIn,
      segmentsOut: this.segmentsOut,
      segmentsOutOfOrder: this.segmentsOutOfOrder,
      outOfOrderRanges: receiver.ranges,
      bufferBytes: this.bufferBytes,
      retransmitAt: sender.timer,
    };
  }

  #armKeepAlive(from: number): void {
    this.keepAliveTimer = this.keepAlive === undefined ? Infinity : from + this.keepAlive.idle;
  }

  /** The last callback: when nothing can come any more and everything was read, or on failure. */
  #closeIfDone(): void {
    if (!this.finished || this.#closedQueued) return;
    const unread = this.receiver.ring.length > 0 && !this.readClosed;
    if (unread && (this.error === undefined || this.error.kind !== "memory")) {
      // As Linux has it: what had arrived can be read, whatever became of the connection since.
      if (this.error !== undefined && !this.#brokenQueued) {
        this.#brokenQueued = true;
        this.raise(BROKEN);
      }
      return;
    }
    this.#closedQueued = true;
    this.raise(CLOSED);
  }
}
