/**
 * Thousands of UDP sockets of one thread: made by the C library, so that no runtime looks at them, and
 * waited for by one epoll.
 *
 * @module
 */

import { AF_INET } from "../../ffi/mod.ts";
import { SOL_UDP, UDP_GRO } from "../../ffi/udp_layout.ts";

const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
/** Of each: pairs that have all of the link to themselves have that much under way. */
const BUFFER_BYTES = 4 << 20;
/** Words of struct epoll_event, which is packed on x86-64 alone. */
const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4;
const DATA_WORD = EVENT_WORDS - 2;
const MAX_EVENTS = 256;

export class Sockets {
  readonly #libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    epoll_create1: { parameters: ["i32"], result: "i32" },
    epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
    epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  });
  readonly #epoll = this.#libc.symbols.epoll_create1(0);
  readonly #events = new Int32Array(EVENT_WORDS * MAX_EVENTS);

  /**
   * @param sockaddr Struct sockaddr_in, where it is bound.
   * @param number Of at most 31 bits: what {@link ready} calls it.
   * @returns the descriptor.
   * @throws {Error} if the system refuses.
   */
  open(sockaddr: Uint8Array<ArrayBuffer>, number: number): number {
    const { symbols } = this.#libc;
    const fd = symbols.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) throw new Error(`no socket ${number}, expected a higher limit of open files`);
    const set = (level: number, option: number, value: number) =>
      symbols.setsockopt(fd, level, option, Int32Array.of(value), 4);
    set(SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES);
    set(SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES);
    set(SOL_UDP, UDP_GRO, 1);
    if (symbols.bind(fd, sockaddr, sockaddr.length) < 0) {
      throw new Error(`socket ${number} cannot be bound, expected its address to be this host's`);
    }
    const event = new Int32Array(EVENT_WORDS);
    event[0] = EPOLLIN;
    event[DATA_WORD] = number;
    if (symbols.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, event) < 0) {
      throw new Error(`socket ${number} cannot be waited for`);
    }
    return fd;
  }

  /** Calls `take` with the number of each that has something to be read, and stays so until it was. */
  ready(take: (number: number) => void): void {
    const events = this.#events;
    const count = this.#libc.symbols.epoll_wait(this.#epoll, events, MAX_EVENTS, 0);
    for (let i = 0; i < count; i++) take(events[i * EVENT_WORDS + DATA_WORD]!);
  }
}
