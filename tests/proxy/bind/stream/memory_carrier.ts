/**
 * Carriers that are two ends in memory, and a time of their own.
 *
 * @module
 */

import type {
  Carrier,
  CarrierDialer,
  CarrierEvents,
  CarrierListener,
} from "../../../../proxy/bind/stream/mod.ts";
import type { StreamTimers } from "../../../../proxy/bind/stream/mod.ts";

/** Time that passes when told. */
export class VirtualTimers implements StreamTimers {
  #now = 1_000;
  readonly #waiting = new Set<{ readonly at: number; readonly run: () => void }>();

  now(): number {
    return this.#now;
  }

  after(delayMs: number, run: () => void): () => void {
    const entry = { at: this.#now + delayMs, run };
    this.#waiting.add(entry);
    return () => void this.#waiting.delete(entry);
  }

  /** When the next is called; Infinity for never. */
  get nextAt(): number {
    return Math.min(...[...this.#waiting].map(({ at }) => at));
  }

  /** Lets time pass, and what was asked for happen; promises settle in between. */
  async pass(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await settle();
      const next = [...this.#waiting].toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > until) break;
      this.#waiting.delete(next);
      this.#now = next.at;
      next.run();
    }
    this.#now = until;
  }
}

/** Lets everything happen that waits for nothing but its turn. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

/** One end. What is written arrives at the other when its turn comes, in one piece or in `pieces`. */
export class MemoryCarrier implements Carrier {
  readonly remote;
  other!: MemoryCarrier;
  /** Bytes of the pieces in which chunks arrive. */
  pieces = Infinity;
  /** Whether nothing written arrives until further notice. */
  isHeld = false;
  /** Whether everything written is lost, as on a connection that nobody knows to be dead. */
  isDead = false;
  isReading = true;
  rest = 0;
  unread = 0;
  closedFor: number | undefined;
  isClosed = false;
  buffered = 0;
  /** The other side has closed it. */
  #isLost = false;
  #events: CarrierEvents | undefined;
  #held: { readonly bytes: Uint8Array; readonly done: () => void }[] = [];
  #unread: Uint8Array[] = [];
  readonly #limit: number;

  /** @param port Of the other end, and the last byte of its address. */
  constructor(port: number, limit: number, holder = "nobody") {
    const description = `end ${port}`;
    this.remote = { address: Uint8Array.of(192, 0, 2, port), port, description, holder };
    this.#limit = limit;
  }

  /** @param holder Whose the first is. */
  static pair(limit = 64 << 10, holder?: string): [MemoryCarrier, MemoryCarrier] {
    const [a, b] = [new MemoryCarrier(2, limit), new MemoryCarrier(1, limit, holder)];
    a.other = b;
    b.other = a;
    return [a, b];
  }

  start(events: CarrierEvents): void {
    this.#events = events;
    queueMicrotask(() => {
      this.#deliver();
      if (this.#isLost && !this.isClosed) this.fail();
    });
  }

  write(bytes: Uint8Array, done: () => void): boolean {
    this.buffered += bytes.length;
    this.#held.push({ bytes, done });
    if (!this.isHeld) queueMicrotask(() => this.release());
    return this.buffered < this.#limit;
  }

  /** What was held arrives. */
  release(): void {
    if (this.isHeld || this.isClosed) return;
    const wasFull = this.buffered >= this.#limit;
    for (const { bytes, done } of this.#held.splice(0)) {
      this.buffered -= bytes.length;
      if (!this.isDead) this.other.arrive(bytes.slice());
      done();
    }
    if (wasFull) this.#events?.writable();
  }

  arrive(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += this.pieces) {
      this.#unread.push(bytes.subarray(at, Math.min(bytes.length, at + this.pieces)));
    }
    this.#deliver();
  }

  setReading(isReading: boolean): void {
    this.isReading = isReading;
    if (isReading) queueMicrotask(() => this.#deliver());
  }

  close(last?: Uint8Array): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.closedFor = last?.[2];
    if (last !== undefined && !this.isDead && !this.isHeld) this.other.arrive(last);
    for (const { done } of this.#held.splice(0)) done();
    if (!this.isDead) queueMicrotask(() => this.other.fail());
  }

  /** The other side is gone. */
  fail(error?: Error): void {
    this.#isLost = true;
    if (this.isClosed || this.#events === undefined) return;
    this.isClosed = true;
    this.#events.closed(error);
  }

  #deliver(): void {
    while (this.#events !== undefined && this.isReading && this.#unread.length > 0) {
      if (this.isClosed) return;
      this.#events.chunk(this.#unread.shift()!);
    }
  }
}

export class MemoryListener implements CarrierListener {
  readonly description = "memory:1";
  readonly port = 1;
  isClosed = false;
  #accepted: (carrier: Carrier) => void = () => {};

  start(accepted: (carrier: Carrier) => void): void {
    this.#accepted = accepted;
  }

  accept(carrier: Carrier): void {
    this.#accepted(carrier);
  }

  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}

/** Dials a listener, or fails as it is told. */
export class MemoryDialer implements CarrierDialer {
  readonly url = "memory://hub:1";
  readonly port = 1;
  readonly listener: MemoryListener;
  /** Why the next attempts fail. */
  problem: string | undefined;
  attempts = 0;
  limit = 64 << 10;
  /** The last pair: this side's end, the listener's. */
  ends: [MemoryCarrier, MemoryCarrier] | undefined;

  constructor(listener: MemoryListener) {
    this.listener = listener;
  }

  async dial(): Promise<Carrier> {
    this.attempts++;
    await Promise.resolve();
    if (this.problem !== undefined) throw new Error(this.problem);
    this.ends = MemoryCarrier.pair(this.limit);
    this.listener.accept(this.ends[1]);
    return this.ends[0];
  }
}
