/**
 * What the forwarder of pings and its sessions count.
 *
 * @module
 */

import type { SessionCounters } from "./session_counters.ts";

/** Totals since the start, by reason. */
export interface IcmpForwarderCounters extends SessionCounters {
  /** Dropped: the peer pings faster than it may. */
  flooded: number;
  requests: number;
  replies: number;
  /** Replies from addresses that the client has not pinged. */
  filtered: number;
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
