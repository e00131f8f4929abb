/**
 * Linux's calls for batches of datagrams, and their structs as arrays in typed arrays:
 * <bits/socket.h>, <linux/udp.h>. x86-64 and ARM64 have the same layout.
 *
 * @module
 */

import { addressOf, type Libc, store64 } from "./libc.ts";

export const UDP_CALLS = {
  dup: { parameters: ["i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "pointer"], result: "i32" },
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  wait: { name: "poll", parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
} as const;

export type UdpLibc = Libc<typeof UDP_CALLS>;

/** struct iovec: void *base, size_t length. */
export const IOVEC_SIZE = 16;

/** struct mmsghdr: a struct msghdr of 56 bytes, unsigned length, padding. */
export const MMSGHDR_SIZE = 64;
// As indices of 32-bit words from the start of a struct mmsghdr.
export const NAME_LENGTH = 8 / 4;
export const IOV = 16 / 4;
export const IOV_LENGTH = 24 / 4;
export const CONTROL_LENGTH = 40 / 4;
export const MESSAGE_LENGTH = 56 / 4;
const NAME = 0 / 4;
const CONTROL = 32 / 4;

/**
 * From one socket address to the next: a struct sockaddr_in6 has 28 bytes, a sockaddr_in 16. Behind
 * those of a received message is the address of this host that it was sent to, 4 or 16 bytes.
 */
export const NAME_SIZE = 48;
/** As an index of 32-bit words from the start of a socket address. */
export const LOCAL = 32 / 4;
/** The same, of the first word of the socket address that a foreign datagram was on its way to. */
export const ORIGINAL = 28 / 4;

/**
 * From one control buffer to the next: room for a struct cmsghdr with an int, CMSG_SPACE(4), and one
 * with a struct in6_pktinfo, CMSG_SPACE(20). A struct in_pktinfo is shorter.
 */
export const CONTROL_SIZE = 64;
export const SEGMENT_CONTROL_SIZE = 24;
// struct cmsghdr: size_t length, int level, int type, data; as indices of 32-bit words.
export const CMSG_LEVEL = 8 / 4;
export const CMSG_TYPE = 12 / 4;
export const CMSG_DATA = 16 / 4;
const CMSG_HEADER_SIZE = 16;
/** CMSG_ALIGN: each begins at a multiple of a size_t. */
export const cmsgAligned = (length: number): number => length + 7 & ~7;

export const SOL_IP = 0;
/** A socket's, and the one a message came with: int. */
export const IP_TTL = 2;
export const IP_RECVTTL = 12;
/** Value: struct in_pktinfo: int interface, 4 bytes the local address, 4 the destination. */
export const IP_PKTINFO = 8;
/** Value: struct sockaddr_in, where a datagram was on its way to. */
export const IP_ORIGDSTADDR = 20;
export const SOL_IPV6 = 41;
export const IPV6_UNICAST_HOPS = 16;
export const IPV6_RECVHOPLIMIT = 51;
/** The one a message came with: int. */
export const IPV6_HOPLIMIT = 52;
/** Value: struct sockaddr_in6. */
export const IPV6_ORIGDSTADDR = 74;
export const IPV6_RECVPKTINFO = 49;
/** Value: struct in6_pktinfo: 16 bytes the local address, unsigned interface. */
export const IPV6_PKTINFO = 50;
/** Bytes of the values, and words from their start to the local address. */
export const PKTINFO_SIZE = { 4: 12, 16: 20 } as const;
export const PKTINFO_ADDRESS = { 4: 4 / 4, 16: 0 } as const;
export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

/**
 * Struct mmsghdr, `count` of them, each with a socket address and a control buffer of its own. The
 * kernel gets these buffers' addresses: hold this object for as long as they are in use.
 */
export class MessageArray {
  readonly count: number;
  /** All structs, as words. A message begins at every `MMSGHDR_SIZE / 4`th. */
  readonly words: Uint32Array;
  /** The socket addresses, {@link NAME_SIZE} bytes each. */
  readonly names: Uint8Array<ArrayBuffer>;
  /** The control buffers, {@link CONTROL_SIZE} bytes each unless told otherwise, as words. */
  readonly controls: Uint32Array;
  /** The structs from the n-th on, to hand to the kernel. */
  readonly from: readonly Uint8Array<ArrayBuffer>[];
  readonly #control: number;
  readonly #controlSize: number;

  /** @param controlSize Bytes of a control buffer, a multiple of 8. */
  constructor(count: number, controlSize: number = CONTROL_SIZE) {
    this.count = count;
    const structs = new Uint8Array(count * MMSGHDR_SIZE);
    const controls = new Uint8Array(count * controlSize);
    this.#controlSize = controlSize;
    this.words = new Uint32Array(structs.buffer);
    this.names = new Uint8Array(count * NAME_SIZE);
    this.controls = new Uint32Array(controls.buffer);
    this.from = Array.from({ length: count }, (_, i) => structs.subarray(i * MMSGHDR_SIZE));
    const name = addressOf(this.names);
    const control = this.#control = addressOf(controls);
    for (let i = 0; i < count; i++) {
      const at = i * MMSGHDR_SIZE / 4;
      store64(this.words, at + NAME, name + i * NAME_SIZE);
      store64(this.words, at + CONTROL, control + i * controlSize);
    }
  }

  /**
   * Heads a control message with a value of `bytes` bytes, `from` bytes into the n-th control buffer.
   *
   * @returns where its value begins, as an index of words.
   */
  setControl(n: number, from: number, level: number, type: number, bytes: number): number {
    const at = (n * this.#controlSize + from) / 4;
    store64(this.controls, at, CMSG_HEADER_SIZE + bytes);
    this.controls[at + CMSG_LEVEL] = level;
    this.controls[at + CMSG_TYPE] = type;
    return at + CMSG_DATA;
  }

  /** Makes `length` bytes, `from` bytes into the n-th control buffer, the n-th message's. */
  attachControl(n: number, from: number, length: number): void {
    const at = n * MMSGHDR_SIZE / 4;
    store64(this.words, at + CONTROL, this.#control + n * this.#controlSize + from);
    this.words[at + CONTROL_LENGTH] = length;
  }
}

/** Struct iovec, `count` of them, for pieces of one memory. Held like {@link MessageArray}. */
export class IovecArray {
  readonly #words: Uint32Array;
  readonly #address: number;
  /** Holds the memory: the kernel has its address. */
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #base: number;

  constructor(count: number, memory: Uint8Array<ArrayBuffer>) {
    const structs = new Uint8Array(Math.max(1, count) * IOVEC_SIZE);
    this.#words = new Uint32Array(structs.buffer);
    this.#address = addressOf(structs);
    this.#memory = memory;
    this.#base = addressOf(this.#memory);
  }

  /** Makes the n-th one `length` bytes from `offset` of the memory. */
  set(n: number, offset: number, length: number): void {
    store64(this.#words, n * IOVEC_SIZE / 4, this.#base + offset);
    store64(this.#words, n * IOVEC_SIZE / 4 + 2, length);
  }

  /** Makes `count` of them from the n-th on the pieces of a message. */
  attach(words: Uint32Array, message: number, n: number, count: number): void {
    const at = message * MMSGHDR_SIZE / 4;
    store64(words, at + IOV, this.#address + n * IOVEC_SIZE);
    words[at + IOV_LENGTH] = count;
  }
}
