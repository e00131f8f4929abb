/**
 * Numbers of Linux's sockets that several kinds of them need, the same on x86-64 and ARM64:
 * <bits/socket_type.h>, <bits/socket.h>, <asm-generic/socket.h>.
 *
 * @module
 */

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

export const MSG_PEEK = 0x2;
export const MSG_DONTWAIT = 0x40;

export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_RCVBUF = 8;
export const SO_LINGER = 13;
export const SO_MARK = 36;
