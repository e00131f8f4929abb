/**
 * The seam between the engine and what carries packets to and from another NIC beside WireGuard's: a
 * TUN device, a socket, two Web Streams.
 *
 * @module
 */

import { type Link, LINK_HEADROOM } from "../../netstack/mod.ts";
import type { LinkDropStats } from "./drops.ts";

/** What the engine is told by a link. */
export interface PacketLinkEvents {
  /**
   * A packet has come. Called during {@link PacketLink.drain} only.
   *
   * @param buffer Borrowed until the call returns; the packet may be changed in place.
   * @param now As given to `drain`.
   */
  receive(buffer: Uint8Array, offset: number, length: number, now: number): void;
  /**
   * Asks for a turn: {@link PacketLink.hasReady} has become true, or there are slots again after
   * `allocate` had none.
   */
  onReadable(): void;
  /** Nothing comes or goes any more, for good. The NIC goes away. */
  onClosed(error?: Error): void;
}

/** Totals since the link was made. */
export interface PacketLinkCounters {
  packetsIn: number;
  bytesIn: number;
  packetsOut: number;
  bytesOut: number;
  /** Towards the other side, by reason, and what came from it and could not be taken. */
  readonly drops: LinkDropStats;
}

/**
 * Carries packets between a NIC and something outside. All its packets lie in its own buffers: a link
 * that is slow holds nobody else's slots.
 *
 * Towards the outside: packets of the stack itself find no slot while the link is full, which is
 * back-pressure and resolved by `onReadable`; those that are passed on from another link are dropped
 * and counted. A link whose other side takes nothing for long must drop rather than be full: what waits
 * for it costs others a look in every turn.
 */
export interface PacketLink extends Link {
  /** For people. */
  readonly name: string;
  readonly counters: PacketLinkCounters;
  /** Once, before anything else. */
  start(events: PacketLinkEvents): void;
  /** Whether {@link drain} has packets to hand over now. */
  readonly hasReady: boolean;
  /** Hands over what has come, a bounded batch of it. Not called while the tunnel has no room. */
  drain(now: number): void;
  /**
   * The end of a turn: sends what it has collected.
   *
   * @param isMoreAtHand Whether datagrams of the tunnel's are in memory, for the turn that follows at once.
   */
  flush(isMoreAtHand: boolean): void;
  /** Idempotent. Calls nobody back from then on. */
  close(): void | Promise<void>;
}

/** Any IP packet fits. */
const LARGEST = 65_536 + 2 * 64;
let scratch: Uint8Array | undefined;

/** The link of a NIC that has been removed: what is still under way ends here. */
export const NOWHERE: Link = {
  get buffer() {
    return scratch ??= new Uint8Array(LARGEST);
  },
  allocate: () => LINK_HEADROOM,
  release() {},
  transmit() {},
  forward: () => true,
};
