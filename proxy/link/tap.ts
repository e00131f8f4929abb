/**
 * Shows the packets of a link to observers, in both directions: for captures and counts. Wraps the
 * link of a NIC only while there is an observer, so that it costs nothing otherwise.
 *
 * @module
 */

import type { Link, NextHop } from "../../netstack/mod.ts";

/** Packets that came in by the link, or went out. */
export type Direction = "in" | "out";

/**
 * Called with each packet before the stack (in) or the link (out) gets it. The bytes are borrowed
 * until the call returns, and must not be changed. `from` is who sent it, of what came in, as far as
 * that is known.
 */
export type PacketObserver = (
  direction: Direction,
  buffer: Uint8Array,
  offset: number,
  length: number,
  now: number,
  from?: unknown,
) => void;

/** Totals since it was made. */
export interface TapCounters {
  packetsIn: number;
  bytesIn: number;
  packetsOut: number;
  bytesOut: number;
  /** Observers that threw, and were removed. */
  faults: number;
}

export class Tap implements Link {
  /** The wrapped link. */
  readonly link: Link;
  readonly buffer: Uint8Array;
  readonly counters: TapCounters = {
    packetsIn: 0,
    bytesIn: 0,
    packetsOut: 0,
    bytesOut: 0,
    faults: 0,
  };
  #observers: readonly PacketObserver[] = [];

  constructor(link: Link) {
    this.link = link;
    this.buffer = link.buffer;
  }

  /** Whether there is no observer. */
  get isIdle(): boolean {
    return this.#observers.length === 0;
  }

  add(observer: PacketObserver): void {
    this.#observers = [...this.#observers, observer];
  }

  remove(observer: PacketObserver): void {
    this.#observers = this.#observers.filter((other) => other !== observer);
  }

  allocate(): number {
    return this.link.allocate();
  }

  release(offset: number): void {
    this.link.release(offset);
  }

  transmit(buffer: Uint8Array, offset: number, length: number, now: number, hop?: NextHop): void {
    this.#countOut(length);
    this.#show("out", buffer, offset, length, now);
    this.link.transmit(buffer, offset, length, now, hop);
  }

  forward(buffer: Uint8Array, offset: number, length: number, now: number): boolean {
    this.#countOut(length);
    this.#show("out", buffer, offset, length, now);
    return this.link.forward(buffer, offset, length, now);
  }

  /** To be called with each packet of the link, right before it is handed to the stack. */
  received(buffer: Uint8Array, offset: number, length: number, now: number, from?: unknown): void {
    this.counters.packetsIn++;
    this.counters.bytesIn += length;
    this.#show("in", buffer, offset, length, now, from);
  }

  #countOut(length: number): void {
    this.counters.packetsOut++;
    this.counters.bytesOut += length;
  }

  /** An observer that throws is removed, and does not stop the packet. */
  #show(
    direction: Direction,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    from?: unknown,
  ): void {
    const observers = this.#observers; // one that removes itself does not shift the others
    for (let i = 0; i < observers.length; i++) {
      try {
        observers[i]!(direction, buffer, offset, length, now, from);
      } catch {
        this.counters.faults++;
        this.remove(observers[i]!);
      }
    }
  }
}
