import type { CongestionControl } from "./congestion.ts";
import { NewReno, NoCongestionControl } from "./congestion.ts";
import type { Segment } from "./header.ts";
import { Ring } from "./ring.ts";
import { RtoEstimator } from "./rto.ts";
import { RateReduction } from "./prr.ts";
import { Scoreboard } from "./sack.ts";
import { SendWindow } from "./send_window.ts";
import { after, before, distance } from "./sequence.ts";
import type { TcpSettings } from "./settings.ts";

/** RFC 5681 §3.2, RFC 6675 §2. */
const DUP_THRESH = 3;

/** In which kind of repair the sender is. */
const OPEN = 0;
/** Fast recovery (RFC 6675 §5, RFC 6582). */
const RECOVERY = 1;
/** After a timeout: everything unreported is sent again, in slow start. */
const LOSS = 2;

/** The sending half of a connection: what to send, when again, and how much (RFC 9293 §3.8). */
export class Sender {
  readonly #settings: TcpSettings;
  readonly ring = new Ring();
  readonly board = new Scoreboard();
  readonly rto: RtoEstimator;
  congestion: CongestionControl;

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
  /** When a retransmission will count as lost if nothing is heard (RFC 8985 §6.3). */
  reorderingTimer = Infinity;
  /** Retransmissions and probes since the peer last answered. */
  #retries = 0;
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
  #lastSent = 0;

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
    this.congestion = this.#settings.congestion === "none"
      ? new NoCongestionControl()
      : new NewReno(mss);
    this.timer = Infinity;
    this.#retries = 0;
  }

  /** Segments in flight were too big for the path: not congestion (RFC 1191 §6.4, RFC 8899 §4.4). */
  resegment(mss: number): void {
    this.mss = mss;
    this.congestion.setSegmentSize(mss);
    this.#sendAllAgain();
  }

  /** Bytes in {@link ring} not sent yet. */
  get unsent(): number {
    return Math.max(0, this.ring.length - distance(this.nxt, this.una));
  }

  /** Sequence space sent and not acknowledged. */
  get inFlight(): number {
    return distance(this.nxt, this.una);
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
    if (this.sack && segment.sackCount > 0) this.#handleSack(segment, now);
    // A peer that answers a probe is alive, however long its window stays closed
    // (RFC 9293 §3.8.6.1).
    if (advanced > 0 || window === 0) this.#retries = 0;

    this.#measure(flight, advanced, echoDelay, now);
    this.#countDuplicates(segment, advanced, window === windowBefore);
    this.#repair(flight, advanced, echoDelay, now);
    if (windowBefore === 0 && this.peer.size > 0 && this.#probing) this.#windowOpened();
    this.#restartTimer(advanced, now);
    this.#growLimit();
  }

  /**
   * A deadline has passed. Only marks what to send.
   *
   * @returns False if the peer has been silent for too long.
   */
  handleTimeout(now: number): boolean {
    if (this.reorderingTimer <= now) this.reorderingTimer = this.board.markLostByTime(now);
    if (this.timer > now) return true;
    if (++this.#retries > this.#settings.maxRetries) return false;
    this.rto.backOff();
    this.timer = now + this.rto.current;
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
    const first = this.#state !== LOSS || this.#retries === 1;
    this.congestion.timedOut(this.inFlight, first, now);
    this.board.loseAll();
    this.#state = LOSS;
    this.#recover = this.nxt;
    this.#duplicateAcks = 0;
    this.#firstRetransmission = -1;
    this.reorderingTimer = Infinity;
    return true;
  }

  /**
   * Chooses the next segment; the choice is in the pick* fields until {@link sent}.
   *
   * @returns Whether there is one that may go now.
   */
  pick(now: number): boolean {
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
      if (board.count === 0) this.timer = now + this.rto.current;
      this.nxt = (this.nxt + size) | 0;
      board.push(this.nxt, this.pickFin, now);
      if (this.pickFin) this.finSent = true;
    } else {
      board.resent(this.pickIndex, now);
      this.retransmits++;
      if (this.#firstRetransmission < 0) {
        this.#firstRetransmission = now;
        // RFC 6675 §5 step 4.3: the retransmission gets a whole RTO to be answered.
        this.timer = now + this.rto.current;
      }
    }
    this.#forced = false;
    this.#probe = false;
    this.#reduction.sent(size);
    this.#lastSent = now;
  }

  /** Nothing more may go now. Keeps a timer running whenever something waits for the peer. */
  settle(now: number): void {
    if (this.board.count > 0) return;
    const waits = this.unsent > 0 || (this.finQueued && !this.finSent);
    if (!waits) this.timer = Infinity;
    else if (this.timer === Infinity) this.timer = now + this.rto.current;
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

  #handleSack(segment: Segment, now: number): void {
    for (let i = 0; i < segment.sackCount; i++) {
      const left = segment.sack[2 * i]!;
      const right = segment.sack[2 * i + 1]!;
      // Behind SND.UNA it is a duplicate's report (RFC 2883), ahead of SND.NXT a lie.
      if (before(left, this.una) || after(right, this.nxt) || !before(left, right)) continue;
      this.board.sack(left, right, now);
    }
  }

  #measure(flight: number, advanced: number, echoDelay: number, now: number): void {
    const board = this.board;
    if (board.delivered === 0) return;
    const samplesPerRound = Math.max(1, Math.ceil(flight / (2 * this.mss)));
    if (board.sampleSentAt !== Infinity && !board.retransmissionDelivered) {
      this.rto.sample(now - board.sampleSentAt, samplesPerRound);
    } else if (echoDelay >= 0 && advanced > 0) {
      // RFC 7323 §4: the echo says which transmission was received.
      this.rto.sample(echoDelay, samplesPerRound);
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
    } else if (this.board.count > 0 && segment.span === 0 && sameWindow) this.#duplicateAcks++;
  }

  #repair(flight: number, advanced: number, echoDelay: number, now: number): void {
    const board = this.board;
    const stateBefore = this.#state;
    if (this.#state !== OPEN) {
      if (advanced > 0 && this.#wasSpurious(echoDelay, now)) return this.#undo();
      if (!before(this.una, this.#recover)) this.#recovered(now);
    }
    if (this.sack) {
      board.markLost(this.mss);
      this.reorderingTimer = this.#state !== OPEN || board.sackedBytes > 0
        ? board.markLostByTime(now)
        : Infinity;
    } else if (this.#state === RECOVERY) {
      // RFC 6582 §3.2 step 3: a partial acknowledgment names the next loss.
      if (advanced > 0) board.loseFirst();
    } else if (this.#duplicateAcks >= DUP_THRESH && this.#mayRecover()) board.loseFirst();

    if (this.#state === OPEN && board.lostBytes > 0) this.#recovery(flight, now);
    if (this.#state === RECOVERY) this.#reduce(advanced);
    else if (advanced > 0 && stateBefore !== RECOVERY && this.#windowWasLimit(flight)) {
      this.congestion.acknowledged(advanced, now, this.rto.smoothed);
    }
  }

  /** RFC 6582 §3.2 step 2: duplicates caused by our own retransmissions are no new loss. */
  #mayRecover(): boolean {
    return this.#state === OPEN && !before(this.una, this.#recover);
  }

  /** RFC 6675 §5 step 4. */
  #recovery(flight: number, now: number): void {
    this.#state = RECOVERY;
    this.#recover = this.nxt;
    this.congestion.lost(flight, now);
    this.#reduction.start(flight);
    this.#firstRetransmission = -1;
    this.#forced = true;
  }

  #reduce(advanced: number): void {
    const delivered = this.sack ? this.board.delivered : advanced > 0 ? advanced : this.mss;
    if (delivered === 0) return;
    const { threshold } = this.congestion;
    const window = this.#reduction.window(delivered, this.#pipe(), threshold, this.mss);
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
    this.board.unmarkLost();
    this.congestion.undo();
    this.#state = OPEN;
    this.#duplicateAcks = 0;
    this.#forced = false;
    this.reorderingTimer = Infinity;
  }

  #recovered(now: number): void {
    if (this.#state === RECOVERY) this.congestion.recovered(now);
    this.#state = OPEN;
    this.#duplicateAcks = 0;
    this.reorderingTimer = Infinity;
  }

  /** RFC 7661 §4: the window grows only when it is used. */
  #windowWasLimit(flight: number): boolean {
    const { window, threshold } = this.congestion;
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
    }
    this.#forced = true;
  }

  #restartTimer(advanced: number, now: number): void {
    if (this.board.count === 0) {
      // settle() starts the persist timer if it is needed.
      this.timer = Infinity;
      this.reorderingTimer = Infinity;
      return;
    }
    const due = now + this.rto.current;
    // RFC 6298 §5.3, and never longer than the estimate of now.
    if (advanced > 0 || this.timer > due) this.timer = due;
  }

  #growLimit(): void {
    const wanted = 2 * this.congestion.window;
    if (wanted > this.limit) this.limit = Math.min(this.#settings.sendBuffer, wanted);
  }
}
