/**
 * Why there can be no capture.
 *
 * @module
 */

/** An option of a capture that is wrong. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
  /** Undefined: no option is at fault. */
  readonly option: "at" | "filter" | "snap" | "keys" | "listen" | "rotate" | "write" | undefined;

  /** @param message `what is wrong, what was expected`, without the name of the option. */
  constructor(option: CaptureError["option"], message: string) {
    super(message);
    this.option = option;
  }
}
