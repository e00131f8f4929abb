/**
 * TAI64N timestamps of handshake initiations (whitepaper §5.1, §5.4.2): 8 bytes of seconds and 4 of
 * nanoseconds, big-endian, so that a byte-wise comparison is one in time.
 *
 * @module
 */

export const TAI64N_SIZE = 12;

/** 2^24 ns, some 17 ms: the clock is whitened to this step, so that it gives no fine timing away. */
const STEP = 0x1000000;

const STEPS_PER_SECOND = Math.ceil(1e9 / STEP);

/** TAI64 label of the Unix epoch: 2^62 and the 10 s TAI was ahead of UTC in 1970. */
const EPOCH_HIGH = 0x40000000;
const EPOCH_LOW = 10;

/**
 * Makes the timestamps sent to one peer, strictly increasing whatever the wall clock does: when that
 * was set back, one step is added to the last, or the peer would take every handshake for a replay
 * until the clock has caught up.
 */
export class TimestampSource {
  #seconds = -1;
  #step = 0;

  /** @param wallClock Milliseconds since the Unix epoch. Anything before it counts as the epoch. */
  next(wallClock: number): Uint8Array {
    const ms = Number.isFinite(wallClock) ? Math.max(0, wallClock) : 0;
    const seconds = Math.floor(ms / 1000);
    const step = Math.floor((ms - seconds * 1000) * 1e6 / STEP);
    if (seconds > this.#seconds || (seconds === this.#seconds && step > this.#step)) {
      this.#seconds = seconds;
      this.#step = step;
    } else if (++this.#step === STEPS_PER_SECOND) {
      this.#seconds++;
      this.#step = 0;
    }
    return encode(this.#seconds, this.#step * STEP);
  }
}

/** Whether `a` is later than `b`. An empty `b` is earlier than anything. */
export function isAfter(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < b.length; i++) {
    if (a[i] !== b[i]) return a[i]! > b[i]!;
  }
  return b.length < a.length;
}

function encode(seconds: number, nanoseconds: number): Uint8Array {
  const bytes = new Uint8Array(TAI64N_SIZE);
  const view = new DataView(bytes.buffer);
  const low = seconds + EPOCH_LOW;
  view.setUint32(0, EPOCH_HIGH + Math.floor(low / 2 ** 32));
  view.setUint32(4, low);
  view.setUint32(8, nanoseconds);
  return bytes;
}
