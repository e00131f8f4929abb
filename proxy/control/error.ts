/**
 * Why a gateway cannot be asked.
 *
 * @module
 */

/** There is no gateway to ask, or it cannot be asked. */
export class ControlError extends Error {
  override readonly name = "ControlError";
}
