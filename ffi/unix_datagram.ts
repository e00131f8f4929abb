/**
 * Unix sockets of datagrams. Deno's own cannot send while they wait to receive.
 *
 * @module
 */

import { Errno, type Libc, openLibc } from "./libc.ts";
import { AF_UNIX } from "./sockaddr.ts";
import { MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from "./socket.ts";

// <bits/poll.h>
const POLLIN = 1;

/** `struct sockaddr_un` of <sys/un.h>: a family in 2 bytes, a path in 108. */
const SOCKADDR_SIZE = 110;
/** V8 moves arrays of up to 64 bytes. */
const PINNED = 128;
/** How long a thread waits at a time: closing waits for it. */
const THREAD_MS = 200;

const CALLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
  recvfrom: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "buffer"], result: "isize" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
  close: { parameters: ["i32"], result: "i32" },
} as const;

/** A Unix socket of datagrams that has a path. Nothing of it blocks the thread. */
export class UnixDatagramSocket {
  readonly #libc: Libc<typeof CALLS>;
  readonly #fd: number;
  readonly #address = new Uint8Array(PINNED);
  readonly #addressLength = new Uint32Array(PINNED / 4);
  readonly #poll = new Int32Array(PINNED / 4);
  readonly #encoder = new TextEncoder();
  readonly #decoder = new TextDecoder();
  #isClosed = false;
  #isWaiting = false;

  /**
   * @param path Where nothing may be yet.
   * @throws {Deno.errors.AddrInUse} if something is.
   * @throws {Error} without `--allow-ffi`, or of the system.
   */
  constructor(path: string) {
    this.#libc = openLibc(CALLS);
    const { symbols } = this.#libc;
    this.#fd = symbols.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    try {
      if (this.#fd < 0) throw new Error(`no Unix socket (errno ${this.#libc.errno()})`);
      const length = this.#write(path);
      if (symbols.bind(this.#fd, this.#address, length) < 0) throw this.#bindError(path);
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  /**
   * The next datagram. One call at a time.
   *
   * @returns a part of `into`, and the sender's path: empty if it has none.
   * @throws {Deno.errors.BadResource} once it is closed.
   */
  async receive(into: Uint8Array): Promise<readonly [Uint8Array, string]> {
    const { symbols, errno } = this.#libc;
    for (;;) {
      if (this.#isClosed) throw new Deno.errors.BadResource("the socket is closed");
      this.#addressLength[0] = SOCKADDR_SIZE;
      const count = Number(
        symbols.recvfrom(
          this.#fd,
          into as Uint8Array<ArrayBuffer>,
          BigInt(into.length),
          MSG_DONTWAIT,
          this.#address,
          this.#addressLength,
        ),
      );
      if (count >= 0) return [into.subarray(0, count), this.#path()];
      const code = errno();
      if (code !== Errno.EAGAIN && code !== Errno.EINTR) {
        throw new Error(`a Unix socket cannot be read (errno ${code})`);
      }
      await this.#readable();
    }
  }

  /** @throws {Error} if it is not taken at once: nobody is there, or there is no room. */
  send(bytes: Uint8Array, path: string): number {
    if (this.#isClosed) throw new Deno.errors.BadResource("the socket is closed");
    const { symbols, errno } = this.#libc;
    const length = this.#write(path);
    const sent = Number(
      symbols.sendto(
        this.#fd,
        bytes as Uint8Array<ArrayBuffer>,
        BigInt(bytes.length),
        MSG_DONTWAIT,
        this.#address,
        length,
      ),
    );
    if (sent < 0) throw new Error(`a datagram to ${path} was not taken (errno ${errno()})`);
    return sent;
  }

  /** Idempotent. What waits to receive fails. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#isWaiting) this.#release();
  }

  async #readable(): Promise<void> {
    this.#poll[0] = this.#fd;
    this.#poll[1] = POLLIN;
    this.#isWaiting = true;
    await this.#libc.symbols.poll(this.#poll, 1n, THREAD_MS);
    this.#isWaiting = false;
    if (this.#isClosed) this.#release();
  }

  #release(): void {
    if (this.#fd >= 0) this.#libc.symbols.close(this.#fd);
    this.#libc.close();
  }

  /** @returns how many bytes the address has. */
  #write(path: string): number {
    const address = this.#address.fill(0);
    address[0] = AF_UNIX; // little-endian, as every machine that this runs on
    const { read, written } = this.#encoder.encodeInto(
      path,
      address.subarray(2, SOCKADDR_SIZE - 1),
    );
    if (read < path.length) throw new RangeError(`the path ${path} is too long for a socket`);
    return 2 + written + 1;
  }

  #path(): string {
    const bytes = this.#address.subarray(2, Math.max(2, this.#addressLength[0]!));
    const end = bytes.indexOf(0);
    return this.#decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
  }

  #bindError(path: string): Error {
    const code = this.#libc.errno();
    if (code === Errno.EADDRINUSE) return new Deno.errors.AddrInUse(`${path} is in use`);
    return new Error(`${path} cannot be bound (errno ${code})`);
  }
}
