/**
 * WireGuard's datagrams in streams: what {@link Carrier}s bring is drained, what is sent to their other
 * ends is queued and given to them.
 *
 * @module
 */

import type { MemoryRegion } from "../../../netstack/mod.ts";
import { ownRegion } from "../../arena/transmit_pool.ts";
import type { Bind, BindEvents, DatagramHandler } from "../bind.ts";
import { AcceptedEndpoint } from "./accepted_endpoint.ts";
import type { Carrier, CarrierDialer, CarrierListener } from "./carrier.ts";
import { CarrierBudget } from "./carrier_budget.ts";
import { newStreamCounters } from "./counters.ts";
import { DialledEndpoint } from "./dialled_endpoint.ts";
import { BUSY_MS, type StreamEndpoint, type StreamHost } from "./endpoint.ts";
import { Farewell, farewellFrame } from "./farewell.ts";
import { MAX_DATAGRAM } from "./frame_reader.ts";
import { ChunkPool, DEFAULT_QUEUE_LIMITS, type QueueLimits } from "./send_queue.ts";
import { hostTimers, type StreamTimers } from "./timers.ts";

/** Datagrams that a turn hands over: as many as UDP's, and of one carrier a part of them. */
const DRAIN_BUDGET = 128;
const DRAIN_SHARE = 32;
const TICK_MS = 1_000;

export interface StreamBindOptions {
  /** `tls`, `grpc`. */
  readonly name: string;
  /** Where a datagram lies while it is handed over; 64 KiB. Default: memory of its own. */
  readonly receiveRegion?: MemoryRegion;
  /** What is best written to a carrier at once, bytes. Default: 16 KiB. */
  readonly chunkSize?: number;
  /** Of what waits for each carrier. */
  readonly limits?: QueueLimits;
  /** What carriers that others have opened may take, of all binds that have it. Default: one of its own. */
  readonly budget?: CarrierBudget;
  readonly timers?: StreamTimers;
  /** At least 0, less than 1. */
  readonly random?: () => number;
}

export class StreamBind implements Bind {
  readonly name: string;
  readonly counters = newStreamCounters();
  readonly budget: CarrierBudget;
  readonly #timers: StreamTimers;
  readonly #memory: MemoryRegion;
  readonly #host: StreamHost;
  readonly #listeners = new Set<CarrierListener>();
  readonly #accepted = new Set<AcceptedEndpoint>();
  /** Those that have a carrier. */
  readonly #active = new Set<StreamEndpoint>();
  /** The one that has a carrier, if no other has. */
  #only: StreamEndpoint | undefined;
  /** Those that have datagrams, in turn. */
  readonly #readable = new Set<StreamEndpoint>();
  readonly #dirty = new Set<StreamEndpoint>();
  readonly #dialled = new Set<DialledEndpoint>();
  #isToldReadable = false;
  #isDraining = false;
  /** Somebody was told that this bind is busy, and not yet that it is not. */
  #isToldBusy = false;
  #callOffBusy: (() => void) | undefined;
  #tickAt = 0;
  #callOffTick: (() => void) | undefined;
  /** Undefined before {@link start}. */
  #events: BindEvents | undefined;
  #isClosed = false;

  constructor(options: StreamBindOptions) {
    const {
      receiveRegion = ownRegion(MAX_DATAGRAM),
      timers = hostTimers,
      random = Math.random,
      budget = new CarrierBudget(),
    } = options;
    this.name = options.name;
    this.budget = budget;
    this.#timers = timers;
    this.#memory = receiveRegion;
    if (this.#memory.length < MAX_DATAGRAM) {
      throw new RangeError(`receiving takes ${MAX_DATAGRAM} bytes, got ${this.#memory.length}`);
    }
    this.#host = {
      timers,
      random,
      counters: this.counters,
      chunks: new ChunkPool(options.chunkSize),
      limits: options.limits ?? DEFAULT_QUEUE_LIMITS,
      readable: (endpoint) => {
        this.#readable.add(endpoint);
        this.#tellReadable();
      },
      writable: () => {
        if (this.#isToldBusy && !this.isBusy) this.#notBusy();
      },
      dirty: (endpoint) => void this.#dirty.add(endpoint),
      active: (endpoint) => {
        this.#active.add(endpoint);
        this.#findOnly();
        this.#startTicking();
      },
      inactive: (endpoint) => this.#inactive(endpoint),
    };
  }

  /** Carriers that there are. */
  get carriers(): number {
    return this.#active.size;
  }

  /** Endpoints that could not be connected, and wait for another attempt. */
  get waiting(): number {
    let count = 0;
    for (const { state } of this.#dialled) if (state === "waiting") count++;
    return count;
  }

  get listeners(): Iterable<CarrierListener> {
    return this.#listeners;
  }

  /** The ends of carriers that came in. */
  get accepted(): ReadonlySet<AcceptedEndpoint> {
    return this.#accepted;
  }

  get hasReady(): boolean {
    return this.#readable.size > 0;
  }

  /**
   * Only where there is one carrier: of several, one that is slow would hold up what goes to the others.
   */
  get isBusy(): boolean {
    if (this.#only?.isBusy !== true) return false;
    if (!this.#isToldBusy) {
      this.#isToldBusy = true;
      this.#callOffBusy ??= this.#timers.after(BUSY_MS, () => {
        this.#callOffBusy = undefined;
        if (this.#isToldBusy) this.#notBusy();
      });
    }
    return true;
  }

  start(events: BindEvents): void {
    this.#events = events;
    for (const listener of this.#listeners) this.#startListener(listener);
    if (this.#readable.size > 0) this.#tellReadable();
  }

  /** Accepts carriers of this listener too, which is closed with the bind. */
  listen(listener: CarrierListener): void {
    this.#listeners.add(listener);
    if (this.#events !== undefined) this.#startListener(listener);
  }

  /** Accepts nothing there any more. Its carriers stay. */
  async unlisten(listener: CarrierListener): Promise<void> {
    if (this.#listeners.delete(listener)) await listener.close();
  }

  /** An endpoint whose carriers are opened by `dialer`: when first sent to, or when told `open()`. */
  endpoint(dialer: CarrierDialer): DialledEndpoint {
    const endpoint: DialledEndpoint = new DialledEndpoint(this, this.#host, dialer);
    this.#dialled.add(endpoint);
    return endpoint;
  }

  /** Closes an endpoint for good. */
  forget(endpoint: DialledEndpoint): void {
    this.#dialled.delete(endpoint);
    endpoint.close();
  }

  drain(handle: DatagramHandler): number {
    this.#isToldReadable = false;
    this.#isDraining = true;
    const { memory, offset } = this.#memory;
    let count = 0;
    for (const endpoint of this.#readable) {
      if (count >= DRAIN_BUDGET) break;
      this.#readable.delete(endpoint);
      const most = Math.min(DRAIN_SHARE, DRAIN_BUDGET - count);
      count += endpoint.drain(handle, memory, offset, most);
      if (endpoint.hasDatagrams) this.#readable.add(endpoint); // behind the others
    }
    this.#isDraining = false;
    return count;
  }

  send(
    to: StreamEndpoint,
    buffer: Uint8Array,
    offset: number,
    length: number,
    _isSlot: boolean,
  ): boolean {
    if (this.#isClosed) this.counters.droppedNoCarrier++;
    else to.send(buffer, offset, length);
    return false; // it is copied
  }

  flush(): void {
    for (const endpoint of this.#dirty) endpoint.flush();
    this.#dirty.clear();
  }

  async sent(limitMs: number): Promise<void> {
    this.flush();
    const until = this.#timers.now() + limitMs;
    while (this.#timers.now() < until && this.#hasUnsent()) {
      await new Promise<void>((resolve) => void this.#timers.after(5, resolve));
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const endpoint of this.#dialled) endpoint.close();
    for (const endpoint of this.#accepted) endpoint.close(Farewell.Closing);
    this.#callOffTick?.();
    this.#callOffBusy?.();
    this.#readable.clear();
    this.#dirty.clear();
    await Promise.all([...this.#listeners].map((listener) => listener.close()));
    this.#listeners.clear();
  }

  #startListener(listener: CarrierListener): void {
    listener.start((carrier) => this.#accept(carrier));
  }

  #accept(carrier: Carrier): void {
    if (this.#isClosed) {
      carrier.close(farewellFrame(Farewell.Closing));
      return;
    }
    const endpoint = new AcceptedEndpoint(this, this.#host, carrier, this.budget);
    if (endpoint.isConnected) this.#accepted.add(endpoint);
  }

  #inactive(endpoint: StreamEndpoint): void {
    this.#active.delete(endpoint);
    this.#findOnly();
    this.#dirty.delete(endpoint);
    if (endpoint instanceof AcceptedEndpoint) this.#accepted.delete(endpoint);
  }

  #findOnly(): void {
    [this.#only] = this.#active.size === 1 ? this.#active : [];
    if (this.#isToldBusy && !this.isBusy) this.#notBusy();
  }

  #notBusy(): void {
    this.#isToldBusy = false;
    if (!this.#isClosed) this.#events?.onSent();
  }

  #hasUnsent(): boolean {
    for (const endpoint of this.#active) {
      if (endpoint.buffered > 0) return true;
    }
    return false;
  }

  #tellReadable(): void {
    if (this.#isToldReadable || this.#isDraining || this.#isClosed) return;
    if (this.#events === undefined) return;
    this.#isToldReadable = true;
    this.#events.onReadable();
  }

  #startTicking(): void {
    if (this.#callOffTick !== undefined) return;
    this.#tickAt = this.#timers.now() + TICK_MS;
    this.#callOffTick = this.#timers.after(TICK_MS, () => this.#tick());
  }

  #tick(): void {
    this.#callOffTick = undefined;
    const now = this.#timers.now();
    const late = Math.max(0, now - this.#tickAt);
    for (const endpoint of this.#active) endpoint.tick(now, late);
    if (this.#active.size > 0 && !this.#isClosed) this.#startTicking();
  }
}
