/**
 * What one end of carriers says of itself.
 *
 * @module
 */

/**
 * `closed`: nothing is wanted, or it is over. `connecting`: there is no carrier yet, or nothing was heard
 * on it. `open`: something was heard. `waiting`: it failed, and is tried again when the time has come.
 */
export type StreamState = "closed" | "connecting" | "open" | "waiting";

/** Plain values. Figures are of all connections that were one after the other. */
export interface CarrierStats {
  /** `tls`, `grpc`. */
  readonly transport: string;
  /** A fallback's as configured, `tls://hub.example.com:443`; of one that came in `tls:192.0.2.7:4000`. */
  readonly endpoint: string;
  readonly state: StreamState;
  /** What went wrong last; null when it is open, and before anything has. */
  readonly problem: string | null;
  /** The name in the certificate of the other side, there or last there; null before. */
  readonly name: string | null;
  /** Of WireGuard, as is what follows; bytes are theirs, without those of TLS and gRPC. */
  readonly receivedDatagrams: number;
  readonly receivedBytes: number;
  readonly sentDatagrams: number;
  readonly sentBytes: number;
}

/** What has them: the ends of carriers, of all {@link BindEndpoint}s. */
export interface HasCarrierStats {
  carrierStats(): CarrierStats;
}
