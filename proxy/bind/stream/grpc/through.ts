/**
 * What grpc-js takes for its socket: HTTP/2 reads and writes here by its methods alone. It makes the call,
 * answers pings and settings, and ends the call; the bytes of the call never get that far. nghttp2 and
 * grpc-js copy each of them some six times and wait for one message before the next, which costs as much
 * as all else together. Frames of HTTP/2 are all that is relied upon here, and nothing of how the library
 * is made.
 *
 * @module
 */

import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { free } from "../free.ts";
import type { Gate } from "../tls/mod.ts";
import { FrameSplitter, FrameType, PREFACE_SIZE } from "./frames.ts";
import { CALL_STREAM } from "./limits.ts";
import { CallReceiver } from "./receiver.ts";
import { CallSender } from "./sender.ts";

/** A connection in TLS. */
export interface Connected {
  readonly socket: Socket;
  /** Stops it from being read, if there is one. */
  readonly gate?: Gate;
}

export class Through extends Duplex {
  readonly sender: CallSender;
  readonly receiver: CallReceiver;
  /** Called when nothing can be read any more. @param why One line. */
  onFailed: (why: string) => void = (why) => this.destroy(new Error(why));
  readonly #socket: Socket;
  readonly #written: FrameSplitter;

  /** @param isClient Whether this side begins the call. */
  constructor({ socket, gate }: Connected, isClient: boolean) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    const sender = this.sender = new CallSender(socket);
    this.receiver = new CallReceiver(
      {
        pass: (bytes) => this.#pass(bytes),
        write: (frames) => void socket.write(frames),
        failed: (why) => this.onFailed(why),
        setReading: (isReading) => gate?.setOpen(isReading),
      },
      sender,
      isClient ? 0 : PREFACE_SIZE,
    );
    // Frames of a call follow its headers.
    this.#written = new FrameSplitter({
      begin(type, _flags, stream) {
        if (type === FrameType.headers && stream === CALL_STREAM) {
          queueMicrotask(() => sender.open());
        }
        return false;
      },
      payload() {},
      end() {},
      pass() {},
    }, isClient ? PREFACE_SIZE : 0);
    socket.on("data", (bytes) => this.receiver.received(bytes));
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
    this.#writeFrames(bytes, done);
  }

  override _writev(
    chunks: { chunk: Uint8Array }[],
    done: (error?: Error | null) => void,
  ): void {
    this.#socket.cork();
    for (const [i, { chunk }] of chunks.entries()) {
      this.#writeFrames(chunk, i === chunks.length - 1 ? done : () => {});
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

  #pass(bytes: Uint8Array): void {
    const isNext = this.readableLength === 0;
    if (!this.push(bytes)) this.#socket.pause();
    if (isNext && this.readableLength === 0) free(bytes); // HTTP/2 has taken it
  }

  #writeFrames(bytes: Uint8Array, done: (error?: Error | null) => void): void {
    this.#written.push(bytes);
    this.#socket.write(bytes, (error) => {
      free(bytes);
      done(error);
    });
  }
}
