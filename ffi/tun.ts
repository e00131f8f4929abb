/**
 * A Linux TUN device through libc: raw IP packets to and from the kernel, without packet
 * information headers. Needs CAP_NET_ADMIN, `--allow-ffi` and `/dev/net/tun`.
 *
 * @example Everything the kernel sends into the interface
 * ```ts ignore
 * await using tun = TunDevice.open("tun%d");
 * const packet = new Uint8Array(65536);
 * while (await tun.readable()) {
 *   for (let length; (length = tun.read(packet)) > 0;) console.log(tun.name, length);
 * }
 * ```
 *
 * @module
 */

import { type Libc as LibcOf, openLibc } from "./libc.ts";

// Results of type ssize_t fit 32 bits here, and their low half is their value: no bigint for each.
const LIBC = {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  wait: { name: "poll", parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
} as const;

type Libc = LibcOf<typeof LIBC>;

// <fcntl.h>, <poll.h>, <linux/if.h>, <linux/if_tun.h>
const O_RDWR = 0o2;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const POLLIN = 0x1;
const POLLERR = 0x8;
const TUNSETIFF = 0x400454can;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFNAMSIZ = 16;
const IFREQ_SIZE = 40;
/** struct pollfd: int fd, short events, short revents. */
const POLLFD_SIZE = 8;
const POLLFD_EVENTS = 4;
const POLLFD_REVENTS = 6;

/** An open TUN device. The interface disappears with {@link close}. */
export class TunDevice implements AsyncDisposable {
  /** The name the kernel gave, e.g. `tun0`. Another one given later does not show here. */
  readonly name: string;
  /** Packets the kernel did not take: no IP header, or the interface was down. */
  rejected = 0;

  readonly #libc: Libc;
  readonly #fd: number;
  /** Becomes readable when the device is closed, to end the wait. */
  readonly #wake: number;
  // The kernel writes here while JavaScript runs. More than 64 bytes are never on V8's own heap, so
  // they are not moved; this object holds them, because a pointer keeps nothing alive.
  readonly #waited = pollfds(128);
  readonly #errorPoll = pollfds(POLLFD_SIZE);
  #isClosed = false;
  #waiting: Promise<number> | undefined;

  private constructor(libc: Libc, fd: number, wake: number, name: string) {
    this.#libc = libc;
    this.#fd = fd;
    this.#wake = wake;
    this.name = name;
    setPollfd(this.#waited, 0, fd);
    setPollfd(this.#waited, 1, wake);
    setPollfd(this.#errorPoll, 0, fd);
  }

  /**
   * Makes the interface, in this process's network namespace and down.
   *
   * @param name 1 to 15 bytes; the kernel puts the first free number for `%d`.
   * @throws {RangeError} for a name of another length.
   * @throws {Error} with the errno if the device cannot be opened or the name is taken.
   */
  static open(name = "tun%d"): TunDevice {
    const encoded = new TextEncoder().encode(name);
    if (encoded.length === 0 || encoded.length >= IFNAMSIZ) {
      throw new RangeError(`an interface name has 1 to ${IFNAMSIZ - 1} bytes, got "${name}"`);
    }
    const libc = openLibc(LIBC);
    const { symbols } = libc;
    const opened: number[] = [];
    const check = (result: number, what: string) => {
      if (result >= 0) return result;
      const message = `${what}: errno ${libc.errno()}`;
      for (const fd of opened) symbols.close(fd);
      libc.close();
      throw new Error(message);
    };
    const path = new TextEncoder().encode("/dev/net/tun\0");
    const flags = O_RDWR | O_NONBLOCK | O_CLOEXEC;
    const fd = check(symbols.open(path, flags), "/dev/net/tun cannot be opened");
    opened.push(fd);
    const wake = check(symbols.eventfd(0, O_NONBLOCK | O_CLOEXEC), "no eventfd");
    opened.push(wake);
    const ifreq = new Uint8Array(IFREQ_SIZE);
    ifreq.set(encoded);
    new DataView(ifreq.buffer).setInt16(IFNAMSIZ, IFF_TUN | IFF_NO_PI, true);
    check(
      symbols.ioctl(fd, TUNSETIFF, ifreq),
      `the TUN interface "${name}" cannot be made`,
    );
    const given = new TextDecoder().decode(ifreq.subarray(0, ifreq.indexOf(0)));
    return new TunDevice(libc, fd, wake, given);
  }

  /**
   * Takes one packet if there is one.
   *
   * @param into Room for the interface's MTU; the kernel cuts what is longer.
   * @returns Length of the packet, 0 when none waits or the device is closed.
   * @throws {Error} if the interface was deleted.
   */
  read(into: Uint8Array): number {
    if (this.#isClosed) return 0;
    const { symbols } = this.#libc;
    const length = symbols.read(this.#fd, into, BigInt(into.length));
    if (length >= 0) return length;
    // Not by errno: the runtime may have made a call of its own since.
    symbols.poll(this.#errorPoll.bytes, 1n, 0);
    if ((this.#errorPoll.view.getInt16(POLLFD_REVENTS, true) & POLLERR) === 0) return 0;
    throw new Error(`the TUN interface ${this.name} is gone`);
  }

  /**
   * Waits until {@link read} has something to return.
   *
   * @returns false once the device is closed.
   */
  async readable(): Promise<boolean> {
    while (!this.#isClosed) {
      this.#waiting ??= this.#libc.symbols.wait(this.#waited.bytes, 2n, -1)
        .finally(() => this.#waiting = undefined);
      // Below zero: a signal came.
      if (await this.#waiting > 0) break;
    }
    return !this.#isClosed;
  }

  /**
   * Hands one IP packet to the kernel.
   *
   * @returns false if it was not taken: {@link rejected} counts.
   */
  write(packet: Uint8Array): boolean {
    if (this.#isClosed) return false;
    const { symbols } = this.#libc;
    if (symbols.write(this.#fd, packet, BigInt(packet.length)) === packet.length) return true;
    this.rejected++;
    return false;
  }

  /** Removes the interface. Resolves when no call into the kernel is under way. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { symbols } = this.#libc;
    symbols.write(this.#wake, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), 8n);
    await this.#waiting;
    symbols.close(this.#fd);
    symbols.close(this.#wake);
    this.#libc.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** An array of struct pollfd. */
interface Pollfds {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
}

function pollfds(size: number): Pollfds {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}

function setPollfd({ view }: Pollfds, index: number, fd: number): void {
  view.setInt32(index * POLLFD_SIZE, fd, true);
  view.setInt16(index * POLLFD_SIZE + POLLFD_EVENTS, POLLIN, true);
}
