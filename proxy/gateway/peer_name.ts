/**
 * What people are shown for a peer.
 *
 * @module
 */

import type { Peer } from "../../wireguard/mod.ts";
import { encodeKey } from "../base64.ts";

/** What logs and statistics call a peer: its name, or, if it has none, its public key in base64. */
export function peerName(peer: Peer): string {
  return peer.name ?? encodeKey(peer.publicKey);
}
