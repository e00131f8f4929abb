/**
 * How many connections others may have opened and not completed.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import { HalfSipHash } from "../siphash.ts";
import type { TcpSettings } from "./settings.ts";

/** Owners without half-open connections that may stay in the table. */
const UNUSED_KEPT = 16;

/**
 * Limits half-open connections in total and per source address, and shares them between owners, the
 * senders of the packets. A single owner may have all of them. When all are taken, an owner below its
 * equal share gets a place of the owner that has most.
 */
export class HalfOpenLimits {
  readonly #settings: TcpSettings;
  readonly #hash: HalfSipHash;
  /** By keyed hash: sources that collide share a limit, and nobody can aim at a collision. */
  readonly #bySource = new Map<number, number>();
  readonly #byOwner = new Map<unknown, number>();
  /** Owners that have some. */
  #owners = 0;
  total = 0;

  constructor(settings: TcpSettings, random: (out: Uint8Array) => void) {
    this.#settings = settings;
    this.#hash = new HalfSipHash(random);
  }

  /** The key of a source for the other calls. */
  source(address: IpAddress): number {
    return this.sourceAt(address.bytes, 0, address.bytes.length);
  }

  /** The same, of the address in a packet. */
  sourceAt(buffer: Uint8Array, offset: number, size: number): number {
    const hash = this.#hash;
    hash.begin();
    hash.bytes(buffer, offset, size);
    return hash.end();
  }

  /**
   * @param evict Gives up the oldest one of an owner, and {@link release}s it.
   * @returns Whether there was a place.
   */
  take(source: number, owner: unknown, evict: (owner: unknown) => void): boolean {
    const ofSource = this.#bySource.get(source) ?? 0;
    const { maxHalfOpen, maxHalfOpenPerSource } = this.#settings;
    if (ofSource >= maxHalfOpenPerSource) return false;
    const ofOwner = this.#byOwner.get(owner) ?? 0;
    if (this.total >= maxHalfOpen) {
      const owners = this.#owners + (ofOwner === 0 ? 1 : 0);
      if (ofOwner + 1 > maxHalfOpen / owners) return false;
      evict(this.#foremost());
      if (this.total >= maxHalfOpen) return false;
    }
    this.#bySource.set(source, ofSource + 1);
    this.#byOwner.set(owner, ofOwner + 1);
    if (ofOwner === 0) this.#owners++;
    this.total++;
    return true;
  }

  release(source: number, owner: unknown): void {
    const ofSource = this.#bySource.get(source)! - 1;
    if (ofSource > 0) this.#bySource.set(source, ofSource);
    else this.#bySource.delete(source);
    const ofOwner = this.#byOwner.get(owner)! - 1;
    this.#byOwner.set(owner, ofOwner);
    this.total--;
    if (ofOwner > 0) return;
    this.#owners--;
    if (this.#byOwner.size <= 2 * this.#owners + UNUSED_KEPT) return;
    for (const [other, count] of this.#byOwner) if (count === 0) this.#byOwner.delete(other);
  }

  /** The owner with most. */
  #foremost(): unknown {
    let [found, most] = [undefined as unknown, 0];
    for (const [owner, count] of this.#byOwner) if (count > most) [found, most] = [owner, count];
    return found;
  }
}
