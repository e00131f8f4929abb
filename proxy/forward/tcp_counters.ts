/**
 * What is counted of TCP connections that are dialled for somebody.
 *
 * @module
 */

/** Totals since the start, by reason. */
export interface TcpForwarderCounters {
  requests: number;
  connected: number;
  refused: number;
  timedOut: number;
  unreachable: number;
  /** A dial failed for a reason of this host: no file descriptor, no permission. */
  failed: number;
  /** The client gave up or started again while the target was dialled. */
  abandoned: number;
  /** Not proxied for TCP, or the policy does not allow the target. */
  forbidden: number;
  /** Dropped, for the client to try again: the limit on dials in flight was reached. */
  tooManyDials: number;
  /** Refused: the limit on connections was reached, and none has to give way. */
  tooManyConnections: number;
  /** Refused: the peer, or the rule, had as many as it may. */
  overQuota: number;
  /** Idle connections, and unanswered dials, ended to make room for a peer that has fewer. */
  evicted: number;
  /** Ended because they were no longer allowed. */
  revoked: number;
  /** Ended on request. */
  killed: number;
  /** Refused because the gateway is closing. */
  closing: number;
  resetByClient: number;
  resetByTarget: number;
  halfClosedTooLong: number;
  bytesUp: number;
  bytesDown: number;
}

export function newTcpCounters(): TcpForwarderCounters {
  return {
    requests: 0,
    connected: 0,
    refused: 0,
    timedOut: 0,
    unreachable: 0,
    failed: 0,
    abandoned: 0,
    forbidden: 0,
    tooManyDials: 0,
    tooManyConnections: 0,
    overQuota: 0,
    evicted: 0,
    revoked: 0,
    killed: 0,
    closing: 0,
    resetByClient: 0,
    resetByTarget: 0,
    halfClosedTooLong: 0,
    bytesUp: 0,
    bytesDown: 0,
  };
}
