/**
 * A TCP connection to a target over FFI: a descriptor, and what is known of it.
 *
 * @module
 */

import { codeOf, Errno, TcpEvent, type TcpSockets } from "../../ffi/mod.ts";
import type { ByteStream, Dial, DialHandler, StreamHandler } from "../flow/stream.ts";
import { dialErrorOf } from "./errno.ts";
import { READ_BUFFER, READ_SIZES, sizeIndex } from "./read_buffer.ts";

const BIG_SIZES = READ_SIZES.map(BigInt);
/**
 * Longer writes of a lent buffer wait for the loop's next turn: with what comes until then it takes
 * fewer calls.
 */
const AT_ONCE = 8_192;
/** Reads of one socket before the others have their turn. */
const READS = 4;

/** Is told the system's code, such as `EMFILE`, of a dial that failed. */
export type FailedHandler = (code: string | undefined) => void;

/** What a stream needs of the loop that hands events to it. */
export interface FfiStreamOwner {
  readonly sockets: TcpSockets;
  /** Calls {@link FfiStream.goOn} in the next turn. */
  schedule(stream: FfiStream): void;
  /**
   * Calls {@link FfiStream.tellClosed} once the engine has had a turn: a handler that resets the other
   * side would destroy what was handed on and has not been sent.
   */
  scheduleClosed(stream: FfiStream): void;
  /** The descriptor is about to be closed. */
  remove(stream: FfiStream): void;
}

/** A socket, from the dial on. Its handlers are called from the event loop, never from a call of the owner. */
export class FfiStream implements ByteStream, Dial {
  readonly appetite = READ_BUFFER.length;
  /** Below zero: the errno, negated, for which there is none. */
  readonly fd: number;
  readonly number: number;
  /** For the owner: it is to {@link goOn}. */
  isScheduled = false;
  readonly #owner: FfiStreamOwner;
  /** Until the dial is over. */
  #dialling: DialHandler | undefined;
  readonly #onFailed: FailedHandler | undefined;
  #handler: StreamHandler | undefined = undefined;
  #isConnected = false;
  /** There may be something to read; and behind that is the end. */
  #isReadable = false;
  #isAtEnd = false;
  /** Nothing is read until {@link resume}. */
  #isStopped = false;
  #hasEnded = false;
  /** Written, and not yet taken by the system. */
  #rest: Uint8Array | undefined = undefined;
  /** The rest has not been offered to the system yet. */
  #isDeferred = false;
  /** What is to be done once the rest is sent. */
  #isToEnd = false;
  #isToClose = false;
  #hasShutDown = false;
  #isClosed = false;
  #isBroken = false;
  /** The target had sent its FIN before the failure: what it sent is complete. */
  #hadEnded = false;
  /** The last round trip of one that is closed, µs. */
  #roundTrip = 0;

  constructor(
    owner: FfiStreamOwner,
    fd: number,
    number: number,
    dialling: DialHandler,
    onFailed: FailedHandler | undefined,
  ) {
    this.#owner = owner;
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
    if (handler !== undefined && this.#isReadable) this.#owner.schedule(this);
  }

  get localPort(): number | undefined {
    return this.#isClosed ? undefined : this.#owner.sockets.localPort(this.fd);
  }

  get rttMs(): number {
    return (this.#isClosed ? this.#roundTrip : this.#owner.sockets.roundTrip(this.fd)) / 1_000;
  }

  /** For the owner. @param bits {@link TcpEvent} */
  occurred(bits: number): void {
    if (!this.#isConnected && !this.#connect(bits)) return;
    if ((bits & TcpEvent.READABLE) !== 0) this.#isReadable = true;
    if ((bits & TcpEvent.END) !== 0) this.#isAtEnd = true;
    if (this.#rest !== undefined && !this.#isDeferred) this.#sendRest();
    if (this.#hasEnded && (bits & TcpEvent.FAILED) !== 0) this.#break();
    else this.#read();
  }

  /** For the owner: there was something to do. */
  goOn(): void {
    if (this.fd < 0) this.#failDial(-this.fd);
    else if (!this.#isClosed) {
      if (this.#isDeferred) {
        this.#isDeferred = false;
        this.#sendRest();
      }
      this.#read();
    }
  }

  /** For the owner: it has been closed. */
  tellClosed(): void {
    const last = this.#handler;
    this.#handler = undefined;
    last?.closed(this, this.#isBroken ? "reset" : undefined);
  }

  write(buffer: Uint8Array, offset: number, length: number, isLent: boolean): boolean {
    if (this.#isClosed || this.#isBroken) return false; // its handler is about to hear of it
    const end = offset + length;
    let at = offset;
    if (isLent && length > AT_ONCE && this.#rest === undefined) {
      this.#isDeferred = true;
      this.#owner.schedule(this);
    } else if (this.#rest === undefined) {
      const bytes = offset === 0 ? buffer : buffer.subarray(offset, end);
      const count = this.#owner.sockets.send(this.fd, bytes, length);
      if (count === length) return true;
      if (count > 0) at += count;
      else if (count !== -Errno.EAGAIN) {
        this.#failWrite(-count);
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
    if (this.#isReadable) this.#owner.schedule(this);
  }

  reset(): void {
    this.#handler = undefined;
    if (this.#isClosed || this.fd < 0) return;
    this.#leave();
    this.#owner.sockets.reset(this.fd);
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
    const errno = (bits & TcpEvent.FAILED) !== 0 ? this.#owner.sockets.error(this.fd) : 0;
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
      if (left === 0) return this.#owner.schedule(this);
      const handler = this.#handler!;
      const most = BIG_SIZES[sizeIndex(handler.appetite(this))]!;
      const count = this.#owner.sockets.receive(this.fd, READ_BUFFER, most);
      if (count > 0) {
        // Less than was asked for is all there was, and more is an event.
        if (count < Number(most) && !this.#isAtEnd) this.#isReadable = false;
        if (!handler.data(this, READ_BUFFER, 0, count, false)) {
          this.#isStopped = true;
          if (this.#isBroken && !this.#hadEnded) this.#close();
        }
        continue;
      }
      this.#isReadable = this.#isAtEnd = false;
      if (count === -Errno.EAGAIN && !this.#isBroken) return;
      if (count < 0 || (this.#isBroken && !this.#hadEnded)) return this.#break();
      this.#hasEnded = true;
      handler.ended(this);
      if (this.#hasShutDown || this.#isBroken) this.#close();
    }
  }

  #mayRead(): boolean {
    return this.#isReadable && !this.#isStopped && !this.#isClosed && !this.#hasEnded &&
      this.#handler !== undefined;
  }

  #sendRest(): void {
    const rest = this.#rest!;
    const count = this.#owner.sockets.send(this.fd, rest, rest.length);
    if (count < 0) {
      if (count !== -Errno.EAGAIN) this.#failWrite(-count);
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
    else this.#owner.sockets.shutdown(this.fd);
  }

  /** A reset has come. What the target sent before it, an answer most likely, is handed on first. */
  #failWrite(errno: number): void {
    this.#isBroken = true;
    this.#rest = undefined;
    this.#isDeferred = false;
    this.#hadEnded = errno === Errno.EPIPE; // or it would be ECONNRESET
    // An answer that is cut short is not kept for a handler that takes nothing now.
    const isWanted = this.#hadEnded || !this.#isStopped;
    if (this.#hasEnded || this.#isToClose || this.#handler === undefined || !isWanted) {
      return this.#close();
    }
    this.#isReadable = this.#isAtEnd = true;
    this.#owner.schedule(this);
  }

  #break(): void {
    this.#isBroken = true;
    this.#close();
  }

  /** The handler hears of it in the owner's next turn. */
  #close(): void {
    if (this.#isClosed) return;
    if (this.#isToClose) this.#discard();
    this.#release();
    this.#owner.scheduleClosed(this);
  }

  /** Closing with bytes unread would make the kernel drop what it has yet to send. */
  #discard(): void {
    const { sockets } = this.#owner;
    const most = BIG_SIZES.at(-1)!;
    for (let left = READS; left > 0; left--) {
      if (sockets.receive(this.fd, READ_BUFFER, most) <= 0) return;
    }
  }

  #release(): void {
    this.#rest = undefined;
    this.#leave();
    this.#owner.sockets.closeSocket(this.fd);
  }

  /** The descriptor is about to be closed. */
  #leave(): void {
    if (this.#isConnected) this.#roundTrip = this.#owner.sockets.roundTrip(this.fd);
    this.#isClosed = true;
    this.#owner.remove(this);
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
