/**
 * Which of many have figures of their own: a server that keeps time series must not be given one for
 * each of ten thousand peers. The busiest have, the rest are summed.
 *
 * Counters never go back by that. What counts for whom is what was new since the last look: the sum of
 * the others keeps what a member did before it had figures of its own, and those begin at 0 then.
 *
 * @module
 */

/** How often it is asked anew who is busiest, ms. */
const CHOOSE_EVERY_MS = 60_000;
/** So many times busier than the least busy of the chosen one must be to take its place. */
const BUSIER = 2;

interface Entry {
  /** As last read. */
  readonly seen: number[];
  /** Counted while it is chosen; undefined while it is not. */
  own: number[] | undefined;
  /** What it did since the last choice. */
  activity: number;
  /** Of the look in which it was last there. */
  look: number;
}

/** Counters of the chosen, and of the others together. */
export interface Counted<Item> {
  readonly chosen: readonly { readonly item: Item; readonly values: readonly number[] }[];
  /** Undefined where all are chosen, and always were. */
  readonly others: readonly number[] | undefined;
}

export class Busiest<Item extends object> {
  readonly #read: (item: Item, values: number[]) => void;
  readonly #width: number;
  readonly #entries = new Map<Item, Entry>();
  readonly #chosen = new Set<Item>();
  readonly #others: number[];
  readonly #values: number[];
  #hasOthers = false;
  #chosenAt = -Infinity;
  #look = 0;

  /**
   * @param width How many counters a member has.
   * @param read Puts a member's counters into an array; their sum is how busy it is.
   */
  constructor(width: number, read: (item: Item, values: number[]) => void) {
    this.#width = width;
    this.#read = read;
    this.#others = new Array(width).fill(0);
    this.#values = new Array(width).fill(0);
  }

  /**
   * @param items All there are.
   * @param most How many may have figures of their own.
   * @param now Milliseconds, monotonic.
   */
  count(items: Iterable<Item>, most: number, now: number): Counted<Item> {
    const isFirst = this.#look++ === 0;
    // Before anything is counted: what is new is for those who are chosen now.
    if (!isFirst) this.#choose(most, now);
    for (const item of items) this.#add(item, isFirst ? 0 : most);
    if (isFirst) this.#chooseFirst(most, now);
    for (const [item, { look }] of this.#entries) {
      if (look === this.#look) continue;
      this.#entries.delete(item);
      this.#chosen.delete(item);
    }
    this.#hasOthers ||= this.#chosen.size < this.#entries.size;
    return {
      chosen: Array.from(this.#chosen, (item) => ({
        item,
        values: this.#entries.get(item)!.own!,
      })),
      others: this.#hasOthers ? this.#others : undefined,
    };
  }

  #add(item: Item, most: number): void {
    let entry = this.#entries.get(item);
    if (entry === undefined) {
      const isChosen = this.#chosen.size < most;
      entry = {
        seen: new Array(this.#width).fill(0),
        own: isChosen ? new Array(this.#width).fill(0) : undefined,
        activity: 0,
        look: 0,
      };
      this.#entries.set(item, entry);
      if (isChosen) this.#chosen.add(item);
    }
    entry.look = this.#look;
    const { seen } = entry;
    const into = entry.own ?? this.#others;
    const values = this.#values;
    this.#read(item, values);
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      const grown = value - seen[i]!;
      if (grown === 0) continue;
      seen[i] = value;
      into[i]! += grown;
      entry.activity += grown;
    }
  }

  /** Nobody has been told of anything yet: the chosen may have all that they ever did. */
  #chooseFirst(most: number, now: number): void {
    const byActivity = [...this.#entries].sort(([, a], [, b]) => b.activity - a.activity);
    for (const [item, entry] of byActivity.slice(0, most)) {
      entry.own = [...entry.seen];
      entry.seen.forEach((value, i) => this.#others[i]! -= value);
      this.#chosen.add(item);
    }
    this.#chosenAt = now;
    for (const entry of this.#entries.values()) entry.activity = 0;
  }

  #choose(most: number, now: number): void {
    while (this.#chosen.size > most) this.#drop(this.#leastBusy()!);
    if (now - this.#chosenAt < CHOOSE_EVERY_MS || this.#chosen.size === this.#entries.size) return;
    this.#chosenAt = now;
    const rest = [...this.#entries].filter(([, { own }]) => own === undefined)
      .sort(([, a], [, b]) => b.activity - a.activity).slice(0, most);
    const rivals = [...this.#chosen].sort((a, b) => this.#activity(a) - this.#activity(b));
    for (const [item, entry] of rest) {
      if (this.#chosen.size >= most) {
        const rival = rivals.shift();
        if (rival === undefined || entry.activity <= BUSIER * this.#activity(rival)) break;
        this.#drop(rival);
      }
      entry.own = new Array(this.#width).fill(0);
      this.#chosen.add(item);
    }
    for (const entry of this.#entries.values()) entry.activity = 0;
  }

  #drop(item: Item): void {
    this.#chosen.delete(item);
    this.#entries.get(item)!.own = undefined;
  }

  #leastBusy(): Item | undefined {
    let found: Item | undefined;
    for (const item of this.#chosen) {
      if (found === undefined || this.#activity(item) < this.#activity(found)) found = item;
    }
    return found;
  }

  #activity(item: Item): number {
    return this.#entries.get(item)!.activity;
  }
}
