/**
 * Carriers in gRPC: `proto/relay.proto`.
 *
 * @module
 */

export { GrpcDialer } from "./dialer.ts";
export { GrpcListener, type GrpcListenerOptions } from "./listener.ts";
export { loadLibrary } from "./load.ts";
