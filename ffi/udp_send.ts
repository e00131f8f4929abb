/**
 * Sending: `sendmmsg` with generic segmentation offload.
 *
 * @module
 */

import { Errno } from "./libc.ts";
import { MSG_DONTWAIT } from "./socket.ts";
import {
  CMSG_DATA,
  cmsgAligned,
  CONTROL_SIZE,
  IOV_LENGTH,
  IovecArray,
  IP_PKTINFO,
  IPV6_PKTINFO,
  MessageArray,
  MMSGHDR_SIZE,
  NAME_LENGTH,
  NAME_SIZE,
  PKTINFO_ADDRESS,
  PKTINFO_SIZE,
  SEGMENT_CONTROL_SIZE,
  SOL_IP,
  SOL_IPV6,
  SOL_UDP,
  UDP_SEGMENT,
  type UdpLibc,
} from "./udp_layout.ts";

/** A struct sockaddr_in or sockaddr_in6. Equal addresses are the same object, compared by `===`. */
export interface Destination {
  readonly sockaddr: Uint8Array;
  /** The largest datagram that segmentation offload can send there. Begins at Infinity. */
  segmentLimit: number;
  /**
   * The address of this host to send from, as words: one for a struct sockaddr_in, four for a
   * sockaddr_in6. Missing: the kernel chooses. Removed when the host no longer has it.
   */
  source?: Uint32Array | undefined;
}

/** @param errno Why the datagram was not sent; 0 if it was. */
export type SettledHandler = (offset: number, length: number, errno: number) => void;

/** Messages of one call. */
const MAX_MESSAGES = 64;
/** UDP_MAX_SEGMENTS of the kernels before 6.9. */
const MAX_SEGMENTS = 64;
/** Of one message: what IPv4's 16-bit length leaves (RFC 791 §3.1, RFC 768). */
const MAX_BYTES = 65_507;
/** What no report from the network leaves at a socket. */
const OWN: ReadonlySet<number> = new Set([Errno.ENOBUFS, Errno.EPERM, Errno.EINVAL, Errno.EIO]);

/**
 * Datagrams that wait to be sent, in order. Successive ones of one size to one destination leave as
 * one message that the kernel cuts; where they lie in the memory does not matter.
 */
export class SendBatch {
  /** Whether datagrams are sent by segmentation offload. Ends when the kernel cannot. */
  segments: boolean;
  /** Whether datagrams leave from the `source` of their destination, if it has one. */
  sources = true;
  readonly #libc: UdpLibc;
  readonly #messages = new MessageArray(MAX_MESSAGES);
  readonly #segmentSizes: Uint16Array;
  /** The pieces of memory that datagrams are in. Keeps the memory alive: the kernel has its address. */
  readonly #iovecs: IovecArray;
  readonly #offsets: Int32Array;
  readonly #lengths: Int32Array;
  readonly #to: (Destination | undefined)[];
  /** The datagrams that wait: from the first up to, not including, the end. */
  #first = 0;
  #end = 0;
  /** How many of the next go one by one: the kernel refused them as one message, with this errno. */
  #singles = 0;
  #refusal = 0;

  /**
   * @param memory Holds the datagrams. Must not move or grow.
   * @param capacity Datagrams that may wait at once.
   */
  constructor(libc: UdpLibc, memory: Uint8Array<ArrayBuffer>, capacity: number, segments = true) {
    this.#libc = libc;
    this.segments = segments;
    this.#iovecs = new IovecArray(capacity, memory);
    this.#offsets = new Int32Array(capacity);
    this.#lengths = new Int32Array(capacity);
    this.#to = new Array<Destination | undefined>(capacity).fill(undefined);
    this.#segmentSizes = new Uint16Array(this.#messages.controls.buffer);
    for (let i = 0; i < MAX_MESSAGES; i++) {
      this.#messages.setControl(i, 0, SOL_UDP, UDP_SEGMENT, 2);
    }
  }

  /** Datagrams that wait. */
  get size(): number {
    return this.#end - this.#first;
  }

  /**
   * Adds one. Its bytes stay as they are until it has settled.
   *
   * @throws {RangeError} if `capacity` of them wait.
   */
  push(to: Destination, offset: number, length: number): void {
    if (this.#end === this.#to.length) this.#compact();
    const at = this.#end++;
    this.#to[at] = to;
    this.#offsets[at] = offset;
    this.#lengths[at] = length;
    this.#iovecs.set(at, offset, length);
  }

  /**
   * Sends them. One that is refused does not hold up the others.
   *
   * @param stopped Called when the kernel took fewer than it was given. Returns whether it failed for
   * an error that was queued at the socket, and now no longer is: then it is tried again. An error
   * that may still be an earlier datagram's is tried once more, for a full queue leaves it at the socket
   * without a report.
   * @returns false if the socket's buffer was full before all were sent: the rest waits.
   */
  flush(fd: number, settled: SettledHandler, stopped?: () => boolean): boolean {
    let triedAgain = -1;
    while (this.#first < this.#end) {
      const count = this.#layOut();
      const sent = this.#libc.symbols.sendmmsg(fd, this.#messages.from[0]!, count, MSG_DONTWAIT);
      if (sent > 0) {
        for (let i = 0; i < sent; i++) this.#settle(this.#segmentsOf(i), 0, settled);
        if (sent < count) stopped?.();
        continue;
      }
      const errno = this.#libc.errno();
      if (errno === Errno.EAGAIN) return false;
      if (errno === Errno.EINTR || stopped?.()) continue;
      const mayBeLeft = stopped !== undefined && !OWN.has(errno);
      if (mayBeLeft && triedAgain !== this.#first) triedAgain = this.#first;
      else this.#refused(errno, settled);
    }
    this.#first = this.#end = 0;
    return true;
  }

  /** Takes the first out, unsent: its place is the caller's to send from or to give back. */
  shift(): { to: Destination; offset: number; length: number } | undefined {
    if (this.#first === this.#end) return undefined;
    const at = this.#first++;
    if (this.#singles > 0) this.#singles--;
    const to = this.#to[at]!;
    this.#to[at] = undefined;
    return { to, offset: this.#offsets[at]!, length: this.#lengths[at]! };
  }

  /** Lays out messages for the next datagrams. @returns how many messages. */
  #layOut(): number {
    const { words } = this.#messages;
    let at = this.#first;
    let message = 0;
    while (at < this.#end && message < MAX_MESSAGES) {
      const segments = at < this.#first + this.#singles ? 1 : this.#run(at);
      const header = message * MMSGHDR_SIZE / 4;
      const { sockaddr, source } = this.#to[at]!;
      this.#messages.names.set(sockaddr, message * NAME_SIZE);
      words[header + NAME_LENGTH] = sockaddr.length;
      this.#iovecs.attach(words, message, at, segments);
      // Up to two control messages: segment size, then source. Skips the first if it is not needed.
      const from = segments > 1 ? 0 : SEGMENT_CONTROL_SIZE;
      const end = source !== undefined && this.sources
        ? this.#setSource(message, source)
        : SEGMENT_CONTROL_SIZE;
      this.#messages.attachControl(message, from, end - from);
      this.#segmentSizes[message * CONTROL_SIZE / 2 + CMSG_DATA * 2] = this.#lengths[at]!;
      at += segments;
      message++;
    }
    return message;
  }

  /** @returns where its control message ends. */
  #setSource(message: number, source: Uint32Array): number {
    const messages = this.#messages;
    const at = SEGMENT_CONTROL_SIZE;
    const size = source.length === 4 ? 16 : 4;
    const value = size === 16
      ? messages.setControl(message, at, SOL_IPV6, IPV6_PKTINFO, PKTINFO_SIZE[16])
      : messages.setControl(message, at, SOL_IP, IP_PKTINFO, PKTINFO_SIZE[4]);
    // The interface stays 0: the route decides, as without a source.
    messages.controls.set(source, value + PKTINFO_ADDRESS[size]);
    return at + cmsgAligned(CMSG_DATA * 4 + PKTINFO_SIZE[size]);
  }

  /** How many datagrams from `at` on can be one message. */
  #run(at: number): number {
    const size = this.#lengths[at]!;
    const to = this.#to[at]!;
    if (!this.segments || size === 0 || size > to.segmentLimit) return 1;
    const end = Math.min(this.#end, at + Math.min(MAX_SEGMENTS, Math.floor(MAX_BYTES / size)));
    let next = at + 1;
    while (next < end && this.#to[next] === to) {
      const length = this.#lengths[next]!;
      if (length > size || length === 0) break;
      next++;
      if (length < size) break; // only the last may be shorter
    }
    return next - at;
  }

  #segmentsOf(message: number): number {
    return this.#messages.words[message * MMSGHDR_SIZE / 4 + IOV_LENGTH]!;
  }

  /** The first message was not taken. */
  #refused(errno: number, settled: SettledHandler): void {
    const segments = this.#segmentsOf(0);
    const isOfSegments = errno === Errno.EIO || errno === Errno.EINVAL || errno === Errno.EMSGSIZE;
    if (segments === 1 || !isOfSegments) {
      this.#refusal = 0; // one alone was refused as well: it was not the segmentation
      if (this.#dropSource(errno)) return;
      this.#settle(segments, errno, settled);
      return;
    }
    this.#singles = segments;
    this.#refusal = errno;
  }

  /**
   * The host may have lost the first datagram's source address, or have no route from it: it is sent
   * again from the address that the kernel chooses, as WireGuard in the kernel does.
   *
   * @returns false if that was not the reason.
   */
  #dropSource(errno: number): boolean {
    const to = this.#to[this.#first]!;
    const isOfSource = errno === Errno.EINVAL || errno === Errno.EADDRNOTAVAIL ||
      errno === Errno.ENETUNREACH;
    if (to.source === undefined || !this.sources || !isOfSource) return false;
    to.source = undefined;
    return true;
  }

  /** `count` datagrams at the front are done with. */
  #settle(count: number, errno: number, settled: SettledHandler): void {
    if (this.#refusal !== 0 && errno === 0) this.#limitSegments();
    for (let i = 0; i < count; i++) {
      const at = this.#first++;
      this.#to[at] = undefined;
      if (this.#singles > 0) this.#singles--;
      settled(this.#offsets[at]!, this.#lengths[at]!, errno);
    }
  }

  /**
   * What was refused as one message is sent one by one. EIO: the device computes no checksums, so
   * segmentation is off for good. Else a segment exceeds the path's MTU; a datagram sent alone is
   * fragmented instead.
   */
  #limitSegments(): void {
    if (this.#refusal === Errno.EIO) this.segments = false;
    else this.#to[this.#first]!.segmentLimit = this.#lengths[this.#first]! - 1;
    this.#refusal = 0;
  }

  /** Moves what waits to the start of the arrays. */
  #compact(): void {
    if (this.#first === 0) {
      throw new RangeError(`${this.#to.length} datagrams wait, which is the most that may`);
    }
    const size = this.size;
    for (let i = 0; i < size; i++) {
      const at = this.#first + i;
      this.#to[i] = this.#to[at];
      this.#offsets[i] = this.#offsets[at]!;
      this.#lengths[i] = this.#lengths[at]!;
      this.#iovecs.set(i, this.#offsets[i]!, this.#lengths[i]!);
    }
    this.#to.fill(undefined, size, this.#end);
    this.#first = 0;
    this.#end = size;
  }
}
