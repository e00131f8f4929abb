/**
 * What a stream bind counts.
 *
 * @module
 */

export interface StreamCounters {
  /** Datagrams. */
  received: number;
  receivedBytes: number;
  /** Datagrams given to a carrier. */
  sent: number;
  sentBytes: number;
  heartbeatsReceived: number;
  heartbeatsSent: number;
  /** Datagrams that had to make room for younger ones. */
  droppedFull: number;
  /** Datagrams that waited for too long. */
  droppedStale: number;
  /** Datagrams for somebody to whom there is no carrier, or none any more. */
  droppedNoCarrier: number;
  /** Carriers that were closed for what was in the stream. */
  badFrames: number;
  /** Carriers accepted. */
  accepted: number;
  /** Carriers that were not accepted, for there are too many. */
  refused: number;
  /** Carriers that were accepted, and had to go for others. */
  evicted: number;
  /** Carriers opened. */
  dialled: number;
  dialFailures: number;
  /** Carriers that the other side, or the network, ended. */
  lost: number;
  /** Carriers that were closed because nothing was heard. */
  silent: number;
  /** Carriers that were closed because the other side read nothing. */
  stalled: number;
}

export function newStreamCounters(): StreamCounters {
  return {
    received: 0,
    receivedBytes: 0,
    sent: 0,
    sentBytes: 0,
    heartbeatsReceived: 0,
    heartbeatsSent: 0,
    droppedFull: 0,
    droppedStale: 0,
    droppedNoCarrier: 0,
    badFrames: 0,
    accepted: 0,
    refused: 0,
    evicted: 0,
    dialled: 0,
    dialFailures: 0,
    lost: 0,
    silent: 0,
    stalled: 0,
  };
}
