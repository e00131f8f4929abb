/**
 * A token bucket per source address for handshakes while the device is under load (whitepaper §5.3).
 *
 * @module
 */

import { sourceKey } from "./source.ts";

const PER_SECOND = 20;
const BURST = 5;

/** Idle entries are forgotten after this time; by then the bucket is full again anyway. */
const ENTRY_LIFE_MS = 1000;

/** Beyond it unknown sources are refused, so that spoofed floods cannot fill the memory. */
const MAX_ENTRIES = 65536;

interface Bucket {
  tokens: number;
  /** Of the last request, allowed or not. */
  touched: number;
}

/** 20 handshakes per second and source, bursts of 5. A source is an IPv4 address or an IPv6 /64. */
export class RateLimiter {
  /** In the order of `touched`: the idlest are first. */
  readonly #buckets = new Map<number | string, Bucket>();

  /** Takes a token of this source. @param address 4 or 16 bytes; IPv4-mapped counts as IPv4. */
  allow(address: Uint8Array, now: number): boolean {
    const key = sourceKey(address);
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      this.collect(now);
      if (this.#buckets.size >= MAX_ENTRIES) return false;
      this.#buckets.set(key, { tokens: BURST - 1, touched: now });
      return true;
    }
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    const earned = (now - bucket.touched) * PER_SECOND / 1000;
    bucket.tokens = Math.min(BURST, bucket.tokens + earned);
    bucket.touched = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }

  /** Forgets the sources that were idle for a second. */
  collect(now: number): void {
    for (const [key, bucket] of this.#buckets) {
      if (now < bucket.touched + ENTRY_LIFE_MS) return;
      this.#buckets.delete(key);
    }
  }

  /** When {@link collect} has something to do next; Infinity if the table is empty. */
  pollTimeout(): number {
    for (const bucket of this.#buckets.values()) return bucket.touched + ENTRY_LIFE_MS;
    return Infinity;
  }

  /** Number of sources remembered. */
  get size(): number {
    return this.#buckets.size;
  }
}
