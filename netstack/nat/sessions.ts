/**
 * Sessions: the remote ends of mappings. They say who may send to a mapping, and for how long.
 *
 * @module
 */

import { copyBytes, equalBytes } from "../bytes.ts";
import { HalfSipHash } from "../siphash.ts";
import { FIRST_ROWS, RowIndex } from "./index.ts";
import { enlarged, ShareLinks, ShareQueue } from "./shares.ts";

/** How long a session lasts after its last packet: one list of sessions each, in order of their ends. */
export const UDP_LIFE = 0;
export const ICMP_LIFE = 1;
export const TRANSITORY_LIFE = 2;
export const ESTABLISHED_LIFE = 3;
/** Of a permit, as long as the sessions it is for. */
const NO_LIFE = 4;

/** A table in columns. A session is the number of its row, until it is removed. */
export class Sessions {
  readonly #lives: readonly number[];
  readonly #max: number;
  readonly #hash: HalfSipHash;
  readonly #index = new RowIndex();
  readonly #links = new ShareLinks();
  readonly #queue = new ShareQueue(this.#links);
  mappings = new Int32Array(0);
  /** Sixteen bytes each, as in `Mappings`. All zero: any address. */
  #addresses = new Uint8Array(0);
  /** 0: any port. */
  #ports = new Uint16Array(0);
  /** TCP's, see `tcp_state.ts`. Of a permit: how many sessions it is for. */
  states = new Int32Array(0);
  #ends = new Float64Array(0);
  // By life, in the order of their ends.
  #life = new Uint8Array(0);
  #sooner = new Int32Array(0);
  #later = new Int32Array(0);
  readonly #soonest = new Int32Array(NO_LIFE).fill(-1);
  readonly #latest = new Int32Array(NO_LIFE).fill(-1);
  /** The same mapping's. */
  siblings = new Int32Array(0);
  #elders = new Int32Array(0);

  /**
   * @param lives Of UDP, ICMP, transitory and established TCP, ms.
   * @param max Sessions; permits are not counted.
   */
  constructor(lives: readonly number[], max: number, random: (out: Uint8Array) => void) {
    this.#lives = lives;
    this.#max = max;
    this.#hash = new HalfSipHash(random);
  }

  get size(): number {
    return this.#queue.size;
  }

  /** When the first of them ends, ms; Infinity = never. */
  get nextEnd(): number {
    let next = Infinity;
    for (let life = 0; life < NO_LIFE; life++) {
      const soonest = this.#soonest[life]!;
      if (soonest >= 0) next = Math.min(next, this.#ends[soonest]!);
    }
    return next;
  }

  /** One that has ended; -1 = none. */
  ended(now: number): number {
    for (let life = 0; life < NO_LIFE; life++) {
      const soonest = this.#soonest[life]!;
      if (soonest >= 0 && this.#ends[soonest]! <= now) return soonest;
    }
    return -1;
  }

  /**
   * A mapping's session with a remote end; -1 = none.
   *
   * @param length Of the address, which is at `offset`: 4 or 16.
   */
  find(mapping: number, buffer: Uint8Array, offset: number, length: number, port: number): number {
    let session = this.#index.first(this.#hashOf(mapping, buffer, offset, length, port));
    while (session >= 0 && !this.is(session, mapping, buffer, offset, length, port)) {
      session = this.#index.next[session]!;
    }
    return session;
  }

  is(
    session: number,
    mapping: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    port: number,
  ): boolean {
    return this.mappings[session] === mapping && this.#ports[session] === port &&
      equalBytes(this.#addresses, 16 * session, buffer, offset, length);
  }

  /** Which session has to go before `key` can have another one; -1 = there is room. */
  victim(key: unknown): number {
    return this.size < this.#max ? -1 : this.#queue.victim(key, this.#max);
  }

  /**
   * Adds one that is not there, after {@link victim} has made room.
   *
   * @param elder The first of the mapping's sessions, -1 = none. Its list begins with this one then.
   */
  add(
    mapping: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    port: number,
    key: unknown,
    elder: number,
  ): number {
    const session = this.#insert(mapping, buffer, offset, length, port);
    this.#queue.add(session, key);
    this.siblings[session] = elder;
    this.#elders[session] = -1;
    if (elder >= 0) this.#elders[elder] = session;
    return session;
  }

  /** @returns The first of the mapping's sessions, if `first` is. */
  remove(session: number, first: number): number {
    this.#unlinkLife(session);
    this.#queue.remove(session);
    const after = this.siblings[session]!;
    const before = this.#elders[session]!;
    if (before >= 0) this.siblings[before] = after;
    if (after >= 0) this.#elders[after] = before;
    this.#index.remove(session);
    return session === first ? after : first;
  }

  /** A packet that keeps it alive has passed: its `life` starts again. */
  refresh(session: number, life: number, now: number): void {
    this.#ends[session] = now + this.#lives[life]!;
    if (this.#life[session] === life && this.#latest[life] === session) return;
    this.#unlinkLife(session);
    const latest = this.#latest[life]!;
    this.#life[session] = life;
    this.#sooner[session] = latest;
    this.#later[session] = -1;
    if (latest < 0) this.#soonest[life] = session;
    else this.#later[latest] = session;
    this.#latest[life] = session;
  }

  touch(session: number): void {
    this.#queue.touch(session);
  }

  /**
   * Lets an address send to a TCP mapping from any port, as long as there is a session with one of
   * its ports.
   */
  permit(mapping: number, buffer: Uint8Array, offset: number, length: number): void {
    let permit = this.find(mapping, buffer, offset, length, 0);
    if (permit < 0) {
      permit = this.#insert(mapping, buffer, offset, length, 0);
    }
    this.states[permit]!++;
  }

  /** Undoes a {@link permit}, given for `session`. */
  revoke(session: number, length: number): void {
    const mapping = this.mappings[session]!;
    const permit = this.find(mapping, this.#addresses, 16 * session, length, 0);
    if (permit < 0 || --this.states[permit]! > 0) return;
    this.#index.remove(permit);
  }

  #insert(
    mapping: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    port: number,
  ): number {
    if (this.#index.isFull) this.#grow(Math.max(FIRST_ROWS, 2 * this.#index.size));
    const session = this.#index.add(this.#hashOf(mapping, buffer, offset, length, port));
    this.mappings[session] = mapping;
    copyBytes(buffer, offset, this.#addresses, 16 * session, length);
    this.#ports[session] = port;
    this.states[session] = 0;
    this.#life[session] = NO_LIFE;
    return session;
  }

  #unlinkLife(session: number): void {
    const life = this.#life[session]!;
    if (life === NO_LIFE) return;
    const before = this.#sooner[session]!;
    const after = this.#later[session]!;
    if (before < 0) this.#soonest[life] = after;
    else this.#later[before] = after;
    if (after < 0) this.#latest[life] = before;
    else this.#sooner[after] = before;
    this.#life[session] = NO_LIFE;
  }

  #hashOf(
    mapping: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    port: number,
  ): number {
    const hash = this.#hash;
    hash.begin();
    hash.word(mapping);
    hash.word(port);
    hash.bytes(buffer, offset, length);
    return hash.end();
  }

  #grow(size: number): void {
    this.#index.grow(size);
    this.#links.grow(size);
    this.mappings = enlarged(this.mappings, size);
    this.#addresses = enlarged(this.#addresses, 16 * size);
    this.#ports = enlarged(this.#ports, size);
    this.states = enlarged(this.states, size);
    this.#ends = enlarged(this.#ends, size);
    this.#life = enlarged(this.#life, size);
    this.#sooner = enlarged(this.#sooner, size);
    this.#later = enlarged(this.#later, size);
    this.siblings = enlarged(this.siblings, size);
    this.#elders = enlarged(this.#elders, size);
  }
}
