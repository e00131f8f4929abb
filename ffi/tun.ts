/**
 * A Linux TUN device through libc: raw IP packets to and from the kernel, without packet
 * information headers. Needs CAP_NET_ADMIN, `--allow-ffi` and `/dev/net/tun`.
 *
 * @module
 */

const LIBC = {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32", nonblocking: true },
  __errno_location: { parameters: [], result: "pointer" },
} as const;

const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const TUNSETIFF = 0x400454can;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFNAMSIZ = 16;
const IFREQ_SIZE = 40;
const POLLIN = 0x0001;
const EAGAIN = 11;
const EINTR = 4;

/** How long one wait for a packet may last before it looks whether the device was closed, in ms. */
const POLL_MS = 250;

/** Packets the kernel would not take, by errno (5 is EIO: the interface is down). */
export type TunWriteErrors = Map<number, number>;

/** An open TUN device. The interface disappears with {@link close}. */
export class TunDevice {
  /** Name the kernel gave, e.g. `tun0`. */
  readonly name: string;
  readonly writeErrors: TunWriteErrors = new Map();

  readonly #libc: Deno.DynamicLibrary<typeof LIBC>;
  readonly #fd: number;
  // The kernel writes here while no JavaScript runs: over 64 bytes, so that it is never moved.
  readonly #pollFd = new Uint8Array(128);
  #closed = false;
  #waiting: Promise<boolean> | undefined;

  private constructor(libc: Deno.DynamicLibrary<typeof LIBC>, fd: number, name: string) {
    this.#libc = libc;
    this.#fd = fd;
    this.name = name;
    const view = new DataView(this.#pollFd.buffer);
    view.setInt32(0, fd, true);
    view.setInt16(4, POLLIN, true);
  }

  /**
   * Makes the interface.
   *
   * @param name At most 15 bytes; `%d` is replaced by the kernel with the first free number.
   * @throws {RangeError} on a name that is too long.
   * @throws {Error} with the errno if the device cannot be opened or the name is in use.
   */
  static open(name = "tun%d"): TunDevice {
    const encoded = new TextEncoder().encode(name);
    if (encoded.length === 0 || encoded.length >= IFNAMSIZ) {
      throw new RangeError(`an interface name has 1 to ${IFNAMSIZ - 1} bytes, got "${name}"`);
    }
    const libc = Deno.dlopen("libc.so.6", LIBC);
    const path = new TextEncoder().encode("/dev/net/tun\0");
    const fd = libc.symbols.open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
      const error = errnoOf(libc);
      libc.close();
      throw new Error(`/dev/net/tun cannot be opened: errno ${error}`);
    }
    const ifreq = new Uint8Array(IFREQ_SIZE);
    ifreq.set(encoded);
    new DataView(ifreq.buffer).setInt16(IFNAMSIZ, IFF_TUN | IFF_NO_PI, true);
    if (libc.symbols.ioctl(fd, TUNSETIFF, ifreq) < 0) {
      const error = errnoOf(libc);
      libc.symbols.close(fd);
      libc.close();
      throw new Error(`the TUN interface "${name}" cannot be made: errno ${error}`);
    }
    const end = ifreq.indexOf(0);
    return new TunDevice(libc, fd, new TextDecoder().decode(ifreq.subarray(0, end)));
  }

  /**
   * Takes one packet if there is one.
   *
   * @param into Room for the interface's MTU; a longer packet is cut by the kernel.
   * @returns Length of the packet, 0 when none waits.
   * @throws {Error} with the errno if the device failed.
   */
  read(into: Uint8Array): number {
    if (this.#closed) return 0;
    const length = Number(this.#libc.symbols.read(this.#fd, into, BigInt(into.length)));
    if (length >= 0) return length;
    const error = errnoOf(this.#libc);
    if (error === EAGAIN || error === EINTR) return 0;
    throw new Error(`the TUN interface ${this.name} cannot be read: errno ${error}`);
  }

  /** Waits until a packet can be read. @returns false once the device is closed. */
  async readable(): Promise<boolean> {
    while (!this.#closed) {
      // The buffer is held by this object, not by the call: a pointer alone keeps nothing alive.
      this.#waiting = this.#libc.symbols.poll(this.#pollFd, 1n, POLL_MS).then((n) => n > 0);
      if (await this.#waiting) return !this.#closed;
    }
    return false;
  }

  /** Hands one IP packet to the kernel. @returns false if it was not taken; counted by errno. */
  write(packet: Uint8Array): boolean {
    if (this.#closed) return false;
    if (this.#libc.symbols.write(this.#fd, packet, BigInt(packet.length)) >= 0n) return true;
    const error = errnoOf(this.#libc);
    this.writeErrors.set(error, (this.writeErrors.get(error) ?? 0) + 1);
    return false;
  }

  /** Removes the interface. Resolves when no call into the kernel is under way. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#waiting;
    this.#libc.symbols.close(this.#fd);
    this.#libc.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function errnoOf(libc: Deno.DynamicLibrary<typeof LIBC>): number {
  const pointer = libc.symbols.__errno_location();
  return pointer === null ? 0 : new Deno.UnsafePointerView(pointer).getInt32();
}
