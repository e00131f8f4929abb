/**
 * SYN cookies (RFC 4987 §3.6).
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import { SipHash, SIPHASH_KEY_LENGTH } from "./siphash.ts";

/** How long a cookie is good for at least, ms; twice that at most. */
const PERIOD = 64_000;
/** The segment sizes a cookie can say, bytes. */
const SIZES = [216, 536, 1_220, 1_300, 1_380, 1_440, 1_460, 8_960];
const PERIOD_BITS = 2;
const SIZE_BITS = 3;
const LOW_BITS = PERIOD_BITS + SIZE_BITS;
const LOW_MASK = (1 << LOW_BITS) - 1;

/** Timestamps of a cookie carry the rest of the client's options in their lowest bits. */
const OPTION_BITS = 5;
const OPTION_MASK = (1 << OPTION_BITS) - 1;
const SACK_BIT = 16;
const NO_SCALE = 15;

/**
 * SYN cookies (RFC 4987 §3.6): a SYN-ACK whose sequence number holds all there is to know about
 * the client, so that nothing has to be kept. It is a keyed hash of the flow, the client's number
 * and the time, next to the time (2 bits) and the segment size (3 bits).
 */
export class SynCookies {
  readonly #hash: SipHash;
  #lastSent = -Infinity;

  constructor(random: (out: Uint8Array) => void) {
    const key = new Uint8Array(SIPHASH_KEY_LENGTH);
    random(key);
    this.#hash = new SipHash(key);
  }

  /** @returns The initial sequence number to answer with. */
  make(
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
    irs: number,
    mss: number,
    now: number,
  ): number {
    this.#lastSent = now;
    let size = 0;
    while (size + 1 < SIZES.length && SIZES[size + 1]! <= mss) size++;
    const period = Math.floor(now / PERIOD);
    return this.#cookie(local, localPort, remote, remotePort, irs, size, period);
  }

  /**
   * Whether `iss` is a cookie of ours for this flow that has not expired.
   *
   * @returns The segment size in it; 0 if not.
   */
  check(
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
    irs: number,
    iss: number,
    now: number,
  ): number {
    if (!this.pending(now)) return 0;
    const size = (iss >> PERIOD_BITS) & ((1 << SIZE_BITS) - 1);
    const period = Math.floor(now / PERIOD);
    for (let i = period; i >= period - 1; i--) {
      if (this.#cookie(local, localPort, remote, remotePort, irs, size, i) === iss) {
        return SIZES[size]!;
      }
    }
    return 0;
  }

  /** Whether an ACK may answer a cookie at all. */
  pending(now: number): boolean {
    return now - this.#lastSent < 2 * PERIOD;
  }

  #cookie(
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
    irs: number,
    size: number,
    period: number,
  ): number {
    const low = (size << PERIOD_BITS | period & ((1 << PERIOD_BITS) - 1)) & LOW_MASK;
    const hash = this.#hash;
    hash.begin();
    hash.addBytes(local.bytes, 0, local.bytes.length);
    hash.addBytes(remote.bytes, 0, remote.bytes.length);
    hash.addWord(localPort << 16 | remotePort);
    hash.addWord(irs);
    hash.addWord(period);
    hash.addWord(size);
    return hash.finish() & ~LOW_MASK | low;
  }
}

/**
 * Puts the client's window scale and whether it knows SACK into a timestamp.
 *
 * @param windowScale -1 = none.
 * @returns A timestamp at most {@link OPTION_MASK} before `timestamp`.
 */
export function encodeOptions(timestamp: number, windowScale: number, sack: boolean): number {
  const bits = (windowScale < 0 ? NO_SCALE : windowScale) | (sack ? SACK_BIT : 0);
  const value = timestamp & ~OPTION_MASK | bits;
  // Never ahead of the clock: the connection's own timestamps follow (RFC 7323 §5.4).
  return bits > (timestamp & OPTION_MASK) ? (value - OPTION_MASK - 1) | 0 : value;
}

/** @returns -1 = none. */
export function decodeWindowScale(timestamp: number): number {
  const scale = timestamp & NO_SCALE;
  return scale === NO_SCALE ? -1 : scale;
}

export function decodeSack(timestamp: number): boolean {
  return (timestamp & SACK_BIT) !== 0;
}
