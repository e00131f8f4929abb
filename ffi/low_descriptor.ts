/**
 * Keeps a low file descriptor free for a library that waits with select(2). That call only knows numbers
 * below 1,024, and glibc aborts the process for a higher one.
 *
 * @module
 */

import { Errno, type Libc, openLibc } from "./libc.ts";
import { SOL_SOCKET } from "./socket.ts";

const CALLS = {
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
} as const;

// <sys/select.h>, <bits/eventfd.h>, <asm-generic/socket.h>
const FD_SETSIZE = 1024;
const EFD_CLOEXEC = 0x80000;
const SO_DOMAIN = 39;
/** How often to try when another thread takes the number first. */
const ATTEMPTS = 100;

export class LowDescriptor implements Disposable {
  readonly #libc: Libc<typeof CALLS> = openLibc(CALLS);
  /** Kept open so that nobody else gets its number; below 0 if none was low enough. */
  #fd = -1;

  constructor() {
    this.#reserve();
  }

  /**
   * Lets a socket be opened, with a number that is low enough.
   *
   * @param domain Of the one socket that `open` opens, as AF_NETLINK.
   * @param close Undoes `open`, if it came by another number.
   * @returns undefined if no number below 1,024 is free.
   */
  lend<T>(domain: number, open: () => T, close: (opened: T) => void): T | undefined {
    const { symbols } = this.#libc;
    for (let left = ATTEMPTS; left > 0; left--) {
      if (this.#fd < 0) this.#reserve();
      const fd = this.#fd;
      if (fd < 0) return undefined;
      this.#fd = -1;
      symbols.close(fd);
      const opened = open();
      // `opened` has this number, or a lower one; otherwise a thread of the runtime's was faster.
      const holder = this.#domainOf(fd);
      if (holder === domain || holder === undefined) return opened;
      close(opened);
    }
    return undefined;
  }

  /** Reserves a number again, once what was opened is closed. */
  keep(): void {
    if (this.#fd < 0) this.#reserve();
  }

  close(): void {
    if (this.#fd >= 0) this.#libc.symbols.close(this.#fd);
    this.#fd = -1;
    this.#libc.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The kernel gives the lowest number that is free. */
  #reserve(): void {
    const { symbols } = this.#libc;
    const fd = symbols.eventfd(0, EFD_CLOEXEC);
    if (fd < FD_SETSIZE) this.#fd = fd;
    else symbols.close(fd);
  }

  /** @returns undefined where nothing is open, -1 for what is no socket. */
  #domainOf(fd: number): number | undefined {
    const value = new Int32Array(1);
    const size = new Uint32Array([value.byteLength]);
    const { symbols } = this.#libc;
    if (symbols.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, bytes(value), bytes(size)) === 0) {
      return value[0];
    }
    return this.#libc.errno() === Errno.EBADF ? undefined : -1;
  }
}

function bytes({ buffer }: Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) {
  return new Uint8Array(buffer);
}
