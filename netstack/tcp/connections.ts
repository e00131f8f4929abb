/**
 * The connections of one stack: made, found, taken in turn to send, and taken out when they are
 * over.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import { Deadlines } from "../deadlines.ts";
import type { MemoryBudget } from "../memory_budget.ts";
import { Roster } from "../roster.ts";
import type { Nic } from "../nic.ts";
import type { IpOutput, Path } from "../transport.ts";
import { ChallengeLimiter } from "./challenge.ts";
import { ANNOUNCED, Connection, type TcpContext } from "./connection.ts";
import { TcpCounters } from "./counters.ts";
import { FlowHash, FlowTable } from "./demux.ts";
import type { TcpEndpoint, TcpError } from "./endpoint.ts";
import { Ensembles } from "./ensemble.ts";
import { HalfOpenLimits } from "./half_open.ts";
import { MAX_WINDOW_SCALE } from "./header.ts";
import { KeyedNumbers } from "./keyed_numbers.ts";
import type { TcpListener } from "./listener.ts";
import { BLOCKED, DONE, emit } from "./output.ts";
import { relieve } from "./relief.ts";
import { Replies } from "./replies.ts";
import type { RingMemory } from "./ring_memory.ts";
import { after } from "./sequence.ts";
import type { TcpSettings } from "./settings.ts";
import { deliverEvents } from "./deliver_events.ts";
import { TimeWaitTable } from "./time_wait.ts";
import { handleDeadline, tryAgain } from "./timers.ts";
import { Worklist } from "./worklist.ts";

/** Segments one connection may send before the next has its turn. */
const QUANTUM = 64;
/** Every connection is looked at this often while memory is short, ms. */
const RELIEVE_EVERY_MS = 250;

export class Connections implements TcpContext {
  readonly ip: IpOutput;
  readonly settings: TcpSettings;
  readonly memory: RingMemory;
  readonly budget: MemoryBudget;
  readonly counters = new TcpCounters();
  readonly replies: Replies;
  readonly challenges: ChallengeLimiter;
  readonly windowScale: number;
  sentThisFlush = 0;

  readonly numbers: KeyedNumbers;
  readonly hash: FlowHash;
  readonly flows = new FlowTable<Connection>();
  readonly timeWait: TimeWaitTable;
  /** Places of connections that others have opened and not completed. */
  readonly halfOpen: HalfOpenLimits;
  readonly #deadlines = new Deadlines<Connection>();
  readonly #ensembles = new Ensembles();
  /** Every connection whose last callback has not been made. */
  readonly #all = new Roster<Connection, "rosterIndex">("rosterIndex");
  #dirty = new Worklist<Connection>();
  #waiting = new Worklist<Connection>();
  readonly #events = new Worklist<Connection>();
  /** Those that nobody answered for a whole timeout, and some that were answered since. */
  readonly #unanswered = new Set<Connection>();
  /** Of those in {@link #dirty}, how many the last flush had no slots for. */
  #blocked = 0;
  #relieveAt = -Infinity;

  constructor(ip: IpOutput, settings: TcpSettings, memory: RingMemory, budget: MemoryBudget) {
    this.ip = ip;
    this.settings = settings;
    this.memory = memory;
    this.budget = budget;
    this.replies = new Replies(ip, this.counters);
    const random = (out: Uint8Array) => ip.random(out);
    this.challenges = new ChallengeLimiter(settings.challengeAcksPerSecond, random);
    this.numbers = new KeyedNumbers(random);
    this.hash = new FlowHash(random);
    this.timeWait = new TimeWaitTable(settings.timeWaitMs, settings.maxTimeWait);
    this.halfOpen = new HalfOpenLimits(settings, random);
    // Of the windows we announce: the largest must fit (RFC 7323 §2.3).
    let scale = 0;
    while (settings.receiveBuffer >> scale > 0xffff && scale < MAX_WINDOW_SCALE) scale++;
    this.windowScale = scale;
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
    c.iss = this.numbers.initialSequence(local, localPort, remote, remotePort, now);
    c.tsOffset = this.numbers.timestampOffset;
    if (above !== undefined && !after(c.iss, above)) c.iss = (above + 0x10000) | 0;
    c.sender.una = c.iss;
    c.sender.nxt = (c.iss + 1) | 0;
    this.flows.insert(c);
    this.#all.add(c);
    return c;
  }

  /** The timestamp offset of the flow {@link open} would make. */
  timestampOffset(path: Path, localPort: number, remotePort: number, now: number): number {
    this.numbers.initialSequence(path.source, localPort, path.destination, remotePort, now);
    return this.numbers.timestampOffset;
  }

  /** The limit on connections is reached. */
  get isFull(): boolean {
    return this.#all.size >= this.settings.maxConnections;
  }

  pollTimeout(): number {
    return this.#deadlines.next();
  }

  handleTimeout(now: number): void {
    for (;;) {
      const c = this.#deadlines.popDue(now);
      if (c === undefined) return;
      handleDeadline(c, now);
      if (isUnanswered(c)) this.#unanswered.add(c);
      this.#schedule(c);
    }
  }

  /** Has those that wait for an answer try again at once. @param isThere Whether that may help it. */
  tryAgain(isThere: (remote: IpAddress) => boolean, now: number): void {
    for (const c of this.#unanswered) {
      if (!isUnanswered(c)) this.#unanswered.delete(c);
      else if (isThere(c.remote)) {
        tryAgain(c, now);
        this.#schedule(c);
      }
    }
  }

  /** Makes the callbacks that are due. */
  dispatch(): void {
    const queue = this.#events;
    for (let i = 0; i < queue.length; i++) deliverEvents(queue.take(i));
    queue.clear();
  }

  /**
   * Lets those that have something to send do so, in turn.
   *
   * @param budget Segments with data at most.
   * @returns Whether all was done that the links had slots for.
   */
  flush(now: number, budget: number): boolean {
    if (this.budget.isPressed && now >= this.#relieveAt) this.#relieve(now);
    let done = this.replies.flush(now);
    this.sentThisFlush = 0;
    this.#blocked = 0;
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
        if (result === BLOCKED) {
          done = false;
          this.#blocked++;
        }
      }
    }
    queue.clear();
    return done;
  }

  /** A {@link flush} or {@link dispatch} has something to do. */
  get hasWork(): boolean {
    return this.#dirty.length > 0 || this.#events.length > 0;
  }

  /** Whether what there is to do waits for slots of links, all of it. */
  get isBlocked(): boolean {
    return this.#events.length === 0 && this.#dirty.length <= this.#blocked;
  }

  /** Ends those over an interface that is no longer there, in silence. */
  removeNic(nic: Nic): void {
    for (const c of [...this.#all.items]) {
      if (c.path.nic === nic) c.fail({ kind: "aborted", message: `${nic.name} is gone` }, false);
    }
  }

  /** Half-open connections of a closed listener end with it. */
  abortHalfOpen(listener: TcpListener): void {
    for (const c of [...this.#all.items]) {
      if (c.listener === listener && !c.finished) c.abort();
    }
  }

  /** Ends one that `owner` has opened and not completed, in silence. */
  evictHalfOpen(owner: unknown): void {
    for (const c of this.#all.items) {
      if (!c.isHalfOpen || c.from !== owner) continue;
      c.fail(
        { kind: "timeout", message: "others needed the place of a half-open connection" },
        false,
      );
      return;
    }
  }

  // Figures.

  /** Every connection until its closed() callback. */
  *endpoints(): Generator<TcpEndpoint> {
    for (const c of [...this.#all.items]) yield c.endpoint;
  }

  get count(): number {
    return this.#all.size;
  }

  /** Remote addresses with established connections. */
  get ensembleCount(): number {
    return this.#ensembles.size;
  }

  get timers(): number {
    return this.#deadlines.size;
  }

  // For a connection.

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

  finish(c: Connection, error: TcpError | undefined): void {
    this.#forget(c);
    c.state = "closed";
    c.end(error);
  }

  enterTimeWait(c: Connection, now: number): void {
    this.#forget(c);
    c.state = "time-wait";
    const { local, localPort, remote, remotePort, hash, timestamps, tsRecent, tsOffset } = c;
    this.timeWait.add({
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
    this.counters.timeWaitOverflow = this.timeWait.overflow;
    c.end(undefined);
  }

  leaveHalfOpen(c: Connection): void {
    if (!c.isHalfOpen) return;
    c.isHalfOpen = false;
    this.halfOpen.release(c.limitedAs, c.from);
  }

  remove(c: Connection): void {
    this.#all.delete(c);
  }

  joinEnsemble(c: Connection): void {
    c.sender.ensemble = this.#ensembles.join(c.remote, c.sender);
  }

  #relieve(now: number): void {
    this.#relieveAt = now + RELIEVE_EVERY_MS;
    this.counters.memoryResets += relieve(this.#all.items, this.budget, now);
  }

  #forget(c: Connection): void {
    this.leaveHalfOpen(c);
    const { ensemble } = c.sender;
    if (ensemble !== undefined) {
      this.#ensembles.leave(c.remote, ensemble, c.sender);
      c.sender.ensemble = undefined;
    }
    this.flows.remove(c);
    this.#deadlines.remove(c);
    this.#unanswered.delete(c);
    if (c.listener !== undefined && (c.events & ANNOUNCED) === 0) c.leaveBacklog();
  }

  #schedule(c: Connection): void {
    this.#deadlines.set(c, c.nextDeadline());
  }
}

function isUnanswered({ finished, sender, synRetries, state }: Connection): boolean {
  const isOpening = state === "syn-sent" || state === "syn-received";
  return !finished && (sender.retries > 0 || isOpening && synRetries > 0);
}
