/**
 * Numbers of epoll and the layout of its events: <sys/epoll.h>.
 *
 * @module
 */

export const EPOLL_CLOEXEC = 0x80000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 0x80000000;

/** struct epoll_event: uint32 events, uint64 data; packed on x86-64 alone. In 32-bit words. */
export const EVENT_WORDS = Deno.build.arch === "x86_64" ? 3 : 4;
export const EVENT_DATA = Deno.build.arch === "x86_64" ? 1 : 2;
