/**
 * A folder that goes with the block it is made in, however that ends.
 *
 * @module
 */

export class TempFolder implements Disposable {
  readonly path = Deno.makeTempDirSync();

  /** Where a test has removed it already, to see that nothing is in it, nothing happens. */
  [Symbol.dispose](): void {
    try {
      Deno.removeSync(this.path, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
