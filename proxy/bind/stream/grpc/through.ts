/**
 * A socket for HTTP/2 to read and write by its methods alone. Given a server's `TLSSocket` itself, the
 * runtime takes what is beneath it and reads nothing there.
 *
 * @module
 */

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { free } from "../free.ts";

export class Through extends Duplex {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    socket.on("data", (bytes) => {
      const isNext = this.readableLength === 0;
      if (!this.push(bytes)) socket.pause();
      if (isNext && this.readableLength === 0) free(bytes); // HTTP/2 has taken it
    });
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }

  /** As of a socket, which a client of HTTP/2 takes it for: whatever is open keeps a process alive. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(
    bytes: Uint8Array,
    _encoding: string,
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.write(bytes, (error) => {
      free(bytes);
      done(error);
    });
  }

  override _writev(
    chunks: { chunk: Uint8Array }[],
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.cork();
    for (const [i, { chunk }] of chunks.entries()) {
      this.#socket.write(chunk, (error) => {
        free(chunk);
        if (i === chunks.length - 1) done(error);
      });
    }
    this.#socket.uncork();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}
