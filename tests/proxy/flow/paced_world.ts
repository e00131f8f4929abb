/**
 * Buckets and paces in virtual time.
 *
 * @module
 */

import { Bucket, type BucketClock } from "../../../proxy/flow/bucket.ts";
import { Pace } from "../../../proxy/flow/pace.ts";

/** One packet of a datagram, without headers; a stream in segments of 1,000 with 50 bytes of header. */
export const DATAGRAM = { header: 0, payload: 1_500 };
export const SEGMENTS = { header: 50, payload: 1_000 };

export class PacedWorld implements BucketClock {
  now = 0;
  readonly #due = new Map<Bucket, number>();
  readonly #ready = new Set<Pace>();

  bucket(bitsPerSecond: number, burst = 0.2): Bucket {
    return new Bucket(this, { rate: bitsPerSecond, burst }, this.now);
  }

  pace(buckets: readonly Bucket[], shape = SEGMENTS): Pace {
    const pace = new Pace(shape, { add: (pace) => void this.#ready.add(pace) });
    pace.setBuckets(buckets);
    return pace;
  }

  schedule(bucket: Bucket, at: number): void {
    bucket.deadline = at;
    if (at === Infinity) this.#due.delete(bucket);
    else this.#due.set(bucket, at);
  }

  /** Until `end`, with the timer firing up to `late` ms after it is due. */
  run(end: number, late = 0): void {
    for (;;) {
      this.#tell();
      const next = Math.min(...this.#due.values()) + late;
      if (!(next <= end)) break;
      this.now = Math.max(this.now, next);
      for (const [bucket, at] of [...this.#due]) {
        if (at > this.now) continue;
        this.#due.delete(bucket);
        bucket.deadline = Infinity;
        bucket.serve(this.now);
      }
    }
    this.now = end;
  }

  #tell(): void {
    while (this.#ready.size > 0) {
      const [pace] = this.#ready;
      this.#ready.delete(pace!);
      pace!.isReady = false;
      pace!.handler?.paceReady(pace!);
    }
  }
}
