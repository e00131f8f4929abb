/**
 * A Linux TUN device: raw IP packets to and from the kernel. Where the kernel can, TCP segments and UDP
 * datagrams go both ways in pieces of up to 64 KiB, which are cut and put together here: a system call
 * for each piece, and not for each packet. Needs CAP_NET_ADMIN or an interface of this user's,
 * `--allow-ffi` and `/dev/net/tun`.
 *
 * @example Everything the kernel sends into the interface
 * ```ts ignore
 * await using tun = TunDevice.open({ name: "tun%d" });
 * while (await tun.readable()) {
 *   while (tun.next()) console.log(tun.name, tun.memory.subarray(tun.offset, tun.offset + tun.length));
 * }
 * ```
 *
 * @module
 */

import { Errno, openLibc } from "../libc.ts";
import { Kernels } from "../kernels/kernels.ts";
import { BIN_BYTES, BINS, Coalescer, PIECE_AT } from "./coalescer.ts";
import { Cutter, MAX_HEADERS } from "./cutter.ts";
import { DescriptorWait } from "../descriptor_wait.ts";
import { MAX_PACKET, plainSum, type Sum, VNET_HEADER } from "./layout.ts";
import {
  type OpenedTun,
  openTun,
  TUN_CALLS,
  TunError,
  type TunLibc,
  type TunOpenOptions,
} from "./open.ts";

// <poll.h>; where revents is in a struct pollfd, in 16-bit words
const POLLERR = 0x8;
const REVENTS = 3;
/** Packets are aligned to it. */
const ALIGNMENT = 16;
/** Room for a piece, the kernel's header in front. */
const PIECE_BYTES = 65_536 + 2 * ALIGNMENT;
const PIECE_ROOM = BigInt(PIECE_BYTES - ALIGNMENT);
const CACHE_LINE = 64;

/** Memory that packets lie in, and what sums them there. */
export interface TunMemory {
  readonly memory: Uint8Array<ArrayBuffer>;
  /** Of {@link TunDevice.bytes} bytes that are the device's, a multiple of 16. */
  readonly offset: number;
  /** Default: in plain TypeScript. */
  readonly sum?: Sum;
}

export interface TunOptions extends TunOpenOptions {
  /** Gives the memory that packets lie in, once the device is open. Default: memory of its own. */
  readonly memory?: () => TunMemory;
}

export interface TunCounters {
  /** Packets from the kernel, after cutting, and their bytes. */
  packetsIn: number;
  bytesIn: number;
  /** Reads that brought something: pieces from the kernel. */
  reads: number;
  /** Pieces that made no sense. */
  malformed: number;
  /** Packets given to the kernel, before they are put together, and their bytes. */
  packetsOut: number;
  bytesOut: number;
  writes: number;
  /** Writes the kernel did not take: no IP packet, or the interface was down. */
  rejected: number;
}

/** An open TUN device. Unless it is persistent the interface disappears with {@link close}. */
export class TunDevice implements AsyncDisposable {
  /** Bytes of {@link TunMemory} that a device needs. */
  static readonly bytes: number = PIECE_BYTES + MAX_HEADERS + Coalescer.bytes;

  /** The name the kernel gave, e.g. `tun0`. Another one given later does not show here. */
  readonly name: string;
  /** Of the interface, in the network namespace it was opened in. */
  readonly index: number;
  /** Whether TCP goes in pieces of up to 64 KiB, and UDP too. */
  readonly hasTso: boolean;
  readonly hasUso: boolean;
  readonly counters: TunCounters = {
    packetsIn: 0,
    bytesIn: 0,
    reads: 0,
    malformed: 0,
    packetsOut: 0,
    bytesOut: 0,
    writes: 0,
    rejected: 0,
  };
  /** What {@link offset} counts in. */
  readonly memory: Uint8Array<ArrayBuffer>;
  /** The packet that {@link next} moved to. */
  offset = 0;
  length = 0;

  readonly #libc: TunLibc;
  readonly #fd: number;
  readonly #wait: DescriptorWait;
  #waiting: Promise<void> | undefined;
  readonly #cutter: Cutter;
  readonly #coalescer: Coalescer;
  /** Where pieces are read to. */
  readonly #piece: number;
  // Made once: a system call costs no object.
  readonly #pieceView: Uint8Array<ArrayBuffer>;
  readonly #binViews: readonly Uint8Array<ArrayBuffer>[];
  /** One struct pollfd; more than 64 bytes are never moved under the kernel's hands. */
  readonly #poll = new Int16Array(64);
  #isClosed = false;

  private constructor(
    libc: TunLibc,
    opened: OpenedTun,
    wait: DescriptorWait,
    memory: TunMemory,
  ) {
    this.#libc = libc;
    this.#fd = opened.fd;
    this.#wait = wait;
    this.name = opened.name;
    this.index = opened.index;
    this.hasTso = opened.hasTso;
    this.hasUso = opened.hasUso;
    this.memory = memory.memory;
    const { offset, sum = plainSum } = memory;
    this.#piece = offset + ALIGNMENT - VNET_HEADER;
    this.#pieceView = this.memory.subarray(this.#piece, offset + PIECE_BYTES);
    const bins = offset + PIECE_BYTES + MAX_HEADERS;
    this.#binViews = Array.from({ length: BINS + 1 }, (_, i) => {
      const at = bins + i * BIN_BYTES;
      return this.memory.subarray(at + PIECE_AT, at + BIN_BYTES);
    });
    this.#cutter = new Cutter(this.memory, offset + PIECE_BYTES, sum);
    this.#coalescer = new Coalescer(
      this.memory,
      bins,
      sum,
      this.hasUso,
      (bin, length) => this.#write(bin, length),
    );
    new Int32Array(this.#poll.buffer)[0] = opened.fd;
  }

  /**
   * Makes the interface, in this process's network namespace and down, or opens an existing one.
   *
   * @throws {RangeError} for a name of another length.
   * @throws {TunError} with the reason if the device cannot be opened or the name is taken.
   * @throws {Error} without `--allow-ffi`.
   */
  static open(options: TunOptions = {}): TunDevice {
    const libc = openLibc(TUN_CALLS);
    const { symbols } = libc;
    let opened: OpenedTun | undefined;
    try {
      opened = openTun(libc, options);
      const memory = (options.memory ?? ownMemory)();
      return new TunDevice(libc, opened, new DescriptorWait(opened.fd), memory);
    } catch (error) {
      if (opened !== undefined) symbols.close(opened.fd);
      libc.close();
      throw error;
    }
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Moves to the next packet from the kernel: its bytes, at {@link offset} of {@link memory}, are valid
   * until the next call and may be changed.
   *
   * @returns false when none waits or the device is closed.
   * @throws {TunError} if the interface was deleted.
   */
  next(): boolean {
    const cutter = this.#cutter;
    while (!cutter.next()) if (!this.#read()) return false;
    this.offset = cutter.offset;
    this.length = cutter.length;
    this.counters.packetsIn++;
    this.counters.bytesIn += cutter.length;
    return true;
  }

  /**
   * Hands over what {@link next} finds.
   *
   * @param budget Packets at most.
   * @returns how many; with fewer than the budget the kernel has no more.
   */
  drain(
    handle: (memory: Uint8Array, offset: number, length: number) => void,
    budget = Infinity,
  ): number {
    let count = 0;
    for (; count < budget && this.next(); count++) handle(this.memory, this.offset, this.length);
    return count;
  }

  /**
   * Waits until {@link next} may find something. To be called in the same turn of the event loop as one
   * that found nothing.
   *
   * @returns false once the device is closed.
   */
  async readable(): Promise<boolean> {
    await (this.#waiting ??= new Promise((resolve) =>
      this.#wait.wait(() => {
        this.#waiting = undefined;
        resolve();
      })
    ));
    return !this.#isClosed;
  }

  /**
   * Hands one IP packet to the kernel, at the next {@link flush} at the latest: it may be put together
   * with those that follow. What the kernel does not take, {@link counters} tell.
   *
   * @param packet Borrowed until the call returns.
   */
  write(packet: Uint8Array, offset = 0, length: number = packet.length - offset): void {
    if (this.#isClosed) return;
    if (length > MAX_PACKET) {
      this.counters.rejected++;
      return;
    }
    this.counters.packetsOut++;
    this.counters.bytesOut += length;
    if (this.hasTso) this.#coalescer.push(packet, offset, length);
    else this.#coalescer.pass(packet, offset, length);
  }

  /** Hands over what {@link write} has kept. */
  flush(): void {
    if (!this.#isClosed) this.#coalescer.flush();
  }

  /** Removes the interface, unless it is persistent. Resolves when no call into the kernel is under way. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.flush();
    this.#isClosed = true;
    await this.#wait.close();
    this.#libc.symbols.close(this.#fd);
    this.#libc.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Takes one piece. @returns false if there is none. */
  #read(): boolean {
    if (this.#isClosed) return false;
    const { symbols } = this.#libc;
    const length = symbols.read(this.#fd, this.#pieceView, PIECE_ROOM);
    if (length < 0) {
      if (this.#libc.errno() !== Errno.EAGAIN) this.#checkPresence();
      return false;
    }
    this.counters.reads++;
    if (!this.#cutter.begin(this.#piece, length)) this.counters.malformed++;
    return true;
  }

  /** Not by errno: the runtime may have made a call of its own since. */
  #checkPresence(): void {
    this.#libc.symbols.poll(new Uint8Array(this.#poll.buffer), 1n, 0);
    if ((this.#poll[REVENTS]! & POLLERR) === 0) return;
    throw new TunError("gone", `the TUN interface ${this.name} is gone`);
  }

  #write(bin: number, length: number): void {
    const { counters } = this;
    counters.writes++;
    const { symbols } = this.#libc;
    const written = symbols.write(this.#fd, this.#binViews[bin]!, BigInt(length));
    if (written !== length) counters.rejected++;
  }
}

function ownMemory(): TunMemory {
  try {
    const kernels = new Kernels(TunDevice.bytes + CACHE_LINE);
    return {
      memory: kernels.bytes,
      offset: kernels.allocate(TunDevice.bytes, CACHE_LINE),
      sum: (buffer, offset, length, initial) => kernels.sum(buffer, offset, length, initial),
    };
  } catch (error) {
    // A processor without SIMD.
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    return { memory: new Uint8Array(TunDevice.bytes), offset: 0 };
  }
}
