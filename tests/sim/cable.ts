/**
 * Two packet links that are each other's other side, in simulated time: whole engines can be tied
 * together without WireGuard.
 *
 * @module
 */

import assert from "node:assert/strict";
import { copyBytes, LINK_HEADROOM } from "../../netstack/mod.ts";
import type {
  PacketLink,
  PacketLinkCounters,
  PacketLinkEvents,
} from "../../proxy/link/packet_link.ts";
import type { Sim } from "./network.ts";

const SLOT = 2048;
const BATCH = 16;

export interface CableOptions {
  /** One way, ms. */
  readonly delay?: number;
  /** Packets that an end keeps for the other, at most. */
  readonly slots?: number;
}

export class CableEnd implements PacketLink {
  readonly name: string;
  readonly buffer: Uint8Array;
  readonly counters: PacketLinkCounters & { drops: { full: number } } = {
    packetsIn: 0,
    bytesIn: 0,
    packetsOut: 0,
    bytesOut: 0,
    drops: { full: 0 },
  };
  other!: CableEnd;
  /** Whether the last flush was told that more is at hand, and how many were. */
  mayWait = false;
  mightHaveWaited = 0;
  /** Takes nothing from the other end while it is true. */
  isStalled = false;
  isClosed = false;
  /** How often a slot was wanted in vain. */
  refusals = 0;
  onPacket: (bytes: Uint8Array) => void = () => {};
  readonly #sim: Sim;
  readonly #delay: number;
  readonly #free: number[];
  readonly #slots: number;
  #waiting: Uint8Array[] = [];
  #underWay = 0;
  #arrived: Uint8Array[] = [];
  #wasRefused = false;
  #events: PacketLinkEvents | undefined;

  constructor(sim: Sim, name: string, { delay = 1, slots = 32 }: CableOptions) {
    this.name = name;
    this.#sim = sim;
    this.#delay = delay;
    this.#slots = slots;
    this.buffer = new Uint8Array(slots * SLOT);
    this.#free = Array.from({ length: slots }, (_, i) => i * SLOT + LINK_HEADROOM);
  }

  /** Slots that are taken. */
  get taken(): number {
    return this.#slots - this.#free.length;
  }

  start(events: PacketLinkEvents): void {
    this.#events = events;
  }

  allocate(): number {
    if (this.#waiting.length + this.#underWay >= this.#slots || this.#free.length === 0) {
      this.#wasRefused = true;
      this.refusals++;
      return -1;
    }
    return this.#free.pop()!;
  }

  release(offset: number): void {
    assert.ok(!this.#free.includes(offset));
    this.#free.push(offset);
  }

  transmit(buffer: Uint8Array, offset: number, length: number): void {
    assert.equal(buffer, this.buffer);
    this.#waiting.push(buffer.slice(offset, offset + length));
    this.release(offset);
  }

  forward(buffer: Uint8Array, offset: number, length: number): boolean {
    if (this.#waiting.length + this.#underWay >= this.#slots) this.counters.drops.full++;
    else this.#waiting.push(buffer.slice(offset, offset + length));
    return true;
  }

  flush(isMoreAtHand: boolean): void {
    this.mayWait = isMoreAtHand;
    if (isMoreAtHand) this.mightHaveWaited++;
    if (this.other.isStalled) return;
    for (const bytes of this.#waiting) {
      this.#underWay++;
      this.counters.packetsOut++;
      this.counters.bytesOut += bytes.length;
      this.#sim.after(this.#delay, () => {
        this.#underWay--;
        this.other.#arrive(bytes);
        if (this.#wasRefused) {
          this.#wasRefused = false;
          this.#events?.onReadable();
        }
      });
    }
    this.#waiting = [];
  }

  get hasReady(): boolean {
    return this.#arrived.length > 0;
  }

  drain(now: number): void {
    const room = new Uint8Array(SLOT);
    for (const bytes of this.#arrived.splice(0, BATCH)) {
      this.counters.packetsIn++;
      this.counters.bytesIn += bytes.length;
      copyBytes(bytes, 0, room, 7, bytes.length);
      this.#events?.receive(room, 7, bytes.length, now);
    }
  }

  /** Takes what the other end has kept meanwhile. */
  resume(): void {
    this.isStalled = false;
    this.other.#events?.onReadable();
  }

  /** Ends by itself. */
  fail(error?: Error): void {
    this.#events?.onClosed(error);
  }

  close(): void {
    this.isClosed = true;
    this.#events = undefined;
    this.#arrived = [];
  }

  #arrive(bytes: Uint8Array): void {
    this.onPacket(bytes);
    if (this.#events === undefined) return;
    this.#arrived.push(bytes);
    this.#events.onReadable();
  }
}

export function cable(sim: Sim, name: string, options: CableOptions = {}): [CableEnd, CableEnd] {
  const a = new CableEnd(sim, name, options);
  const b = new CableEnd(sim, name, options);
  a.other = b;
  b.other = a;
  return [a, b];
}
