/**
 * A few questions by UDP while a fallback is in use: enough of them answered, and UDP is taken back. The
 * first goes alone, since most often there is no answer.
 *
 * @module
 */

import type { TrialSettings } from "./settings.ts";

export type TrialStep = "ask" | "wait" | "passed" | "failed";

interface Question {
  readonly id: number;
  readonly askedAt: number;
  isAnswered: boolean;
}

export class ReturnTrial {
  readonly #settings: TrialSettings;
  readonly #questions: Question[] = [];

  constructor(settings: TrialSettings) {
    this.#settings = settings;
  }

  /** What is to be done now. */
  step(now: number): TrialStep {
    const { questions, answers, limitMs } = this.#settings;
    const answered = this.#questions.filter(({ isAnswered }) => isAnswered).length;
    if (answered >= answers) return "passed";
    const lost = this.#questions.filter((question) => isLost(question, now, limitMs)).length;
    if (this.#questions[0]?.isAnswered === false) return lost > 0 ? "failed" : "wait";
    if (lost > questions - answers) return "failed";
    return this.#questions.length < questions && now >= this.#nextQuestionAt ? "ask" : "wait";
  }

  asked(id: number, now: number): void {
    this.#questions.push({ id, askedAt: now, isAnswered: false });
  }

  /** @returns whether it was a question of this trial, and in time. */
  answered(id: number, now: number): boolean {
    const question = this.#questions.find((question) => question.id === id);
    if (question === undefined || isLost(question, now, this.#settings.limitMs)) return false;
    question.isAnswered = true;
    return true;
  }

  /** When {@link step} says something else, if nothing is answered. */
  nextAt(now: number): number {
    const { questions, limitMs } = this.#settings;
    const limits = this.#questions.filter(({ isAnswered }) => !isAnswered)
      .map(({ askedAt }) => askedAt + limitMs)
      .filter((at) => at > now);
    const isAlone = this.#questions[0]?.isAnswered === false;
    const isDone = isAlone || this.#questions.length === questions;
    return Math.min(...limits, isDone ? Infinity : this.#nextQuestionAt);
  }

  get #nextQuestionAt(): number {
    const last = this.#questions.at(-1);
    return last === undefined ? -Infinity : last.askedAt + this.#settings.everyMs;
  }
}

function isLost({ askedAt, isAnswered }: Question, now: number, limitMs: number): boolean {
  return !isAnswered && now >= askedAt + limitMs;
}
