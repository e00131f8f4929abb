/**
 * Whether an address is this host's: the kernel chooses it as the sender's for what goes there.
 *
 * @module
 */

import { Errno, type Libc, openLibc } from "./libc.ts";
import {
  AF_INET,
  AF_INET6,
  SOCKADDR_IN6_SIZE,
  SOCKADDR_IN_SIZE,
  writeSockaddr,
} from "./sockaddr.ts";

const CALLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

// <bits/socket_type.h>
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;
/** Any but 0. Nothing is sent there. */
const PORT = 9;
/** Nothing leads there, so it is none of this host's. */
const NO_WAY: readonly number[] = [
  Errno.EACCES, // a route that prohibits
  Errno.EADDRNOTAVAIL,
  Errno.ENETDOWN,
  Errno.ENETUNREACH,
  Errno.EHOSTUNREACH,
];

export class LocalAddressProbe {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  readonly #to = new Uint8Array(64);
  readonly #own = new Uint8Array(64);
  readonly #length = new Uint32Array(16);

  /** @param address Its `bytes`: 4 or 16. @throws {Error} if the system does not say. */
  isOwn({ bytes }: { readonly bytes: Uint8Array }): boolean {
    const { symbols } = this.#libc;
    const isIpv4 = bytes.length === 4;
    const fd = symbols.socket(isIpv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) throw new Error(`no socket: errno ${this.#libc.errno()}`);
    try {
      const size = isIpv4 ? SOCKADDR_IN_SIZE : SOCKADDR_IN6_SIZE;
      writeSockaddr(this.#to, bytes, PORT);
      if (symbols.connect(fd, this.#to, size) < 0) {
        const errno = this.#libc.errno();
        if (NO_WAY.includes(errno)) return false;
        throw new Error(`connect: errno ${errno}`);
      }
      this.#length[0] = this.#own.length;
      if (symbols.getsockname(fd, this.#own, this.#length) < 0) {
        throw new Error(`getsockname: errno ${this.#libc.errno()}`);
      }
    } finally {
      symbols.close(fd);
    }
    const at = isIpv4 ? 4 : 8;
    return bytes.every((byte, i) => byte === this.#own[at + i]);
  }

  close(): void {
    this.#libc.close();
  }
}
