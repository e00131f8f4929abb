/**
 * How much of what a TCP socket was given may wait in the kernel, unsent: TCP_NOTSENT_LOWAT. What is
 * sent and not acknowledged is not limited by it.
 *
 * @module
 */

import { type Libc, openLibc } from "./libc.ts";

const CALLS = {
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

const IPPROTO_TCP = 6;
const TCP_NOTSENT_LOWAT = 25;

export class TcpQueue {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  // More than 64 bytes are never moved.
  readonly #value = new Int32Array(32);

  /**
   * @param fd A descriptor of the socket that is nobody else's: it is closed.
   * @returns whether it was set.
   */
  limit(fd: number, bytes: number): boolean {
    this.#value[0] = bytes;
    const { symbols } = this.#libc;
    const result = symbols.setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, this.#value, 4);
    symbols.close(fd);
    return result === 0;
  }
}
