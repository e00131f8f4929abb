/**
 * A socket as TLS reads it, with a gate in between: a paused `node:tls` socket reads on and fills the
 * memory, so what stops it is that it gets nothing to read.
 *
 * @module
 */

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { free } from "../free.ts";

export class Gate extends Duplex {
  readonly socket: Socket;
  /** Shut: TLS wants more, and does not get it. */
  #isShut: boolean;
  /** What was read before. */
  #first: Uint8Array | undefined;
  #isWanted = false;
  #written: ((error?: Error | null) => void) | undefined;

  /**
   * @param socket Connected; what it reads, and how it ends, is the gate's from now on.
   * @param first What was read from it before: then the gate is shut at first. A TLS socket of Deno's
   * that finds something wrong in its very first turn throws where nobody catches it.
   */
  constructor(socket: Socket, first?: Uint8Array) {
    super({ allowHalfOpen: false });
    this.socket = socket;
    this.#first = first;
    this.#isShut = first !== undefined;
    socket.on("data", (bytes) => {
      const isNext = this.readableLength === 0;
      if (!this.push(bytes) || this.#isShut) this.socket.pause();
      if (isNext && this.readableLength === 0) free(bytes); // TLS has taken it
    });
    socket.on("drain", () => this.#drained());
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }

  /** Whether TLS gets what the socket reads. What is not read stays with the kernel, and then the sender. */
  setOpen(isOpen: boolean): void {
    this.#isShut = !isOpen;
    if (!isOpen) {
      this.socket.pause();
      return;
    }
    const first = this.#first;
    this.#first = undefined;
    if (first !== undefined) this.push(first);
    if (this.#isWanted) this.socket.resume();
  }

  override _read(): void {
    this.#isWanted = true;
    if (!this.#isShut) this.socket.resume();
  }

  override _write(
    bytes: Uint8Array,
    _encoding: string,
    done: (error?: Error | null) => void,
  ): void {
    if (this.socket.write(bytes, () => free(bytes))) done();
    else this.#written = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    this.socket.end();
    done();
  }

  /** What was written still leaves, such as why TLS refuses: unless the other side takes nothing. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#drained();
    if (error === null || this.socket.writableLength === 0) this.socket.destroy();
    else this.socket.destroySoon();
    done(error);
  }

  #drained(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }
}
