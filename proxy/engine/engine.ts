/**
 * The loop around the state machines: socket, WireGuard device, network stack, one timer.
 *
 * A turn has two phases. Drain: a bounded batch of datagrams is opened and walked up; state changes,
 * nothing is sent. Flush: due timers, handshakes and dirty connections emit their packets, a budget
 * each. Between turns the runtime's event loop has its own (`setImmediate`), so that sockets of
 * targets are served while a flood comes in.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import { type MemoryRegion, type Nic, Stack, type TcpSettings } from "../../netstack/mod.ts";
import {
  type Crypto,
  Device,
  type DeviceEvent,
  type Endpoint,
  type TimerSettings,
} from "../../wireguard/mod.ts";
import type { GatewayConfig } from "../config/config.ts";
import { openDataPath } from "../arena/arena.ts";
import type { UdpAddress } from "../bind/endpoint_cache.ts";
import type { TransmitPool } from "../arena/transmit_pool.ts";
import type { UdpBind } from "../bind/udp.ts";
import { openUdpBind } from "../bind/udp_open.ts";
import { WireguardLink } from "../link/wireguard.ts";

const log = getLogger(["wirestack", "engine"]);

/** What has deadlines beside the device and the stack. */
export interface TimeoutSource {
  /** When `handleTimeout` is due, ms; Infinity for never. */
  pollTimeout(): number;
  handleTimeout(now: number): void;
}

/** What receives and sends in the engine's turns beside WireGuard's socket. */
export interface TurnSource {
  /** Whether {@link drain} has something to do, and the tunnel room for it. */
  readonly hasReady: boolean;
  /** Hands a bounded batch of what has come to the stack. */
  drain(now: number): void;
  /** Sends what the turn has collected. */
  flush(): void;
}

export interface EngineOptions {
  readonly config: GatewayConfig;
  readonly crypto?: Crypto;
  /** Replaces some of WireGuard's time constants. */
  readonly timers?: Partial<TimerSettings>;
  readonly tcp?: Partial<TcpSettings>;
  /** Datagrams in batches, over FFI. Default: over Deno's sockets. */
  readonly ffi?: boolean;
  onEvent(event: DeviceEvent): void;
  /** The socket is dead. */
  onFailed(error: Error): void;
}

export interface EngineCounters {
  turns: number;
  timeouts: number;
  /** Exceptions: defects of this program. The loop goes on. */
  faults: number;
}

/** Segments per round of a flush, and handshake messages per turn (each up to half a millisecond). */
const FLUSH_BUDGET = 32;
const HANDSHAKE_BUDGET = 4;
/** The share of slots that must be free again before a flush that ran out of them goes on. */
const RESUME_SHARE = 1 / 4;
const MAX_DELAY_MS = 0x7fffffff;
const LAST_SENDS_MS = 200;

export class Engine {
  readonly device: Device;
  readonly stack: Stack;
  readonly nic1: Nic;
  readonly bind: UdpBind;
  readonly pool: TransmitPool;
  readonly link: WireguardLink;
  readonly counters: EngineCounters = { turns: 0, timeouts: 0, faults: 0 };
  readonly #options: EngineOptions;
  readonly #sources: TimeoutSource[] = [];
  readonly #turnSources: TurnSource[] = [];
  #now = performance.now();
  #isScheduled = false;
  #isInTurn = false;
  #needsSlots = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #isClosed = false;
  readonly #turn = () => this.#runTurn();
  readonly #handleDatagram = (
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: UdpAddress,
  ) => {
    try {
      this.device.handleDatagram(buffer, offset, length, from, this.#now);
    } catch (error) {
      this.#fault(error);
    }
  };

  /** Opens the socket. @throws {SettingError} if the system refuses its port or address. */
  constructor(options: EngineOptions) {
    this.#options = options;
    const { config } = options;
    const random = (out: Uint8Array) => {
      crypto.getRandomValues(out);
    };
    const now = this.now();
    const { crypto: primitives, sum, pool, receiveRegion, ringRegion } = openDataPath(
      config.mtu,
      options.crypto,
    );
    this.device = new Device({
      privateKey: config.privateKey,
      crypto: primitives,
      random,
      wallClock: () => Date.now(),
      mtu: config.mtu,
      timers: {
        ...(config.rekeyAfterMs !== undefined && { rekeyAfterMs: config.rekeyAfterMs }),
        ...options.timers,
      },
      sink: {
        transmit: (endpoint: Endpoint, buffer, offset, length, mayTake) => {
          // What may be taken comes from the link, which sends nothing but slots.
          const isTaken = this.bind.send(endpoint as UdpAddress, buffer, offset, length, mayTake);
          this.wake(); // to flush it, if this is no turn
          return isTaken;
        },
        receive: (peer, buffer, offset, length, now) =>
          this.stack.handlePacket(this.nic1, buffer, offset, length, now, peer),
        event: (event) => options.onEvent(event),
      },
      now,
    });
    this.stack = new Stack({
      random,
      wake: () => this.wake(),
      ...(sum && { sum }),
      ...(ringRegion && { ringRegion }),
      ...(options.tcp && { tcp: options.tcp }),
    });
    this.pool = pool;
    this.link = new WireguardLink(this.pool, this.device);
    this.nic1 = this.stack.addNic({
      name: "wireguard",
      mtu: config.mtu,
      link: this.link,
      addresses: config.addresses,
      forwarding: config.peerToPeer,
    });
    // Last: whatever is thrown above leaves no socket behind.
    this.bind = this.#openBind(config, receiveRegion);
  }

  /**
   * Moves to another UDP port or address. Sessions stay, and datagrams that have arrived are not
   * lost. Endpoints are of the old family until the owner has interned them anew.
   *
   * @throws {SettingError} if the system refuses; then the old socket is still in use.
   */
  rebind(to: Pick<GatewayConfig, "listenPort" | "listenAddress">): void {
    this.bind.rebind({
      ...(to.listenPort !== undefined && { port: to.listenPort }),
      ...(to.listenAddress !== undefined && { address: to.listenAddress }),
    });
    this.wake();
  }

  /** Milliseconds, monotonic. */
  now(): number {
    return performance.now();
  }

  /** Includes the deadlines of `source` in the one timer. */
  addTimeouts(source: TimeoutSource): void {
    this.#sources.push(source);
  }

  /** Includes `source` in every turn. */
  addTurns(source: TurnSource): void {
    this.#turnSources.push(source);
  }

  /** Whether packets for the tunnel leave at once, and need not be queued or dropped. */
  get hasRoom(): boolean {
    return this.pool.free > 0 && this.nic1.queue.isEmpty;
  }

  /** Whether what one peer takes is missing to another. */
  get hasSeveralPeers(): boolean {
    let count = 0;
    for (const _ of this.device.peers()) if (++count > 1) return true;
    return false;
  }

  /** Asks for a turn: something is dirty, or a deadline has been set. */
  wake(): void {
    if (this.#isScheduled || this.#isInTurn || this.#isClosed) return;
    this.#isScheduled = true;
    setImmediate(this.#turn);
  }

  /** Sends what is still to be sent, wipes the keys, closes the socket. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#runTurn();
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.bind.sent(LAST_SENDS_MS);
    this.device.close(this.now());
    await this.bind.close();
  }

  #openBind(config: GatewayConfig, receiveRegion: MemoryRegion): UdpBind {
    return openUdpBind({
      ...(config.listenPort !== undefined && { port: config.listenPort }),
      ...(config.listenAddress !== undefined && { address: config.listenAddress }),
      ...(config.fwMark !== undefined && { mark: config.fwMark }),
      pool: this.pool,
      receiveRegion,
      onReadable: () => this.wake(),
      onSent: () => this.#onSent(),
      onFailed: this.#options.onFailed,
    }, this.#options.ffi);
  }

  #runTurn(): void {
    this.#isScheduled = false;
    if (this.#isClosed) return;
    this.#isInTurn = true;
    this.counters.turns++;
    this.#now = this.now();
    let isMore = false;
    try {
      this.bind.drain(this.#handleDatagram);
      this.#exchange(this.#now);
      isMore = this.#work(this.#now);
    } catch (error) {
      this.#fault(error);
    }
    this.#isInTurn = false;
    if (isMore || this.bind.hasReady || this.#hasReadySource()) this.wake();
    else this.#arm();
  }

  /** What has come in leaves for the targets before what they answered is taken. */
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

  #hasReadySource(): boolean {
    for (let i = 0; i < this.#turnSources.length; i++) {
      if (this.#turnSources[i]!.hasReady) return true;
    }
    return false;
  }

  /** @returns whether there is more to do now. */
  #work(now: number): boolean {
    const { device, stack } = this;
    if (device.pollTimeout() <= now) device.handleTimeout(now);
    if (stack.pollTimeout() <= now) stack.handleTimeout(now);
    for (let i = 0; i < this.#sources.length; i++) {
      const source = this.#sources[i]!;
      if (source.pollTimeout() <= now) source.handleTimeout(now);
    }
    const moreHandshakes = device.handleHandshakes(now, HANDSHAKE_BUDGET);
    const moreSegments = stack.flush(now, FLUSH_BUDGET);
    this.bind.flush();
    const hasSlots = this.pool.free > 0;
    this.#needsSlots = !hasSlots; // also what is not taken from targets meanwhile
    return moreHandshakes || moreSegments && hasSlots;
  }

  /** One timer, re-armed only when a deadline moves earlier. */
  #arm(): void {
    let next = Math.min(this.device.pollTimeout(), this.stack.pollTimeout());
    for (let i = 0; i < this.#sources.length; i++) {
      next = Math.min(next, this.#sources[i]!.pollTimeout());
    }
    if (next >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = next;
    // Rounded up, or the timer would come before its deadline and find nothing to do.
    const delay = Math.min(MAX_DELAY_MS, Math.max(0, Math.ceil(next - this.now())));
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      this.counters.timeouts++;
      this.#runTurn();
    }, delay);
  }

  #onSent(): void {
    if (this.#needsSlots && this.pool.free >= this.pool.slots * RESUME_SHARE) {
      this.#needsSlots = false;
      this.wake();
    }
  }

  #fault(error: unknown): void {
    const { counters } = this;
    counters.faults++;
    // A defect that every packet meets must not fill the disk: the 1st, 2nd, 4th, 8th time.
    if ((counters.faults & counters.faults - 1) === 0) {
      const stack = (error as Error)?.stack ?? String(error);
      log.error("a defect, {faults} so far: {stack}", { faults: counters.faults, stack });
    }
  }
}
