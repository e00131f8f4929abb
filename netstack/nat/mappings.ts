/**
 * Mappings: an address and port behind the NAT, and the external port that stands for it, whoever it
 * talks to (RFC 4787 REQ-1: endpoint-independent).
 *
 * @module
 */

import { copyBytes, equalBytes } from "../bytes.ts";
import { HalfSipHash } from "../siphash.ts";
import { FIRST_ROWS, RowIndex } from "./index.ts";
import { PortPool } from "./ports.ts";
import { enlarged, ShareLinks, ShareQueue } from "./shares.ts";

/**
 * The spaces of ports: one of each protocol and family. IPv6's is the odd one after IPv4's.
 */
export const TCP_PORTS = 0;
export const UDP_PORTS = 2;
export const ICMP_IDENTIFIERS = 4;
const SPACES = 6;

/** One space's ports, and who has them. */
interface Space {
  readonly ports: PortPool;
  /** Mappings by external port, plus one: zero is none. */
  readonly byPort: Int32Array;
  readonly queue: ShareQueue;
}

/** A table in columns. A mapping is the number of its row, until it is removed. */
export class Mappings {
  readonly #first: number;
  readonly #last: number;
  readonly #random: (out: Uint8Array) => void;
  readonly #hash: HalfSipHash;
  readonly #spaces: (Space | undefined)[] = Array.from({ length: SPACES });
  readonly #index = new RowIndex();
  readonly #links = new ShareLinks();
  /** Sixteen bytes each; an IPv4 address has the first four. */
  addresses = new Uint8Array(0);
  ports = new Uint16Array(0);
  externals = new Uint16Array(0);
  spaces = new Uint8Array(0);
  /** Its sessions: how many, the first of their list, and the one used last; -1 = none. */
  sessionCounts = new Int32Array(0);
  sessions = new Int32Array(0);
  recent = new Int32Array(0);
  /** Of the last look-up: traffic comes in runs. */
  #lastFound = -1;

  /** @param first Of the ports of each space. */
  constructor(first: number, last: number, random: (out: Uint8Array) => void) {
    this.#first = first;
    this.#last = last;
    this.#random = random;
    this.#hash = new HalfSipHash(random);
  }

  get size(): number {
    return this.#index.count;
  }

  /** Of one space. */
  sizeOf(space: number): number {
    return this.#spaces[space]?.queue.size ?? 0;
  }

  /** The mapping of an inside address, at `offset` of a packet, and port; -1 = none. */
  find(space: number, buffer: Uint8Array, offset: number, port: number): number {
    const last = this.#lastFound;
    if (last >= 0 && this.#is(last, space, buffer, offset, port)) return last;
    let mapping = this.#index.first(this.#hashOf(space, buffer, offset, port));
    while (mapping >= 0 && !this.#is(mapping, space, buffer, offset, port)) {
      mapping = this.#index.next[mapping]!;
    }
    if (mapping >= 0) this.#lastFound = mapping;
    return mapping;
  }

  /** The mapping with an external port; -1 = none. */
  at(space: number, external: number): number {
    const { byPort } = this.#spaces[space] ?? NO_SPACE;
    return external < byPort.length ? byPort[external]! - 1 : -1;
  }

  /** Which mapping has to go before `key` can have another one; -1 = there is a port for it. */
  victim(space: number, key: unknown): number {
    const { ports, queue } = this.#space(space);
    return ports.free > 0 ? -1 : queue.victim(key, ports.size);
  }

  /** Adds one that is not there, after {@link victim} has made room. @param key Whose it is. */
  add(
    space: number,
    buffer: Uint8Array,
    offset: number,
    port: number,
    key: unknown,
    now: number,
  ): number {
    const { ports, byPort, queue } = this.#space(space);
    if (this.#index.isFull) this.#grow(Math.max(FIRST_ROWS, 2 * this.#index.size));
    const hash = this.#hashOf(space, buffer, offset, port);
    const mapping = this.#index.add(hash);
    const external = ports.take(port, space < ICMP_IDENTIFIERS, hash, now);
    copyBytes(buffer, offset, this.addresses, 16 * mapping, sizeOf(space));
    this.ports[mapping] = port;
    this.externals[mapping] = external;
    this.spaces[mapping] = space;
    this.sessionCounts[mapping] = 0;
    this.sessions[mapping] = this.recent[mapping] = -1;
    byPort[external] = mapping + 1;
    queue.add(mapping, key);
    return mapping;
  }

  /** Takes one without sessions out. */
  remove(mapping: number, now: number): void {
    if (this.#lastFound === mapping) this.#lastFound = -1;
    const { ports, byPort, queue } = this.#spaces[this.spaces[mapping]!]!;
    const external = this.externals[mapping]!;
    byPort[external] = 0;
    ports.give(external, now);
    queue.remove(mapping);
    this.#index.remove(mapping);
  }

  touch(mapping: number): void {
    this.#spaces[this.spaces[mapping]!]!.queue.touch(mapping);
  }

  /** Whose it is. */
  keyOf(mapping: number): unknown {
    return this.#spaces[this.spaces[mapping]!]!.queue.keyOf(mapping);
  }

  #is(mapping: number, space: number, buffer: Uint8Array, offset: number, port: number): boolean {
    return this.ports[mapping] === port && this.spaces[mapping] === space &&
      equalBytes(this.addresses, 16 * mapping, buffer, offset, sizeOf(space));
  }

  #hashOf(space: number, buffer: Uint8Array, offset: number, port: number): number {
    const hash = this.#hash;
    hash.begin();
    hash.word(space << 16 | port);
    hash.bytes(buffer, offset, sizeOf(space));
    return hash.end();
  }

  #space(space: number): Space {
    return this.#spaces[space] ??= {
      ports: new PortPool(this.#first, this.#last, this.#random),
      byPort: new Int32Array(this.#last + 1),
      queue: new ShareQueue(this.#links),
    };
  }

  #grow(size: number): void {
    this.#index.grow(size);
    this.#links.grow(size);
    this.addresses = enlarged(this.addresses, 16 * size);
    this.ports = enlarged(this.ports, size);
    this.externals = enlarged(this.externals, size);
    this.spaces = enlarged(this.spaces, size);
    this.sessionCounts = enlarged(this.sessionCounts, size);
    this.sessions = enlarged(this.sessions, size);
    this.recent = enlarged(this.recent, size);
  }
}

/** Bytes of an address of a space's family. */
export function sizeOf(space: number): 4 | 16 {
  return (space & 1) === 0 ? 4 : 16;
}

const NO_SPACE = { byPort: new Int32Array(0) };
