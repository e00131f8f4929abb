/**
 * A link over a byte stream: one other side at a time, which comes and goes.
 *
 * Towards it, packets wait in a bounded buffer while it is slow. When that is full, packets of the
 * stack wait where they are made, and those from other links are dropped, the newest first. From it, no
 * more is read than the buffer holds, so that the stream itself pushes back.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import { isWorthALine } from "../log/thinning.ts";
import { newDrops, whyNoPacket } from "./drops.ts";
import { FrameReader, type StreamFraming } from "./framing.ts";
import { OutputBuffer } from "./output_buffer.ts";
import type { PacketLink, PacketLinkEvents } from "./packet_link.ts";

const log = getLogger(["wirestack", "link"]);

/** What a stream link needs of a connection. */
export interface StreamConnection {
  /** @returns how many bytes have been written to `into`; null at the end. */
  read(into: Uint8Array): Promise<number | null>;
  /** @returns how many have been taken, at least one. */
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** Where the other side comes from: it connects, or is connected to. */
export interface StreamSource {
  /** For people: `unix:/run/phone.sock`. */
  readonly place: string;
  /** Whether it waits for somebody to connect. */
  readonly isListening: boolean;
  /** Whether a side may be gone without a word, as one whose network fails. Default: none may. */
  readonly losesSides?: boolean;
  /** @param take Offers a connection; what it returns resolves when that is over. */
  start(take: (connection: StreamConnection, peer: string) => Promise<void>): void;
  close(): void;
}

export interface StreamLinkOptions {
  readonly name: string;
  readonly framing: StreamFraming;
  /** Bytes. */
  readonly mtu: number;
  readonly source: StreamSource;
  /** Replace {@link STALL_MS} and {@link DEAD_MS}. */
  readonly stallMs?: number;
  readonly deadMs?: number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

/** Packets handed over in a turn. */
const BATCH = 64;
/** So many in a row that are no IP packet: the stream is framed otherwise, or not at all. */
const MOST_STRANGE = 16;
/** How long a side that takes nothing holds back what is sent to it, before that is dropped. */
const STALL_MS = 1_000;
/** How long until it is given up. */
const DEAD_MS = 30_000;
/** How long a side that may be gone keeps the link against another without being heard. */
const HOLD_MS = 30_000;

export class StreamLink implements PacketLink {
  readonly name: string;
  readonly buffer: Uint8Array;
  readonly counters = { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0, drops: newDrops() };
  /** Sides that have come so far. */
  connections = 0;
  /** Those that came while there was one. */
  refused = 0;
  /** Who is there; undefined if nobody is. */
  peer: string | undefined;
  /** Why the last one is gone. */
  lastEnd: string | undefined;
  readonly #options: StreamLinkOptions;
  readonly #reader: FrameReader;
  readonly #out: OutputBuffer;
  #events: PacketLinkEvents | undefined;
  #connection: StreamConnection | undefined;
  #ended: (() => void) | undefined;
  #isReading = false;
  #isWriting = false;
  #strange = 0;
  #heardAt = 0;
  /** Somebody has wanted a slot in vain. */
  #wasRefused = false;
  #isStalled = false;
  #stall: ReturnType<typeof setTimeout> | undefined;

  constructor(options: StreamLinkOptions) {
    const { name, framing, mtu } = options;
    this.name = name;
    this.#options = options;
    this.#reader = new FrameReader(framing);
    this.#out = new OutputBuffer(framing, mtu);
    this.buffer = this.#out.bytes;
  }

  get place(): string {
    return this.#options.source.place;
  }

  get state(): "connected" | "listening" | "connecting" | "closed" {
    if (this.#events === undefined) return "closed";
    if (this.#connection !== undefined) return "connected";
    return this.#options.source.isListening ? "listening" : "connecting";
  }

  start(events: PacketLinkEvents): void {
    this.#events = events;
    this.#options.source.start((connection, peer) => this.#take(connection, peer));
  }

  allocate(): number {
    if (this.#connection !== undefined && !this.#isStalled && !this.#out.hasRoom) {
      this.#wasRefused = true;
      return -1;
    }
    return this.#out.take();
  }

  release(offset: number): void {
    this.#out.give(offset);
  }

  transmit(buffer: Uint8Array, offset: number, length: number): void {
    this.#push(buffer, offset, length);
    this.#out.give(offset);
  }

  forward(buffer: Uint8Array, offset: number, length: number): boolean {
    this.#push(buffer, offset, length);
    return true;
  }

  flush(): void {
    const connection = this.#connection;
    if (connection !== undefined && !this.#isWriting && this.#out.waiting > 0) {
      this.#write(connection);
    }
  }

  get hasReady(): boolean {
    return this.#connection !== undefined && !this.#isReading && this.#reader.hasNext;
  }

  drain(now: number): void {
    const connection = this.#connection;
    const reader = this.#reader;
    if (connection === undefined || this.#isReading) return;
    let left = BATCH;
    while (left > 0 && connection === this.#connection && reader.next()) {
      left--;
      this.#receive(reader.buffer, reader.offset, reader.length, now);
    }
    if (connection !== this.#connection) return;
    if (reader.problem !== undefined) this.#end(`${reader.problem}: is Framing right?`);
    else if (!reader.hasNext) this.#read(connection);
  }

  close(): void {
    if (this.#events === undefined) return;
    this.#events = undefined;
    this.#options.source.close();
    this.#drop();
  }

  async #take(connection: StreamConnection, peer: string): Promise<void> {
    const { name } = this;
    this.#giveWay(peer);
    if (this.#connection !== undefined || this.#events === undefined) {
      connection.close();
      this.refused++;
      // Who does not stop trying would fill the log.
      if (isWorthALine(this.refused)) {
        log.warn("link {link}: {peer} is refused, {other} is connected", {
          link: name,
          peer,
          other: this.peer ?? "nobody",
        });
      }
      return;
    }
    this.#connection = connection;
    this.peer = peer;
    this.#heardAt = this.#now();
    this.connections++;
    log.info("link {link}: {peer} is connected", { link: name, peer });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = resolve;
    this.#read(connection);
    await promise;
  }

  /** Who may be gone, and is silent while it is listened to, must not keep itself from coming back. */
  #giveWay(to: string): void {
    const { source } = this.#options;
    if (this.#connection === undefined || !source.losesSides || !this.#isReading) return;
    const silentMs = this.#now() - this.#heardAt;
    if (silentMs < HOLD_MS) return;
    this.#end(`it was silent for ${Math.floor(silentMs / 1000)} s, and ${to} has come`);
  }

  #now(): number {
    return (this.#options.now ?? (() => performance.now()))();
  }

  #receive(buffer: Uint8Array, offset: number, length: number, now: number): void {
    const { counters } = this;
    const reason = whyNoPacket(buffer, offset, length, this.#options.mtu);
    if (reason === undefined || reason === "tooBig") this.#strange = 0;
    else if (reason === "notIp") this.#strange++;
    if (reason !== undefined) {
      counters.drops[reason]++;
      if (this.#strange >= MOST_STRANGE) {
        this.#end(`${MOST_STRANGE} frames in a row were no IP packet: is Framing right?`);
      }
      return;
    }
    counters.packetsIn++;
    counters.bytesIn += length;
    this.#events?.receive(buffer, offset, length, now);
  }

  async #read(connection: StreamConnection): Promise<void> {
    const reader = this.#reader;
    this.#isReading = true;
    try {
      do {
        const count = await connection.read(reader.room());
        if (connection !== this.#connection) return;
        if (count === null) {
          const rest = reader.pending > 0 ? `, ${reader.pending} bytes into a frame` : "";
          this.#end(`it has closed the connection${rest}`);
          return;
        }
        this.#heardAt = this.#now();
        reader.filled(count);
      } while (!reader.hasNext);
    } catch (error) {
      if (connection === this.#connection) this.#end((error as Error).message);
      return;
    }
    this.#isReading = false;
    this.#events?.onReadable();
  }

  #push(buffer: Uint8Array, offset: number, length: number): void {
    const { counters } = this;
    if (this.#connection === undefined) counters.drops.down++;
    else if (this.#out.push(buffer, offset, length)) {
      counters.packetsOut++;
      counters.bytesOut += length;
    } else if (this.#isStalled) counters.drops.stalled++;
    else counters.drops.full++;
  }

  async #write(connection: StreamConnection): Promise<void> {
    this.#isWriting = true;
    try {
      do {
        let left = this.#out.swap();
        this.#released();
        while (left.length > 0) {
          this.#watch();
          const count = await connection.write(left);
          if (connection !== this.#connection) return;
          left = left.subarray(count);
          this.#moved();
        }
      } while (this.#out.waiting > 0);
      this.#isWriting = false;
    } catch (error) {
      if (connection === this.#connection) this.#end((error as Error).message);
    }
  }

  /** There is room again for who has found none. */
  #released(): void {
    if (!this.#wasRefused) return;
    this.#wasRefused = false;
    this.#events?.onReadable();
  }

  /** A write is under way: what if it stays so? */
  #watch(): void {
    const { stallMs = STALL_MS } = this.#options;
    this.#stall ??= setTimeout(() => this.#stalled(), stallMs);
  }

  #stalled(): void {
    const { stallMs = STALL_MS, deadMs = DEAD_MS } = this.#options;
    this.#isStalled = true;
    log.warn("link {link}: {peer} takes nothing, what does not fit is dropped", {
      link: this.name,
      peer: this.peer ?? "nobody",
    });
    this.#released();
    this.#stall = setTimeout(
      () => this.#end(`it has taken nothing for ${deadMs / 1000} s`),
      deadMs - stallMs,
    );
  }

  #moved(): void {
    clearTimeout(this.#stall);
    this.#stall = undefined;
    this.#isStalled = false;
  }

  #end(reason: string): void {
    log.warn("link {link}: {peer} is gone: {reason}", {
      link: this.name,
      peer: this.peer ?? "nobody",
      reason,
    });
    this.lastEnd = reason;
    this.#drop();
  }

  #drop(): void {
    try {
      this.#connection?.close();
    } catch { /* it is closed */ }
    this.#connection = undefined;
    this.peer = undefined;
    this.#isReading = false;
    this.#isWriting = false;
    this.#strange = 0;
    this.#reader.reset();
    this.#out.clear();
    this.#moved();
    this.#released();
    this.#ended?.();
    this.#ended = undefined;
  }
}
