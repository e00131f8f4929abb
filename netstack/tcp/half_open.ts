import type { IpAddress } from "../address.ts";
import { HalfSipHash } from "../siphash.ts";
import type { TcpSettings } from "./settings.ts";

/** Counts half-open connections, all together and by source, so that no source takes all places. */
export class HalfOpenLimits {
  readonly #settings: TcpSettings;
  readonly #hash: HalfSipHash;
  /** By hash: sources that share one share their places, which nobody can aim at. */
  readonly #bySource = new Map<number, number>();
  total = 0;

  constructor(settings: TcpSettings, random: (out: Uint8Array) => void) {
    this.#settings = settings;
    this.#hash = new HalfSipHash(random);
  }

  /** What the other calls know a source by. */
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

  /** @returns Whether there was a place. */
  take(source: number): boolean {
    const count = this.#bySource.get(source) ?? 0;
    const { maxHalfOpen, maxHalfOpenPerSource } = this.#settings;
    if (this.total >= maxHalfOpen || count >= maxHalfOpenPerSource) return false;
    this.#bySource.set(source, count + 1);
    this.total++;
    return true;
  }

  release(source: number): void {
    const count = this.#bySource.get(source)! - 1;
    if (count > 0) this.#bySource.set(source, count);
    else this.#bySource.delete(source);
    this.total--;
  }
}
