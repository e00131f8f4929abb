/**
 * A link over Web Streams of packets: one chunk, one packet.
 *
 * Towards the outside a bounded number of packets waits while the writable wants none; then packets of
 * the stack wait where they are made, and those from other links are dropped, the newest first. From
 * there no chunk is read while earlier ones wait.
 *
 * @module
 */

import { ownRegion, TransmitPool } from "../arena/transmit_pool.ts";
import { copyBytes } from "../../netstack/mod.ts";
import { newDrops, whyNoPacket } from "./drops.ts";
import type { PacketLink, PacketLinkEvents } from "./packet_link.ts";

export interface WebStreamsLinkOptions {
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  /** How long a writable that wants nothing holds back what is sent to it. Default 1,000. */
  readonly stallMs?: number;
}

/** Packets that wait, each way. */
const MOST_OUT = 256;
const MOST_IN = 64;
/** Packets of the stack that are being built at once; it builds one after the other. */
const SLOTS = 4;
const STALL_MS = 1_000;

export class WebStreamsLink implements PacketLink {
  readonly name: string;
  readonly buffer: Uint8Array;
  readonly counters = { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0, drops: newDrops() };
  readonly #options: WebStreamsLinkOptions;
  readonly #slots: TransmitPool;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #events: PacketLinkEvents | undefined;
  #in: Uint8Array[] = [];
  #out: Uint8Array[] = [];
  #isWriting = false;
  #isReading = false;
  #wasRefused = false;
  #isStalled = false;
  #stall: ReturnType<typeof setTimeout> | undefined;

  /** @throws {TypeError} if one of the streams is somebody else's already. */
  constructor(options: WebStreamsLinkOptions) {
    const { name, mtu, readable, writable } = options;
    this.name = name;
    this.#options = options;
    this.#slots = new TransmitPool(mtu, ownRegion(SLOTS * TransmitPool.slotBytes(mtu)));
    this.buffer = this.#slots.buffer;
    this.#writer = writable.getWriter();
    try {
      this.#reader = readable.getReader();
    } catch (error) {
      this.#writer.releaseLock();
      throw error;
    }
  }

  start(events: PacketLinkEvents): void {
    this.#events = events;
    this.#writer.closed.then(
      () => this.#end(undefined),
      (error) => this.#end(error),
    );
    this.#read();
  }

  allocate(): number {
    if (this.#out.length >= MOST_OUT && !this.#isStalled) {
      this.#wasRefused = true;
      return -1;
    }
    return this.#slots.allocate();
  }

  release(offset: number): void {
    this.#slots.give(offset);
  }

  transmit(buffer: Uint8Array, offset: number, length: number): void {
    this.#push(buffer, offset, length);
    this.#slots.give(offset);
  }

  forward(buffer: Uint8Array, offset: number, length: number): boolean {
    this.#push(buffer, offset, length);
    return true;
  }

  flush(): void {
    if (!this.#isWriting && this.#out.length > 0) this.#write();
  }

  get hasReady(): boolean {
    return this.#in.length > 0;
  }

  drain(now: number): void {
    const batch = this.#in;
    this.#in = [];
    for (const bytes of batch) this.#receive(bytes, now);
    this.#read();
  }

  /** Does not wait for the other side, which may never look again. */
  close(): void {
    if (this.#events === undefined) return;
    this.#events = undefined;
    clearTimeout(this.#stall);
    this.#out = [];
    this.#reader.cancel("the link is closed").catch(() => {});
    const end = this.#isWriting ? this.#writer.abort("the link is closed") : this.#writer.close();
    end.catch(() => {});
  }

  #receive(bytes: Uint8Array, now: number): void {
    const { counters } = this;
    const reason = whyNoPacket(bytes, 0, bytes.length, this.#options.mtu);
    if (reason !== undefined) counters.drops[reason]++;
    else {
      counters.packetsIn++;
      counters.bytesIn += bytes.length;
      this.#events?.receive(bytes, 0, bytes.length, now);
    }
  }

  async #read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#events !== undefined && this.#in.length < MOST_IN) {
        const { done, value } = await this.#reader.read();
        if (done) {
          this.#end(undefined);
          return;
        }
        if (!(value instanceof Uint8Array)) throw new TypeError("a packet is a Uint8Array");
        this.#in.push(value);
        this.#events?.onReadable();
      }
    } catch (error) {
      this.#end(error);
      return;
    } finally {
      this.#isReading = false;
    }
  }

  #push(buffer: Uint8Array, offset: number, length: number): void {
    const { counters } = this;
    if (this.#out.length >= MOST_OUT) {
      if (this.#isStalled) counters.drops.stalled++;
      else counters.drops.full++;
      return;
    }
    const packet = new Uint8Array(length); // whoever reads it may keep it
    copyBytes(buffer, offset, packet, 0, length);
    this.#out.push(packet);
    counters.packetsOut++;
    counters.bytesOut += length;
  }

  async #write(): Promise<void> {
    this.#isWriting = true;
    try {
      while (this.#out.length > 0 && this.#events !== undefined) {
        if ((this.#writer.desiredSize ?? 1) <= 0) await this.#ready();
        const batch = this.#out;
        const room = Math.max(1, this.#writer.desiredSize ?? 1);
        this.#out = batch.slice(room);
        // What becomes of them the writer's own promise says.
        for (const packet of batch.slice(0, room)) this.#writer.write(packet).catch(() => {});
        this.#released();
      }
      this.#isWriting = false;
    } catch (error) {
      this.#end(error);
    }
  }

  /** Resolves when the writable wants more; what waits is given up when that takes long. */
  async #ready(): Promise<void> {
    this.#stall = setTimeout(() => {
      this.#isStalled = true;
      this.#released();
    }, this.#options.stallMs ?? STALL_MS);
    await this.#writer.ready;
    clearTimeout(this.#stall);
    this.#isStalled = false;
  }

  #released(): void {
    if (!this.#wasRefused) return;
    this.#wasRefused = false;
    this.#events?.onReadable();
  }

  #end(error: unknown): void {
    const events = this.#events;
    if (events === undefined) return;
    events.onClosed(error === undefined ? undefined : asError(error));
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
