/**
 * A network in simulated time. Hosts are joined by links that delay, lose, reorder, duplicate and
 * corrupt; the clock jumps from one event to the next; all chance comes from one seed, so a run can
 * be repeated bit for bit: `SEED=… deno task test FILE`.
 *
 * @module
 */

import { EventQueue, type SimEvent } from "./event_queue.ts";
import { Flight, type LinkOptions, SimLink, type SimPort } from "./link.ts";
import { Random } from "./random.ts";

export { type Impairments, type LinkOptions, SimLink, SimPort, type Tap } from "./link.ts";
export { PcapWriter } from "./pcap.ts";
export { Random } from "./random.ts";

/** What a simulation runs: a `Stack`, or anything with the same four methods. */
export interface SimHost {
  flush(now: number, budget?: number): boolean;
  pollTimeout(): number;
  handleTimeout(now: number): void;
}

/** Turns without progress of the clock after which a host is taken to spin. */
const MAX_TURNS_AT_ONCE = 100_000;

class Call implements SimEvent {
  at = 0;
  order = 0;
  readonly run: (now: number) => void;

  constructor(run: (now: number) => void) {
    this.run = run;
  }
}

export class Sim {
  readonly random: Random;
  /** ms. Does not start at zero: a forgotten initialisation should show. */
  now = 1_000;
  readonly #hosts: SimHost[] = [];
  readonly #ports: SimPort[] = [];
  readonly #events = new EventQueue<Flight | Call>();
  #order = 0;
  #turnsAtOnce = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  addHost(host: SimHost): void {
    this.#hosts.push(host);
  }

  link(options: LinkOptions = {}): SimLink {
    const link = new SimLink(this, options);
    this.#ports.push(link.a, link.b);
    return link;
  }

  /** Calls `run` at `time`, ms. */
  at(time: number, run: (now: number) => void): void {
    this.#push(new Call(run), time);
  }

  /** Calls `run` in `delay` ms. */
  after(delay: number, run: (now: number) => void): void {
    this.at(this.now + delay, run);
  }

  /** Runs for `duration` ms. */
  runFor(duration: number): void {
    this.runUntil(() => false, duration);
  }

  /**
   * Runs until `done` holds, at most for `limit` ms.
   *
   * @returns Whether it held.
   */
  runUntil(done: () => boolean, limit = Infinity): boolean {
    const end = this.now + limit;
    this.#flush();
    while (!done()) {
      let next = this.#events.next();
      for (const host of this.#hosts) next = Math.min(next, host.pollTimeout());
      if (next > end || next === Infinity) {
        if (end !== Infinity) this.now = end;
        return false;
      }
      this.#advance(next);
      while (this.#events.next() <= this.now) this.#dispatch(this.#events.pop()!);
      for (const host of this.#hosts) {
        if (host.pollTimeout() <= this.now) host.handleTimeout(this.now);
      }
      this.#flush();
    }
    return true;
  }

  /** For links: `flight` arrives at `at`. */
  schedule(flight: Flight, at: number): void {
    this.#push(flight, at);
  }

  #push(event: Flight | Call, at: number): void {
    event.at = Math.max(at, this.now);
    event.order = this.#order++;
    this.#events.push(event);
  }

  #advance(next: number): void {
    if (next > this.now) {
      this.now = next;
      this.#turnsAtOnce = 0;
    } else if (++this.#turnsAtOnce > MAX_TURNS_AT_ONCE) {
      throw new Error(
        `the clock stands at ${this.now} ms: a host asks to be called again and again`,
      );
    }
  }

  #dispatch(event: Flight | Call): void {
    if (event instanceof Call) event.run(this.now);
    else event.to!.arrive(event, this.now);
  }

  #flush(): void {
    for (const host of this.#hosts) {
      for (let turns = 0;; turns++) {
        const more = host.flush(this.now);
        for (const port of this.#ports) port.endTurn();
        if (!more) break;
        if (turns > MAX_TURNS_AT_ONCE) throw new Error("a host's flush never ends");
      }
    }
  }
}
