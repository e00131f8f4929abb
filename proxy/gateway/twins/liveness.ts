/**
 * Whether a peer is there, found out by what it sends, and by asking when it sends nothing.
 *
 * @module
 */

/** Silence before it is asked. */
const QUIET_MS = 1_000;
/** Between questions: so many that a line which loses every fifth packet each way is not taken for dead. */
const AGAIN_MS = 150;
/** Silence after which one that answers is lost. */
const LIMIT_MS = 3_500;
/** Questions that must have gone unanswered by then: this process may have slept. */
const LEAST_QUESTIONS = 8;
/**
 * Silence after which one is lost that never answered a question: whatever it may drop, WireGuard itself
 * sends a keepalive within 10 s of what it got, which may be lost twice.
 */
const MUTE_LIMIT_MS = 32_000;
/** Between the questions that one gets which does not answer. */
const MUTE_AGAIN_MS = 1_000;
/** After the start nothing is known of a peer: for so long it is waited for. */
const GRACE_MS = 5_000;
/** Between looks at one that was not heard. */
const LOOK_MS = 200;
/** Between questions to one that is lost: the first and the longest. */
const FIRST_CALL_MS = 1_000;
const LAST_CALL_MS = 300_000;
/** How long one that was lost must be there before it counts: the first time, and the most. */
const FIRST_PATIENCE_MS = 10_000;
const LAST_PATIENCE_MS = 300_000;
/** Losses further apart have nothing to do with each other. */
const FORGET_MS = 600_000;

/** `awaited`: not heard since the start, nor missed yet. */
export type Standing = "awaited" | "alive" | "lost";

/** Sans-IO: who has the peer tells when it was heard last, and asks when told to. Times are ms. */
export class Liveness {
  standing: Standing = "awaited";
  /** When {@link look} is due. */
  dueAt: number;
  #heardAt: number;
  #aliveSince = -Infinity;
  #questions = 0;
  /** Since it is alive, to learn whether it answers. */
  #firstQuestions = 0;
  #answers = false;
  #callMs = FIRST_CALL_MS;
  #callAt = Infinity;
  #lostAt = -Infinity;
  #losses = 0;
  readonly #calls: boolean;

  /** @param calls Whether it is called from the start on, and not waited for. */
  constructor(now: number, calls = false) {
    this.#calls = calls;
    this.#heardAt = now;
    this.dueAt = now;
  }

  /** For how long nothing was heard. */
  silentMs(now: number): number {
    return now - this.#heardAt;
  }

  /** Whether it is there, and has been for long enough to be relied on. */
  isStable(now: number): boolean {
    return this.standing === "alive" && now - this.#aliveSince >= this.patienceMs;
  }

  /** How long it has to be there: longer each time that it was lost in the last ten minutes. */
  get patienceMs(): number {
    return Math.min(LAST_PATIENCE_MS, FIRST_PATIENCE_MS * 2 ** Math.max(0, this.#losses - 1));
  }

  /** It has answered a question. Then silence means more. */
  answered(): void {
    this.#answers = true;
  }

  /**
   * To be called at {@link dueAt}, or before.
   *
   * @param heardAt When something authentic came last.
   * @returns whether to ask it something now.
   */
  look(heardAt: number, now: number): boolean {
    if (heardAt > this.#heardAt) return this.#heard(heardAt, now);
    if (this.standing === "alive") return this.#lookAtAlive(now);
    this.dueAt = now + LOOK_MS;
    if (this.standing === "awaited") {
      if (this.silentMs(now) >= GRACE_MS) this.#lost(now);
      return this.#calls;
    }
    if (now < this.#callAt) return false;
    this.#callMs = Math.min(LAST_CALL_MS, this.#callMs * 2);
    this.#callAt = now + this.#callMs;
    return true;
  }

  #heard(heardAt: number, now: number): boolean {
    this.#heardAt = heardAt;
    this.#questions = 0;
    if (this.standing !== "alive") {
      this.standing = "alive";
      this.#aliveSince = now;
      this.#answers = false;
      this.#firstQuestions = 0;
    }
    return this.#lookAtAlive(now);
  }

  #lookAtAlive(now: number): boolean {
    const silent = this.silentMs(now);
    if (silent < QUIET_MS) {
      // To learn at once whether it answers: the first question may come before the session is there, or
      // under one that it has forgotten.
      const isAsked = !this.#answers && this.#firstQuestions < LEAST_QUESTIONS;
      if (isAsked) this.#firstQuestions++;
      this.dueAt = isAsked ? now + AGAIN_MS : this.#heardAt + QUIET_MS;
      return isAsked;
    }
    const limit = this.#answers ? LIMIT_MS : MUTE_LIMIT_MS;
    if (silent >= limit && this.#questions >= LEAST_QUESTIONS) {
      this.#lost(now);
      return false;
    }
    this.#questions++;
    const isMute = !this.#answers && this.#questions > LEAST_QUESTIONS;
    this.dueAt = now + (isMute ? MUTE_AGAIN_MS : AGAIN_MS);
    return true;
  }

  #lost(now: number): void {
    this.standing = "lost";
    this.#losses = now - this.#lostAt < FORGET_MS ? this.#losses + 1 : 1;
    this.#lostAt = now;
    this.#callMs = FIRST_CALL_MS;
    this.#callAt = now + FIRST_CALL_MS;
    this.dueAt = now + LOOK_MS;
  }
}
