/**
 * Connections that have not shown who they are: so many, and of each address so many. Who is one too
 * many takes the place of the oldest, since an honest client is through in a few round trips.
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
  /** Those that had to go. */
  evicted = 0;

  constructor(most: number, mostPerAddress: number) {
    this.#most = most;
    this.#mostPerAddress = mostPerAddress;
  }

  get size(): number {
    return this.#all.size;
  }

  add(pending: Pending): void {
    const { address } = pending;
    const same = this.#byAddress.get(address);
    if (same !== undefined && same.size >= this.#mostPerAddress) this.#evict(first(same));
    else if (this.#all.size >= this.#most) this.#evict(first(this.#all));
    this.#all.add(pending);
    const others = this.#byAddress.get(address);
    if (others === undefined) this.#byAddress.set(address, new Set([pending]));
    else others.add(pending);
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

  #evict(pending: Pending): void {
    this.evicted++;
    this.delete(pending);
    pending.evict();
  }
}

function first<T>(set: ReadonlySet<T>): T {
  return set.values().next().value!;
}
