/**
 * TCP connections to targets over FFI: a descriptor each, one wait for all of them, and no more objects
 * than the stream itself.
 *
 * @module
 */

import { setImmediate } from "node:timers"; // the global is a getter, which is asked each time
import { Errno, TcpEvent, TcpSockets } from "../../ffi/mod.ts";
import type { IpAddress } from "../../netstack/mod.ts";
import type { ByteStream, Dial, Dialer, DialHandler, StreamHandler } from "../flow/stream.ts";
import { getLogger } from "../log/logger.ts";
import { codeOf, dialErrorOf } from "./errno.ts";

const log = getLogger(["wirestack", "target"]);

// Every socket reads into this one: handlers take what they want of it before they return.
const READ_BUFFER = new Uint8Array(65536);
/** Of it 2 KiB and more: what does not fit into a full ring is kept, so less may be wanted. */
const LEAST_READ = 2_048;
const READ_SIZES = Array.from({ length: 6 }, (_, i) => BigInt(LEAST_READ << i));
/** Reads of one socket before the others have their turn. */
const READS = 4;
const KEEPALIVE_S = 60;

export class FfiDialer implements Dialer {
  readonly #fallback: Dialer;
  readonly #onFailed: ((code: string | undefined) => void) | undefined;
  /** From the first dial on; null where there is none. */
  #loop: TcpLoop | null | undefined;

  /**
   * @param fallback Dials until it is known that the event loop can wait for our sockets, and where it
   * cannot: a thread that waits would cost more than the runtime's sockets do. Also where this process
   * may not reach every address, which the runtime alone watches over.
   * @param onFailed Called with the system's code of every dial that failed.
   */
  constructor(fallback: Dialer, onFailed?: (code: string | undefined) => void) {
    this.#fallback = fallback;
    this.#onFailed = onFailed;
  }

  /** Resolves when it is known whether it needs the fallback. @returns whether it does not. */
  async ready(): Promise<boolean> {
    const loop = this.#open();
    await loop?.sockets.tried;
    return loop !== null && !loop.sockets.isOnThread;
  }

  dial(destination: IpAddress, port: number, handler: DialHandler): Dial {
    const loop = this.#open();
    if (loop === null || loop.sockets.isOnThread) {
      return this.#fallback.dial(destination, port, handler);
    }
    return loop.dial(destination, port, handler, this.#onFailed);
  }

  /** Last: no stream of its own is left. */
  async close(): Promise<void> {
    const loop = this.#loop;
    this.#loop = null;
    await loop?.close();
  }

  #open(): TcpLoop | null {
    if (this.#loop === undefined) {
      if (Deno.permissions.querySync({ name: "net" }).state !== "granted") return this.#loop = null;
      try {
        this.#loop = new TcpLoop();
      } catch { // no descriptor is left, most likely: the next dial tries again
        return null;
      }
    }
    return this.#loop;
  }
}

/** Hands on what happens at the sockets. */
class TcpLoop {
  readonly sockets = new TcpSockets();
  /** By descriptor. */
  readonly #streams: (FfiStream | undefined)[] = [];
  /** Those that have something to do without an event. */
  #ready: FfiStream[] = [];
  #others: FfiStream[] = [];
  #lastNumber = 0;
  #isScheduled = false;
  #isWaiting = false;
  #isClosed = false;
  // Made once, as all that is called often.
  readonly #turn = () => {
    this.#isScheduled = false;
    if (this.#isClosed) return;
    const count = this.#handEvents();
    this.#workOff();
    // While something happens the next thing is likely to: a look costs less than a wait.
    if (count > 0 || this.#ready.length > 0) this.#soon();
    else if (!this.#isWaiting) {
      this.#isWaiting = true;
      this.sockets.wait().then(this.#onWake);
    }
  };
  readonly #onWake = () => {
    this.#isWaiting = false;
    if (!this.#isScheduled) this.#turn();
  };

  dial(
    { bytes }: IpAddress,
    port: number,
    handler: DialHandler,
    onFailed: ((code: string | undefined) => void) | undefined,
  ): FfiStream {
    const number = this.#lastNumber = (this.#lastNumber + 1) >>> 0;
    const fd = this.sockets.connect(bytes, port, number, KEEPALIVE_S);
    const stream = new FfiStream(this, fd, number, handler, onFailed);
    if (fd < 0) this.schedule(stream); // it fails, but not within this call
    else {
      while (this.#streams.length <= fd) this.#streams.push(undefined);
      this.#streams[fd] = stream;
      if (!this.#isWaiting) this.#soon();
    }
    return stream;
  }

  /** Has `stream` go on in the next turn. */
  schedule(stream: FfiStream): void {
    if (stream.isScheduled) return;
    stream.isScheduled = true;
    this.#ready.push(stream);
    this.#soon();
  }

  /** Its descriptor is about to be closed. */
  remove({ fd }: FfiStream): void {
    this.#streams[fd] = undefined;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const stream of this.#streams) stream?.abort();
    await this.sockets.close();
  }

  #soon(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#turn);
  }

  #handEvents(): number {
    const { sockets } = this;
    const count = sockets.poll();
    for (let i = 0; i < count; i++) {
      const stream = this.#streams[sockets.eventDescriptor(i)];
      // One before it may have closed its socket, and opened another one.
      if (stream === undefined || stream.number !== sockets.eventNumber(i)) continue;
      try {
        stream.occurred(sockets.eventBits(i));
      } catch (error) {
        log.error("a defect: {error}", { error });
      }
    }
    return count;
  }

  #workOff(): void {
    const ready = this.#ready;
    this.#ready = this.#others;
    for (let i = 0; i < ready.length; i++) {
      const stream = ready[i]!;
      stream.isScheduled = false;
      try {
        stream.goOn();
      } catch (error) {
        log.error("a defect: {error}", { error });
      }
    }
    ready.length = 0;
    this.#others = ready;
  }
}

/** A socket, from the dial on. Its handlers are called from the event loop, never from a call of the owner. */
class FfiStream implements ByteStream, Dial {
  readonly appetite = READ_BUFFER.length;
  /** Below zero: why there is none. */
  readonly fd: number;
  readonly number: number;
  /** For the loop: it is to {@link goOn}. */
  isScheduled = false;
  readonly #loop: TcpLoop;
  /** Until the dial is over. */
  #dialling: DialHandler | undefined;
  readonly #onFailed: ((code: string | undefined) => void) | undefined;
  #handler: StreamHandler | undefined = undefined;
  #isConnected = false;
  /** There may be something to read, and what there is ends. */
  #isReadable = false;
  #isAtEnd = false;
  /** Nothing is read until {@link resume}. */
  #isStopped = false;
  #hasEnded = false;
  /** Written, and not yet taken by the system. */
  #rest: Uint8Array | undefined = undefined;
  /** What is to follow the rest. */
  #isToEnd = false;
  #isToClose = false;
  #hasShutDown = false;
  #isClosed = false;
  #isBroken = false;

  constructor(
    loop: TcpLoop,
    fd: number,
    number: number,
    dialling: DialHandler,
    onFailed: ((code: string | undefined) => void) | undefined,
  ) {
    this.#loop = loop;
    this.fd = fd;
    this.number = number;
    this.#dialling = dialling;
    this.#onFailed = onFailed;
  }

  get handler(): StreamHandler | undefined {
    return this.#handler;
  }

  set handler(handler: StreamHandler | undefined) {
    this.#handler = handler;
    if (handler !== undefined && this.#isReadable) this.#loop.schedule(this);
  }

  get localPort(): number | undefined {
    return this.#isClosed ? undefined : this.#loop.sockets.localPort(this.fd);
  }

  /** For the loop. @param bits {@link TcpEvent} */
  occurred(bits: number): void {
    if (!this.#isConnected && !this.#connect(bits)) return;
    if ((bits & TcpEvent.READABLE) !== 0) this.#isReadable = true;
    if ((bits & TcpEvent.END) !== 0) this.#isAtEnd = true;
    if (this.#rest !== undefined) this.#sendRest();
    if (this.#hasEnded && (bits & TcpEvent.FAILED) !== 0) this.#break();
    else this.#read();
  }

  /** For the loop: there was something to do. */
  goOn(): void {
    if (this.fd < 0) this.#failDial(-this.fd);
    else if (!this.#isClosed) this.#read();
    else {
      const last = this.#handler;
      this.#handler = undefined;
      last?.closed(this, this.#isBroken ? "reset" : undefined);
    }
  }

  write(buffer: Uint8Array, offset: number, length: number, isLent: boolean): boolean {
    if (this.#isClosed) return false; // its handler is about to hear of it
    const end = offset + length;
    let at = offset;
    if (this.#rest === undefined) {
      const bytes = offset === 0 ? buffer : buffer.subarray(offset, end);
      const count = this.#loop.sockets.send(this.fd, bytes, length);
      if (count === length) return true;
      if (count > 0) at += count;
      else if (count !== -Errno.EAGAIN) {
        this.#break();
        return false;
      }
    }
    const rest = isLent ? buffer.subarray(at, end) : buffer.slice(at, end);
    this.#rest = this.#rest === undefined ? rest : joined(this.#rest, rest);
    return false;
  }

  preface(bytes: Uint8Array): void {
    this.write(bytes, 0, bytes.length, false);
  }

  end(): void {
    this.#isToEnd = true;
    if (this.#rest === undefined) this.#shutDown();
  }

  resume(): void {
    this.#isStopped = false;
    if (this.#isReadable) this.#loop.schedule(this);
  }

  reset(): void {
    this.#handler = undefined;
    if (this.#isClosed || this.fd < 0) return;
    this.#isClosed = true;
    this.#loop.remove(this);
    this.#loop.sockets.reset(this.fd);
  }

  /** The kernel delivers what it has taken, and then answers with a reset. */
  resetOnceDelivered(): void {
    this.#isToClose = true;
    this.#isStopped = true;
    if (this.#rest === undefined) this.#close();
  }

  abort(): void {
    this.#dialling = undefined;
    if (this.#isConnected) this.reset();
    else if (!this.#isClosed && this.fd >= 0) this.#release();
  }

  /** @returns whether it is connected. */
  #connect(bits: number): boolean {
    const errno = (bits & TcpEvent.FAILED) !== 0 ? this.#loop.sockets.error(this.fd) : 0;
    if (errno !== 0) {
      this.#release();
      this.#failDial(errno);
      return false;
    }
    if ((bits & TcpEvent.WRITABLE) === 0) return false;
    this.#isConnected = true;
    const dialling = this.#dialling;
    this.#dialling = undefined;
    dialling?.connected(this);
    return !this.#isClosed;
  }

  #failDial(errno: number): void {
    const dialling = this.#dialling;
    this.#dialling = undefined;
    if (dialling === undefined) return;
    const code = codeOf(errno);
    this.#onFailed?.(code);
    dialling.dialFailed(dialErrorOf(code));
  }

  #read(): void {
    for (let left = READS; this.#mayRead(); left--) {
      if (left === 0) return this.#loop.schedule(this);
      const handler = this.#handler!;
      const most = READ_SIZES[sizeIndex(handler.appetite(this))]!;
      const count = this.#loop.sockets.receive(this.fd, READ_BUFFER, most);
      if (count > 0) {
        // Less than was asked for is all there was, and more is an event.
        if (count < Number(most) && !this.#isAtEnd) this.#isReadable = false;
        if (!handler.data(this, READ_BUFFER, 0, count, false)) this.#isStopped = true;
        continue;
      }
      this.#isReadable = this.#isAtEnd = false;
      if (count === -Errno.EAGAIN) return;
      if (count < 0) return this.#break();
      this.#hasEnded = true;
      handler.ended(this);
      if (this.#hasShutDown) this.#close();
    }
  }

  #mayRead(): boolean {
    return this.#isReadable && !this.#isStopped && !this.#isClosed && !this.#hasEnded &&
      this.#handler !== undefined;
  }

  #sendRest(): void {
    const rest = this.#rest!;
    const count = this.#loop.sockets.send(this.fd, rest, rest.length);
    if (count < 0) {
      if (count !== -Errno.EAGAIN) this.#break();
      return;
    }
    if (count < rest.length) {
      this.#rest = rest.subarray(count);
      return;
    }
    this.#rest = undefined;
    if (this.#isToClose) this.#close();
    else if (this.#isToEnd) this.#shutDown();
    else this.#handler?.drained(this);
  }

  #shutDown(): void {
    if (this.#hasShutDown || this.#isClosed) return;
    this.#hasShutDown = true;
    if (this.#hasEnded) this.#close(); // which ends this direction too
    else this.#loop.sockets.shutdown(this.fd);
  }

  #break(): void {
    this.#isBroken = true;
    this.#close();
  }

  /** The handler hears of it in the loop's next turn. */
  #close(): void {
    if (this.#isClosed) return;
    if (this.#isToClose) this.#discard();
    this.#release();
    this.#loop.schedule(this);
  }

  /** To close with something unread is to lose what the kernel has still to send. */
  #discard(): void {
    const { sockets } = this.#loop;
    const most = READ_SIZES.at(-1)!;
    for (let left = READS; left > 0; left--) {
      if (sockets.receive(this.fd, READ_BUFFER, most) <= 0) return;
    }
  }

  #release(): void {
    this.#isClosed = true;
    this.#rest = undefined;
    this.#loop.remove(this);
    this.#loop.sockets.closeSocket(this.fd);
  }
}

/** Of the largest of {@link READ_SIZES} that is no larger than `most` bytes. */
function sizeIndex(most: number): number {
  return Math.max(0, Math.min(READ_SIZES.length - 1, 31 - Math.clz32(most / LEAST_READ)));
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
