/**
 * The other end of a carrier, as WireGuard's device knows it: where to send to, and who has sent.
 *
 * @module
 */

import type { Endpoint, Sender } from "../../../wireguard/mod.ts";
import type { Bind, BindEndpoint, DatagramHandler } from "../bind.ts";
import type { Carrier, CarrierEvents, CarrierRemote } from "./carrier.ts";
import type { CarrierPlace } from "./carrier_budget.ts";
import type { CarrierStats, HasCarrierStats, StreamState } from "./carrier_stats.ts";
import type { StreamCounters } from "./counters.ts";
import { Farewell, farewellFrame, farewellText } from "./farewell.ts";
import { FrameReader } from "./frame_reader.ts";
import { type ChunkPool, type QueueLimits, SendQueue } from "./send_queue.ts";
import type { StreamTimers } from "./timers.ts";

/** Something is sent at least this often, so that the other side knows that this one is there. */
const HEARTBEAT_MS = 4_000;
/** After this a carrier is as good as gone: nothing was heard, or nothing of what was written was taken. */
export const SILENT_MS = 12_000;
/** Bytes received and not yet drained from which on a carrier is not read. */
const READ_LIMIT = 128 << 10;
/** What waits for longer does so because the line is slow. */
export const BUSY_MS = 4;
/** What an endpoint holds is known to its budget to this, bytes. */
const GRAIN = 16 << 10;
const NOTHING = new Uint8Array(0);
const UNKNOWN = new Uint8Array(4);

/** What an endpoint has of its bind. */
export interface StreamHost {
  readonly timers: StreamTimers;
  /** At least 0, less than 1. */
  readonly random: () => number;
  readonly counters: StreamCounters;
  readonly chunks: ChunkPool;
  readonly limits: QueueLimits;
  /** It has datagrams to drain. Told again for each chunk. */
  readable(endpoint: StreamEndpoint): void;
  /** It has something to flush. */
  dirty(endpoint: StreamEndpoint): void;
  /** A carrier has taken something. */
  writable(): void;
  /** It has a carrier, or waits for one: it wants {@link StreamEndpoint.tick} once a second. */
  active(endpoint: StreamEndpoint): void;
  inactive(endpoint: StreamEndpoint): void;
}

export abstract class StreamEndpoint implements BindEndpoint, Sender, HasCarrierStats {
  readonly bind: Bind;
  protected readonly host: StreamHost;
  readonly #reader = new FrameReader();
  readonly #queue: SendQueue;
  readonly #moved = { receivedDatagrams: 0, receivedBytes: 0, sentDatagrams: 0, sentBytes: 0 };
  #carrier: Carrier | undefined;
  #remote: CarrierRemote | undefined;
  #isReading = true;
  #isFull = false;
  #heardAt = 0;
  #sentAt = 0;
  /** When the carrier last took something, while it is full. */
  #progressAt = 0;
  #buffered = 0;
  /** In the budget of carriers that came in. */
  #place: CarrierPlace | undefined;
  #usedAt = 0;

  constructor(bind: Bind, host: StreamHost) {
    this.bind = bind;
    this.host = host;
    this.#queue = new SendQueue(host.chunks, host.counters, host.limits);
  }

  /** Who is there, or was there last. */
  get remote(): CarrierRemote | undefined {
    return this.#remote;
  }

  get only(): Uint8Array | undefined {
    return this.#remote?.only;
  }

  get isConnected(): boolean {
    return this.#carrier !== undefined;
  }

  get hasDatagrams(): boolean {
    return this.#reader.hasNext;
  }

  /** Bytes that wait for the carrier, and in it. */
  get buffered(): number {
    return this.#queue.size + (this.#carrier?.buffered ?? 0);
  }

  /** When a datagram has come or gone last, or it was opened, ms. */
  get usedAt(): number {
    return this.#usedAt;
  }

  get address(): Uint8Array {
    return this.#remote?.address ?? UNKNOWN;
  }

  get port(): number {
    return this.#remote?.port ?? 0;
  }

  /**
   * Whether what is sent now would push something out that is still young: its user should wait. Not on a
   * slow line, where what waits before this queue would only grow old there.
   */
  get isBusy(): boolean {
    const { limits, timers } = this.host;
    return this.#isFull && this.#queue.size >= limits.bytes / 2 &&
      timers.now() - this.#queue.oldestAt < BUSY_MS;
  }

  abstract readonly state: StreamState;

  /** What went wrong last; undefined when it is open. */
  get problem(): string | undefined {
    return undefined;
  }

  carrierStats(): CarrierStats {
    return {
      transport: this.bind.name,
      endpoint: this.toString(),
      state: this.state,
      problem: this.problem ?? null,
      name: this.#remote?.description ?? null,
      ...this.#moved,
    };
  }

  abstract toString(): string;

  readAddress(out: Uint8Array): number {
    const { address } = this;
    out.set(address);
    return address.length;
  }

  /** A carrier is who sends on it, whatever its address is. */
  isAt(endpoint: Endpoint): boolean {
    return endpoint === this;
  }

  toEndpoint(): this {
    return this;
  }

  copy(): this {
    return this;
  }

  /** Queues a datagram for the next {@link flush}. */
  send(buffer: Uint8Array, offset: number, length: number): void {
    if (this.#carrier === undefined) {
      this.host.counters.droppedNoCarrier++;
      return;
    }
    this.#queue.push(buffer, offset, length, this.host.timers.now());
    if (!this.#isFull) this.host.dirty(this);
    else this.#account();
  }

  /** Gives the carrier what is queued, as long as it has room. */
  flush(): void {
    const { timers, counters } = this.host;
    while (this.#carrier !== undefined && !this.#isFull && this.#queue.size > 0) {
      const now = timers.now();
      const chunk = this.#queue.shift(now);
      if (chunk === undefined) return;
      counters.sent += chunk.datagrams;
      counters.sentBytes += chunk.datagramBytes;
      this.#moved.sentDatagrams += chunk.datagrams;
      this.#moved.sentBytes += chunk.datagramBytes;
      this.#sentAt = now;
      if (chunk.datagrams > 0) this.#usedAt = now;
      if (this.#carrier.write(chunk.bytes, chunk.done, chunk.start)) continue;
      this.#isFull = true;
      this.#progressAt = now;
      this.#buffered = this.#carrier.buffered;
    }
    this.#account();
  }

  /**
   * Hands over what has come.
   *
   * @param most Datagrams.
   * @param out Where each is put, at `offset`.
   * @returns how many there were.
   */
  drain(handle: DatagramHandler, out: Uint8Array, offset: number, most: number): number {
    const { counters } = this.host;
    const reader = this.#reader;
    const { receivedBytes } = counters;
    let count = 0;
    for (; count < most; count++) {
      const length = reader.next(out, offset);
      if (length === 0) break;
      counters.received++;
      counters.receivedBytes += length;
      handle(out, offset, length, this);
    }
    this.#moved.receivedDatagrams += count;
    this.#moved.receivedBytes += counters.receivedBytes - receivedBytes;
    if (!this.#isReading && reader.size < READ_LIMIT / 2) {
      this.#isReading = true;
      this.#carrier?.setReading(true);
    }
    if (count > 0) this.#usedAt = this.#heardAt;
    this.#account();
    return count;
  }

  /** To be called once a second. @param lateMs How much later than that. */
  tick(now: number, lateMs: number): void {
    const carrier = this.#carrier;
    if (carrier === undefined) return;
    // Who was not called did not listen either. Nor does who has more than it can deal with.
    this.#heardAt = this.#isReading ? this.#heardAt + lateMs : now;
    const { counters } = this.host;
    if (now - this.#heardAt > SILENT_MS) {
      counters.silent++;
      this.#end(`nothing was heard for ${SILENT_MS / 1000} s`);
    } else if (this.#isFull) {
      this.#queue.dropStale(now);
      const { buffered } = carrier;
      if (buffered < this.#buffered) this.#progressAt = now;
      else this.#progressAt += lateMs;
      this.#buffered = buffered;
      this.#account();
      if (now - this.#progressAt <= SILENT_MS) return;
      counters.stalled++;
      this.#end(`the other side has read nothing for ${SILENT_MS / 1000} s`);
    } else if (now - this.#sentAt >= HEARTBEAT_MS) {
      this.#beat(now);
    }
  }

  /** The endpoint has a carrier from now on. @param place Which gives it up when it is over. */
  protected attach(carrier: Carrier, place?: CarrierPlace): void {
    const now = this.host.timers.now();
    this.#carrier = carrier;
    this.#place = place;
    this.#remote = carrier.remote;
    this.#isReading = true;
    this.#isFull = false;
    this.#heardAt = this.#usedAt = now;
    this.#reader.reset();
    this.host.active(this);
    const events: CarrierEvents = {
      chunk: (bytes, isAlone) => this.#carrier === carrier && this.#received(bytes, isAlone),
      writable: () => {
        if (this.#carrier !== carrier) return;
        this.#isFull = false;
        this.flush();
        this.host.writable();
      },
      closed: (error) => {
        if (this.#carrier !== carrier) return;
        this.host.counters.lost++;
        this.#detach();
        this.lost(error?.message ?? "closed by the other side");
      },
    };
    carrier.start(events);
    // At once, so that the other side knows that it has been let in.
    if (this.#carrier !== carrier) return;
    this.#beat(now);
  }

  /** Something was heard. */
  protected heard(): void {}

  /** The carrier is gone. @param reason One line. */
  protected abstract lost(reason: string): void;

  /** Closes the carrier, if there is one; {@link lost} is not called. */
  protected end(farewell: Farewell = Farewell.Closing): void {
    const carrier = this.#carrier;
    if (carrier === undefined) return;
    this.#detach();
    carrier.close(farewellFrame(farewell));
  }

  #end(reason: string, farewell?: Farewell): void {
    this.end(farewell);
    this.lost(reason);
  }

  #detach(): void {
    this.#carrier = undefined;
    this.#queue.clear();
    this.#place?.give();
    this.#place = undefined;
    this.host.inactive(this);
  }

  #beat(now: number): void {
    this.host.counters.heartbeatsSent++;
    this.#queue.push(NOTHING, 0, 0, now);
    this.flush();
  }

  #received(bytes: Uint8Array, isAlone?: boolean): void {
    const reader = this.#reader;
    const { counters } = this.host;
    this.#heardAt = this.host.timers.now();
    const { heartbeats } = reader;
    reader.push(bytes, isAlone);
    counters.heartbeatsReceived += reader.heartbeats - heartbeats;
    if (reader.problem === undefined && reader.farewell === undefined) this.heard();
    if (reader.hasNext) this.host.readable(this);
    if (reader.problem !== undefined) {
      counters.badFrames++;
      this.#end(`not WireGuard's datagrams: ${reader.problem}`, Farewell.Malformed);
    } else if (reader.farewell !== undefined) {
      this.host.counters.lost++;
      this.#end(farewellText(reader.farewell));
    } else if (this.#isReading && reader.size > READ_LIMIT) {
      this.#isReading = false;
      this.#carrier!.setReading(false);
    }
    this.#account();
  }

  /** Tells the budget, if it is of one, what is held, and has from it how much more may wait. */
  #account(): void {
    const place = this.#place;
    if (place === undefined) return;
    const unread = this.#isReading ? 0 : this.#carrier!.unread;
    const held = this.#reader.size + this.buffered + unread;
    if (Math.abs(held - place.held) < GRAIN) return;
    place.hold(held);
    this.#queue.limit = place.queueLimit;
  }
}
