/**
 * How requests fail, in numbers.
 *
 * @module
 */

/** Linux's, negative as `wireguard-go` writes them: `wg` makes its message of `-errno`. */
export const Errno = {
  EPERM: -1,
  ESRCH: -3,
  EIO: -5,
  EACCES: -13,
  EINVAL: -22,
  EPROTO: -71,
  EOPNOTSUPP: -95,
  EADDRINUSE: -98,
} as const;
export type Errno = typeof Errno[keyof typeof Errno];

/** Why a request is refused. */
export class Refusal {
  readonly errno: Errno;
  /** For the log. Never with the value of a key. Undefined: the log has it already. */
  readonly reason: string | undefined;

  constructor(errno: Errno, reason: string | undefined) {
    this.errno = errno;
    this.reason = reason;
  }
}

/** A request of ours that is refused, with what the user is told. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly errno: Errno;

  constructor(errno: Errno, message: string) {
    super(message);
    this.errno = errno;
  }
}
