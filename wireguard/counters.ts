/**
 * What a device has seen, and why it dropped what it dropped.
 *
 * @module
 */

/** Totals since the device was made. Flat numbers, so that a snapshot is a spread. */
export class DeviceCounters {
  datagramsReceived = 0;
  bytesReceived = 0;
  datagramsSent = 0;
  bytesSent = 0;
  /** Inner packets handed to the sink, and sealed. */
  packetsReceived = 0;
  packetsSent = 0;
  keepalivesReceived = 0;
  keepalivesSent = 0;
  /** Questions and answers whether a path works. */
  probesReceived = 0;
  probesSent = 0;
  initiationsReceived = 0;
  initiationsSent = 0;
  responsesReceived = 0;
  responsesSent = 0;
  cookieRepliesReceived = 0;
  cookieRepliesSent = 0;
  /** Cookie replies not sent: over the limit of the source, or of all sources together. */
  cookieRepliesSuppressed = 0;

  /** Not a message of the protocol: type, reserved bytes or size. */
  droppedMalformed = 0;
  /** A receiver index that names no session or handshake. */
  droppedUnknownIndex = 0;
  /** Transport data of a session past REJECT_AFTER_TIME or REJECT_AFTER_MESSAGES. */
  droppedExpired = 0;
  /** A counter seen before, or behind the replay window. */
  droppedReplayed = 0;
  /** Transport data with a wrong tag. */
  droppedBadTag = 0;
  /** Inner packet that is no IP packet, or whose length does not fit. */
  droppedInnerMalformed = 0;
  /** Inner source that is not this peer's to use. */
  droppedInnerSource = 0;
  /** Handshake message with a wrong mac1. */
  droppedBadMac = 0;
  /** Handshake queue full. */
  droppedQueueFull = 0;
  /** Without a cookie, under load or from a source that keeps failing. It gets one, within limits. */
  droppedUnderLoad = 0;
  /** Handshake message with a valid cookie, over the rate limit of its source. */
  droppedRateLimited = 0;
  /** Initiation that does not authenticate, or of a key that is no peer. */
  droppedBadInitiation = 0;
  /** Initiation that was worked on before, or whose timestamp is not later than the peer's last. */
  droppedReplayedInitiation = 0;
  /** Initiation of a replica of the peer, while the one that has the session answers. */
  droppedOtherReplica = 0;
  /** Of a peer who may not speak where it came from, see `Sender.only`: data, or a handshake. */
  droppedOtherSpeaker = 0;
  /** Initiation beyond fifty per second of one peer. */
  droppedInitiationFlood = 0;
  /** Response that does not authenticate. */
  droppedBadResponse = 0;
  /** Cookie reply that does not authenticate, or that answers no message of ours. */
  droppedBadCookie = 0;

  /** Outgoing packets: no IP packet; no peer owns the destination; the peer has no endpoint. */
  droppedInvalid = 0;
  droppedNoPeer = 0;
  droppedNoEndpoint = 0;
  /** Outgoing packets given up before a handshake completed: queue full, or no answer. */
  droppedStaged = 0;
}
