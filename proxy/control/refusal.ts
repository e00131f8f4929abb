/**
 * How requests fail.
 *
 * @module
 */

/** Why a request is refused. */
export class Refusal {
  /** One of `Errno`. */
  readonly errno: number;
  /** For the log. Never with the value of a key. Undefined: the log has it already. */
  readonly reason: string | undefined;

  constructor(errno: number, reason: string | undefined) {
    this.errno = errno;
    this.reason = reason;
  }
}

/** A request of ours that is refused, with what the user is told. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  /** One of `Errno`. */
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = errno;
  }
}
