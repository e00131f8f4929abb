/**
 * What links beside WireGuard's drop, by reason, and what they take for a packet.
 *
 * @module
 */

import { IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH } from "../../netstack/mod.ts";

/** What became of packets that went nowhere. */
export interface LinkDrops {
  /** Frames without a packet. */
  empty: number;
  /** What is no IP packet. */
  notIp: number;
  /** Larger than the link's MTU. */
  tooBig: number;
  /** From outside of the link's prefixes. */
  foreignSource: number;
  /** No room for what came from another link. */
  full: number;
  /** The other side took nothing for long. */
  stalled: number;
  /** There is no other side. */
  down: number;
  [reason: string]: number;
}

export function newDrops(): LinkDrops {
  return { empty: 0, notIp: 0, tooBig: 0, foreignSource: 0, full: 0, stalled: 0, down: 0 };
}

/**
 * Why what has come by a link is no packet of its NIC; undefined if it is one.
 *
 * @param mtu Of the link, bytes.
 */
export function whyNoPacket(
  buffer: Uint8Array,
  offset: number,
  length: number,
  mtu: number,
): "empty" | "notIp" | "tooBig" | undefined {
  if (length === 0) return "empty";
  const version = buffer[offset]! >> 4;
  if (version !== 4 && version !== 6) return "notIp";
  if (length < (version === 4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH)) return "notIp";
  return length > mtu ? "tooBig" : undefined;
}
