/**
 * Waiting for datagrams.
 *
 * @module
 */

import type { UdpSocket } from "./udp.ts";
import type { ReceiveRing } from "./udp_receive.ts";

/** Messages at once from which on a socket is busy. */
const BUSY_MESSAGES = 16;
/** It is quiet again after silence for so long, or after so many turns with few datagrams each. */
const SILENCE_MS = 20;
const FEW_TURNS = 32;
const FEW_DATAGRAMS = 4;
/** What the kernel had begun to coalesce has arrived in the queue by then. */
const SETTLE_MS = 1;

/**
 * Waits in one of two ways. Quiet: Deno's own receive, which costs least, and takes a datagram with it;
 * the kernel must not coalesce. Busy: `poll` on a thread, which costs three times as much per
 * wake and leaves in the queue what is there, coalesced. Many datagrams come per wake then.
 */
export class UdpWait {
  readonly #ring: ReceiveRing;
  readonly #sockaddrOf: (sender: Deno.NetAddr) => Uint8Array;
  #fewTurns = 0;

  /** @param sockaddrOf The struct sockaddr_in6 (or sockaddr_in) of what Deno tells of a sender. */
  constructor(ring: ReceiveRing, sockaddrOf: (sender: Deno.NetAddr) => Uint8Array) {
    this.#ring = ring;
    this.#sockaddrOf = sockaddrOf;
  }

  /** After each turn: what it took over from the kernel, and handed on. */
  note(socket: UdpSocket, messages: number, datagrams: number): void {
    if (messages >= BUSY_MESSAGES) socket.coalesce(true);
    this.#fewTurns = datagrams < FEW_DATAGRAMS ? this.#fewTurns + 1 : 0;
  }

  /**
   * Resolves when there is something in the ring or in the socket's queue. Both were empty; until
   * then nothing else may receive.
   *
   * @throws What Deno's receive does: an error that was queued at the socket, or that it is closed.
   */
  async wait(socket: UdpSocket): Promise<void> {
    if (socket.coalesces && await this.#waitBusy(socket)) return;
    const [bytes, from] = await socket.receive(this.#ring.vacant);
    this.#ring.delivered(bytes.length, this.#sockaddrOf(from as Deno.NetAddr));
  }

  /** @returns false if it is quiet now. */
  async #waitBusy(socket: UdpSocket): Promise<boolean> {
    if (this.#fewTurns < FEW_TURNS && await socket.readable(SILENCE_MS)) return true;
    this.#fewTurns = 0;
    socket.coalesce(false);
    if (!await socket.readable(SETTLE_MS)) return false;
    // Perhaps coalesced, and the kernel only tells while it may.
    socket.coalesce(true);
    return true;
  }
}
