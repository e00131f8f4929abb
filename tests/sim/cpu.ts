/**
 * A processor in simulated time: the scheduler of an engine whose turns take some. While one is busy
 * nothing else of its engine runs.
 *
 * @module
 */

import type { Scheduler } from "../../proxy/engine/event_loop.ts";
import type { Sim } from "./network.ts";

export interface SimCpuOptions {
  /** What a turn takes, ms. Not 0: an engine that asks for turn after turn would stop the clock. */
  readonly turnMs?: number;
  /** And each datagram in it, received or sent. */
  readonly datagramMs?: number;
}

export class SimCpu implements Scheduler {
  readonly #sim: Sim;
  readonly #turnMs: number;
  readonly #datagramMs: number;
  #busyUntil = 0;
  #used = 0;
  /** Of the timer that counts. */
  #generation = 0;

  constructor(sim: Sim, { turnMs = 0.01, datagramMs = 0 }: SimCpuOptions = {}) {
    this.#sim = sim;
    this.#turnMs = turnMs;
    this.#datagramMs = datagramMs;
  }

  /** What has been spent so far, ms. */
  get used(): number {
    return this.#used;
  }

  soon(run: () => void): void {
    this.#sim.at(this.#busyUntil, () => this.#run(run));
  }

  later(run: () => void, delayMs: number): void {
    const generation = ++this.#generation;
    this.#sim.at(this.#sim.now + delayMs, (now) => {
      if (generation !== this.#generation) return;
      if (now < this.#busyUntil) this.later(run, this.#busyUntil - now);
      else this.#run(run);
    });
  }

  cancel(): void {
    this.#generation++;
  }

  /** Something else that takes time, ms. */
  spend(ms: number): void {
    this.#used += ms;
    this.#busyUntil += ms;
  }

  spendOnDatagram(): void {
    this.spend(this.#datagramMs);
  }

  #run(run: () => void): void {
    this.#busyUntil = this.#sim.now;
    this.spend(this.#turnMs);
    run();
  }
}
