/**
 * Who gives something up when a table is full.
 *
 * @module
 */

/** Somebody who has entries in a table. */
class Holder {
  readonly key: unknown;
  count = 0;
  /** Its entries by last use. */
  oldest = -1;
  newest = -1;
  /** Those with as many. */
  before: Holder | undefined = undefined;
  after: Holder | undefined = undefined;

  constructor(key: unknown) {
    this.key = key;
  }
}

/** Lists of entries, which are numbers: the place of each, for all queues of a table together. */
export class ShareLinks {
  older = new Int32Array(0);
  newer = new Int32Array(0);
  readonly holders: (Holder | undefined)[] = [];

  grow(size: number): void {
    this.older = enlarged(this.older, size);
    this.newer = enlarged(this.newer, size);
    while (this.holders.length < size) this.holders.push(undefined);
  }
}

/**
 * Entries by who has them, each one's by last use. All operations take constant time, however many
 * there are: who fills the table must not make it slow.
 */
export class ShareQueue {
  readonly #links: ShareLinks;
  readonly #holders = new Map<unknown, Holder>();
  /** Holders by how many entries they have; chains. */
  readonly #byCount: (Holder | undefined)[] = [undefined];
  #most = 0;
  #size = 0;

  constructor(links: ShareLinks) {
    this.#links = links;
  }

  get size(): number {
    return this.#size;
  }

  /** Whose an entry is. */
  keyOf(entry: number): unknown {
    return this.#links.holders[entry]!.key;
  }

  add(entry: number, key: unknown): void {
    let holder = this.#holders.get(key);
    if (holder === undefined) this.#holders.set(key, holder = new Holder(key));
    this.#links.holders[entry] = holder;
    this.#append(holder, entry);
    this.#recount(holder, 1);
    this.#size++;
  }

  remove(entry: number): void {
    const holder = this.#links.holders[entry]!;
    this.#unlink(holder, entry);
    this.#links.holders[entry] = undefined;
    this.#recount(holder, -1);
    if (holder.count === 0) this.#holders.delete(holder.key);
    this.#size--;
  }

  /** The entry was used. */
  touch(entry: number): void {
    const holder = this.#links.holders[entry]!;
    if (holder.newest === entry) return;
    this.#unlink(holder, entry);
    this.#append(holder, entry);
  }

  /**
   * The entry that makes room for one more of `key`: the idlest of whoever has most and more than an
   * equal share of `limit`, if `key` has less than that; else of its own; else of whoever has most.
   */
  victim(key: unknown, limit: number): number {
    const own = this.#holders.get(key);
    const greediest = this.#byCount[this.#most]!;
    if (own === undefined) return greediest.oldest;
    const isBelow = own.count + 1 <= limit / this.#holders.size;
    const isAbove = greediest !== own && greediest.count > limit / this.#holders.size;
    return isBelow && isAbove ? greediest.oldest : own.oldest;
  }

  #append(holder: Holder, entry: number): void {
    const { older, newer } = this.#links;
    older[entry] = holder.newest;
    newer[entry] = -1;
    if (holder.newest < 0) holder.oldest = entry;
    else newer[holder.newest] = entry;
    holder.newest = entry;
  }

  #unlink(holder: Holder, entry: number): void {
    const { older, newer } = this.#links;
    const before = older[entry]!;
    const after = newer[entry]!;
    if (before < 0) holder.oldest = after;
    else newer[before] = after;
    if (after < 0) holder.newest = before;
    else older[after] = before;
  }

  #recount(holder: Holder, by: 1 | -1): void {
    const { count, before, after } = holder;
    if (count > 0) {
      if (before === undefined) this.#byCount[count] = after;
      else before.after = after;
      if (after !== undefined) after.before = before;
    }
    holder.count = count + by;
    const now = holder.count;
    if (now > 0) {
      const head = this.#byCount[now];
      holder.before = undefined;
      holder.after = head;
      if (head !== undefined) head.before = holder;
      this.#byCount[now] = holder;
    }
    if (now > this.#most) this.#most = now;
    // Whoever had most has one less now, and so is the one with most, or one of them.
    else if (this.#byCount[this.#most] === undefined) this.#most = Math.max(now, 0);
  }
}

/** The same numbers in a longer array. */
export function enlarged<T extends Int32Array | Uint16Array | Uint8Array | Float64Array>(
  array: T,
  size: number,
): T {
  const larger = new (array.constructor as new (size: number) => T)(size);
  larger.set(array);
  return larger;
}
