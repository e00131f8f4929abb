/**
 * What the UDP forwarder and its sessions count.
 *
 * @module
 */

import type { UdpTargetCounters } from "../target/udp.ts";

/** Totals since the start, by reason. */
export interface UdpForwarderCounters extends UdpTargetCounters {
  sessions: number;
  /** Sessions that ended because nothing went either way. */
  idle: number;
  /** The idlest session of the peer with the most, given up for a new one. */
  evicted: number;
  /** Ended because they were no longer allowed. */
  revoked: number;
  /** Flows ended on request. */
  killed: number;
  /** Not proxied for UDP, or the policy does not allow the target. */
  forbidden: number;
  /** Refused: the peer, or the rule, had as many as it may. */
  overQuota: number;
  /** Dropped because the gateway is closing. */
  closing: number;
  /** No socket could be opened. */
  socketErrors: number;
  datagramsUp: number;
  bytesUp: number;
  datagramsDown: number;
  bytesDown: number;
  /** Replies from senders that the client has not sent to: see `UdpFiltering`. */
  filtered: number;
  /** The tunnel had no room for a reply. */
  noRoom: number;
  /** Datagrams, either way, dropped because they were faster than a rate allows. */
  overRate: number;
  /** What became of a datagram, passed on to the client as ICMP. */
  reports: number;
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
