/**
 * Who may cost this device a handshake (whitepaper §5.3). Every check here is cheap, the cheapest comes
 * first, and a handshake costs some hundred times as much.
 *
 * 1. An initiation that has been worked on before is a replay.
 * 2. mac1: the sender knows our public key.
 * 3. A source whose messages keep failing, one that has a message in a queue that begins to fill, or
 *    everybody while the device is under load, proves its address by a cookie, and even then gets no
 *    more than its share.
 *
 * The first two cases of rule 3 are not in the whitepaper: anyone who knows our public key can send
 * well-formed nonsense from a few hundred addresses, and must not drive everybody else into cookie
 * mode, where a new client needs a second initiation and 5 s.
 *
 * @module
 */

import { type Context, transmit } from "./context.ts";
import type { Sender } from "./endpoint.ts";
import { HANDSHAKE_QUEUE_LIMIT, type HandshakeQueue, LOADED } from "./handshake_queue.ts";
import { COOKIE_REPLY_SIZE, INITIATION_SIZE, RESPONSE_SIZE } from "./messages.ts";
import { RateLimiter } from "./rate_limiter.ts";
import { SeenInitiations } from "./seen_initiations.ts";
import { Source } from "./source.ts";
import { SourceMeter } from "./source_meter.ts";
import { TokenBucket } from "./token_bucket.ts";

/**
 * What refusing a message costs, as a fraction of a handshake: a MAC at most if nothing is answered, a
 * cipher and a datagram with a cookie reply. Reading a cookie reply costs a cipher as well.
 */
const COST_OF_DROP = 1 / 128;
export const COST_OF_COOKIE = 1 / 16;

/** Failed handshakes of a source within two seconds that make it prove its address. */
const SUSPECT_AFTER = 20;

/**
 * From this many waiting messages on, far from what counts as load, a source with one among them must
 * prove its address. Fewer are dealt with in milliseconds, whoever sent them: all peers behind one
 * address may come at once.
 */
export const CROWDED = HANDSHAKE_QUEUE_LIMIT / 32;

/** Cookie replies: the device is no reflector, and each costs some 20 µs. */
export const COOKIE_REPLIES_PER_SECOND = 5000;
/** More than wait when load begins: each of those that came at once is told. */
const COOKIE_REPLY_BURST = LOADED + 500;
/** Of one address and port within two seconds. An honest peer initiates every five. */
export const COOKIE_REPLIES_PER_SOURCE = 4;

export class Admission<Peer> {
  readonly #context: Context<Peer>;
  readonly #queue: HandshakeQueue;
  readonly #limiter = new RateLimiter();
  readonly #seen = new SeenInitiations();
  /** Messages that came to nothing, or came without a cookie when one was required. */
  readonly #failures: SourceMeter;
  readonly #replies: SourceMeter;
  readonly #replyBucket = new TokenBucket(COOKIE_REPLIES_PER_SECOND, COOKIE_REPLY_BURST);
  readonly #reply = new Uint8Array(COOKIE_REPLY_SIZE);
  readonly #source = new Source();

  constructor(context: Context<Peer>, queue: HandshakeQueue) {
    this.#context = context;
    this.#queue = queue;
    this.#failures = new SourceMeter(context.random, false);
    this.#replies = new SourceMeter(context.random, true);
  }

  /**
   * Whether a handshake message may wait for its turn. If not, it has been counted. A response must
   * belong to a handshake of this device.
   */
  arrived(
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: Sender,
    now: number,
  ): boolean {
    if (this.#isReplay(buffer, offset, length)) return false;
    if (!this.#context.cookies.checkMac1(buffer, offset, length)) {
      this.#context.counters.droppedBadMac++;
      return false;
    }
    // A response names an index of ours: its sender has received it, or reads our traffic.
    if (length === RESPONSE_SIZE) return true;
    const isSuspect = this.#failures.count(this.#source.read(from), now) >= SUSPECT_AFTER;
    if (!isSuspect && (this.#queue.size < CROWDED || !this.#queue.holds(from))) return true;
    return this.#demandProof(buffer, offset, length, from, isSuspect, now) === 0;
  }

  /**
   * Whether a message whose turn has come is worth the work. If not, it has been counted.
   *
   * @returns 0 if it is; otherwise what refusing it cost, as a fraction of a handshake.
   */
  mayProceed(
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: Sender,
    isUnderLoad: boolean,
    now: number,
  ): number {
    // The same again, for copies that came before the first had its turn.
    if (this.#isReplay(buffer, offset, length)) return COST_OF_DROP;
    return isUnderLoad ? this.#demandProof(buffer, offset, length, from, true, now) : 0;
  }

  /** Call this after the work on a message, with whether it was accepted. */
  handled(
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: Sender,
    isAccepted: boolean,
    now: number,
  ): void {
    if (length === INITIATION_SIZE) this.#seen.add(buffer, offset, length);
    if (!isAccepted) this.#failures.add(this.#source.read(from), now);
  }

  pollTimeout(): number {
    return this.#limiter.pollTimeout();
  }

  handleTimeout(now: number): void {
    this.#limiter.collect(now);
  }

  #isReplay(buffer: Uint8Array, offset: number, length: number): boolean {
    if (length !== INITIATION_SIZE || !this.#seen.has(buffer, offset, length)) return false;
    this.#context.counters.droppedReplayedInitiation++;
    return true;
  }

  /**
   * §5.3: a proof of address first, and then still not too often.
   *
   * @param isHeld Whether a missing proof counts as a failure of the source. Otherwise a source would
   * stop being suspect as soon as its messages are no longer worked on.
   * @returns the cost, 0 if proven.
   */
  #demandProof(
    buffer: Uint8Array,
    offset: number,
    length: number,
    from: Sender,
    isHeld: boolean,
    now: number,
  ): number {
    const { cookies, counters } = this.#context;
    const source = this.#source.read(from);
    if (cookies.checkMac2(buffer, offset, length, source, now)) {
      if (this.#limiter.allow(source.address, now)) return 0;
      counters.droppedRateLimited++;
      return COST_OF_DROP;
    }
    counters.droppedUnderLoad++;
    if (isHeld) this.#failures.add(source, now);
    if (
      this.#replies.count(source, now) >= COOKIE_REPLIES_PER_SOURCE || !this.#replyBucket.take(now)
    ) {
      counters.cookieRepliesSuppressed++;
      return COST_OF_DROP;
    }
    this.#replies.add(source, now);
    cookies.writeReply(buffer, offset, length, source, this.#reply, now);
    counters.cookieRepliesSent++;
    transmit(this.#context, from.toEndpoint(), this.#reply, 0, COOKIE_REPLY_SIZE);
    return COST_OF_COOKIE;
  }
}
