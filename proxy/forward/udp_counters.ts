/**
 * What the UDP forwarder and its sessions count.
 *
 * @module
 */

import type { SessionCounters } from "./session_counters.ts";

/** Totals since the start, by reason. */
export interface UdpForwarderCounters extends SessionCounters {
  datagramsUp: number;
  datagramsDown: number;
  /** Replies from senders that the client has not sent to: see `UdpFiltering`. */
  filtered: number;
}

export function newUdpCounters(): UdpForwarderCounters {
  return {
    sessions: 0,
    idle: 0,
    evicted: 0,
    revoked: 0,
    killed: 0,
    forbidden: 0,
    overQuota: 0,
    closing: 0,
    socketErrors: 0,
    datagramsUp: 0,
    bytesUp: 0,
    datagramsDown: 0,
    bytesDown: 0,
    sendErrors: 0,
    noBuffer: 0,
    receiveErrors: 0,
    filtered: 0,
    noRoom: 0,
    overRate: 0,
    reports: 0,
  };
}
