/**
 * A link over datagrams, a packet in each: UDP, or Unix sockets of datagrams.
 *
 * What has no free slot on its way out is dropped, the newest first; the stack's own packets wait. On
 * the way in nothing is received while earlier packets wait, so that the socket's buffer bounds it.
 *
 * @module
 */

import { TransmitPool } from "../arena/transmit_pool.ts";
import { getLogger } from "../log/logger.ts";
import { copyBytes } from "../../netstack/mod.ts";
import { newDrops, whyNoPacket } from "./drops.ts";
import type { PacketLink, PacketLinkEvents } from "./packet_link.ts";

const log = getLogger(["wirestack", "link"]);

/** What a datagram link needs of a socket. */
export interface DatagramSocket<Address> {
  receive(into: Uint8Array): Promise<readonly [Uint8Array, Address]>;
  send(bytes: Uint8Array, to: Address): Promise<number>;
  close(): void;
}

export interface DatagramLinkOptions<Address> {
  readonly name: string;
  /** For people: `udp:127.0.0.1:5000`. */
  readonly place: string;
  /** Bytes. */
  readonly mtu: number;
  readonly socket: DatagramSocket<Address>;
  /** As text: who is who, and for people. */
  readonly nameOf: (address: Address) => string;
  /** The only other side. Missing: who sends first, until that one is silent for long. */
  readonly remote?: Address;
  /** That may wait side by side, whose datagrams then come in one turn. Default 16. */
  readonly receives?: number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

const RECEIVES = 16;
const LARGEST = 65_536;
/** How long a side that was heard keeps the link against another. */
const HOLD_MS = 30_000;
/** Between failing receives, ms. */
const RECEIVE_AGAIN_MS = 100;

interface Received<Address> {
  readonly bytes: Uint8Array;
  readonly room: Uint8Array;
  readonly from: Address;
}

export class DatagramLink<Address> implements PacketLink {
  readonly name: string;
  readonly buffer: Uint8Array;
  readonly counters = {
    packetsIn: 0,
    bytesIn: 0,
    packetsOut: 0,
    bytesOut: 0,
    drops: { ...newDrops(), otherSender: 0, sendFailed: 0 },
  };
  connections = 0;
  lastEnd: string | undefined;
  readonly #options: DatagramLinkOptions<Address>;
  readonly #pool: TransmitPool;
  readonly #now: () => number;
  #events: PacketLinkEvents | undefined;
  #remote: Address | undefined;
  #peer: string | undefined;
  #heardAt = -Infinity;
  #wasRefused = false;
  readonly #rooms: Uint8Array[] = [];
  #ready: Received<Address>[] = [];
  #draining: Received<Address>[] = [];
  #waiting = 0;

  constructor(options: DatagramLinkOptions<Address>) {
    const { name, mtu, remote, nameOf } = options;
    this.name = name;
    this.#options = options;
    this.#pool = new TransmitPool(mtu);
    this.buffer = this.#pool.buffer;
    this.#now = options.now ?? (() => performance.now());
    this.#remote = remote;
    if (remote !== undefined) this.#peer = nameOf(remote);
  }

  get place(): string {
    return this.#options.place;
  }

  /** Who is there, as far as it is known. */
  get peer(): string | undefined {
    return this.#peer;
  }

  get state(): "connected" | "listening" | "closed" {
    if (this.#events === undefined) return "closed";
    return this.#remote === undefined ? "listening" : "connected";
  }

  start(events: PacketLinkEvents): void {
    this.#events = events;
    const { receives = RECEIVES } = this.#options;
    for (let i = 0; i < receives; i++) this.#rooms.push(new Uint8Array(LARGEST));
    this.#receive();
  }

  allocate(): number {
    const at = this.#pool.allocate();
    if (at < 0) this.#wasRefused = true;
    return at;
  }

  release(offset: number): void {
    this.#pool.give(offset);
  }

  transmit(_buffer: Uint8Array, offset: number, length: number): void {
    this.#send(offset, length);
  }

  forward(buffer: Uint8Array, offset: number, length: number): boolean {
    const at = this.#pool.allocate();
    if (at < 0) {
      this.counters.drops.full++;
      return true;
    }
    copyBytes(buffer, offset, this.buffer, at, length);
    this.#send(at, length);
    return true;
  }

  flush(): void {}

  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  drain(now: number): void {
    const batch = this.#ready;
    this.#ready = this.#draining;
    this.#draining = batch;
    for (const { bytes, from, room } of batch) {
      if (this.#isOther(from)) this.counters.drops.otherSender++;
      else this.#handUp(bytes, now);
      this.#rooms.push(room);
    }
    batch.length = 0;
    this.#receive();
  }

  close(): void {
    if (this.#events === undefined) return;
    this.#events = undefined;
    this.#ready = [];
    this.#options.socket.close();
  }

  #handUp(bytes: Uint8Array, now: number): void {
    const { counters } = this;
    const reason = whyNoPacket(bytes, 0, bytes.length, this.#options.mtu);
    if (reason !== undefined) counters.drops[reason]++;
    else {
      counters.packetsIn++;
      counters.bytesIn += bytes.length;
      this.#events?.receive(bytes, 0, bytes.length, now);
    }
  }

  /** Whether somebody else has the link. Who has none yet, or is silent for long, gives way. */
  #isOther(from: Address): boolean {
    const { nameOf, remote, name } = this.#options;
    const who = nameOf(from);
    const now = this.#now();
    if (who !== this.#peer) {
      if (remote !== undefined || now - this.#heardAt < HOLD_MS) return true;
      if (who === "") return true; // a Unix socket without a name: no answer could reach it
      this.#remote = from;
      this.#peer = who;
      this.connections++;
      log.info("link {link}: {peer} is connected", { link: name, peer: who });
    }
    this.#heardAt = now;
    return false;
  }

  #receive(): void {
    while (this.#events !== undefined && this.#rooms.length > 0) {
      this.#waiting++;
      this.#receiveOne(this.#rooms.pop()!);
    }
  }

  async #receiveOne(room: Uint8Array): Promise<void> {
    try {
      const [bytes, from] = await this.#options.socket.receive(room);
      this.#waiting--;
      if (this.#events === undefined) return;
      this.#ready.push({ bytes, from, room });
      this.#events.onReadable();
    } catch {
      this.#waiting--;
      if (this.#events === undefined) return;
      // What the network says of an earlier datagram; or something that may last.
      this.#rooms.push(room);
      if (this.#waiting === 0) setTimeout(() => this.#receive(), RECEIVE_AGAIN_MS);
    }
  }

  #send(offset: number, length: number): void {
    const to = this.#remote;
    if (to === undefined || this.#events === undefined) {
      this.counters.drops.down++;
      this.#pool.give(offset);
      return;
    }
    this.counters.packetsOut++;
    this.counters.bytesOut += length;
    this.#options.socket.send(this.buffer.subarray(offset, offset + length), to).then(
      () => this.#sent(offset),
      () => {
        this.counters.drops.sendFailed++;
        this.#sent(offset);
      },
    );
  }

  #sent(offset: number): void {
    this.#pool.give(offset);
    if (!this.#wasRefused) return;
    this.#wasRefused = false;
    this.#events?.onReadable();
  }
}
