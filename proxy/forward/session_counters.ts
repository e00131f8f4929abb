/**
 * What forwarders of sessions have in common to count.
 *
 * @module
 */

import type { UdpTargetCounters } from "../target/udp.ts";

/** Totals since the start, by reason. */
export interface SessionCounters extends UdpTargetCounters {
  sessions: number;
  /** Sessions that ended because nothing went either way. */
  idle: number;
  /** The idlest session of the peer with the most, given up for a new one. */
  evicted: number;
  /** Ended because they were no longer allowed. */
  revoked: number;
  /** Ended on request. */
  killed: number;
  /** Not proxied for this protocol, or the policy does not allow the target. */
  forbidden: number;
  /** Refused: the peer, or the rule, had as many as it may. */
  overQuota: number;
  /** Dropped, either way: faster than a rate allows. */
  overRate: number;
  /** Dropped because the gateway is closing. */
  closing: number;
  /** No socket could be opened. */
  socketErrors: number;
  /** Of data, without headers. */
  bytesUp: number;
  bytesDown: number;
  /** The tunnel had no room for a reply. */
  noRoom: number;
  /** What became of a datagram or request, passed on to the client as ICMP. */
  reports: number;
}
