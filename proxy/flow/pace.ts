/**
 * How fast one direction of a flow may go: by all the buckets that it has a place in, its peer's, its
 * rule's and its own. Streams wait, datagrams that have no place are dropped.
 *
 * What is counted are the IP packets in the tunnel, headers included. Of a stream that is what full
 * segments carry it in; acknowledgements without data, and what is sent again, is not counted.
 *
 * @module
 */

import { type Bucket, BucketMember, type BucketWaiter } from "./bucket.ts";

/** Who waits. */
export interface PaceHandler {
  /** What {@link Pace.take} refused may be tried again. */
  paceReady(pace: Pace): void;
}

/** How a flow's bytes become packets. */
export interface PacketShape {
  /** Headers of IP and what it carries, bytes. */
  readonly header: number;
  /** What a full packet carries besides, bytes. */
  readonly payload: number;
}

/** Where paces that may go on wait for their turn: they are not called from within a bucket. */
export interface ReadyPaces {
  add(pace: Pace): void;
}

export class Pace implements BucketWaiter {
  handler: PaceHandler | undefined = undefined;
  /** Of this flow alone, if its rule says so. */
  own: Bucket | undefined = undefined;
  /** Whether it is among the {@link ReadyPaces}. */
  isReady = false;
  readonly #shape: PacketShape;
  readonly #ready: ReadyPaces;
  #members: readonly BucketMember[] = [];

  constructor(shape: PacketShape, ready: ReadyPaces) {
    this.#shape = shape;
    this.#ready = ready;
  }

  /** Bytes of a stream that are best moved at once: what a turn of every bucket allows. */
  get portion(): number {
    let turn = Infinity;
    for (const { bucket } of this.#members) turn = Math.min(turn, bucket.turn);
    const { header, payload } = this.#shape;
    return Math.max(1, Math.floor(turn / (header + payload))) * payload;
  }

  /** What `length` bytes of a stream, or of a datagram, are in packets. */
  cost(length: number): number {
    const { header, payload } = this.#shape;
    return length + header * Math.max(1, Math.ceil(length / payload));
  }

  /** Its place in these buckets and no others. Those that stay keep what they have. */
  setBuckets(buckets: readonly Bucket[]): void {
    const before = this.#members;
    if (
      before.length === buckets.length && before.every(({ bucket }, i) => bucket === buckets[i])
    ) return;
    const kept = new Map(before.map((member) => [member.bucket, member]));
    this.#members = buckets.map((bucket) => kept.get(bucket) ?? new BucketMember(bucket, this));
    for (const member of before) if (!buckets.includes(member.bucket)) member.close();
    this.#wake(); // whoever waits asks again
  }

  /**
   * Whether `length` bytes of a stream, at most a {@link portion}, may go now: then they are counted. If
   * not, {@link PaceHandler.paceReady} follows.
   */
  take(length: number, now: number): boolean {
    const cost = this.cost(length);
    const members = this.#members;
    let mayGo = true;
    for (let i = 0; i < members.length; i++) {
      if (!members[i]!.reserve(cost, now)) mayGo = false;
    }
    if (!mayGo) return false;
    for (let i = 0; i < members.length; i++) members[i]!.spend(cost);
    return true;
  }

  /** Whether a datagram with `length` bytes of data may go: then it is counted, else it is to be dropped. */
  admits(length: number, now: number): boolean {
    return this.admitsPacket(this.cost(length), now);
  }

  /** The same by the length of the IP packet. */
  admitsPacket(length: number, now: number): boolean {
    const members = this.#members;
    let mayGo = true;
    for (let i = 0; i < members.length; i++) {
      const member = members[i]!;
      if (member.canSpend(length, now)) continue;
      mayGo = false;
      member.collect(length, now);
    }
    if (!mayGo) return false;
    for (let i = 0; i < members.length; i++) members[i]!.spend(length);
    return true;
  }

  /** The flow is over. */
  close(): void {
    this.handler = undefined;
    for (const member of this.#members) member.close();
    this.#members = [];
  }

  granted(): boolean {
    if (this.handler === undefined) return false;
    for (const member of this.#members) if (member.isWaiting) return true;
    this.#wake();
    return true;
  }

  #wake(): void {
    if (this.handler !== undefined && !this.isReady) this.#ready.add(this);
  }
}
