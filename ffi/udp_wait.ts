/**
 * Waiting for datagrams without taking one: Deno's own `receive` would take it without what the kernel
 * tells beside it, where to cut it and which address it was sent to.
 *
 * @module
 */

import { MSG_DONTWAIT, type UdpLibc } from "./udp_layout.ts";
import type { UdpSocket } from "./udp.ts";

// <bits/socket_type.h>, <bits/socket.h>
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const PAIR = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

/** After so many wakes in a row for nothing the runtime is not what is assumed here. */
const MAX_EMPTY_WAKES = 64;
/** How long a thread waits at a time: closing waits for it. */
const THREAD_MS = 200;

/**
 * What the runtime knows the socket by is made a token's (see {@link UdpSocket.lend}). A wait asks the
 * runtime to receive: it finds no token, and waits for the socket. Then the token is laid there, and
 * found when the socket wakes the runtime. It is a datagram of a Unix socket, whose address Deno's
 * `receive` takes for wrong: that error is the wake.
 *
 * Where that does not work, `poll` on a thread waits. At a thousand wakes per second it costs some
 * times as much.
 */
export class UdpWait {
  readonly #libc: UdpLibc;
  readonly #socket: UdpSocket;
  /** What is received and sent as the token. */
  readonly #token = new Uint8Array(128);
  /** The other end of the socket that was lent; -1 for none. */
  #sender = -1;
  #emptyWakes = 0;

  /** @param socket Is waited for by this from now on, and closed before this is. */
  constructor(libc: UdpLibc, socket: UdpSocket) {
    this.#libc = libc;
    this.#socket = socket;
    const { symbols } = libc;
    const pair = new Int32Array(32);
    if (symbols.socketpair(AF_UNIX, PAIR, 0, pair) !== 0) return;
    const [receiver, sender] = [pair[0]!, pair[1]!];
    const isLent = socket.lend(receiver);
    symbols.close(receiver); // the descriptor it was lent to is another one
    if (isLent) this.#sender = sender;
    else symbols.close(sender);
  }

  /** Whether a thread waits. */
  get isOnThread(): boolean {
    return this.#sender < 0;
  }

  /** After each wake: whether there was nothing to receive, nor an error. */
  note(wasEmpty: boolean): void {
    this.#emptyWakes = wasEmpty ? this.#emptyWakes + 1 : 0;
    if (this.#emptyWakes > MAX_EMPTY_WAKES) this.close();
  }

  /**
   * Resolves when there may be something to receive, or the socket is closed. To be called right after
   * receiving has found nothing, in one go: what had woken the runtime before is forgotten.
   *
   * @throws What Deno's receive does if it has failed.
   */
  async wait(): Promise<void> {
    const socket = this.#socket;
    if (this.#sender >= 0) {
      const woken = socket.receive(this.#token.subarray(0, 1));
      if (this.#libc.symbols.send(this.#sender, this.#token, 1n, MSG_DONTWAIT) === 1n) {
        try {
          await woken;
        } catch (error) {
          if ((error as { code?: string }).code !== "EINVAL" && !socket.isClosed) throw error;
        }
        return;
      }
      woken.catch(() => {});
      this.close();
    }
    while (!socket.isClosed && !await socket.readable(THREAD_MS));
  }

  /** What the socket is waited for with is given up; {@link wait} goes on on a thread. */
  close(): void {
    if (this.#sender >= 0) this.#libc.symbols.close(this.#sender);
    this.#sender = -1;
  }
}
