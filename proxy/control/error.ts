/**
 * Why a running gateway cannot be reached.
 *
 * @module
 */

/** There is no such gateway, or its control socket cannot be used. */
export class ControlError extends Error {
  override readonly name = "ControlError";
}
