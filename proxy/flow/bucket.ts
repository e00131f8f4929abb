/**
 * A rate that several flows share: a token bucket, and the flows that wait for it, served in turns.
 *
 * Time is an argument, in milliseconds; what a flow asks for is in bytes. Whoever finds nothing waits
 * in a ring and gets a part when its turn comes, so that no flow can have more by asking more often. A
 * flow that has taken little lately comes first, and the last quarter of the bucket is kept for such:
 * a name lookup or a keystroke does not wait behind a download.
 *
 * @module
 */

import type { Timed } from "../../netstack/mod.ts";

/** A rate as it is configured. */
export interface BucketRate {
  /** Bits per second. */
  readonly rate: number;
  /** What may be saved up, seconds of the rate. */
  readonly burst: number;
}

/** Where a bucket says when it has something for those that wait. */
export interface BucketClock {
  /** {@link Bucket.serve} is to be called at `at`, ms; Infinity for never. */
  schedule(bucket: Bucket, at: number): void;
}

/** What a member belongs to. */
export interface BucketWaiter {
  /**
   * What the member waited for is in its allowance.
   *
   * @returns whether it is going to ask again for that.
   */
  granted(member: BucketMember): boolean;
}

/** A turn is worth this much time of the rate, ms, within bounds. */
const TURN_MS = 4;
/** A turn, bytes: two packets, and what a stream reads at once. */
const LEAST_TURN = 3_000;
const MOST_TURN = 65_536;
/** No bucket holds less, bytes: some packets have to fit. */
const LEAST_BURST = 4 * LEAST_TURN;
/** The part of a bucket kept for flows that take little. */
const RESERVED_SHARE = 1 / 4;
/** A flow takes little if it has had less than one of this many turns. */
const SPARSE_TURNS = 16;
/** And of as many turns as that for each one that waits. */
const SPARSE_TURNS_EACH = 4;
/** Those that wait are not served more often, ms: each time costs a turn of the engine. */
const SERVE_EVERY_MS = 1;
/** What a member has not used for this long is gone, ms. */
const ALLOWANCE_MS = 1_000;

export class Bucket implements Timed {
  deadline = Infinity;
  heapIndex = -1;
  /** What it has handed out since the start, bytes. */
  spent = 0;
  readonly #clock: BucketClock;
  readonly #sparse = new Ring();
  readonly #others = new Ring();
  /** Those that were handed something and have yet to be told: nobody gets ahead of them meanwhile. */
  #untold = 0;
  #perMs = 0;
  #burst = 0;
  #reserve = 0;
  #turn = 0;
  #tokens = Infinity; // full, whatever that is
  #filledAt = -Infinity;

  constructor(clock: BucketClock, rate: BucketRate, now: number) {
    this.#clock = clock;
    this.#filledAt = now;
    this.setRate(rate, now);
  }

  /** Bits per second. */
  get rate(): number {
    return this.#perMs * 8_000;
  }

  /** The most that it can hold, bytes. */
  get burst(): number {
    return this.#burst;
  }

  /** What a member gets at a time, bytes. */
  get turn(): number {
    return this.#turn;
  }

  /** Those that wait. */
  get waiting(): number {
    return this.#sparse.size + this.#others.size;
  }

  /** Applies at once, to those that wait too. */
  setRate({ rate, burst }: BucketRate, now: number): void {
    this.#fill(now);
    this.#perMs = rate / 8_000;
    this.#burst = Math.max(LEAST_BURST, rate / 8 * burst);
    this.#reserve = this.#burst * RESERVED_SHARE;
    this.#turn = Math.min(MOST_TURN, Math.max(LEAST_TURN, this.#perMs * TURN_MS));
    this.#turn = Math.floor(Math.min(this.#turn, (this.#burst - this.#reserve) / 2));
    this.#tokens = Math.min(this.#tokens, this.#burst);
    this.#arm(now);
  }

  /** Hands out what there is to those that wait, each one what it waits for, in turns. */
  serve(now: number): void {
    this.#fill(now);
    for (let member; (member = this.#next()) !== undefined;) {
      if (this.#tokens < this.#threshold(member.want, member.isSparse)) break;
      const { want } = member;
      this.leave(member);
      this.#take(member, want);
      member.allowance += want;
      member.allowedAt = now;
      if (!member.waiter.granted(member)) continue;
      member.isTold = false;
      this.#untold++;
    }
    this.#arm(now);
  }

  /** For members: this one knows. */
  told(): void {
    this.#untold--;
  }

  /** Whether `member` may have `amount` more at once; {@link take} follows, at the same time. */
  has(member: BucketMember, amount: number, now: number): boolean {
    if (this.waiting > 0) this.serve(now);
    else this.#fill(now);
    const isSparse = this.#isSparse(member, amount, now);
    if (this.#sparse.size > 0 || !isSparse && this.#others.size + this.#untold > 0) return false;
    return this.#tokens >= this.#threshold(amount, isSparse);
  }

  /** Takes what {@link has} has promised. */
  take(member: BucketMember, amount: number): void {
    this.#take(member, amount);
  }

  /** Waits for `amount`, which {@link BucketWaiter.granted} tells of. */
  join(member: BucketMember, amount: number, now: number): void {
    member.want = amount;
    if (member.ring === undefined) {
      member.isSparse = this.#isSparse(member, amount, now);
      (member.isSparse ? this.#sparse : this.#others).push(member);
    }
    this.#arm(now);
  }

  /** Waits no more. */
  leave(member: BucketMember): void {
    member.ring?.remove(member);
  }

  /** Takes back what was not used. */
  giveBack(amount: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + amount);
    this.spent -= amount;
  }

  #take(member: BucketMember, amount: number): void {
    this.#tokens -= amount;
    this.spent += amount;
    member.used += amount;
  }

  #next(): BucketMember | undefined {
    return this.#sparse.first ?? this.#others.first;
  }

  /** What has to be there. What is larger than the whole bucket goes when that is full. */
  #threshold(amount: number, isSparse: boolean): number {
    return Math.min(this.#burst, isSparse ? amount : amount + this.#reserve);
  }

  #isSparse(member: BucketMember, amount: number, now: number): boolean {
    const turns = Math.max(SPARSE_TURNS, SPARSE_TURNS_EACH * this.waiting);
    if ((now - member.usedSince) * this.#perMs >= turns * this.#turn) {
      member.usedSince = now;
      member.used = 0;
    }
    return member.used + amount <= this.#turn;
  }

  #fill(now: number): void {
    if (now <= this.#filledAt) return;
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#filledAt) * this.#perMs);
    this.#filledAt = now;
  }

  /** Sets when those that wait are served next. */
  #arm(now: number): void {
    const first = this.#next();
    if (first === undefined) {
      if (this.deadline < Infinity) this.#clock.schedule(this, Infinity);
      return;
    }
    const missing = this.#threshold(first.want, first.isSparse) - this.#tokens;
    const wait = missing > 0 ? Math.max(SERVE_EVERY_MS, missing / this.#perMs) : 0;
    this.#clock.schedule(this, now + wait);
  }
}

/** One flow's place in a bucket. */
export class BucketMember {
  readonly bucket: Bucket;
  readonly waiter: BucketWaiter;
  /** Handed to it, and not used yet, bytes. */
  allowance = 0;
  allowedAt = 0;

  /** For the bucket: what it waits for, bytes, and where. */
  want = 0;
  isSparse = false;
  ring: Ring | undefined = undefined;
  next: BucketMember | undefined = undefined;
  previous: BucketMember | undefined = undefined;
  /** What it has had since then, bytes and ms. */
  used = 0;
  usedSince = -Infinity;
  isTold = true;

  constructor(bucket: Bucket, waiter: BucketWaiter) {
    this.bucket = bucket;
    this.waiter = waiter;
  }

  get isWaiting(): boolean {
    return this.ring !== undefined;
  }

  /** Has `amount` in its allowance at once, or waits for it. @returns which of the two. */
  reserve(amount: number, now: number): boolean {
    this.#tell();
    const missing = amount - this.allowance;
    if (missing <= 0) return true;
    const { bucket } = this;
    if (this.ring !== undefined || !bucket.has(this, missing, now)) {
      bucket.join(this, missing, now);
      return false;
    }
    bucket.take(this, missing);
    this.allowance = amount;
    this.allowedAt = now;
    return true;
  }

  /** Whether `amount` could be {@link spend} at once. Nothing is taken yet. */
  canSpend(amount: number, now: number): boolean {
    if (this.allowance > 0 && now - this.allowedAt > ALLOWANCE_MS) this.allowance = 0;
    return this.allowance >= amount || this.bucket.has(this, amount - this.allowance, now) ||
      this.allowance >= amount; // `has` may have served this one
  }

  /** Uses up what it {@link canSpend}. */
  spend(amount: number): void {
    const missing = amount - this.allowance;
    if (missing > 0) this.bucket.take(this, missing);
    this.allowance = Math.max(0, -missing);
  }

  /** Waits for an allowance of a turn, or of `amount` if that is more: for what is dropped till then. */
  collect(amount: number, now: number): void {
    const { bucket } = this;
    bucket.join(this, Math.max(bucket.turn, amount) - this.allowance, now);
  }

  /** Gives everything back. */
  close(): void {
    this.#tell();
    this.bucket.leave(this);
    if (this.allowance > 0) this.bucket.giveBack(this.allowance);
    this.allowance = 0;
  }

  #tell(): void {
    if (this.isTold) return;
    this.isTold = true;
    this.bucket.told();
  }
}

/** Members in the order in which they came. */
class Ring {
  size = 0;
  first: BucketMember | undefined = undefined;
  #last: BucketMember | undefined = undefined;

  push(member: BucketMember): void {
    member.ring = this;
    member.previous = this.#last;
    if (this.#last === undefined) this.first = member;
    else this.#last.next = member;
    this.#last = member;
    this.size++;
  }

  remove(member: BucketMember): void {
    const { previous, next } = member;
    if (previous === undefined) this.first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    member.ring = member.previous = member.next = undefined;
    this.size--;
  }
}
