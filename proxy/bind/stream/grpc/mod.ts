/**
 * Carriers in gRPC: `proto/relay.proto`.
 *
 * @module
 */

export { FULL_MESSAGE } from "./limits.ts";
export { GrpcDialer } from "./dialer.ts";
export { GrpcListener, type GrpcListenerOptions } from "./listener.ts";
export { loadLibrary } from "./load.ts";
