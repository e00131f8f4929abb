/**
 * Numbers that others must not be able to guess.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import { SipHash, SIPHASH_KEY_LENGTH } from "./siphash.ts";

/** RFC 9293 §3.4.1: the clock of initial sequence numbers ticks every 4 µs. */
const TICKS_PER_MS = 250;

/** Numbers that others must not be able to guess: sequence numbers, timestamps, ports. */
export class KeyedNumbers {
  readonly #sequences: SipHash;
  readonly #ports: SipHash;
  #portsGiven = 0;

  /** @param random Fills its argument with unpredictable bytes. */
  constructor(random: (out: Uint8Array) => void) {
    const key = new Uint8Array(SIPHASH_KEY_LENGTH);
    random(key);
    this.#sequences = new SipHash(key);
    random(key);
    this.#ports = new SipHash(key);
  }

  /**
   * The initial sequence number of a connection: a clock, and an offset that only the holder of
   * the key knows (RFC 6528 §3). The offset of its timestamps is then in {@link timestampOffset}.
   */
  initialSequence(
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
    now: number,
  ): number {
    const hash = this.#sequences;
    hash.begin();
    hash.addBytes(local.bytes, 0, local.bytes.length);
    hash.addBytes(remote.bytes, 0, remote.bytes.length);
    hash.addWord(localPort << 16 | remotePort);
    return (hash.finish() + Math.floor(now * TICKS_PER_MS)) | 0;
  }

  /** RFC 7323 §7.1: of the connection {@link initialSequence} was last called for. */
  get timestampOffset(): number {
    return this.#sequences.high;
  }

  /**
   * Picks a local port by RFC 6056 §3.3.3: a keyed hash of the destination and a counter, so that
   * ports to one destination do not repeat soon and tell others nothing.
   *
   * @param free Whether a port may be used.
   * @returns Undefined if none is free.
   */
  ephemeralPort(
    local: IpAddress,
    remote: IpAddress,
    remotePort: number,
    first: number,
    last: number,
    free: (port: number) => boolean,
  ): number | undefined {
    const hash = this.#ports;
    hash.begin();
    hash.addBytes(local.bytes, 0, local.bytes.length);
    hash.addBytes(remote.bytes, 0, remote.bytes.length);
    hash.addWord(remotePort);
    const offset = hash.finish() >>> 0;
    const count = last - first + 1;
    for (let i = 0; i < count; i++) {
      const port = first + (offset + this.#portsGiven++) % count;
      if (free(port)) return port;
    }
    return undefined;
  }
}
