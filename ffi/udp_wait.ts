/**
 * Waiting for datagrams without receiving one. Deno's own `receive` would take it, and lose what the
 * kernel tells with it: where to cut it, and which address it was sent to.
 *
 * @module
 */

import { AF_INET, SOCKADDR_IN_SIZE, writeSockaddr } from "./sockaddr.ts";
import { MSG_DONTWAIT, MSG_PEEK, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from "./socket.ts";
import type { UdpLibc } from "./udp_layout.ts";
import type { UdpSocket } from "./udp.ts";

/**
 * After this many wakes for nothing in a row, the trick below is taken not to work with this
 * runtime.
 */
const MAX_EMPTY_WAKES = 64;
/** How long a thread waits at a time, ms: closing has to wait for it. */
const THREAD_MS = 200;

/**
 * Has Deno's event loop wait for a socket, though Deno waits only in `receive`, which takes a datagram.
 *
 * The trick: to Deno a socket is a descriptor number. Epoll goes on watching our socket even when that
 * number is made to name another one, the token socket (see {@link UdpSocket.lend}). From then on
 * `receive` waits for our datagrams and reads the token's:
 *
 * 1. A wait calls `receive`. The token socket is empty, so Deno waits for epoll to tell of the number.
 * 2. The token is sent: one byte, from the token socket to itself over loopback. Epoll does not watch
 *    that socket, so nothing happens yet.
 * 3. A datagram arrives at our socket. Epoll wakes Deno, which reads the number, finds the token, and
 *    `receive` resolves. Our datagram still lies in our socket, for `recvmmsg`.
 *
 * A Unix socket as the token would need no loopback, but cost one of Deno's errors per wake. Where the
 * token does not arrive at once (no loopback, or a packet filter on it), `poll` on a thread waits
 * instead, which costs several times as much at thousands of wakes per second.
 */
export class UdpWait {
  readonly #libc: UdpLibc;
  readonly #socket: UdpSocket;
  /** The token as it is sent, and peeked at. V8 does not move buffers above 64 bytes. */
  readonly #token = new Uint8Array(128);
  readonly #received = new Uint8Array(1);
  /** The token socket's own descriptor; -1 for none. */
  #lent: number;
  /** The runtime's pending `receive` of the token. */
  #receiving: Promise<void> | undefined;
  #error: unknown;
  #emptyWakes = 0;

  /** @param socket The socket to wait for; to be closed before this is. */
  constructor(libc: UdpLibc, socket: UdpSocket) {
    this.#libc = libc;
    this.#socket = socket;
    this.#lent = openToken(libc);
    if (this.#lent >= 0 && !socket.lend(this.#lent)) this.close();
  }

  /** Whether waiting is done by a thread, without the trick. */
  get isOnThread(): boolean {
    return this.#lent < 0;
  }

  /**
   * To be called after each wake.
   *
   * @param wasEmpty Whether there was neither a datagram nor an error.
   */
  note(wasEmpty: boolean): void {
    this.#emptyWakes = wasEmpty ? this.#emptyWakes + 1 : 0;
    if (this.#emptyWakes > MAX_EMPTY_WAKES) this.close();
  }

  /**
   * Resolves when there may be something to receive, or the socket is closed. To be called in the same
   * turn as a receive that found nothing: a wake from before that is lost.
   *
   * @throws What Deno's receive does if it has failed.
   */
  async wait(): Promise<void> {
    const socket = this.#socket;
    while (!socket.isClosed) {
      if (this.#lent >= 0) {
        this.#receiving ??= this.#receiveToken();
        if (this.#sendToken()) await this.#receiving;
        if (this.#error !== undefined) throw this.#error;
        if (this.#receiving === undefined) return;
      }
      if (await socket.readable(THREAD_MS)) return;
    }
  }

  /** Gives up the token: from now on {@link wait} waits on a thread. */
  close(): void {
    if (this.#lent >= 0) this.#libc.symbols.close(this.#lent);
    this.#lent = -1;
  }

  async #receiveToken(): Promise<void> {
    try {
      await this.#socket.receive(this.#received);
    } catch (error) {
      if (!this.#socket.isClosed) this.#error = error;
    }
    this.#receiving = undefined;
  }

  /** @returns whether it has arrived; if not, it may later. */
  #sendToken(): boolean {
    this.#libc.symbols.send(this.#lent, this.#token, 1n, MSG_DONTWAIT);
    return this.#libc.symbols.recv(this.#lent, this.#token, 1n, MSG_DONTWAIT | MSG_PEEK) === 1n;
  }
}

/** A socket on loopback that hears only itself. @returns its descriptor, or -1. */
function openToken({ symbols }: UdpLibc): number {
  const fd = symbols.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  const address = new Uint8Array(128);
  writeSockaddr(address, Uint8Array.of(127, 0, 0, 1), 0);
  const length = new Uint32Array(32);
  length[0] = SOCKADDR_IN_SIZE;
  if (
    symbols.bind(fd, address, SOCKADDR_IN_SIZE) === 0 &&
    symbols.getsockname(fd, address, length) === 0 &&
    symbols.connect(fd, address, SOCKADDR_IN_SIZE) === 0
  ) return fd;
  symbols.close(fd);
  return -1;
}
