/**
 * Receiving: `recvmmsg` with generic receive offload.
 *
 * @module
 */

import { Errno } from "./libc.ts";
import { SOCKADDR_IN6_SIZE } from "./sockaddr.ts";
import { MSG_DONTWAIT } from "./socket.ts";
import {
  CMSG_DATA,
  CMSG_LEVEL,
  CMSG_TYPE,
  cmsgAligned,
  CONTROL_LENGTH,
  CONTROL_SIZE,
  IovecArray,
  IP_ORIGDSTADDR,
  IP_PKTINFO,
  IP_TTL,
  IPV6_HOPLIMIT,
  IPV6_ORIGDSTADDR,
  IPV6_PKTINFO,
  LOCAL,
  MESSAGE_LENGTH,
  MessageArray,
  MMSGHDR_SIZE,
  NAME_LENGTH,
  NAME_SIZE,
  ORIGINAL,
  PKTINFO_ADDRESS,
  SOL_IP,
  SOL_IPV6,
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
  /** Its TTL or hop limit, at a socket that has it told; else 0. */
  hopLimit = 0;
  /**
   * Its sender's socket address, as 32-bit words from {@link sender} on. From the 9th on there is the
   * address of this host that it was sent to, 1 or 4 words, or 0 without {@link UdpSocket.tellLocal}.
   *
   * At a socket of `receiveForeign` that address is the one it was on its way to, another host's, and the
   * 8th word is the first of that socket address: family and port.
   */
  readonly senders: Int32Array<ArrayBuffer>;
  sender = 0;
  /** Whether the last {@link fill} took all there was. */
  isExhausted = true;
  /** Errno of the last {@link fill}; 0 if it did not fail. */
  error = 0;
  readonly #libc: UdpLibc;
  readonly #messages: MessageArray;
  // Not read here; kept alive because the kernel has their address.
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
    for (let i = 0; i < count; i++) {
      this.#iovecs.set(i, offset + i * MESSAGE_BYTES, MESSAGE_BYTES);
      this.#iovecs.attach(this.#messages.words, i, i, 1);
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

  #take(): void {
    const { words } = this.#messages;
    const at = this.#head * MMSGHDR_SIZE / 4;
    const length = words[at + MESSAGE_LENGTH]!;
    this.#isTaken = true;
    this.#at = this.#start + this.#head * MESSAGE_BYTES;
    this.#end = this.#at + length;
    this.#segment = length;
    this.sender = this.#head * NAME_SIZE / 4;
    this.#takeControls(words[at + CONTROL_LENGTH]!);
  }

  /** Reads the control messages: where to cut the message, and the address it was sent to. */
  #takeControls(length: number): void {
    const { controls } = this.#messages;
    const { senders } = this;
    const start = this.#head * CONTROL_SIZE / 4;
    const local = this.sender + LOCAL;
    let hasLocal = false;
    this.hopLimit = 0;
    for (let from = 0; from + CMSG_DATA * 4 < length;) {
      const at = start + from / 4;
      const level = controls[at + CMSG_LEVEL];
      const type = controls[at + CMSG_TYPE];
      const value = at + CMSG_DATA;
      if (level === SOL_UDP && type === UDP_GRO) {
        this.#segment = controls[value]! || this.#segment;
      } else if (level === SOL_IPV6 && type === IPV6_PKTINFO) {
        hasLocal = true;
        for (let i = 0; i < 4; i++) senders[local + i] = controls[value + PKTINFO_ADDRESS[16] + i]!;
      } else if (level === SOL_IP && type === IP_PKTINFO) {
        hasLocal = true;
        senders[local] = controls[value + PKTINFO_ADDRESS[4]]!;
      } else if (
        level === SOL_IP && type === IP_TTL || level === SOL_IPV6 && type === IPV6_HOPLIMIT
      ) this.hopLimit = controls[value]!;
      else if (level === SOL_IP && type === IP_ORIGDSTADDR) {
        hasLocal = true;
        senders[this.sender + ORIGINAL] = controls[value]!;
        senders[local] = controls[value + 1]!;
      } else if (level === SOL_IPV6 && type === IPV6_ORIGDSTADDR) {
        hasLocal = true;
        senders[this.sender + ORIGINAL] = controls[value]!;
        for (let i = 0; i < 4; i++) senders[local + i] = controls[value + 2 + i]!;
      }
      from += Math.max(CMSG_DATA * 4, cmsgAligned(controls[at]!));
    }
    if (hasLocal) return;
    for (let i = 0; i < 4; i++) senders[local + i] = 0; // a call of `fill` costs 50 ns
  }
}
