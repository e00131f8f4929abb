/**
 * Waiting that somebody may have no time for.
 *
 * @module
 */

export class Pause {
  #end: (() => void) | undefined;

  /** Waits for so long, ms, or until {@link end} is called. */
  async wait(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#end = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** Ends the one that is under way, if one is. */
  end(): void {
    this.#end?.();
  }
}
