/**
 * Small things of Linux that Deno asks for every permission for: files below /proc and /sys, links
 * there, signals, and who this process is.
 *
 * @module
 */

import { Errno, type Libc, openLibc } from "./libc.ts";
import { AF_UNIX } from "./sockaddr.ts";
import { SOCK_DGRAM, SOL_SOCKET } from "./socket.ts";

const CALLS = {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  access: { parameters: ["buffer", "i32"], result: "i32" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  geteuid: { parameters: [], result: "u32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

// <fcntl.h>, <unistd.h>, <asm-generic/socket.h>, <signal.h>
const O_WRONLY = 0o1;
const O_CLOEXEC = 0o2000000;
const R_OK_W_OK = 6;
const SO_NETNS_COOKIE = 71;
const SIGTERM = 15;

const MAX_BYTES = 1 << 20;
const PATH_BYTES = 4096;

/** The system refused; `errno` says why, as <asm-generic/errno.h> has it. */
export class SystemCallError extends Error {
  readonly errno: number;

  constructor(what: string, errno: number) {
    super(`${what}: ${REASONS[errno] ?? `errno ${errno}`}`);
    this.name = "SystemCallError";
    this.errno = errno;
  }
}

const REASONS: Readonly<Record<number, string>> = {
  [Errno.EPERM]: "operation not permitted",
  [Errno.ENOENT]: "no such file",
  [Errno.ESRCH]: "no such process",
  [Errno.EACCES]: "permission denied",
  [Errno.EINVAL]: "invalid value",
  [Errno.EROFS]: "read-only file system",
};

/** Needs `--allow-ffi`. */
export class LinuxSystem implements Disposable {
  readonly #libc: Libc<typeof CALLS>;

  /** @throws {Error} without `--allow-ffi`, or if there is no glibc. */
  constructor() {
    this.#libc = openLibc(CALLS);
  }

  /** Effective user; 0 is root. */
  get user(): number {
    return this.#libc.symbols.geteuid();
  }

  /** The text of a file, of 1 MiB at most; undefined if it cannot be read. */
  readText(path: string): string | undefined {
    const { symbols } = this.#libc;
    const fd = symbols.open(cString(path), O_CLOEXEC);
    if (fd < 0) return undefined;
    const bytes = new Uint8Array(MAX_BYTES);
    let length = 0;
    while (length < bytes.length) {
      const rest = bytes.subarray(length);
      const count = Number(symbols.read(fd, rest, BigInt(rest.length)));
      if (count <= 0) break;
      length += count;
    }
    symbols.close(fd);
    return new TextDecoder().decode(bytes.subarray(0, length));
  }

  /** Writes into a file that exists, by one call, from this thread: whose capabilities count. */
  writeText(path: string, text: string): void {
    const { symbols } = this.#libc;
    const fd = symbols.open(cString(path), O_WRONLY | O_CLOEXEC);
    if (fd < 0) throw this.#error(path);
    const bytes = new TextEncoder().encode(text);
    const count = Number(symbols.write(fd, bytes, BigInt(bytes.length)));
    const error = count === bytes.length ? undefined : this.#error(path);
    symbols.close(fd);
    if (error !== undefined) throw error;
  }

  /** Where a link leads; undefined if there is none. */
  readLink(path: string): string | undefined {
    const target = new Uint8Array(PATH_BYTES);
    const length = Number(
      this.#libc.symbols.readlink(cString(path), target, BigInt(PATH_BYTES)),
    );
    return length > 0 ? new TextDecoder().decode(target.subarray(0, length)) : undefined;
  }

  /** Why a file cannot be opened for reading and writing; undefined if it can. */
  whyNotUsable(path: string): SystemCallError | undefined {
    return this.#libc.symbols.access(cString(path), R_OK_W_OK) === 0
      ? undefined
      : this.#error(path);
  }

  /** Asks a process to end (SIGTERM). @throws {SystemCallError} */
  terminate(pid: number): void {
    if (this.#libc.symbols.kill(pid, SIGTERM) !== 0) throw this.#error(`process ${pid}`);
  }

  /** Sends a signal to a group of processes, if there is one. */
  signalGroup(group: number, signal: number): void {
    this.#libc.symbols.kill(-group, signal);
  }

  /**
   * The number of this process's network namespace since the machine started, which no other
   * namespace gets, unlike the inode. Undefined before Linux 5.14.
   */
  namespaceCookie(): string | undefined {
    const { symbols } = this.#libc;
    const fd = symbols.socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0) return undefined;
    const value = new BigUint64Array(16);
    const length = new Uint32Array(32);
    length[0] = 8;
    const result = symbols.getsockopt(
      fd,
      SOL_SOCKET,
      SO_NETNS_COOKIE,
      new Uint8Array(value.buffer),
      new Uint8Array(length.buffer),
    );
    symbols.close(fd);
    return result === 0 ? `${value[0]}` : undefined;
  }

  [Symbol.dispose](): void {
    this.#libc.close();
  }

  #error(what: string): SystemCallError {
    return new SystemCallError(what, this.#libc.errno());
  }
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
