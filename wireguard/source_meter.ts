/**
 * Counts per source address in a table of fixed size: spoofing sources costs nothing, so remembering
 * each of them would exhaust the memory.
 *
 * @module
 */

import { readI32 } from "./bytes.ts";
import { addressStart, type SourceAddress } from "./source.ts";

/** So many that thousands of peers that come at once seldom share one. */
const SLOTS = 32_768;
const WINDOW_MS = 1000;

/**
 * Events per source of the current and the last second. Sources share slots by a secret hash: a
 * count is never too low, and sometimes too high.
 */
export class SourceMeter {
  readonly #withPort: boolean;
  readonly #seed = new Int32Array(2);
  #current = new Uint8Array(SLOTS);
  #last = new Uint8Array(SLOTS);
  #windowEnds = -Infinity;

  /** @param withPort Whether a source is an address and port, or an IPv4 address or IPv6 /64. */
  constructor(random: (out: Uint8Array) => void, withPort: boolean) {
    this.#withPort = withPort;
    const bytes = new Uint8Array(8);
    random(bytes);
    this.#seed[0] = readI32(bytes, 0);
    this.#seed[1] = readI32(bytes, 4);
  }

  /** Counts up to 255. */
  add(from: SourceAddress, now: number): void {
    this.#turn(now);
    const slot = this.#slot(from);
    if (this.#current[slot]! < 255) this.#current[slot]!++;
  }

  count(from: SourceAddress, now: number): number {
    this.#turn(now);
    const slot = this.#slot(from);
    return this.#current[slot]! + this.#last[slot]!;
  }

  #turn(now: number): void {
    if (now < this.#windowEnds) return;
    const isNext = now < this.#windowEnds + WINDOW_MS;
    [this.#current, this.#last] = [this.#last, this.#current];
    this.#current.fill(0);
    if (!isNext) this.#last.fill(0);
    this.#windowEnds = now + WINDOW_MS;
  }

  #slot(from: SourceAddress): number {
    const { address, port } = from;
    const start = addressStart(address);
    const isV4 = address.length - start === 4;
    let hash = mix(this.#seed[0]!, bigEndian(address, start));
    if (!isV4) hash = mix(hash, bigEndian(address, 4));
    if (this.#withPort) {
      if (!isV4) hash = mix(mix(hash, bigEndian(address, 8)), bigEndian(address, 12));
      hash = mix(hash, port);
    }
    return mix(hash, this.#seed[1]!) & SLOTS - 1;
  }
}

/** A round of MurmurHash3's finaliser. */
function mix(hash: number, word: number): number {
  let x = hash ^ word;
  x = Math.imul(x ^ x >>> 16, 0x85ebca6b);
  x = Math.imul(x ^ x >>> 13, 0xc2b2ae35);
  return x ^ x >>> 16;
}

function bigEndian(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! << 24 | bytes[offset + 1]! << 16 | bytes[offset + 2]! << 8 |
    bytes[offset + 3]!;
}
