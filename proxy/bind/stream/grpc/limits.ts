/**
 * What is agreed on in gRPC, and how much of anything there may be.
 *
 * @module
 */

/** HTTP/2, by ALPN. */
export const PROTOCOL = "h2";
/** Of a message: what is written at once, and what protobuf adds. */
export const MAX_MESSAGE = 65_600;
/** Bytes of frames that make a full one: with what is before them, one record of TLS. */
export const FULL_MESSAGE = (16 << 10) - 9 - 5 - 3;
/** The first that a client begins in HTTP/2, and the only one. */
export const CALL_STREAM = 1;
/**
 * Bytes that the other side may send before it must wait for us, of a call and so of its connection.
 * HTTP/2 begins with 64 KiB, which are 10 Mbit/s at a round trip of 50 ms.
 */
export const WINDOW = 1 << 20;
/** From TCP until the server's headers have come. */
export const DIAL_LIMIT_MS = 15_000;
/** From the end of the TLS handshake until there is a call. */
export const CALL_LIMIT_MS = 10_000;
/** Connections that have no call yet; of one holder of certificates. One more ends the oldest. */
export const MOST_SILENT = 512;
export const MOST_SILENT_OF_ONE = 64;
/** How long a refusal may take to reach the other side. */
export const GOODBYE_MS = 1_000;
/** Connections at once whose other ends are told why they are refused; of others they only end. */
export const MOST_REFUSED = 64;
/** Megabytes that HTTP/2 may hold for a connection, headers and frames. */
export const SESSION_MEMORY_MB = 4;
