/**
 * Sockets that answer in the name of where datagrams were sent: one for each address and port that has
 * answered lately.
 *
 * @module
 */

import { Errno, openForeign, SystemCallError, type UdpLibc } from "../../../ffi/mod.ts";
import { getLogger } from "../../log/logger.ts";
import { isWorthALine } from "../../log/thinning.ts";
import type { IpAddress } from "../../../netstack/mod.ts";
import type { TargetAddress } from "../../target/address.ts";
import type { Sender, TargetSends } from "../../target/udp_sends.ts";
import type { UdpTargetCounters } from "../../target/udp.ts";
import type { CaptureCounters } from "../counters.ts";

const log = getLogger(["wirestack", "inbound"]);

/** As many as may be open; the one not used for longest gives way. */
export const MAX_REPLY_SOCKETS = 1_024;
/** One that has not answered for so long is closed, ms. */
export const REPLY_IDLE_MS = 60_000;
/** One that could not be opened is tried again after this, ms. */
const RETRY_MS = 5_000;

export interface ReplySocketsOptions {
  readonly libc: UdpLibc;
  readonly sends: TargetSends;
  /** Of what they send. */
  readonly mark: number;
  readonly targetCounters: UdpTargetCounters;
  readonly counters: CaptureCounters;
}

export class ReplySockets {
  readonly #options: ReplySocketsOptions;
  /** By address and port; the one looked up longest ago comes first. */
  readonly #sockets = new Map<string, ReplySocket>();

  constructor(options: ReplySocketsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#sockets.size;
  }

  /** When the next one may have been idle for long enough, ms; Infinity for never. */
  #sweepAt = Infinity;

  /** The one that answers for an address and port; it may be {@link ReplySocket.isClosed} soon. */
  of(address: IpAddress, port: number, now: number): ReplySocket {
    const key = `${address} ${port}`;
    const known = this.#sockets.get(key);
    if (known !== undefined) {
      this.#sockets.delete(key);
      if (known.isOpen || now - known.lastUse < RETRY_MS) {
        this.#sockets.set(key, known);
        return known;
      }
    }
    while (this.#sockets.size >= MAX_REPLY_SOCKETS) this.#closeFirst();
    const socket = new ReplySocket(this.#options, this.#open(address, port), now);
    this.#sockets.set(key, socket);
    this.#sweepAt = Math.min(this.#sweepAt, now + REPLY_IDLE_MS);
    return socket;
  }

  pollTimeout(): number {
    return this.#sweepAt;
  }

  /** Closes those that have been idle for long enough. */
  handleTimeout(now: number): void {
    let next = Infinity;
    for (const [key, socket] of this.#sockets) {
      const at = socket.lastUse + REPLY_IDLE_MS;
      if (at > now) next = Math.min(next, at);
      else {
        this.#sockets.delete(key);
        socket.close();
      }
    }
    this.#sweepAt = next;
  }

  close(): void {
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
    this.#sweepAt = Infinity;
  }

  /** @returns -1 if the system refuses. */
  #open(address: IpAddress, port: number): number {
    const { libc, mark, counters } = this.#options;
    for (;;) {
      try {
        return openForeign(libc, address.bytes, port, mark);
      } catch (error) {
        if (!(error instanceof SystemCallError)) throw error;
        if (error.errno === Errno.EMFILE && this.#sockets.size > 0) {
          this.#closeFirst();
          continue;
        }
        if (isWorthALine(++counters.noReplySocket)) {
          log.warn("UDP port {port}: no answers in its name ({reason}), {count} so far", {
            port,
            reason: reasonOf(error, port),
            count: counters.noReplySocket,
          });
        }
        return -1;
      }
    }
  }

  #closeFirst(): void {
    for (const [key, socket] of this.#sockets) {
      this.#sockets.delete(key);
      socket.close();
      return;
    }
  }
}

export class ReplySocket implements Sender {
  firstSend = -1;
  lastSend = -1;
  /** -1 for one that could not be opened, or is closed. */
  fd: number;
  /** Milliseconds, monotonic. */
  lastUse: number;
  readonly #options: ReplySocketsOptions;

  constructor(options: ReplySocketsOptions, fd: number, now: number) {
    this.#options = options;
    this.fd = fd;
    this.lastUse = now;
  }

  get isOpen(): boolean {
    return this.fd >= 0;
  }

  /** Sends a datagram at the end of the turn. The bytes are copied. @returns whether it can. */
  send(
    to: TargetAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean {
    if (!this.isOpen) return false;
    this.lastUse = now;
    this.#options.sends.push(this, to, buffer, offset, length);
    return true;
  }

  refused(_to: TargetAddress, errno: number): void {
    const { targetCounters } = this.#options;
    if (errno === Errno.EAGAIN) targetCounters.noBuffer++;
    else targetCounters.sendErrors++;
  }

  takeReports(): boolean {
    return false;
  }

  close(): void {
    if (!this.isOpen) return;
    this.#options.sends.flushOf(this);
    this.#options.libc.symbols.close(this.fd);
    this.fd = -1;
  }
}

function reasonOf({ errno, message }: SystemCallError, port: number): string {
  if (errno === Errno.EADDRINUSE) return "a program of this host has it on all of its addresses";
  if (errno === Errno.EACCES && port < 1024) return "needs CAP_NET_BIND_SERVICE";
  return message;
}
