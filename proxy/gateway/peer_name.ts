/**
 * What people are shown for a peer.
 *
 * @module
 */

import type { Device, Peer } from "../../wireguard/mod.ts";
import { decodeKey, encodeKey } from "../base64.ts";

/** What logs and statistics call a peer: its name, or, if it has none, its public key in base64. */
export function peerName(peer: Peer): string {
  return peer.name ?? encodeKey(peer.publicKey);
}

/** The peer of a name, in any case, or of a public key in base64. */
export function findPeer(device: Device, text: string): Peer | undefined {
  const wanted = text.toLowerCase();
  for (const peer of device.peers()) if (peer.name?.toLowerCase() === wanted) return peer;
  const key = decodeKey(text);
  return key && device.peer(key);
}
