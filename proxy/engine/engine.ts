/**
 * The loop around the state machines: binds, WireGuard device, network stack, one timer. It opens
 * no socket and reads no clock of its own: all that comes from its options, so that a simulation
 * can drive the same loop.
 *
 * A turn has two phases. Drain: a bounded batch of datagrams is opened and walked up; state changes,
 * nothing is sent. Flush: due timers, handshakes and dirty connections emit their packets, a budget
 * each. After {@link TURNS} turns the runtime's event loop runs, so that sockets of targets are served
 * while a flood comes in.
 *
 * @module
 */

import type { Arena } from "../arena/arena.ts";
import type { TransmitPool } from "../arena/transmit_pool.ts";
import type { Bind, BindEndpoint } from "../bind/bind.ts";
import { type Direction, type PacketObserver, Tap } from "../link/tap.ts";
import type { PacketLink } from "../link/packet_link.ts";
import { WireguardLink } from "../link/wireguard.ts";
import { getLogger } from "../log/logger.ts";
import { isWorthALine } from "../log/thinning.ts";
import {
  type MemoryBudget,
  type Nic,
  type NicAddress,
  Stack,
  type TcpSettings,
} from "../../netstack/mod.ts";
import {
  Device,
  type DeviceEvent,
  type Endpoint,
  Peer,
  type Sender,
  type TimerSettings,
} from "../../wireguard/protocol.ts";
import type { Clock, Scheduler } from "./event_loop.ts";
import { RequestRate } from "./request_rate.ts";
import { type EngineLink, type LinkOptions, observeNic } from "./link_port.ts";
import { Links } from "./links.ts";

const log = getLogger(["wirestack", "engine"]);

/** Something with deadlines, besides the device and the stack. */
export interface TimeoutSource {
  /** When `handleTimeout` is due, ms; Infinity for never. */
  pollTimeout(): number;
  handleTimeout(now: number): void;
}

/** Something that receives and sends in the engine's turns, besides the binds. */
export interface TurnSource {
  /** Whether {@link drain} has something to do, and the tunnel room for it. */
  readonly hasReady: boolean;
  /** Hands a bounded batch of what has come to the stack. */
  drain(now: number): void;
  /** Sends what the turn has collected. */
  flush(): void;
}

/**
 * Called with each datagram of WireGuard's before the device (in) or the bind (out) gets it: borrowed, as
 * the sender is, and not to be changed.
 */
export type DatagramObserver = (
  direction: Direction,
  buffer: Uint8Array,
  offset: number,
  length: number,
  now: number,
  end: Sender | Endpoint,
) => void;

export interface EngineOptions {
  readonly clock: Clock;
  /** This engine's alone. */
  readonly scheduler: Scheduler;
  /** Fills an array with secret random bytes. */
  readonly random: (out: Uint8Array) => void;
  /** Made for the same MTU. */
  readonly arena: Arena;
  /** Not started yet. The engine starts, drains, flushes and closes them. */
  readonly binds: readonly Bind[];
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  /** Of the tunnel, bytes. */
  readonly mtu: number;
  /** Of the tunnel's own end. */
  readonly addresses: readonly NicAddress[];
  /** Whether peers reach each other. Default: they do not. */
  readonly forwarding?: boolean;
  /** Replaces some of WireGuard's time constants. */
  readonly timers?: Partial<TimerSettings>;
  readonly tcp?: Partial<TcpSettings>;
  /** For the buffers of connections. Default: no limit. */
  readonly memory?: MemoryBudget;
  onEvent(event: DeviceEvent): void;
  /** Nothing is received by `bind` any more. */
  onFailed(error: Error, bind: Bind): void;
}

export interface EngineCounters {
  turns: number;
  timeouts: number;
  /** Exceptions: defects of this program. The loop goes on. */
  faults: number;
}

/**
 * Turns in a row, while there is more to do, before the runtime's event loop runs. If it ran after every
 * turn it would cost a bulk flow a tenth of its CPU, and what competes with that flow would wait longer.
 */
const TURNS = 4;
/** Segments per round of a flush, and handshake messages per turn (each up to half a millisecond). */
const FLUSH_BUDGET = 32;
const HANDSHAKE_BUDGET = 1;
/** The share of slots that must be free again before a flush that ran out of them goes on. */
const RESUME_SHARE = 1 / 4;
/** The share of slots reserved for the stack, every other turn: others send before it in a turn. */
const RESERVED_SHARE = 1 / 8;
const LAST_SENDS_MS = 200;
/** If the last turn ended this long ago, the engine is not in a run of turns, ms. */
const QUIET_MS = 1;

export class Engine {
  readonly device: Device;
  readonly stack: Stack;
  readonly nic1: Nic;
  readonly #binds: Bind[];
  readonly arena: Arena;
  readonly pool: TransmitPool;
  readonly link: WireguardLink;
  /** Around {@link link} while there is an observer, see {@link observe}. */
  readonly tap: Tap;
  readonly counters: EngineCounters = { turns: 0, timeouts: 0, faults: 0 };
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #requestRate: RequestRate;
  readonly #onBindFailed: EngineOptions["onFailed"];
  readonly #sources: TimeoutSource[] = [];
  /** When the first of them was due, at the end of the last turn. */
  #sourcesAt = Infinity;
  readonly #turnSources: TurnSource[] = [];
  #datagramObservers: readonly DatagramObserver[] = [];
  readonly #links: Links;
  #now = -Infinity; // a declared field begins as undefined, and then each number stored is a new object
  #isScheduled = false;
  #isInTurn = false;
  #needsSlots = false;
  /** Something was not read because a bind is busy. */
  #waitsForBind = false;
  /** Another turn is wanted, said during this one. */
  #isRoused = false;
  /** A slot for the tunnel was wanted in this turn, and none was free. */
  #wasExhausted = false;
  readonly #reserved: number;
  #timerAt = Infinity;
  #turnsEndedAt = -Infinity;
  #isClosed = false;
  // Made once: what is called for every turn or datagram costs no closure.
  readonly #turn = () => {
    let isMore = true;
    for (let left = TURNS; isMore && left > 0; left--) isMore = this.#runTurn();
    this.#isScheduled = false;
    if (isMore) this.wake();
    this.#turnsEndedAt = this.#clock.now(); // turns of a bulk flow may take longer than QUIET_MS
  };
  readonly #timeout = () => this.#runTimeout();
  readonly #handleDatagram = (
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: Sender,
  ) => {
    if (this.#datagramObservers.length > 0) {
      this.#showDatagram("in", buffer, offset, length, this.#now, from);
    }
    try {
      this.device.handleDatagram(buffer, offset, length, from, this.#now);
    } catch (error) {
      this.#fault(error);
    }
  };

  /** @throws {RangeError} for a key, MTU or time constant out of range; then no bind was started. */
  constructor(options: EngineOptions) {
    const { clock, random, arena, binds, mtu } = options;
    const { crypto, sum, pool, ringRegion } = arena;
    this.#clock = clock;
    this.#scheduler = options.scheduler;
    this.#requestRate = new RequestRate(clock.cpuTime && (() => clock.cpuTime!()));
    this.#now = clock.now();
    this.arena = arena;
    this.pool = pool;
    this.#reserved = Math.floor(pool.slots * RESERVED_SHARE);
    this.#binds = [...binds];
    this.device = new Device({
      privateKey: options.privateKey,
      crypto,
      random,
      wallClock: () => clock.wallClock(),
      mtu,
      timers: options.timers ?? {},
      sink: {
        transmit: (endpoint, buffer, offset, length, mayTake) => {
          const to = endpoint as BindEndpoint;
          if (this.#datagramObservers.length > 0) {
            this.#showDatagram("out", buffer, offset, length, this.now(), to);
          }
          // A buffer that may be taken comes from the link, so it is a slot.
          const isTaken = to.bind.send(to, buffer, offset, length, mayTake);
          this.wake(); // to flush it, if this is no turn
          return isTaken;
        },
        receive: (peer, buffer, offset, length, now) => {
          if (this.nic1.link === this.tap) this.tap.received(buffer, offset, length, now, peer);
          this.stack.handlePacket(this.nic1, buffer, offset, length, now, peer);
        },
        event: (event) => options.onEvent(event),
      },
      now: this.#now,
    });
    this.stack = new Stack({
      random,
      wake: () => this.wake(),
      requestPacing: {
        trafficBeside: (from) => this.#trafficBeside(from),
        requestRate: (now) => this.#requestRate.at(now),
      },
      ...(sum && { sum }),
      ...(ringRegion && { ringRegion }),
      ...(options.tcp && { tcp: options.tcp }),
      ...(options.memory && { memory: options.memory }),
    });
    const engine = this as Engine;
    this.#links = new Links({
      stack: this.stack,
      get hasRoom() {
        return engine.hasRoom;
      },
      rouse: () => {
        this.#isRoused = true;
        this.wake();
      },
      fault: (error) => this.#fault(error),
    });
    this.link = new WireguardLink(pool, this.device);
    this.tap = new Tap(this.link);
    this.nic1 = this.stack.addNic({
      name: "wireguard",
      mtu,
      link: this.link,
      addresses: options.addresses,
      forwarding: options.forwarding ?? false,
    });
    pool.onExhausted = () => {
      this.#wasExhausted = true;
      this.#flushBinds(); // what else the turn has to send needs slots
    };
    this.#onBindFailed = options.onFailed;
    for (const bind of binds) this.#start(bind);
  }

  get binds(): readonly Bind[] {
    return this.#binds;
  }

  /** Starts another one. The engine drains, flushes and closes it as the others. */
  addBind(bind: Bind): void {
    this.#binds.push(bind);
    this.#start(bind);
  }

  #start(bind: Bind): void {
    bind.start({
      onReadable: (isAlone = false) => isAlone ? this.#wakeAlone() : this.wake(),
      onSent: () => this.#onSent(),
      onFailed: (error) => this.#onBindFailed(error, bind),
    });
  }

  /** Milliseconds, monotonic; in a turn the time when that began. */
  now(): number {
    return this.#isInTurn ? this.#now : this.#clock.now();
  }

  /** Includes the deadlines of `source` in the one timer. */
  addTimeouts(source: TimeoutSource): void {
    this.#sources.push(source);
  }

  /** Includes `source` in every turn. */
  addTurns(source: TurnSource): void {
    this.#turnSources.push(source);
  }

  /**
   * Adds a NIC whose packets `link` carries, and starts the link. The engine drains, flushes and
   * closes it.
   *
   * @throws {RangeError} for an MTU out of range, or a NAT with an address of the stack's own; then the
   * link was not started.
   */
  addLink(link: PacketLink, options: LinkOptions): EngineLink {
    return this.#links.add(link, options);
  }

  /** The links beside WireGuard's. */
  get links(): readonly EngineLink[] {
    return this.#links.all;
  }

  /** Shows `observer` every packet of the tunnel, both ways, until what is returned is called. */
  observe(observer: PacketObserver): () => void {
    return observeNic(this.nic1, this.tap, observer);
  }

  /** Shows `observer` every datagram of WireGuard's, both ways, until what is returned is called. */
  observeDatagrams(observer: DatagramObserver): () => void {
    this.#datagramObservers = [...this.#datagramObservers, observer];
    return () => {
      this.#datagramObservers = this.#datagramObservers.filter((other) => other !== observer);
    };
  }

  /** Whether packets for the tunnel leave at once, and need not be queued or dropped. */
  get hasRoom(): boolean {
    const { free, reserved } = this.pool;
    return free > reserved && this.nic1.queue.isEmpty && !this.#isBindBusy();
  }

  /** Not where there are several peers: one of them would hold up what goes to the others. */
  #isBindBusy(): boolean {
    if (this.device.peerCount > 1) return false;
    for (let i = 0; i < this.#binds.length; i++) {
      if (this.#binds[i]!.isBusy === true) return this.#waitsForBind = true;
    }
    return false;
  }

  /** Bytes, of what is authenticated: a stranger's handshakes hold nobody back. */
  #trafficBeside(from: unknown): number {
    const { receivedBytes, counters } = this.device;
    const own = from instanceof Peer ? from.receivedBytes + from.sentBytes : 0;
    return receivedBytes + counters.bytesSent - own + this.#links.bytesBeside(from);
  }

  /** Asks for a turn: something is dirty, or a deadline has been set. */
  wake(): void {
    if (this.#isScheduled || this.#isInTurn || this.#isClosed) return;
    this.#isScheduled = true;
    this.#scheduler.soon(this.#turn);
  }

  /**
   * Takes a turn at once if the last was a while ago: nothing else is likely to come in this round of the
   * event loop then, and "soon" would cost another round. In a run of turns it waits, for what else comes.
   */
  #wakeAlone(): void {
    if (this.#isScheduled || this.#isInTurn || this.#isClosed) return;
    if (this.#clock.now() - this.#turnsEndedAt < QUIET_MS) return this.wake();
    this.#isScheduled = true;
    this.#turn();
  }

  /** Sends what is still to be sent, wipes the keys, closes the binds. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#runTurn();
    this.#isClosed = true;
    this.#scheduler.cancel();
    await Promise.all(this.#binds.map((bind) => bind.sent(LAST_SENDS_MS)));
    this.device.close(this.now());
    await Promise.all([
      ...this.#binds.map((bind) => bind.close()),
      this.#links.close(),
    ]);
  }

  /** @returns whether there is more to do at once. If not, the timer is armed. */
  #runTurn(): boolean {
    if (this.#isClosed) return false;
    this.#isInTurn = true;
    this.#isRoused = false;
    this.#wasExhausted = false;
    this.counters.turns++;
    this.#now = this.#clock.now();
    const wereDue = this.#sourcesAt <= this.#now;
    let isMore = false;
    try {
      this.#drainBinds();
      this.#links.drain(this.#now);
      this.#exchange(this.#now);
      isMore = this.#work(this.#now);
    } catch (error) {
      this.#fault(error);
    }
    this.#isInTurn = false;
    // There are many, and asking one costs about as much as a packet's header, so it is done once a turn.
    // What became due since the last turn ended is dealt with in the next.
    this.#sourcesAt = this.#nextOfSources();
    const areDue = !wereDue && this.#sourcesAt <= this.#now;
    if (isMore || areDue || this.#isRoused || this.#hasReady()) return true;
    this.#arm();
    return false;
  }

  #nextOfSources(): number {
    let next = Infinity;
    for (let i = 0; i < this.#sources.length; i++) {
      next = Math.min(next, this.#sources[i]!.pollTimeout());
    }
    return next;
  }

  /** Sends to the targets what came in by the tunnel, then takes what they answered. */
  #exchange(now: number): void {
    for (let i = 0; i < this.#turnSources.length; i++) {
      const source = this.#turnSources[i]!;
      try {
        source.flush();
        source.drain(now);
      } catch (error) {
        this.#fault(error);
      }
    }
  }

  #hasReady(): boolean {
    for (let i = 0; i < this.#binds.length; i++) {
      if (this.#binds[i]!.hasReady) return true;
    }
    for (let i = 0; i < this.#turnSources.length; i++) {
      if (this.#turnSources[i]!.hasReady) return true;
    }
    return this.#links.hasReady;
  }

  /** Whether datagrams have been received that the next turn begins with, at once. */
  #isMoreAtHand(): boolean {
    for (let i = 0; i < this.#binds.length; i++) {
      if (this.#binds[i]!.holdsMore === true) return true;
    }
    return false;
  }

  /** @returns whether there is more to do now. */
  #work(now: number): boolean {
    const { device, stack } = this;
    const isDeviceDue = device.pollTimeout() <= now;
    if (isDeviceDue) device.handleTimeout(now);
    if (stack.pollTimeout() <= now) stack.handleTimeout(now);
    // Right after the device's timers: a source may ask for the handshake that one of them has just asked
    // for. Before that is sent it is the same one; after, it would be a second.
    if (isDeviceDue || this.#sourcesAt <= now) this.#handleTimeouts(now);
    const moreHandshakes = device.handleHandshakes(now, HANDSHAKE_BUDGET);
    const moreSegments = stack.flush(now, FLUSH_BUDGET);
    this.#flushBinds();
    this.#links.flush(this.#isMoreAtHand());
    const { pool } = this;
    const { free } = pool;
    this.#needsSlots = free <= this.#reserved; // also to read on from targets, which stops meanwhile
    // What targets send and what peers send to peers comes first in a turn, and would leave TCP no
    // slot; reserved slots in every turn would starve those. So every other turn.
    pool.reserved = this.#needsSlots && pool.reserved === 0 ? this.#reserved : 0;
    return moreHandshakes || moreSegments && free > 0 && !this.#waitsForLinks();
  }

  #handleTimeouts(now: number): void {
    for (const source of this.#sources) {
      if (source.pollTimeout() <= now) source.handleTimeout(now);
    }
  }

  /** Whether what the stack has left waits for links that are full, and say so when they are not. */
  #waitsForLinks(): boolean {
    return !this.#links.isEmpty && this.stack.waitsForLinks && !this.#wasExhausted;
  }

  /** One timer, re-armed only when a deadline moves earlier. */
  #arm(): void {
    const { device, stack } = this;
    const next = Math.min(device.pollTimeout(), stack.pollTimeout(), this.#sourcesAt);
    if (next >= this.#timerAt) return;
    this.#timerAt = next;
    this.#scheduler.later(this.#timeout, next - this.now());
  }

  #runTimeout(): void {
    this.#requestRate.noteLateness(this.now() - this.#timerAt);
    this.#timerAt = Infinity;
    this.counters.timeouts++;
    if (this.#runTurn()) this.wake();
  }

  /** A bind with a defect does not stop the others, nor the rest of the turn. */
  #drainBinds(): void {
    for (let i = 0; i < this.#binds.length; i++) {
      try {
        this.#binds[i]!.drain(this.#handleDatagram);
      } catch (error) {
        this.#fault(error);
      }
    }
  }

  #flushBinds(): void {
    for (let i = 0; i < this.#binds.length; i++) {
      try {
        this.#binds[i]!.flush();
      } catch (error) {
        this.#fault(error);
      }
    }
  }

  /** An observer that throws is removed, and does not stop the datagram. */
  #showDatagram(
    direction: Direction,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    end: Sender | Endpoint,
  ): void {
    for (const observer of this.#datagramObservers) {
      try {
        observer(direction, buffer, offset, length, now, end);
      } catch (error) {
        this.#datagramObservers = this.#datagramObservers.filter((other) => other !== observer);
        this.#fault(error);
      }
    }
  }

  #onSent(): void {
    if (this.#waitsForBind) {
      this.#waitsForBind = false;
      this.wake();
    }
    if (this.#needsSlots && this.pool.free >= this.pool.slots * RESUME_SHARE) {
      this.#needsSlots = false;
      this.wake();
    }
  }

  #fault(error: unknown): void {
    const { counters } = this;
    counters.faults++;
    // A defect that every packet meets must not fill the disk.
    if (isWorthALine(counters.faults)) {
      const stack = (error as Error)?.stack ?? String(error);
      log.error("a defect, {faults} so far: {stack}", { faults: counters.faults, stack });
    }
  }
}
