/**
 * What the forwarder of pings and its sessions count.
 *
 * @module
 */

import type { UdpTargetCounters } from "../target/udp.ts";

/** Totals since the start, by reason. */
export interface IcmpForwarderCounters extends UdpTargetCounters {
  sessions: number;
  /** Sessions that ended because nothing went either way. */
  idle: number;
  /** The idlest session of the peer with the most, given up for a new one. */
  evicted: number;
  /** Ended because they were no longer allowed. */
  revoked: number;
  /** Not proxied for pings, or the policy does not allow the target. */
  forbidden: number;
  /** The peer's or the rule's own limit on flows is reached. */
  overQuota: number;
  /** Dropped: faster than the peer's or the rule's rate. */
  overRate: number;
  /** Ended on request. */
  killed: number;
  /** Dropped: the peer pings faster than it may. */
  flooded: number;
  /** Dropped because the gateway is closing. */
  closing: number;
  /** No socket could be opened. */
  socketErrors: number;
  requests: number;
  replies: number;
  /** Of data, behind the ICMP header. */
  bytesUp: number;
  bytesDown: number;
  /** Replies from addresses that the client has not pinged. */
  filtered: number;
  /** The tunnel had no room for a reply. */
  noRoom: number;
  /** What became of a request, passed on to the client as ICMP. */
  reports: number;
}

export function newIcmpCounters(): IcmpForwarderCounters {
  return {
    sessions: 0,
    idle: 0,
    evicted: 0,
    revoked: 0,
    forbidden: 0,
    overQuota: 0,
    overRate: 0,
    killed: 0,
    flooded: 0,
    closing: 0,
    socketErrors: 0,
    requests: 0,
    replies: 0,
    bytesUp: 0,
    bytesDown: 0,
    sendErrors: 0,
    noBuffer: 0,
    receiveErrors: 0,
    filtered: 0,
    noRoom: 0,
    reports: 0,
  };
}
