/**
 * Carriers in gRPC: `proto/relay.proto`.
 *
 * @module
 */

export { GrpcDialer, type GrpcDialerOptions } from "./dialer.ts";
export { GrpcListener, type GrpcListenerOptions } from "./listener.ts";

/**
 * Loads the library, which dials and listens: a process that is about to lose the right to read files
 * needs it before. Otherwise the first dial does it.
 */
export async function loadGrpc(): Promise<void> {
  await import("./library.ts");
}
