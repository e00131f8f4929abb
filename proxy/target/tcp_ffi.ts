/**
 * TCP connections to targets over FFI: a descriptor each, one wait for all of them, and no more objects
 * than the stream itself.
 *
 * @module
 */

import { TcpSockets, turns } from "../../ffi/mod.ts";
import type { IpAddress } from "../../netstack/mod.ts";
import type { Dial, Dialer, DialHandler } from "../flow/stream.ts";
import { getLogger } from "../log/logger.ts";
import { mayReachAll } from "./runtime_permission.ts";
import { type FailedHandler, FfiStream, type FfiStreamOwner } from "./tcp_ffi_stream.ts";

const log = getLogger(["wirestack", "tcp"]);

const KEEPALIVE_S = 60;

export class FfiDialer implements Dialer {
  readonly #fallback: Dialer;
  readonly #onFailed: FailedHandler | undefined;
  readonly #sockets: () => TcpSockets;
  /** Undefined before the first dial; null where the fallback dials. */
  #loop: TcpLoop | null | undefined;
  /** Whether the fallback has dialled: its streams do not tell their round trips. */
  hasFallenBack = false;

  /**
   * @param fallback Dials until it is known that the event loop can wait for our sockets, and for good
   * where it cannot: a waiting thread would cost more than the runtime's sockets do. Also where this
   * process may not reach every address: see {@link mayReachAll}.
   * @param onFailed For every dial that failed.
   * @param sockets Tests have others.
   */
  constructor(
    fallback: Dialer,
    onFailed?: FailedHandler,
    sockets: () => TcpSockets = () => new TcpSockets(),
  ) {
    this.#fallback = fallback;
    this.#onFailed = onFailed;
    this.#sockets = sockets;
  }

  /** Resolves when it is known whether it needs the fallback. @returns whether it does not. */
  async ready(): Promise<boolean> {
    const loop = this.#open();
    await loop?.sockets.tried;
    return loop !== null && !loop.sockets.isOnThread;
  }

  dial(destination: IpAddress, port: number, handler: DialHandler): Dial {
    const loop = this.#open();
    if (loop?.sockets.isOnThread) loop.sockets.retry();
    if (loop === null || loop.sockets.isOnThread) {
      this.hasFallenBack = true;
      return this.#fallback.dial(destination, port, handler);
    }
    return loop.dial(destination, port, handler, this.#onFailed);
  }

  /**
   * Hands on what has arrived. Called in the engine's turns: what is handed on between two turns has to
   * wait for the second.
   */
  look(): void {
    this.#loop?.look();
  }

  /** Called last, when none of its streams is left. */
  async close(): Promise<void> {
    const loop = this.#loop;
    this.#loop = null;
    await loop?.close();
  }

  #open(): TcpLoop | null {
    if (this.#loop === undefined) {
      if (!mayReachAll()) return this.#loop = null;
      try {
        this.#loop = new TcpLoop(this.#sockets());
      } catch { // no descriptor is left, most likely: the next dial tries again
        return null;
      }
    }
    return this.#loop;
  }
}

/** Hands on what happens at the sockets. */
class TcpLoop implements FfiStreamOwner {
  readonly sockets: TcpSockets;
  /** By descriptor. */
  readonly #streams: (FfiStream | undefined)[] = [];
  /** Streams that have something to do without waiting for an event. */
  #ready: FfiStream[] = [];
  /** Closed streams whose handlers have not been told. */
  #gone: FfiStream[] = [];
  /** How many there are. */
  #open = 0;
  #lastNumber = 0;
  #isScheduled = false;
  #isWaiting = false;
  /** Events are being handed on; a handler may end up calling {@link look}. */
  #isLooking = false;
  #isClosed = false;
  // Made once, as all that is called often.
  readonly #turn = () => {
    this.#isScheduled = false;
    if (this.#isClosed) return;
    const count = this.#handEvents();
    this.#workOff();
    // While things happen more is likely to follow, and looking costs less than a wait.
    if (count > 0 || this.#ready.length > 0) this.#soon();
    else if (!this.#isWaiting) {
      this.#isWaiting = true;
      this.sockets.wait(this.#onWake);
    }
  };
  readonly #tellGone = () => {
    const gone = this.#gone;
    this.#gone = [];
    this.#each(gone, tellClosed);
  };
  readonly #onWake = () => {
    this.#isWaiting = false;
    if (!this.#isScheduled) this.#turn();
  };

  constructor(sockets: TcpSockets) {
    this.sockets = sockets;
  }

  dial(
    { bytes }: IpAddress,
    port: number,
    handler: DialHandler,
    onFailed: FailedHandler | undefined,
  ): FfiStream {
    const number = this.#lastNumber = (this.#lastNumber + 1) >>> 0;
    const fd = this.sockets.connect(bytes, port, number, KEEPALIVE_S);
    const stream = new FfiStream(this, fd, number, handler, onFailed);
    if (fd < 0) this.schedule(stream); // it fails, but not within this call
    else {
      while (this.#streams.length <= fd) this.#streams.push(undefined);
      this.#streams[fd] = stream;
      this.#open++;
      if (!this.#isWaiting) this.#soon();
    }
    return stream;
  }

  look(): void {
    if (this.#isClosed || this.#isLooking || this.#open === 0) return;
    this.#handEvents();
  }

  schedule(stream: FfiStream): void {
    if (stream.isScheduled) return;
    stream.isScheduled = true;
    this.#ready.push(stream);
    this.#soon();
  }

  remove({ fd }: FfiStream): void {
    this.#open--;
    this.#streams[fd] = undefined;
  }

  scheduleClosed(stream: FfiStream): void {
    // Not in our own turn, which may have been scheduled before the engine's.
    if (this.#gone.push(stream) === 1) turns.soon(this.#tellGone);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const stream of this.#streams) stream?.abort();
    await this.sockets.close();
  }

  #soon(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    turns.soon(this.#turn);
  }

  #handEvents(): number {
    const { sockets } = this;
    const count = sockets.poll();
    this.#isLooking = true;
    for (let i = 0; i < count; i++) {
      const stream = this.#streams[sockets.eventDescriptor(i)];
      // An earlier event's handler may have closed this socket, and its number may be another's.
      if (stream === undefined || stream.number !== sockets.eventNumber(i)) continue;
      try {
        stream.occurred(sockets.eventBits(i));
      } catch (error) {
        log.error("a defect: {error}", { error });
      }
    }
    this.#isLooking = false;
    return count;
  }

  #workOff(): void {
    if (this.#ready.length === 0) return;
    const ready = this.#ready;
    this.#ready = [];
    this.#each(ready, goOn);
  }

  /** A handler with a defect does not keep the others from theirs. */
  #each(streams: readonly FfiStream[], call: (stream: FfiStream) => void): void {
    for (let i = 0; i < streams.length && !this.#isClosed; i++) {
      try {
        call(streams[i]!);
      } catch (error) {
        log.error("a defect: {error}", { error });
      }
    }
  }
}

function goOn(stream: FfiStream): void {
  stream.isScheduled = false;
  stream.goOn();
}

function tellClosed(stream: FfiStream): void {
  stream.tellClosed();
}
