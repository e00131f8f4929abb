/**
 * What `show` shows, as `show --json` prints it.
 *
 * @module
 */

import type { ControlledStats } from "../control/handlers.ts";
import type { CarrierStats } from "../bind/stream/mod.ts";
import type { PeerOrigin } from "../gateway/peer_sources.ts";

/** What is shown. Plain values; secrets are only told to be there. */
export interface ShownGateway {
  readonly name: string;
  /** Null when there is none. */
  readonly publicKey: string | null;
  readonly privateKey: "(hidden)" | null;
  readonly listenPort: number;
  readonly fwMark: number;
  readonly peers: readonly ShownPeer[];
  /** Null for another program's interface. */
  readonly gateway: ControlledStats | null;
}

export interface ShownTransport {
  /** `udp`, `tls`, `grpc`. */
  readonly name: string;
  /** Where to, as it is written: `tls://hub.example.com:443`. */
  readonly endpoint: string | null;
  /** Seconds since the Unix epoch. */
  readonly since: number;
  /** How often it has been another before. */
  readonly switches: number;
}

export interface ShownPeer {
  readonly publicKey: string;
  /** Null when there is none, or it is another program's. */
  readonly name: string | null;
  /** Who says that there is such a peer; null where that is not known. */
  readonly origin: PeerOrigin | null;
  readonly presharedKey: "(hidden)" | null;
  readonly endpoint: string | null;
  /** What its datagrams travel by; null for UDP alone, and for another program's peer. */
  readonly transport: ShownTransport | null;
  /** What carries them, or would, where that is not UDP. */
  readonly carriers: readonly CarrierStats[];
  readonly allowedIps: readonly string[];
  /** Seconds since the Unix epoch, 0 for never. */
  readonly latestHandshake: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** Seconds, 0 is off. */
  readonly persistentKeepalive: number;
}
