/**
 * Time constants of the protocol (whitepaper §6.1), as settings so that tests and demonstrations
 * can shorten them. The defaults are the protocol's; two peers need not agree.
 *
 * @module
 */

/** All in milliseconds. */
export interface TimerSettings {
  /** REKEY_AFTER_TIME: the initiator of a session this old starts a new one when it sends. */
  readonly rekeyAfterMs: number;
  /** REJECT_AFTER_TIME: a session this old is used no more, neither way. */
  readonly rejectAfterMs: number;
  /** REKEY_TIMEOUT: between two initiations to a peer. */
  readonly rekeyTimeoutMs: number;
  /** Up to this much is added at random to whatever ends in an initiation. */
  readonly rekeyJitterMs: number;
  /** REKEY_ATTEMPT_TIME: how long a handshake is retried, counted in REKEY_TIMEOUTs. */
  readonly rekeyAttemptMs: number;
  /** KEEPALIVE_TIMEOUT: after data was received and nothing sent. */
  readonly keepaliveTimeoutMs: number;
  /** After the last session was derived, or a handshake given up: all its keys are wiped. */
  readonly zeroKeysMs: number;
  /** Life of the secret behind cookies. */
  readonly cookieSecretMs: number;
  /** How long a device stays under load after the handshake queue was an eighth full. */
  readonly underLoadMs: number;
}

export const DEFAULT_TIMERS: TimerSettings = {
  rekeyAfterMs: 120_000,
  rejectAfterMs: 180_000,
  rekeyTimeoutMs: 5_000,
  rekeyJitterMs: 333,
  rekeyAttemptMs: 90_000,
  keepaliveTimeoutMs: 10_000,
  zeroKeysMs: 540_000,
  cookieSecretMs: 120_000,
  underLoadMs: 1_000,
};

/** Fills in the defaults. @throws {RangeError} on a time that is not a positive number. */
export function timerSettings(given: Partial<TimerSettings> = {}): TimerSettings {
  const settings = { ...DEFAULT_TIMERS, ...given };
  for (const [name, ms] of Object.entries(settings)) {
    const least = name === "rekeyJitterMs" ? 0 : 1;
    if (!(ms >= least && ms < Infinity)) {
      throw new RangeError(`${name} is a time of at least ${least} ms, got ${ms}`);
    }
  }
  return settings;
}
