/**
 * Names of targets, resolved when a flow begins and remembered: one question at a time for each name,
 * however many flows wait for it.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import { NameCache, type NameEntry } from "./name_cache.ts";

const log = getLogger(["wirestack", "target"]);

/** What a source says: no address at all is an answer too. */
export interface NameAnswer {
  readonly addresses: readonly IpAddress[];
  /** For how long it holds. */
  readonly ttlMs: number;
}

/** Who is asked for names. */
export interface NameSource<Question extends string = string> {
  /** What is to be asked for each name, all at once; the addresses of the first are preferred. */
  readonly questions: readonly Question[];
  /** For how long addresses are used beyond their time when the source fails, ms. */
  readonly staleMs: number;
  /** Rejects if nobody says, in a time that is bounded, or when `signal` is aborted. */
  ask(name: string, question: Question, signal: AbortSignal): Promise<NameAnswer>;
}

/** Gets the addresses of a name. */
export interface NameHandler {
  /**
   * Called once or more, also from within {@link Names.resolve}.
   *
   * @param addresses Those found since the last call, the preferred first.
   * @param isLast Whether there will be no more. None in all: the name leads nowhere.
   */
  found(addresses: readonly IpAddress[], isLast: boolean): void;
}

/** Calls `run` after `ms`. @returns what takes that back. */
export type After = (ms: number, run: () => void) => () => void;

/** RFC 8305 §3: how long the other family is waited for, ms. */
const RESOLUTION_DELAY_MS = 50;
/** RFC 8767 §5: how long an answer is waited for before an old one is used, ms. */
const STALE_DELAY_MS = 1_800;
/** Between attempts that fail, ms. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 10_000;

export interface NamesOptions {
  readonly source: NameSource;
  /** Milliseconds, monotonic. */
  now(): number;
  readonly after: After;
  readonly cache?: NameCache;
}

export class Names {
  readonly #options: NamesOptions;
  readonly #cache: NameCache;
  #source: NameSource;
  #closing = new AbortController();
  /** A failure has been logged, and no source has answered since. */
  #isFailing = false;

  constructor(options: NamesOptions) {
    this.#options = options;
    this.#source = options.source;
    this.#cache = options.cache ?? new NameCache();
  }

  /** Asks another from now on. What is known goes on until its time is over. */
  setSource(source: NameSource): void {
    this.#source = source;
  }

  /** @returns its `cancel` keeps the handler from being called any more. */
  resolve(name: string, handler: NameHandler): { cancel(): void } {
    const source = this.#source;
    const lookup = new Lookup(source.questions.length, this.#options.after, (found, isLast) => {
      if (isLast && lookup.isNothing) this.#report(name, source);
      handler.found(found, isLast);
    });
    source.questions.forEach((question, place) => this.#want(name, question, lookup, place));
    return lookup;
  }

  /** When it is worth asking for a name again, ms; in the past if it is now. */
  renewAt(name: string): number {
    const times = this.#source.questions.map((question) => {
      const { expiresAt, retryAt } = this.#cache.entry(name, question);
      return Math.max(expiresAt, retryAt);
    });
    return Math.min(...times);
  }

  /** No handler is called any more. */
  close(): void {
    this.#closing.abort();
  }

  #want(name: string, question: string, lookup: Lookup, place: number): void {
    const now = this.#options.now();
    const entry = this.#cache.entry(name, question);
    const isStale = now < entry.usableUntil;
    if (now < entry.expiresAt) {
      lookup.settle(place, entry.addresses);
      return;
    }
    if (entry.waiting === undefined && now >= entry.retryAt) this.#ask(name, question, entry);
    // While nobody answers, what is known is used at once.
    if (entry.waiting === undefined || isStale && entry.failures > 0) {
      lookup.settle(place, isStale ? entry.addresses : NONE);
      return;
    }
    lookup.waitFor(place, entry.waiting, () => usable(entry, this.#options.now()));
    if (isStale) lookup.settleAfter(STALE_DELAY_MS, place, entry.addresses);
  }

  async #ask(name: string, question: string, entry: NameEntry): Promise<void> {
    const { now } = this.#options;
    const source = this.#source;
    const { signal } = this.#closing;
    entry.waiting = new Set();
    try {
      const { addresses, ttlMs } = await source.ask(name, question, signal);
      entry.set(addresses, ttlMs, source.staleMs, now());
      if (addresses.length > 0) this.#cache.entry(name, source.questions[0]!).isReported = false;
      this.#answered();
    } catch (error) {
      entry.failure = (error as Error).message;
      const wait = FIRST_RETRY_MS * 2 ** entry.failures++;
      entry.retryAt = now() + Math.min(LAST_RETRY_MS, wait);
      if (!signal.aborted) this.#failed(name, entry);
    }
    const { waiting } = entry;
    entry.waiting = undefined;
    if (signal.aborted) return;
    for (const settle of waiting) settle();
  }

  /** One line for all names, until one is answered. */
  #failed(name: string, entry: NameEntry): void {
    if (this.#isFailing || entry.isReported) return;
    this.#isFailing = true;
    entry.isReported = true;
    log.warn(
      "{name} is not resolved: {why}; names that are known go on, flows to others fail meanwhile",
      { name, why: entry.failure },
    );
  }

  #answered(): void {
    if (!this.#isFailing) return;
    this.#isFailing = false;
    log.info("names are resolved again");
  }

  /** A flow has nowhere to go: one line for each name, until it has an address. */
  #report(name: string, { questions }: NameSource): void {
    const entries = questions.map((question) => this.#cache.entry(name, question));
    if (entries[0]!.isReported || entries.some(({ failures }) => failures > 0)) return;
    entries[0]!.isReported = true;
    log.warn("{name} has no address, and flows to it fail", { name });
  }
}

const NONE: readonly IpAddress[] = [];

function usable({ addresses, usableUntil, expiresAt }: NameEntry, now: number) {
  return now < Math.max(usableUntil, expiresAt) ? addresses : NONE;
}

/** One flow's wait for a name: for all questions, or for a moment once one has been answered. */
class Lookup {
  readonly #after: After;
  readonly #found: (addresses: readonly IpAddress[], isLast: boolean) => void;
  /** By question: undefined while not answered. */
  readonly #answers: (readonly IpAddress[] | undefined)[];
  readonly #handedOut: boolean[];
  readonly #takeBack: (() => void)[] = [];
  #isDelayed = false;
  #isOver = false;

  constructor(
    questions: number,
    after: After,
    found: (addresses: readonly IpAddress[], isLast: boolean) => void,
  ) {
    this.#answers = new Array(questions).fill(undefined);
    this.#handedOut = new Array(questions).fill(false);
    this.#after = after;
    this.#found = found;
  }

  /** Whether no question has brought an address. */
  get isNothing(): boolean {
    return this.#answers.every((answer) => answer === undefined || answer.length === 0);
  }

  waitFor(
    place: number,
    waiting: Set<() => void>,
    answer: () => readonly IpAddress[],
  ): void {
    const settle = () => this.settle(place, answer());
    waiting.add(settle);
    this.#takeBack.push(() => waiting.delete(settle));
  }

  settleAfter(ms: number, place: number, addresses: readonly IpAddress[]): void {
    this.#takeBack.push(this.#after(ms, () => this.settle(place, addresses)));
  }

  settle(place: number, addresses: readonly IpAddress[]): void {
    if (this.#isOver || this.#answers[place] !== undefined) return;
    this.#answers[place] = addresses;
    if (this.#answers.every((answer) => answer !== undefined)) {
      this.cancel();
      this.#hand(true);
    } else if (!this.#isDelayed && addresses.length > 0) {
      this.#isDelayed = true;
      this.#takeBack.push(this.#after(RESOLUTION_DELAY_MS, () => this.#hand(false)));
    }
  }

  cancel(): void {
    this.#isOver = true;
    for (const takeBack of this.#takeBack.splice(0)) takeBack();
  }

  #hand(isLast: boolean): void {
    const fresh = this.#answers.flatMap((answer, place) => {
      if (answer === undefined || this.#handedOut[place]) return [];
      this.#handedOut[place] = true;
      return answer;
    });
    this.#found(fresh, isLast);
  }
}
