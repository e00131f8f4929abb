/**
 * What TCP counts.
 *
 * @module
 */

/** What TCP counted, by reason. */
export class TcpCounters {
  segmentsIn = 0;
  segmentsOut = 0;
  resetsIn = 0;
  resetsOut = 0;
  retransmits = 0;
  timeouts = 0;
  /** Connections established, from either side. */
  established = 0;
  /** Connect attempts that failed. */
  failedConnects = 0;
  /** Connections that ended by reset, timeout or abort. */
  aborted = 0;

  // Dropped, and why.
  malformed = 0;
  /** SYN with FIN, where it would have opened something. */
  badFlags = 0;
  badChecksum = 0;
  /** Address or port nobody listens to; answered with RST. */
  noListener = 0;
  backlogFull = 0;
  halfOpenFull = 0;
  /** Gave way to the half-open connection of an owner that had less than its share. */
  halfOpenEvicted = 0;
  connectionsFull = 0;
  /** SYNs answered without keeping anything, and connections that came of it. */
  synCookiesSent = 0;
  synCookiesAccepted = 0;
  /** Requests that no forwarder answered in time. */
  requestsExpired = 0;
  /** RFC 7323 §5 */
  paws = 0;
  outOfWindow = 0;
  /** Acknowledges what was never sent or long ago (RFC 5961 §5). */
  badAck = 0;
  /** Limits on out-of-order data. */
  outOfOrderPruned = 0;
  /** Segments for which the {@link MemoryBudget} had no memory. */
  droppedNoMemory = 0;
  /** Connections reset because they held memory without moving when it had run out. */
  memoryResets = 0;
  /** Replies outside of any connection, beyond what one flush may send. */
  repliesDropped = 0;

  /** Segments without the timestamps agreed on: taken, and PAWS does not protect them. */
  withoutTimestamp = 0;
  /** Paths that seemed to swallow full segments. */
  blackHoles = 0;
  challengeAcks = 0;
  challengeAcksSuppressed = 0;
  /** ICMP errors that quote nothing we have in flight (RFC 5927 §4). */
  icmpIgnored = 0;
  timeWaitReused = 0;
  timeWaitOverflow = 0;
}
