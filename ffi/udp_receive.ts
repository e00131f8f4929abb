/**
 * Receiving: `recvmmsg` with generic receive offload.
 *
 * @module
 */

import { Errno } from "./libc.ts";
import {
  CMSG_DATA,
  CMSG_LEVEL,
  CMSG_TYPE,
  CONTROL_LENGTH,
  CONTROL_SIZE,
  IovecArray,
  MESSAGE_LENGTH,
  MessageArray,
  MMSGHDR_SIZE,
  MSG_DONTWAIT,
  NAME_LENGTH,
  NAME_SIZE,
  SOCKADDR_IN6_SIZE,
  SOL_UDP,
  UDP_GRO,
  type UdpLibc,
} from "./udp_layout.ts";

/** Room for any UDP datagram, or as many as the kernel coalesces. */
export const MESSAGE_BYTES = 65_536;
const MAX_MESSAGES = 64;

/**
 * A ring of messages: what the kernel had is taken over in one call per lap, and handed on a datagram
 * at a time. A message holds one datagram, or several of one sender and one size (the last may be
 * shorter) behind one another.
 */
export class ReceiveRing {
  /** What {@link offset} counts in. */
  readonly memory: Uint8Array<ArrayBuffer>;
  /** The datagram that {@link next} moved to. */
  offset = 0;
  length = 0;
  /** Its sender's socket address, as 32-bit words from {@link sender} on. */
  readonly senders: Int32Array<ArrayBuffer>;
  sender = 0;
  /** Whether the last {@link fill} took all there was. */
  isExhausted = true;
  /** Errno of the last {@link fill}; 0 if it did not fail. */
  error = 0;
  readonly #libc: UdpLibc;
  readonly #messages: MessageArray;
  readonly #pieces: Uint8Array<ArrayBuffer>[];
  // Not read again, and held for the kernel, which has their address.
  readonly #iovecs: IovecArray;
  readonly #start: number;
  /** The first message, and how many there are. */
  #head = 0;
  #count = 0;
  /** Whether the first is being handed on, how far that has got, and in what steps. */
  #isTaken = false;
  #at = 0;
  #end = 0;
  #segment = 0;

  /**
   * @param memory Holds the messages, in `length` bytes from `offset` on, {@link MESSAGE_BYTES} each.
   * Must not move or grow.
   */
  constructor(
    libc: UdpLibc,
    memory: Uint8Array<ArrayBuffer>,
    offset = 0,
    length = memory.length - offset,
  ) {
    const count = Math.min(MAX_MESSAGES, Math.floor(length / MESSAGE_BYTES));
    if (count < 1) {
      throw new RangeError(`a ring needs ${MESSAGE_BYTES} bytes for each message, got ${length}`);
    }
    this.#libc = libc;
    this.memory = memory;
    this.#start = offset;
    this.#messages = new MessageArray(count);
    this.senders = new Int32Array(this.#messages.names.buffer);
    this.#iovecs = new IovecArray(count, memory);
    this.#pieces = [];
    for (let i = 0; i < count; i++) {
      const at = offset + i * MESSAGE_BYTES;
      this.#iovecs.set(i, at, MESSAGE_BYTES);
      this.#iovecs.attach(this.#messages.words, i, i, 1);
      this.#pieces.push(memory.subarray(at, at + MESSAGE_BYTES));
    }
  }

  /** Whether a message waits, or is being handed on. */
  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /**
   * Takes over what the kernel has, as far as there is room.
   *
   * @returns how many messages; see {@link isExhausted} and {@link error}.
   */
  fill(fd: number): number {
    const { words, count, from } = this.#messages;
    if (this.#count === 0) this.#head = 0; // the whole ring in one call, and few pages while it is quiet
    const tail = (this.#head + this.#count) % count;
    const room = Math.min(count - this.#count, count - tail);
    this.isExhausted = false;
    this.error = 0;
    if (room === 0) return 0;
    for (let i = tail; i < tail + room; i++) { // the kernel has overwritten them
      words[i * MMSGHDR_SIZE / 4 + NAME_LENGTH] = SOCKADDR_IN6_SIZE;
      words[i * MMSGHDR_SIZE / 4 + CONTROL_LENGTH] = CONTROL_SIZE;
    }
    const received = this.#libc.symbols.recvmmsg(fd, from[tail]!, room, MSG_DONTWAIT, null);
    if (received < 0) {
      const errno = this.#libc.errno();
      this.isExhausted = errno === Errno.EAGAIN;
      // An error that was queued at the socket has been taken from it: there may be more behind it.
      if (!this.isExhausted && errno !== Errno.EINTR) this.error = errno;
      return 0;
    }
    this.#count += received;
    this.isExhausted = received < room;
    return received;
  }

  /** Moves to the next datagram. Its bytes are valid until the next call. @returns false if none is left. */
  next(): boolean {
    if (!this.#isTaken || this.#at === this.#end) {
      this.release();
      if (this.#count === 0) return false;
      this.#take();
    }
    this.offset = this.#at;
    this.length = Math.min(this.#segment, this.#end - this.#at);
    this.#at += this.length;
    return true;
  }

  /** Gives back a message that has been handed on to its end: {@link isEmpty} then knows. */
  release(): void {
    if (!this.#isTaken || this.#at < this.#end) return;
    this.#isTaken = false;
    this.#head = (this.#head + 1) % this.#messages.count;
    this.#count--;
  }

  /** For one datagram that arrives in another way. The ring is empty until {@link delivered}. */
  get vacant(): Uint8Array<ArrayBuffer> {
    return this.#pieces[this.#head]!;
  }

  /** {@link vacant} holds a datagram of `length` bytes from this socket address. */
  delivered(length: number, sender: Uint8Array): void {
    const { words, names } = this.#messages;
    names.set(sender, this.#head * NAME_SIZE);
    words[this.#head * MMSGHDR_SIZE / 4 + MESSAGE_LENGTH] = length;
    words[this.#head * MMSGHDR_SIZE / 4 + CONTROL_LENGTH] = 0;
    this.#count = 1;
  }

  #take(): void {
    const { words, controls } = this.#messages;
    const at = this.#head * MMSGHDR_SIZE / 4;
    const length = words[at + MESSAGE_LENGTH]!;
    this.#isTaken = true;
    this.#at = this.#start + this.#head * MESSAGE_BYTES;
    this.#end = this.#at + length;
    this.#segment = length;
    this.sender = this.#head * NAME_SIZE / 4;
    if (words[at + CONTROL_LENGTH] === 0) return;
    const control = this.#head * CONTROL_SIZE / 4;
    if (controls[control + CMSG_LEVEL] === SOL_UDP && controls[control + CMSG_TYPE] === UDP_GRO) {
      this.#segment = controls[control + CMSG_DATA]! || length;
    }
  }
}
