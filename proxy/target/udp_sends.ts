/**
 * What a turn sends to targets: datagrams and pings.
 *
 * @module
 */

import { Errno, SendBatch, type SettledHandler, type UdpLibc } from "../../ffi/mod.ts";
import { copyBytes } from "../../netstack/mod.ts";
import type { TargetAddress } from "./address.ts";

/** The sending side of a socket. */
export interface Sender {
  /** Non-blocking. */
  readonly fd: number;
  /** The first and last of its datagrams, for {@link TargetSends}; -1 for none. */
  firstSend: number;
  lastSend: number;
  /**
   * A datagram was not sent. It lies in `buffer` from `offset` on until the call returns.
   *
   * @param errno EAGAIN: the socket's buffer is full.
   */
  refused(to: TargetAddress, errno: number, buffer: Uint8Array, offset: number): void;
  /** Takes what the network has reported. @returns whether there was anything. */
  takeReports(): boolean;
}

/** Any datagram, and some turns' worth of those of ordinary size. */
const ARENA_BYTES = 256 << 10;
const MAX_SENDS = 512;

/**
 * Collects datagrams, in a chain for each socket, and sends them with one call for each. They are
 * sent early when there is no room for another: nothing waits for the kernel, and nothing is kept.
 */
export class TargetSends {
  readonly #arena = new Uint8Array(ARENA_BYTES);
  readonly #batch: SendBatch;
  readonly #offsets = new Int32Array(MAX_SENDS);
  readonly #lengths = new Int32Array(MAX_SENDS);
  readonly #next = new Int32Array(MAX_SENDS);
  readonly #to = new Array<TargetAddress | undefined>(MAX_SENDS).fill(undefined);
  readonly #senders: Sender[] = [];
  #count = 0;
  #used = 0;
  /** Whose chain is being sent, and how far that has got. */
  #sender: Sender | undefined;
  #settled = -1;
  readonly #onSettled: SettledHandler = (offset, _length, errno) => {
    const at = this.#settled;
    this.#settled = this.#next[at]!;
    if (errno !== 0) this.#sender!.refused(this.#to[at]!, errno, this.#arena, offset);
  };
  readonly #onStopped = () => this.#sender!.takeReports();

  constructor(libc: UdpLibc) {
    this.#batch = new SendBatch(libc, this.#arena, MAX_SENDS);
  }

  /** For a socket whose kernel cannot cut what is sent. */
  withoutSegments(): void {
    this.#batch.segments = false;
  }

  push(
    sender: Sender,
    to: TargetAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): void {
    if (this.#count === MAX_SENDS || this.#used + length > ARENA_BYTES) this.flush();
    const at = this.#count++;
    copyBytes(buffer, offset, this.#arena, this.#used, length);
    this.#offsets[at] = this.#used;
    this.#lengths[at] = length;
    this.#to[at] = to;
    this.#next[at] = -1;
    this.#used += length;
    if (sender.firstSend < 0) {
      sender.firstSend = at;
      this.#senders.push(sender);
    } else this.#next[sender.lastSend] = at;
    sender.lastSend = at;
  }

  /** Sends all. */
  flush(): void {
    if (this.#count === 0) return;
    for (let i = 0; i < this.#senders.length; i++) this.flushOf(this.#senders[i]!);
    this.#senders.length = 0;
    this.#to.fill(undefined, 0, this.#count);
    this.#count = 0;
    this.#used = 0;
  }

  /** Sends those of one socket: it is about to be closed. */
  flushOf(sender: Sender): void {
    const first = sender.firstSend;
    if (first < 0) return;
    sender.firstSend = sender.lastSend = -1;
    this.#sender = sender;
    this.#settled = first;
    for (let at = first; at >= 0; at = this.#next[at]!) {
      this.#batch.push(this.#to[at]!, this.#offsets[at]!, this.#lengths[at]!);
    }
    if (!this.#batch.flush(sender.fd, this.#onSettled, this.#onStopped)) this.#dropRest();
    this.#sender = undefined;
  }

  /** The socket's buffer is full: as a router with a full queue. */
  #dropRest(): void {
    for (let left; (left = this.#batch.shift()) !== undefined;) {
      this.#onSettled(left.offset, left.length, Errno.EAGAIN);
    }
  }
}
