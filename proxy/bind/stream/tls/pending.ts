/**
 * Connections that have not shown who they are: so many, and of each address so many. Where there are
 * too many, the address that has most gives way.
 *
 * @module
 */

export interface Pending {
  /** Of IPv6 the upper half: one host can choose the rest. */
  readonly address: string;
  /** It has to go. */
  evict(): void;
}

export class PendingConnections {
  /** In the order in which they came. */
  readonly #all = new Set<Pending>();
  readonly #byAddress = new Map<string, Set<Pending>>();
  readonly #most: number;
  readonly #mostPerAddress: number;
  readonly #keeps: "newest" | "oldest";
  /** Those that had to go. */
  evicted = 0;

  /**
   * @param keeps Who stays when there is one too many. Where an honest client is through in a few round
   * trips, the oldest go; where all wait in a line, the newest.
   */
  constructor(most: number, mostPerAddress: number, keeps: "newest" | "oldest") {
    this.#most = most;
    this.#keeps = keeps;
    this.#mostPerAddress = mostPerAddress;
  }

  get size(): number {
    return this.#all.size;
  }

  /** @returns whether it may stay, for now; if not, it has been evicted. */
  add(pending: Pending): boolean {
    const { address } = pending;
    const same = this.#byAddress.get(address);
    const own = same?.size ?? 0;
    const hasShare = own >= this.#mostPerAddress;
    if (hasShare || this.#all.size >= this.#most) {
      const other = hasShare ? undefined : this.#greediest(own);
      if (this.#keeps === "newest") this.#evict(first(other ?? same ?? this.#all));
      else if (other !== undefined) this.#evict([...other].at(-1)!);
      else {
        this.#evict(pending);
        return false;
      }
    }
    this.#all.add(pending);
    const others = this.#byAddress.get(address);
    if (others === undefined) this.#byAddress.set(address, new Set([pending]));
    else others.add(pending);
    return true;
  }

  delete(pending: Pending): void {
    if (!this.#all.delete(pending)) return;
    const same = this.#byAddress.get(pending.address)!;
    same.delete(pending);
    if (same.size === 0) this.#byAddress.delete(pending.address);
  }

  clear(): void {
    for (const pending of [...this.#all]) {
      this.delete(pending);
      pending.evict();
    }
  }

  /** Those of the address that has most, if that has more than one of `own` and another. */
  #greediest(own: number): ReadonlySet<Pending> | undefined {
    let found: ReadonlySet<Pending> | undefined;
    let most = own + 1;
    for (const same of this.#byAddress.values()) {
      if (same.size <= most) continue;
      found = same;
      most = same.size;
    }
    return found;
  }

  #evict(pending: Pending): void {
    this.evicted++;
    this.delete(pending);
    pending.evict();
  }
}

function first<T>(set: ReadonlySet<T>): T {
  return set.values().next().value!;
}
