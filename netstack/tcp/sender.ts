/**
 * The sending half of a connection.
 *
 * @module
 */

import type { MemoryAccount } from "../memory_budget.ts";
import { type CongestionControl, NewReno, NoCongestionControl } from "./congestion.ts";
import { Cubic } from "./cubic.ts";
import type { Ensemble, Member } from "./ensemble.ts";
import type { Segment } from "./header.ts";
import { Ring } from "./ring.ts";
import type { RingMemory } from "./ring_memory.ts";
import { RateReduction } from "./prr.ts";
import { RtoEstimator } from "./rto.ts";
import { Scoreboard } from "./sack.ts";
import { SendWindow } from "./send_window.ts";
import { SizeProbe } from "./size_probe.ts";
import { distance } from "./sequence.ts";
import type { TcpSettings } from "./settings.ts";
import { TailProbe } from "./tail_probe.ts";

/** In which kind of repair a sender is. */
export const OPEN = 0;
/** Fast recovery (RFC 6675 §5, RFC 6582). */
export const RECOVERY = 1;
/** After a timeout: everything unreported is sent again, in slow start. */
export const LOSS = 2;

/** {@link Sender.hasRoom} asks for no more than this, bytes. */
const MOST_ROOM = 1 << 16;

/**
 * The sending half of a connection (RFC 9293 §3.8): its state. What an ACK does to it is in
 * `acknowledge.ts`, repair in `recovery.ts`, what its timers do in `sender_timers.ts`, and what goes
 * next in `pick.ts`.
 */
export class Sender implements Member {
  readonly settings: TcpSettings;
  readonly ring: Ring;
  readonly board = new Scoreboard();
  readonly rto: RtoEstimator;
  congestion: CongestionControl;
  /** Who shares the path; undefined before the handshake is done. */
  ensemble: Ensemble | undefined;
  ensembleIndex = -1;
  /** No loss has shown yet where the path ends. */
  searching = true;

  /** SND.UNA */
  una = 0;
  /** SND.NXT */
  nxt = 0;
  readonly peer = new SendWindow();
  /** Payload of a full segment, options already taken off. */
  mss = 536;
  /** Bytes {@link ring} may hold now; grows to the setting with the congestion window. */
  limit: number;
  /** Both sides agreed on SACK. */
  sack = false;
  noDelay = false;

  finQueued = false;
  finSent = false;
  finAcknowledged = false;

  /** When the retransmission or persist timer expires, ms; Infinity = off. */
  timer = Infinity;
  /** When the next segment will count as lost if nothing is heard (RFC 8985 §6.2). */
  reorderingTimer = Infinity;
  readonly tailProbe = new TailProbe();
  /** The next {@link pick} is the tail loss probe. */
  tail = false;
  /** Retransmissions and probes since the peer last answered. */
  retries = 0;
  /** The endpoint is closed. */
  orphaned = false;
  /** ms; 0 = off. */
  userTimeout: number;
  /** Since when the oldest data waits to be acknowledged, ms; Infinity = there is none. */
  waitingSince = Infinity;
  /** {@link OPEN}, or in which kind of repair. */
  state = OPEN;
  /** RecoveryPoint: SND.NXT when the repair began. */
  recoveryPoint = 0;
  /** In a row; only counted without SACK. */
  duplicateAcks = 0;
  /** Next {@link pick} may exceed the congestion window by one segment. */
  forced = false;
  /** Next {@link pick} may exceed the peer's window by one unit. */
  probe = false;
  /** The window was closed when the timer expired. */
  probing = false;
  /** Time of the first retransmission of this repair, for Eifel detection; -1 = none yet. */
  firstRetransmission = -1;
  /** Retransmissions of this repair that the receiver has not called duplicates (RFC 3708). */
  unproven = 0;
  /** RACK began the last repair. */
  byRack = false;
  /** The window was reduced for this repair. */
  undoable = false;
  /** When a segment was last sent, ms. */
  lastSent = 0;
  /** {@link inFlight} when new data was last sent. */
  flightAtSend = 0;

  readonly reduction = new RateReduction();
  readonly sizeProbe = new SizeProbe();

  retransmits = 0;
  timeouts = 0;
  spurious = 0;

  // What pick() chose.
  /** Record to send again, -1 = new data. */
  pickIndex = -1;
  pickSequence = 0;
  /** Payload. */
  pickLength = 0;
  pickFin = false;

  constructor(settings: TcpSettings, memory: RingMemory, account: MemoryAccount) {
    this.settings = settings;
    this.ring = new Ring(memory, account);
    this.rto = new RtoEstimator(settings);
    this.userTimeout = settings.userTimeoutMs;
    this.limit = Math.min(settings.initialBuffer, settings.sendBuffer);
    this.congestion = new NewReno(this.mss);
  }

  /** The handshake is done: the first data byte is `una`. */
  start(una: number, segment: Segment, window: number, mss: number): void {
    this.una = una;
    this.nxt = una;
    this.recoveryPoint = una;
    this.board.reset(una);
    this.peer.start(segment, window);
    this.mss = mss;
    this.congestion = congestionControl(this.settings.congestion, mss);
    this.timer = Infinity;
    this.retries = 0;
  }

  /** New segments may be larger. */
  setSegmentSize(mss: number): void {
    this.mss = mss;
    this.congestion.setSegmentSize(mss);
  }

  /** Bytes in {@link ring} not sent yet. */
  get unsent(): number {
    return Math.max(0, this.ring.length - distance(this.nxt, this.una));
  }

  /** Sequence space sent and not acknowledged. */
  get inFlight(): number {
    return distance(this.nxt, this.una);
  }

  /**
   * Enough room to ask the application for more: worth the call, and soon enough that what is
   * sent never has to wait for it.
   */
  get hasRoom(): boolean {
    const enough = Math.min(MOST_ROOM, Math.max(2 * this.mss, this.limit >> 4), this.limit);
    return this.limit - this.ring.length >= enough;
  }

  /** @returns Bytes taken. */
  write(from: Uint8Array, offset: number, length: number): number {
    const { ring } = this;
    const wanted = Math.min(length, this.limit - ring.length);
    if (wanted <= 0) return 0;
    const taken = ring.reserve(ring.length + wanted, false) - ring.length;
    ring.write(from, offset, taken);
    return taken;
  }

  /** When the first of its timers expires, ms: see `sender_timers.ts`. */
  nextDeadline(): number {
    return Math.min(this.timer, this.reorderingTimer, this.tailProbe.timer);
  }

  stopTimers(): void {
    this.timer = Infinity;
    this.reorderingTimer = Infinity;
    this.tailProbe.cancel();
  }

  /** Gives back the memory of empty buffers; they start small again. */
  trim(): void {
    if (this.ring.length > 0) return;
    this.ring.clear();
    this.limit = Math.min(this.settings.initialBuffer, this.settings.sendBuffer);
  }

  /** Bytes in the oldest segment in flight. */
  get oldestLength(): number {
    return this.board.count === 0 ? 0 : distance(this.board.end(0), this.una);
  }

  /** When the retransmission timer expires if it starts now. */
  due(now: number): number {
    const due = now + this.rto.current;
    return this.userTimeout > 0 ? Math.min(due, this.waitingSince + this.userTimeout) : due;
  }

  /** Nothing more may go now. Keeps a timer running whenever something waits for the peer. */
  settle(now: number): void {
    if (this.board.count > 0) return;
    const waits = this.unsent > 0 || (this.finQueued && !this.finSent);
    if (!waits) this.timer = Infinity;
    else if (this.timer === Infinity) {
      if (this.waitingSince === Infinity) this.waitingSince = now;
      this.timer = this.due(now);
    }
  }

  /** RFC 6675 §4 pipe; without SACK each duplicate ACK stands for a segment that left. */
  pipe(): number {
    const pipe = this.board.pipe;
    if (this.sack || this.duplicateAcks === 0) return pipe;
    return Math.max(0, pipe - this.duplicateAcks * this.mss);
  }

  /** What an {@link Ensemble} counts: what is in flight, or where a repair takes it. */
  get claim(): number {
    const { inFlight } = this;
    if (inFlight === 0 || !this.windowWasLimit) return 0;
    const { window, threshold } = this.congestion;
    return this.state === OPEN ? Math.min(inFlight, window) : threshold;
  }

  /** RFC 7661 §4: the window grows only when it is used. */
  get windowWasLimit(): boolean {
    const { window, threshold } = this.congestion;
    const flight = this.flightAtSend;
    return window < threshold ? 2 * flight >= window : flight + 2 * this.mss >= window;
  }

  growLimit(): void {
    const wanted = 2 * this.congestion.window;
    if (wanted > this.limit) this.limit = Math.min(this.settings.sendBuffer, wanted);
    this.limit = Math.min(this.limit, this.ring.limit);
  }

  /** Memory is short. */
  shrink(): void {
    const { ring } = this;
    const most = ring.limit;
    this.limit = Math.min(this.limit, most);
    if (ring.length === 0 || most < Infinity) ring.shrink(ring.length);
  }
}

function congestionControl(name: TcpSettings["congestion"], mss: number): CongestionControl {
  switch (name) {
    case "cubic":
      return new Cubic(mss);
    case "newreno":
      return new NewReno(mss);
    case "none":
      return new NoCongestionControl();
  }
}
