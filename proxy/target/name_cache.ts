/**
 * What is known about names, one entry for each name and question, bounded in number.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";

/** How long an answer holds at least and at most, whatever its TTL says, ms. */
export const LEAST_TTL_MS = 1_000;
/** See {@link LEAST_TTL_MS}. */
export const MOST_TTL_MS = 300_000;

/** Entries; one takes some 200 bytes. A configuration may have any number of names. */
const MAX_ENTRIES = 32_768;

/** What is known of a name in answer to one question. */
export class NameEntry {
  /** Empty: the name has none of this kind. */
  addresses: readonly IpAddress[] = [];
  /** When it expires, ms; -Infinity before the first answer. */
  expiresAt = -Infinity;
  /** Until when it may still be used after that if no server answers, ms. */
  usableUntil = -Infinity;
  /** After a failure: when it may be asked again, ms. */
  retryAt = -Infinity;
  /** Attempts in a row that failed. */
  failures = 0;
  /** Why the last one did. */
  failure: string | undefined = undefined;
  /** Those who wait for the answer; undefined while nobody has been asked. */
  waiting: Set<() => void> | undefined = undefined;
  /** The log says that it fails, or has no address. */
  isReported = false;

  /** @param ttlMs As the server says it. @param staleMs For how long it is of use beyond that. */
  set(addresses: readonly IpAddress[], ttlMs: number, staleMs: number, now: number): void {
    this.addresses = addresses;
    this.expiresAt = now + Math.min(MOST_TTL_MS, Math.max(LEAST_TTL_MS, ttlMs));
    this.usableUntil = addresses.length > 0 ? this.expiresAt + staleMs : this.expiresAt;
    this.retryAt = -Infinity;
    this.failures = 0;
    this.failure = undefined;
  }
}

export class NameCache {
  readonly #max: number;
  /** What was used last comes last. */
  readonly #entries = new Map<string, NameEntry>();

  constructor(max: number = MAX_ENTRIES) {
    this.#max = max;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The entry, a new one if there was none. */
  entry(name: string, question: string): NameEntry {
    const key = `${question} ${name}`;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      if (this.#entries.size >= this.#max) this.#forgetOne();
      entry = new NameEntry();
    } else this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  /** The one not used for longest; those being asked for stay. */
  #forgetOne(): void {
    for (const [key, { waiting }] of this.#entries) {
      if (waiting !== undefined) continue;
      this.#entries.delete(key);
      return;
    }
  }
}
