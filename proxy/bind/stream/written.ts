/**
 * What a connection was given and has not left this process. Nothing that is stale can be dropped there
 * any more, so there may be little of it on a slow line.
 *
 * @module
 */

/** As much as leaves within {@link SHORT_MS}, between these, in bytes. */
const LEAST = 16 << 10;
const MOST = 128 << 10;
const SHORT_MS = 20;
/**
 * How many of what was given may be there. Each holds the memory of a full one, however little is in it: who
 * takes nothing and is sent small datagrams would have 16 KiB kept for each.
 */
const MOST_ENTRIES = 64;

interface Entry {
  readonly size: number;
  readonly at: number;
  readonly done: () => void;
}

export class Written {
  /** Bytes. */
  size = 0;
  /** Whether more was given than should be: none until {@link left} says that there is room. */
  isFull = false;
  /** The oldest first. */
  readonly #entries: Entry[] = [];
  #limit = MOST;

  /** Something was given to the connection. @param done Called when it has left. */
  push(size: number, done: () => void): void {
    this.size += size;
    this.#entries.push({ size, at: performance.now(), done });
    this.isFull = this.#isTooMuch;
  }

  /** The oldest has left. @returns whether there is room again. */
  left(): boolean {
    const first = this.#entries.shift();
    if (first === undefined) return false; // it was over before
    this.size -= first.size;
    first.done();
    if (performance.now() - first.at > SHORT_MS) this.#limit = Math.max(LEAST, this.#limit / 2);
    else this.#limit = Math.min(MOST, this.#limit + first.size);
    if (!this.isFull || this.#isTooMuch) return false;
    this.isFull = false;
    return true;
  }

  get #isTooMuch(): boolean {
    return this.size >= this.#limit || this.#entries.length >= MOST_ENTRIES;
  }

  /** The connection is over: everything has left, or never will. */
  clear(): void {
    this.size = 0;
    for (const { done } of this.#entries.splice(0)) done();
  }
}
