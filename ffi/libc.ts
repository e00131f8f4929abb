/**
 * The C library of Linux, and what its calls say when they fail.
 *
 * @module
 */

const ERRNO = { __errno_location: { parameters: [], result: "pointer" } } as const;

/** The calls of an open C library. */
export interface Libc<Symbols extends Deno.ForeignLibraryInterface> {
  readonly symbols: Deno.StaticForeignLibraryInterface<Symbols>;
  /**
   * Why the last call failed. To be read right after it: the variable belongs to this thread, and
   * the runtime may make system calls of its own between two of ours.
   */
  errno(): number;
  /** The symbols must not be called again by whoever closes it. */
  close(): void;
}

interface Shared {
  /** The {@link Libc} of these calls. */
  readonly libc: unknown;
  users: number;
}

/** Open libraries, by the calls they were opened for. */
const SHARED = new Map<Deno.ForeignLibraryInterface, Shared>();

let staysOpen = false;

/**
 * From now on what nobody uses any more stays open for whoever opens it next: the runtime takes 0.2 ms for
 * each function. For a program that ends with its process.
 */
export function keepLibrariesOpen(): void {
  staysOpen = true;
}

/**
 * Everybody who opens it with the same object, a constant of a module, shares the same functions. V8
 * compiles a direct call where a call site only ever sees one function; with one for each library the call
 * goes through the runtime, which takes 0.9 µs longer.
 *
 * @returns the C library, to be closed by everybody who has opened it.
 * @throws {Error} without `--allow-ffi`, or if there is no glibc.
 */
export function openLibc<const Symbols extends Deno.ForeignLibraryInterface>(
  symbols: Symbols,
): Libc<Symbols> {
  const shared = SHARED.get(symbols) ?? { libc: open(symbols), users: 0 };
  SHARED.set(symbols, shared);
  shared.users++;
  const libc = shared.libc as Libc<Symbols>;
  let isOpen = true;
  return {
    symbols: libc.symbols,
    errno: libc.errno,
    close() {
      if (!isOpen) return;
      isOpen = false;
      if (--shared.users > 0 || staysOpen) return;
      SHARED.delete(symbols);
      libc.close();
    },
  };
}

function open<const Symbols extends Deno.ForeignLibraryInterface>(symbols: Symbols): Libc<Symbols> {
  const library = Deno.dlopen("libc.so.6", symbols);
  const own = Deno.dlopen("libc.so.6", ERRNO);
  // Mapped once: reading it is then no call, so that nothing comes between the failure and its reason.
  const location = own.symbols.__errno_location()!;
  const errno = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(location, 4));
  return {
    symbols: library.symbols,
    errno: () => errno[0]!,
    close() {
      library.close();
      own.close();
    },
  };
}

/** <asm-generic/errno.h>, the same on x86-64 and ARM64. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  ENODEV: 19,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOSPC: 28,
  EROFS: 30,
  EPIPE: 32,
  ENOSYS: 38,
  EPROTO: 71,
  EMSGSIZE: 90,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTDOWN: 112,
  EHOSTUNREACH: 113,
  EINPROGRESS: 115,
} as const;

const NAMES = new Map<number, string>(Object.entries(Errno).map(([name, errno]) => [errno, name]));

/** What an error number is called, as the codes of Deno's and Node's errors are: `EMFILE`. */
export function errnoName(errno: number): string | undefined {
  return NAMES.get(errno);
}

/** The code that `node:net` would have for an error number, such as `EMFILE`. */
export function codeOf(errno: number): string {
  return errnoName(errno) ?? `errno ${errno}`;
}

/** For `errno` of a call: its `code` is the error's name, as in the errors of Deno and of Node. */
export function errorOf(errno: number, what: string): Error & { code: string } {
  const code = codeOf(errno);
  return Object.assign(new Error(`${what}: ${code}`), { code });
}

/** The address the kernel knows a buffer by. Keeps nothing alive: hold the buffer as long as that. */
export function addressOf(buffer: Uint8Array<ArrayBuffer>): number {
  // User space ends at 2^47 or 2^52: a double holds it exactly.
  return Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer)));
}

/** Stores an address, or another 64-bit value, at a word of a struct. Little-endian, as both are. */
export function store64(words: Uint32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = value / 0x1_0000_0000;
}
