/**
 * What the kernel knows of this process's TCP sockets: struct tcp_info of <linux/tcp.h>.
 *
 * @module
 */

import { type Libc, openLibc } from "./libc.ts";
import { AF_INET, AF_INET6 } from "./sockaddr.ts";

const CALLS = {
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
} as const;

const IPPROTO_TCP = 6;
export const TCP_INFO = 11;
/** Of tcpi_rtt, the smoothed round trip in µs, as an index of 32-bit words. */
export const RTT = 68 / 4;
/** Up to tcpi_rttvar. */
export const INFO_BYTES = 76;
/** After this many descriptors in a row that are no TCP sockets, none are expected beyond. */
const GAP = 4_096;

/** Descriptors to ask before giving way to other work: a third of a millisecond. */
const STEP = 256;

/** Deno does not tell the descriptors of its sockets: they are found by asking every possible one. */
export class TcpInfo {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  // More than 64 bytes are never moved.
  readonly #info = new Uint32Array(64);
  readonly #address = new Uint8Array(128);
  readonly #length = new Uint32Array(32);

  /**
   * Round trips of the sockets that have one, ms, by local port. Ports that two sockets share are left out.
   * Yields undefined wherever other work should have its turn.
   */
  *roundTrips(): Generator<undefined, Map<number, number>, undefined> {
    const found = new Map<number, number>();
    const twice = new Set<number>();
    for (let fd = 0, last = 0; fd - last < GAP; fd++) {
      if (fd % STEP === STEP - 1) yield undefined;
      const ms = this.#roundTrip(fd);
      if (ms === undefined) continue;
      last = fd;
      const port = this.#port(fd);
      if (found.has(port)) twice.add(port);
      if (ms > 0) found.set(port, ms);
    }
    for (const port of twice) found.delete(port);
    return found;
  }

  close(): void {
    this.#libc.close();
  }

  /** @returns undefined if the descriptor is no TCP socket's. */
  #roundTrip(fd: number): number | undefined {
    this.#length[0] = INFO_BYTES;
    const { symbols } = this.#libc;
    if (symbols.getsockopt(fd, IPPROTO_TCP, TCP_INFO, this.#info, this.#length) !== 0) {
      return undefined;
    }
    return this.#length[0]! < INFO_BYTES ? 0 : this.#info[RTT]! / 1000;
  }

  #port(fd: number): number {
    this.#length[0] = this.#address.length;
    if (this.#libc.symbols.getsockname(fd, this.#address, this.#length) !== 0) return 0;
    const family = this.#address[0]! | this.#address[1]! << 8;
    if (family !== AF_INET && family !== AF_INET6) return 0;
    return this.#address[2]! << 8 | this.#address[3]!;
  }
}
