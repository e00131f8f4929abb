/**
 * Finds the connection of a segment.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import { HalfSipHash } from "../siphash.ts";

/** What tells one conversation from another (RFC 9293 §3.3.1). */
export interface Flow {
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
  /** Of these four, by {@link FlowHash}. */
  readonly hash: number;
}

/** Hashes the four parts of a flow with a secret key, so that collisions cannot be aimed at us. */
export class FlowHash {
  readonly #hash: HalfSipHash;

  constructor(random: (out: Uint8Array) => void) {
    this.#hash = new HalfSipHash(random);
  }

  /** @param size Bytes of an address, 4 or 16. */
  of(
    local: Uint8Array,
    localOffset: number,
    localPort: number,
    remote: Uint8Array,
    remoteOffset: number,
    remotePort: number,
    size: number,
  ): number {
    const hash = this.#hash;
    hash.begin();
    hash.bytes(local, localOffset, size);
    hash.bytes(remote, remoteOffset, size);
    hash.word(localPort << 16 | remotePort);
    return hash.end();
  }

  ofFlow(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number): number {
    return this.of(local.bytes, 0, localPort, remote.bytes, 0, remotePort, local.bytes.length);
  }
}

/** Room for a few dozen, so that short connections do not have it grow and shrink all the time. */
const SMALLEST = 64;

/** Flows by addresses and ports: open addressing, linear probing, no allocation per lookup. */
export class FlowTable<T extends Flow> {
  #slots: (T | undefined)[] = new Array(SMALLEST).fill(undefined);
  #mask = SMALLEST - 1;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Finds the flow with these parts; addresses are bytes of a packet. */
  lookup(
    hash: number,
    local: Uint8Array,
    localOffset: number,
    localPort: number,
    remote: Uint8Array,
    remoteOffset: number,
    remotePort: number,
    version: 4 | 6,
  ): T | undefined {
    const slots = this.#slots;
    for (let i = hash & this.#mask;; i = (i + 1) & this.#mask) {
      const flow = slots[i];
      if (flow === undefined) return undefined;
      if (
        flow.hash === hash && flow.localPort === localPort && flow.remotePort === remotePort &&
        flow.remote.matches(remote, remoteOffset, version) &&
        flow.local.matches(local, localOffset, version)
      ) return flow;
    }
  }

  find(
    hash: number,
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
  ): T | undefined {
    return this.lookup(
      hash,
      local.bytes,
      0,
      localPort,
      remote.bytes,
      0,
      remotePort,
      local.version,
    );
  }

  /** Adds a flow that is not in the table. */
  insert(flow: T): void {
    if (2 * (this.#size + 1) > this.#mask + 1) this.#resize(2 * (this.#mask + 1));
    this.#place(flow);
    this.#size++;
  }

  /** @returns Whether it was there. */
  remove(flow: T): boolean {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = flow.hash & mask;
    while (slots[hole] !== flow) {
      if (slots[hole] === undefined) return false;
      hole = (hole + 1) & mask;
    }
    // Moves later flows of the run back, so that no tombstone is needed (Knuth 6.4 R).
    for (let i = (hole + 1) & mask; slots[i] !== undefined; i = (i + 1) & mask) {
      const home = slots[i]!.hash & mask;
      if (((i - home) & mask) < ((i - hole) & mask)) continue;
      slots[hole] = slots[i];
      hole = i;
    }
    slots[hole] = undefined;
    this.#size--;
    if (this.#mask + 1 > SMALLEST && 8 * this.#size < this.#mask) this.#resize((mask + 1) >> 1);
    return true;
  }

  *[Symbol.iterator](): Generator<T> {
    for (const flow of this.#slots) if (flow !== undefined) yield flow;
  }

  #place(flow: T): void {
    let i = flow.hash & this.#mask;
    while (this.#slots[i] !== undefined) i = (i + 1) & this.#mask;
    this.#slots[i] = flow;
  }

  #resize(size: number): void {
    const old = this.#slots;
    this.#slots = new Array(size).fill(undefined);
    this.#mask = size - 1;
    for (const flow of old) if (flow !== undefined) this.#place(flow);
  }
}
