import { type CongestionControl, NewReno, NoCongestionControl } from "./congestion.ts";
import { Cubic } from "./cubic.ts";
import type { Ensemble, Member } from "./ensemble.ts";
import type { Segment } from "./header.ts";
import { Ring } from "./ring.ts";
import { RateReduction } from "./prr.ts";
import { DUP_THRESH } from "./rack.ts";
import { RtoEstimator } from "./rto.ts";
import { Scoreboard } from "./sack.ts";
import { isDuplicateReport, sortBlocks } from "./sack_blocks.ts";
import { SendWindow } from "./send_window.ts";
import { after, before, distance } from "./sequence.ts";
import type { TcpSettings } from "./settings.ts";
import { TailProbe } from "./tail_probe.ts";

/** {@link Sender.hasRoom} asks for no more than this, bytes. */
const MOST_ROOM = 1 << 16;

/** In which kind of repair the sender is. */
const OPEN = 0;
/** Fast recovery (RFC 6675 §5, RFC 6582). */
const RECOVERY = 1;
/** After a timeout: everything unreported is sent again, in slow start. */
const LOSS = 2;

/** The sending half of a connection: what to send, when again, and how much (RFC 9293 §3.8). */
export class Sender implements Member {
  readonly #settings: TcpSettings;
  readonly ring = new Ring();
  readonly board = new Scoreboard();
  readonly rto: RtoEstimator;
  congestion: CongestionControl;
  /** Who shares the path; undefined before the handshake is done. */
  ensemble: Ensemble | undefined;
  /** No loss has shown yet where the path ends. */
  #searching = true;

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
  #tail = false;
  /** Retransmissions and probes since the peer last answered. */
  retries = 0;
  /** The endpoint is closed. */
  orphaned = false;
  /** ms; 0 = off. */
  userTimeout: number;
  /** Since when the oldest data waits to be acknowledged, ms; Infinity = there is none. */
  #waitingSince = Infinity;
  #state = OPEN;
  /** RecoveryPoint: SND.NXT when the repair began. */
  #recover = 0;
  #duplicateAcks = 0;
  /** Next {@link pick} may exceed the congestion window by one segment. */
  #forced = false;
  /** Next {@link pick} may exceed the peer's window by one unit. */
  #probe = false;
  /** The window was closed when the timer expired. */
  #probing = false;
  /** Time of the first retransmission of this repair, for Eifel detection; -1 = none yet. */
  #firstRetransmission = -1;
  /** Retransmissions of this repair that the receiver has not called duplicates (RFC 3708). */
  #unproven = 0;
  /** RACK began the last repair. */
  #byRack = false;
  /** The window was reduced for this repair. */
  #undoable = false;
  #lastSent = 0;
  /** {@link inFlight} when new data was last sent. */
  #flightAtSend = 0;

  readonly #reduction = new RateReduction();

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

  constructor(settings: TcpSettings) {
    this.#settings = settings;
    this.rto = new RtoEstimator(settings);
    this.userTimeout = settings.userTimeoutMs;
    this.limit = Math.min(settings.initialBuffer, settings.sendBuffer);
    this.congestion = new NewReno(this.mss);
  }

  /** The handshake is done: the first data byte is `una`. */
  start(una: number, segment: Segment, window: number, mss: number): void {
    this.una = una;
    this.nxt = una;
    this.#recover = una;
    this.board.reset(una);
    this.peer.start(segment, window);
    this.mss = mss;
    this.congestion = congestionControl(this.#settings.congestion, mss);
    this.timer = Infinity;
    this.retries = 0;
  }

  /** Segments in flight were too big for the path: not congestion (RFC 1191 §6.4, RFC 8899 §4.4). */
  resegment(mss: number): void {
    this.setSegmentSize(mss);
    this.#sendAllAgain();
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
    const taken = Math.max(0, Math.min(length, this.limit - this.ring.length));
    if (taken > 0) this.ring.write(from, offset, taken);
    return taken;
  }

  /**
   * Takes the acknowledgment, the window and the SACK blocks of an acceptable segment.
   *
   * @param window Scaled.
   * @param echoDelay Age of the echoed timestamp, ms; -1 = none.
   */
  handleAck(segment: Segment, window: number, echoDelay: number, now: number): void {
    const ack = segment.acknowledgment;
    const board = this.board;
    const flight = this.inFlight;
    const windowBefore = this.peer.size;
    const advanced = distance(ack, this.una);
    this.peer.update(segment, window);
    board.begin(this.rto.minimum);
    if (advanced > 0) {
      board.acknowledge(ack, now);
      // The FIN has a sequence number but no byte in the ring.
      this.ring.discard(Math.min(advanced, this.ring.length));
      this.una = ack;
      if (this.finSent && ack === this.nxt) this.finAcknowledged = true;
    }
    const reported = this.sack && segment.sackCount > 0 && this.#handleSack(segment, now);
    // A peer that answers a probe is alive, however long its window stays closed
    // (RFC 9293 §3.8.6.1).
    if (advanced > 0 || (window === 0 && !this.orphaned)) this.retries = 0;
    if (advanced > 0) this.#waitingSince = this.inFlight > 0 ? now : Infinity;

    this.#measure(flight, advanced, echoDelay, reported, now);
    this.#countDuplicates(segment, advanced, window === windowBefore);
    if (this.#tailProbeAnswered(segment, advanced, reported)) {
      // RFC 8985 §7.4.2: the probe repaired a loss, which was congestion.
      this.#congested(flight);
      this.congestion.recovered(now);
    }
    this.#repair(flight, advanced, echoDelay, reported, now);
    if (windowBefore === 0 && this.peer.size > 0 && this.#probing) this.#windowOpened();
    this.#restartTimers(advanced, now);
    this.#growLimit();
  }

  /** When {@link handleTimeout} has to be called, ms. */
  nextDeadline(): number {
    return Math.min(this.timer, this.reorderingTimer, this.tailProbe.timer);
  }

  stopTimers(): void {
    this.timer = Infinity;
    this.reorderingTimer = Infinity;
    this.tailProbe.cancel();
  }

  /**
   * A deadline has passed. Only marks what to send.
   *
   * @returns False if the peer has been silent for too long.
   */
  handleTimeout(now: number): boolean {
    if (this.reorderingTimer <= now) {
      this.#detectLosses(now);
      if (this.#state === OPEN && this.board.lostBytes > 0) this.#recovery(this.inFlight, 0);
    }
    if (this.tailProbe.timer <= now) {
      this.tailProbe.timer = Infinity;
      this.#tail = true;
      // RFC 8985 §7.3: the probe gets a whole RTO to be answered.
      this.timer = this.#due(now);
    }
    if (this.timer > now) return true;
    this.retries++;
    if (this.#isHopeless(now)) return false;
    this.rto.backOff();
    this.timer = this.#due(now);
    this.#forced = true;
    if (this.board.count === 0) {
      // Persist (RFC 9293 §3.8.6.1), or the override of RFC 9293 §3.8.6.2.1.
      this.#probe = true;
      this.#probing = this.peer.size === 0;
      return true;
    }
    if (this.peer.size === 0) {
      // Not congestion: the peer would not take it.
      this.#probing = true;
      this.board.loseFirst();
      return true;
    }
    // RFC 6298 §5.4-5.6, RFC 5681 §3.1.
    this.timeouts++;
    this.#searching = false;
    const first = this.#state !== LOSS || this.retries === 1;
    this.congestion.timedOut(this.inFlight, first, now);
    if (this.sack && this.#settings.rack) {
      this.board.markLostByTimeout(this.#reorderingWindow(), now);
    } else this.board.loseAll();
    this.#begin(LOSS);
    this.#duplicateAcks = 0;
    this.reorderingTimer = Infinity;
    return true;
  }

  /** Gives back the memory of empty buffers; they start small again. */
  trim(): void {
    if (this.ring.length > 0) return;
    this.ring.clear();
    this.limit = Math.min(this.#settings.initialBuffer, this.#settings.sendBuffer);
  }

  /** Bytes in the oldest segment in flight. */
  get oldestLength(): number {
    return this.board.count === 0 ? 0 : distance(this.board.end(0), this.una);
  }

  /** When the retransmission timer expires if it starts now. */
  #due(now: number): number {
    const due = now + this.rto.current;
    return this.userTimeout > 0 ? Math.min(due, this.#waitingSince + this.userTimeout) : due;
  }

  /** The timer has expired: has it waited long enough? */
  #isHopeless(now: number): boolean {
    const { maxRetries, orphanRetries } = this.#settings;
    if (this.orphaned && this.retries > orphanRetries) return true;
    if (this.userTimeout > 0) return now - this.#waitingSince >= this.userTimeout;
    return this.retries > maxRetries;
  }

  /**
   * Chooses the next segment; the choice is in the pick* fields until {@link sent}.
   *
   * @returns Whether there is one that may go now.
   */
  pick(now: number): boolean {
    if (this.#tail && this.#pickTail()) return true;
    const lost = this.board.nextLost();
    if (lost >= 0) return this.#pickLost(lost);
    if (this.finSent) return false;
    const unsent = this.unsent;
    if (unsent === 0 && !this.finQueued) return false;
    const flight = this.inFlight;
    if (flight === 0) this.#restartAfterIdle(now);
    const usable = Math.max(0, distance(this.una, this.nxt) + this.peer.size);
    let length = Math.min(unsent, this.mss, usable);
    let fin = this.finQueued && length === unsent && usable > length;
    if (this.#probe && flight === 0) {
      if (length === 0) {
        // One unit of new data, though the window is closed.
        if (unsent > 0) length = 1;
        else fin = true;
      }
    } else {
      if (length === 0 && !fin) return false;
      if (this.congestion.window - this.#pipe() < length && flight > 0) return false;
      if (length < this.mss && !fin && !this.#worthSending(length, unsent, flight)) return false;
    }
    this.pickIndex = -1;
    this.pickSequence = this.nxt;
    this.pickLength = length;
    this.pickFin = fin;
    return true;
  }

  /** What {@link pick} chose has been sent. */
  sent(now: number): void {
    const size = this.pickLength + (this.pickFin ? 1 : 0);
    const board = this.board;
    if (this.pickIndex < 0) {
      // RFC 6298 §5.1; a running persist timer becomes the retransmission timer.
      if (board.count === 0) {
        if (this.#waitingSince === Infinity) this.#waitingSince = now;
        this.timer = this.#due(now);
      }
      this.nxt = (this.nxt + size) | 0;
      this.#flightAtSend = this.inFlight;
      board.push(this.nxt, this.pickFin, now);
      if (this.pickFin) this.finSent = true;
    } else {
      // RFC 3522 §3.2 judges the first retransmission of the segment at SND.UNA; what follows a
      // repair in progress would be judged by the answers to that.
      if (this.#firstRetransmission < 0 && this.#state !== OPEN) {
        const fresh = this.pickIndex === 0 && !board.wasRetransmitted(0);
        this.#firstRetransmission = fresh ? now : Infinity;
      }
      board.resent(this.pickIndex, now);
      this.retransmits++;
      this.#unproven++;
      if (this.pickIndex === 0) {
        // RFC 6675 §5 step 4.3: the retransmission gets a whole RTO to be answered.
        this.timer = this.#due(now);
      }
    }
    this.#forced = false;
    this.#probe = false;
    if (this.#tail) {
      this.#tail = false;
      this.tailProbe.sent(this.nxt, this.pickIndex >= 0);
    } else if (this.pickIndex < 0) this.#armTailProbe(now);
    this.#reduction.sent(size);
    this.#lastSent = now;
  }

  /** Nothing more may go now. Keeps a timer running whenever something waits for the peer. */
  settle(now: number): void {
    if (this.board.count > 0) return;
    const waits = this.unsent > 0 || (this.finQueued && !this.finSent);
    if (!waits) this.timer = Infinity;
    else if (this.timer === Infinity) {
      if (this.#waitingSince === Infinity) this.#waitingSince = now;
      this.timer = this.#due(now);
    }
  }

  /** RFC 6675 §4 pipe; without SACK each duplicate ACK stands for a segment that left. */
  #pipe(): number {
    const pipe = this.board.pipe;
    if (this.sack || this.#duplicateAcks === 0) return pipe;
    return Math.max(0, pipe - this.#duplicateAcks * this.mss);
  }

  #pickLost(index: number): boolean {
    const board = this.board;
    const start = board.start(index);
    let fin = board.hasFin(index);
    let length = distance(board.end(index), start) - (fin ? 1 : 0);
    if (length > this.mss) {
      board.split(index, this.mss);
      length = this.mss;
      fin = false;
    }
    if (!this.#forced) {
      if (this.peer.size === 0 || this.congestion.window - this.#pipe() < length) return false;
    }
    this.pickIndex = index;
    this.pickSequence = start;
    this.pickLength = length;
    this.pickFin = fin;
    return true;
  }

  /** RFC 8985 §7.3: new data if there is any that may go, else the last segment once more. */
  #pickTail(): boolean {
    const board = this.board;
    const late = board.count === 0 || board.sackedBytes > 0 || this.#state !== OPEN;
    if (late || this.peer.size === 0) {
      this.#tail = false;
      return false;
    }
    const usable = distance(this.una, this.nxt) + this.peer.size;
    const length = Math.min(this.unsent, this.mss);
    if (length > 0 && length <= usable) {
      this.pickIndex = -1;
      this.pickSequence = this.nxt;
      this.pickLength = length;
      this.pickFin = this.finQueued && length === this.unsent && usable > length;
      return true;
    }
    let last = board.count - 1;
    const fin = board.hasFin(last);
    const excess = distance(board.end(last), board.start(last)) - (fin ? 1 : 0) - this.mss;
    if (excess > 0) board.split(last++, excess);
    this.pickIndex = last;
    this.pickSequence = board.start(last);
    this.pickLength = distance(board.end(last), board.start(last)) - (fin ? 1 : 0);
    this.pickFin = fin;
    return true;
  }

  /** Whether less than a full segment should go (RFC 9293 §3.8.6.2.1, Nagle: §3.7.4). */
  #worthSending(length: number, unsent: number, flight: number): boolean {
    if (length === unsent) return this.noDelay || flight === 0 || this.finQueued;
    // It fills the window. Worth it if the window is hardly ever larger than that.
    return flight === 0
      ? 2 * length >= this.peer.largest
      : this.noDelay && 4 * length >= this.peer.largest;
  }

  #restartAfterIdle(now: number): void {
    if (this.#lastSent === 0 || now - this.#lastSent <= this.rto.current) return;
    this.congestion.idle();
    this.#lastSent = now;
  }

  /** @returns Whether the first block reports a duplicate (RFC 2883 §4). */
  #handleSack(segment: Segment, now: number): boolean {
    const { sack, sackCount } = segment;
    const reported = isDuplicateReport(segment, this.una);
    // RACK takes what was delivered in ascending order (RFC 8985 §6.2 step 3).
    sortBlocks(sack, reported ? 1 : 0, sackCount);
    for (let i = reported ? 1 : 0; i < sackCount; i++) {
      const left = sack[2 * i]!;
      const right = sack[2 * i + 1]!;
      // Behind SND.UNA it is old, ahead of SND.NXT a lie.
      if (before(left, this.una) || after(right, this.nxt) || !before(left, right)) continue;
      this.board.sack(left, right, now);
    }
    return reported;
  }

  #measure(
    flight: number,
    advanced: number,
    echoDelay: number,
    reported: boolean,
    now: number,
  ): void {
    const board = this.board;
    if (board.delivered === 0) return;
    // RFC 7323 appendix G, by what this ACK covers: one may stand for a whole window.
    const samplesPerRound = Math.max(1, flight / Math.max(board.delivered, 2 * this.mss));
    if (board.sampleSentAt !== Infinity && !board.retransmissionDelivered) {
      this.rto.sample(now - board.sampleSentAt, samplesPerRound);
    } else if (echoDelay >= 0 && advanced > 0) {
      // RFC 7323 §4: the echo says which transmission was received; but a duplicate does not
      // change what is echoed (§4.3), which then is as old as the ACK that got lost.
      if (reported) this.rto.resetBackoff();
      else this.rto.sample(echoDelay, samplesPerRound);
    }
  }

  /** RFC 5681 §2: what a duplicate ACK is, for peers without SACK. */
  #countDuplicates(segment: Segment, advanced: number, sameWindow: boolean): void {
    if (this.sack) return;
    if (advanced > 0) {
      if (this.#state !== RECOVERY) this.#duplicateAcks = 0;
      else {
        const segments = Math.ceil(advanced / this.mss) - 1;
        this.#duplicateAcks = Math.max(0, this.#duplicateAcks - segments);
      }
    } else if (
      this.board.count > 0 && segment.span === 0 && sameWindow && this.peer.size > 0
    ) {
      // Not the answers to probes of a closed window.
      this.#duplicateAcks++;
    }
  }

  #repair(
    flight: number,
    advanced: number,
    echoDelay: number,
    reported: boolean,
    now: number,
  ): void {
    const board = this.board;
    const stateBefore = this.#state;
    if (reported) this.#duplicateReported();
    if (this.#state !== OPEN) {
      if (advanced > 0 && this.#wasSpurious(echoDelay, now)) this.#undo();
      else if (!before(this.una, this.#recover)) this.#recovered(now);
    }
    if (this.sack) {
      if (this.#settings.rack) this.#detectLosses(now);
      else board.markLost(this.mss);
    } else if (this.#state === RECOVERY) {
      // RFC 6582 §3.2 step 3: a partial acknowledgment names the next loss.
      if (advanced > 0) board.loseFirst();
    } else if (this.#duplicateAcks >= DUP_THRESH && this.#mayRecover()) board.loseFirst();

    if (this.#state === OPEN && board.lostBytes > 0) this.#recovery(flight, board.delivered);
    if (this.#state === RECOVERY) this.#reduce(advanced);
    else if (advanced > 0 && stateBefore !== RECOVERY && this.#windowWasLimit) {
      // What was SACKed before has left the network before (RFC 3465 §2.3 guards against that).
      const delivered = Math.min(advanced, board.delivered);
      this.congestion.acknowledged(delivered, this.rto, this.una, this.nxt, now);
    }
  }

  /** RFC 6582 §3.2 step 2: duplicates caused by our own retransmissions are no new loss. */
  #mayRecover(): boolean {
    return this.#state === OPEN && !before(this.una, this.#recover);
  }

  /** What an {@link Ensemble} counts: the window, or where a repair takes it. */
  get claim(): number {
    if (this.inFlight === 0 || !this.#windowWasLimit) return 0;
    const { window, threshold } = this.congestion;
    return this.#state === OPEN ? window : threshold;
  }

  /** Loss was found, which was congestion. */
  #congested(flight: number): void {
    const { congestion, ensemble } = this;
    const share = this.#searching && this.#windowWasLimit ? ensemble?.share ?? 0 : 0;
    this.#searching = false;
    if (share > 0) congestion.lost(share, share);
    else congestion.lost(flight);
  }

  /**
   * RFC 6675 §5 step 4.
   *
   * @param delivered Bytes that the ACK which tells of the loss newly told of.
   */
  #recovery(flight: number, delivered: number): void {
    this.#congested(flight);
    // RFC 9937 §6.1: what was SACKed before will not be delivered in this recovery.
    this.#reduction.start(this.inFlight - this.board.sackedBytes + delivered);
    this.#begin(RECOVERY);
    this.#forced = true;
  }

  /** A repair begins for which the window was reduced. */
  #begin(state: number): void {
    this.#state = state;
    this.#recover = this.nxt;
    this.#firstRetransmission = -1;
    this.#unproven = this.board.hasRetransmitted ? Infinity : 0;
    this.#undoable = true;
    this.#byRack = state === RECOVERY;
    this.tailProbe.cancel();
    this.#tail = false;
  }

  /** D-SACK: a retransmission was needless. If all were, so was the reduction (RFC 3708 §3). */
  #duplicateReported(): void {
    const { rack } = this.board;
    // Timeouts and probes are guesses anyway: what they repeat in vain says nothing of reordering.
    if (this.#byRack && rack.reorderingSeen && !this.tailProbe.pending) {
      rack.duplicateReported(this.una, this.nxt);
    }
    if (this.#undoable && --this.#unproven === 0) this.#undo();
  }

  /** RFC 8985 §6.2 step 5. */
  #detectLosses(now: number): void {
    this.reorderingTimer = this.board.markLostByTime(this.#reorderingWindow(), now);
  }

  #reorderingWindow(): number {
    const { rack, sacked } = this.board;
    return rack.window(this.#state !== OPEN, sacked, this.rto.minimum, this.rto.smoothed);
  }

  #tailProbeAnswered(segment: Segment, advanced: number, reported: boolean): boolean {
    const { acknowledgment, sackCount, span } = segment;
    const duplicate = advanced === 0 && span === 0;
    return this.tailProbe.acknowledged(acknowledgment, duplicate, reported, sackCount);
  }

  /** RFC 8985 §7.2 */
  #armTailProbe(now: number): void {
    const { board, tailProbe } = this;
    const wanted = this.sack && this.#settings.rack && this.#state === OPEN && !tailProbe.pending &&
      board.sackedBytes === 0;
    if (wanted) tailProbe.arm(this.rto.smoothed, board.count === 1, this.timer, now);
    else tailProbe.timer = Infinity;
  }

  #reduce(advanced: number): void {
    const delivered = this.sack ? this.board.delivered : advanced > 0 ? advanced : this.mss;
    if (delivered === 0) return;
    const { threshold } = this.congestion;
    const safe = advanced > 0 && !this.board.lossFound;
    const window = this.#reduction.window(delivered, this.#pipe(), threshold, this.mss, safe);
    this.congestion.setWindow(window);
  }

  /** RFC 3522 §3.2: the ACK answers the original, which therefore was not lost. */
  #wasSpurious(echoDelay: number, now: number): boolean {
    if (echoDelay < 0 || this.#firstRetransmission < 0) return false;
    const first = this.#firstRetransmission;
    this.#firstRetransmission = Infinity;
    // The timestamp clock ticks in whole milliseconds.
    return first !== Infinity && Math.floor(now) - echoDelay < Math.floor(first);
  }

  #undo(): void {
    this.spurious++;
    // The original was late, not lost.
    if (this.#state === RECOVERY) this.board.rack.reorderingSeen = true;
    this.#undoable = false;
    this.board.unmarkLost();
    this.congestion.undo();
    this.#state = OPEN;
    this.#duplicateAcks = 0;
    this.#forced = false;
    this.reorderingTimer = Infinity;
  }

  #recovered(now: number): void {
    if (this.#state === RECOVERY) this.congestion.recovered(now);
    this.board.rack.recovered();
    this.#state = OPEN;
    this.#duplicateAcks = 0;
    this.reorderingTimer = Infinity;
  }

  /** RFC 7661 §4: the window grows only when it is used. */
  get #windowWasLimit(): boolean {
    const { window, threshold } = this.congestion;
    const flight = this.#flightAtSend;
    return window < threshold ? 2 * flight >= window : flight + 2 * this.mss >= window;
  }

  /** What was sent into the closed window was dropped there. */
  #windowOpened(): void {
    this.#probing = false;
    this.rto.resetBackoff();
    this.#sendAllAgain();
  }

  /** Repairs what was lost to something else than congestion: the window stays as it is. */
  #sendAllAgain(): void {
    if (this.board.count === 0) return;
    this.board.loseAll();
    if (this.#state === OPEN) {
      this.#state = LOSS;
      this.#recover = this.nxt;
      // Nothing was reduced that could be undone.
      this.#firstRetransmission = Infinity;
      this.#undoable = false;
      this.tailProbe.cancel();
    }
    this.#forced = true;
  }

  #restartTimers(advanced: number, now: number): void {
    if (this.board.count === 0) {
      // settle() starts the persist timer if it is needed.
      this.timer = Infinity;
      this.reorderingTimer = Infinity;
      this.tailProbe.cancel();
      return;
    }
    const due = this.#due(now);
    // RFC 6298 §5.3, and never longer than the estimate of now.
    if (advanced > 0 || this.timer > due) this.timer = due;
    if (advanced > 0 || this.board.sackedBytes > 0) this.#armTailProbe(now);
  }

  #growLimit(): void {
    const wanted = 2 * this.congestion.window;
    if (wanted > this.limit) this.limit = Math.min(this.#settings.sendBuffer, wanted);
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
