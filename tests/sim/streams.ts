/**
 * Connections in simulated time that carry WireGuard's datagrams in place of UDP: in order and without
 * loss, and standing still while the line is cut.
 *
 * @module
 */

import { parseIpAddress } from "../../proxy/address.ts";
import type {
  Carrier,
  CarrierDialer,
  CarrierEvents,
  CarrierListener,
  CarrierRemote,
} from "../../proxy/bind/stream/carrier.ts";
import type { StreamTimers } from "../../proxy/bind/stream/timers.ts";
import type { Sim } from "./network.ts";

/** Bytes that a carrier takes before it has no room. */
const ROOM = 64 << 10;
/** How often a line that is cut is tried, as TCP's retransmissions are. */
const RETRY_MS = 200;
const DIAL_LIMIT_MS = 5_000;

export interface SimStreamOptions {
  /** One way, ms. */
  readonly delay: number;
  /** Bits per second, each way. */
  readonly rate?: number;
}

/** The line between two hosts on which streams run. */
export class SimStreamLine {
  readonly sim: Sim;
  readonly options: SimStreamOptions;
  isUp = true;
  dials = 0;
  #accept: ((carrier: Carrier) => void) | undefined;
  readonly #carriers = new Set<SimCarrier>();

  constructor(sim: Sim, options: SimStreamOptions) {
    this.sim = sim;
    this.options = options;
  }

  /** Carriers that are open, both ends counted. */
  get open(): number {
    return this.#carriers.size;
  }

  get timers(): StreamTimers {
    const { sim } = this;
    return {
      now: () => sim.now,
      after: (delayMs, run) => {
        let isOff = false;
        sim.after(delayMs, () => isOff || run());
        return () => void (isOff = true);
      },
    };
  }

  get listener(): CarrierListener {
    return {
      description: "sim:443",
      port: 443,
      start: (accepted) => void (this.#accept = accepted),
      close: () => Promise.resolve(),
    };
  }

  get dialer(): CarrierDialer {
    return {
      url: "sim://hub:443",
      port: 443,
      // TCP's handshake, TLS's, and a round trip to spare.
      dial: (signal) => {
        this.dials++;
        const { promise, resolve, reject } = Promise.withResolvers<Carrier>();
        signal.addEventListener("abort", () => reject(new Error("called off")));
        const wait = this.isUp ? 6 * this.options.delay : DIAL_LIMIT_MS;
        this.sim.after(wait, () => {
          if (signal.aborted) return;
          if (!this.isUp) reject(new Error("no answer"));
          else resolve(this.#connect());
        });
        return promise;
      },
    };
  }

  /** Every connection is reset, as when the other end is restarted. */
  reset(): void {
    for (const carrier of [...this.#carriers]) carrier.lose();
  }

  /** For carriers. */
  gone(carrier: SimCarrier): void {
    this.#carriers.delete(carrier);
  }

  #connect(): Carrier {
    const near = new SimCarrier(this, remote("192.0.2.1", "hub"));
    const far = new SimCarrier(this, remote("198.51.100.2", "client"));
    near.other = far;
    far.other = near;
    this.#carriers.add(near).add(far);
    this.#accept?.(far);
    return near;
  }
}

function remote(address: string, description: string): CarrierRemote {
  return { address: parseIpAddress(address)!.bytes, port: 443, description, holder: description };
}

class SimCarrier implements Carrier {
  readonly remote: CarrierRemote;
  other!: SimCarrier;
  buffered = 0;
  readonly rest = 0;
  readonly unread = 0;
  readonly #line: SimStreamLine;
  #events: CarrierEvents | undefined;
  #isClosed = false;
  #isFull = false;
  /** When the line has sent what it was given. */
  #freeAt = 0;
  /** Sent and not arrived, in order. */
  readonly #inFlight: Uint8Array[] = [];
  readonly #early: Uint8Array[] = [];

  constructor(line: SimStreamLine, remote: CarrierRemote) {
    this.#line = line;
    this.remote = remote;
  }

  start(events: CarrierEvents): void {
    this.#events = events;
    this.#line.sim.after(0, () => {
      for (const bytes of this.#early.splice(0)) this.#events?.chunk(bytes);
    });
  }

  write(bytes: Uint8Array, done: () => void): boolean {
    const { sim, options: { rate = Infinity, delay } } = this.#line;
    const { length } = bytes;
    const copy = bytes.slice();
    this.buffered += length;
    this.#freeAt = Math.max(sim.now, this.#freeAt) + length * 8000 / rate;
    sim.at(this.#freeAt, () => {
      this.buffered -= length;
      done();
      this.#inFlight.push(copy);
      sim.after(delay, () => this.#arrive());
      if (!this.#isFull || this.buffered >= ROOM || this.#isClosed) return;
      this.#isFull = false;
      this.#events?.writable();
    });
    this.#isFull = this.buffered >= ROOM;
    return !this.#isFull;
  }

  setReading(): void {}

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#line.gone(this);
    if (this.#line.isUp) this.#line.sim.after(this.#line.options.delay, () => this.other.lose());
  }

  lose(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#line.gone(this);
    this.#line.sim.after(0, () => this.#events?.closed(new Error("reset")));
  }

  #arrive(): void {
    if (this.#isClosed || this.#inFlight.length === 0) return;
    if (!this.#line.isUp) {
      this.#line.sim.after(RETRY_MS, () => this.#arrive());
      return;
    }
    this.other.#receive(this.#inFlight.shift()!);
  }

  #receive(bytes: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#events === undefined) this.#early.push(bytes);
    else this.#events.chunk(bytes);
  }
}
