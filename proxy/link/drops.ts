/**
 * What links beside WireGuard's drop, by reason, and what they take for a packet.
 *
 * @module
 */

import { IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH } from "../../netstack/mod.ts";

/** Packets that went nowhere, by reason. A reason that a kind of link does not know is missing. */
export interface LinkDropStats {
  /** Frames without a packet. */
  readonly empty?: number;
  /** What is no IP packet. */
  readonly notIp?: number;
  /** Larger than the link's MTU. */
  readonly tooBig?: number;
  /** From outside of the link's prefixes. */
  readonly foreignSource?: number;
  /** No room for what came from another link. */
  readonly full?: number;
  /** The other side took nothing for long. */
  readonly stalled?: number;
  /** There is no other side. */
  readonly down?: number;
  /** From somebody who is not the other side of a link of datagrams. */
  readonly otherSender?: number;
  /** What the system did not send, of a link of datagrams. */
  readonly sendFailed?: number;
  /** What the kernel of a device handed over and made no sense. */
  readonly malformed?: number;
  /** What the kernel of a device did not take. */
  readonly rejected?: number;
}

/** Those of every link but a device, as they are counted. */
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
