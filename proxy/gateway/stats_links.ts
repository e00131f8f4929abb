/**
 * Statistics of links, as plain values.
 *
 * @module
 */

import type { NatCounters } from "../../netstack/mod.ts";
import type { EngineLink } from "../engine/link_port.ts";
import type { LinkDropStats } from "../link/drops.ts";

export type { LinkDropStats };

/** A link beside WireGuard as it is now. */
export interface LinkStats {
  /** As configured. */
  readonly name: string;
  /** `unix:/run/phone.sock`; null for one that is no socket of this host, or is not open. */
  readonly place: string | null;
  /** `listening` and `connecting`: there is nobody. `closed`: it could not be opened. */
  readonly state: "connected" | "listening" | "connecting" | "closed";
  /** The other side; null if there is none, or it has no name. */
  readonly peer: string | null;
  /** Other sides so far. */
  readonly connections: number;
  /** Why the last one is gone, or the link could not be opened; null for neither. */
  readonly lastEnd: string | null;
  /** What is behind it. None: anything that is routed nowhere else. */
  readonly prefixes: readonly string[];
  /** Bytes. */
  readonly mtu: number;
  /** From the other side, and to it. */
  readonly packetsIn: number;
  /** As {@link packetsIn}. */
  readonly bytesIn: number;
  /** As {@link packetsIn}. */
  readonly packetsOut: number;
  /** As {@link packetsIn}. */
  readonly bytesOut: number;
  /** Packets that went nowhere, by reason. */
  readonly drops: LinkDropStats;
  /** Of its NAT; null without one. */
  readonly nat: LinkNatStats | null;
}

/** A link's NAT as it is now. */
export interface LinkNatStats {
  /** What those behind the link appear as. */
  readonly addresses: readonly string[];
  /** Addresses and ports behind it that have one of the NAT's ports. */
  readonly mappings: number;
  /** Their remote ends. */
  readonly sessions: number;
  /** Totals since the link was opened. */
  readonly counters: Readonly<NatCounters>;
}

/** The operating system's device of a whole-system tunnel as it is now. */
export interface DeviceStats {
  /** As `ip link` has it. */
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  /** From this host, and to it. */
  readonly packetsIn: number;
  /** As {@link packetsIn}. */
  readonly bytesIn: number;
  /** As {@link packetsIn}. */
  readonly packetsOut: number;
  /** As {@link packetsIn}. */
  readonly bytesOut: number;
  /** Packets that went nowhere, by reason. */
  readonly drops: LinkDropStats;
}

export function deviceStats({ link, nic }: EngineLink): DeviceStats {
  const { packetsIn, bytesIn, packetsOut, bytesOut, drops } = link.counters;
  const counts = { packetsIn, bytesIn, packetsOut, bytesOut, drops: { ...drops } };
  return { name: link.name, mtu: nic.mtu, ...counts };
}
