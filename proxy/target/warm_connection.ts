/**
 * A connection to a target that is kept ready.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { ByteStream, StreamHandler } from "../flow/stream.ts";

/** A connection that nobody uses yet: whatever arrives on it makes it useless. */
export class WarmConnection implements StreamHandler {
  readonly stream: ByteStream;
  readonly address: IpAddress;
  readonly openedAt: number;
  readonly #spoilt: (connection: WarmConnection, hasSpoken: boolean) => void;
  /** Nothing has come on it, neither data nor its end. */
  isReady = true;

  constructor(
    stream: ByteStream,
    address: IpAddress,
    now: number,
    spoilt: (connection: WarmConnection, hasSpoken: boolean) => void,
  ) {
    this.stream = stream;
    this.address = address;
    this.openedAt = now;
    this.#spoilt = spoilt;
    stream.handler = this;
    stream.resume();
  }

  data(): boolean {
    this.#spoil(true);
    return false;
  }

  appetite(): number {
    return 1;
  }

  ended(): void {
    this.#spoil(false);
  }

  drained(): void {}

  closed(): void {
    this.#spoil(false);
  }

  /** It is the flow's from now on. */
  give(): ByteStream {
    this.isReady = false;
    this.stream.handler = undefined;
    return this.stream;
  }

  close(): void {
    this.isReady = false;
    this.stream.reset();
  }

  #spoil(hasSpoken: boolean): void {
    if (!this.isReady) return;
    this.close();
    this.#spoilt(this, hasSpoken);
  }
}
