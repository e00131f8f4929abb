/**
 * Carriers in gRPC: `proto/relay.proto`.
 *
 * @module
 */

export { GrpcAcceptor } from "./acceptor.ts";
export { GrpcDialer, type GrpcDialerOptions } from "./dialer.ts";
