/**
 * What IP, ICMP and UDP count.
 *
 * @module
 */

/** Packets of the IP layer, and why some went no further. */
export class IpCounters {
  received = 0;
  /** Handed to a transport protocol; a reassembled packet counts once. */
  delivered = 0;
  forwarded = 0;
  /** Not passed through, or not let in: a filter was against it. */
  filtered = 0;
  /** Not passed through: a NAT knows nothing of it, and has counted why. */
  untranslated = 0;
  /** Sent by this stack; every fragment counts. */
  sent = 0;

  /** Header, version or length fields that do not fit the packet. */
  malformed = 0;
  badChecksum = 0;
  /** Malformed IPv4 options. */
  badOptions = 0;
  /** Loose or strict source routes, and routing headers with segments left. */
  sourceRouted = 0;
  /** IPv6 extension headers: malformed, too many, or refusing to be skipped. */
  badExtension = 0;
  /** Multicast, unspecified, loopback or our own address as the source. */
  badSource = 0;
  /** Broadcast, multicast, unspecified or loopback as the destination. */
  badDestination = 0;
  noRoute = 0;
  hopLimitExceeded = 0;
  /** Does not fit the next link and must not be fragmented. */
  tooBig = 0;
  /** Dropped on the way to another link, by whoever limits that. */
  overRate = 0;
  unknownProtocol = 0;
  /** The link had no slot, or the queue before it was full. */
  noBuffer = 0;

  /** Put aside by a NAT until the first of its packet has come, and taken in again after that. */
  fragmentsHeld = 0;
  fragmentsReleased = 0;
  fragmentsReceived = 0;
  fragmentsSent = 0;
  reassembled = 0;
  /** Fragments with an impossible length or offset. */
  badFragment = 0;
  /** Datagrams given up because fragments overlapped or contradicted each other. */
  reassemblyOverlap = 0;
  /** Datagrams given up because they came in too many pieces. */
  reassemblyTooMany = 0;
  reassemblyTimeout = 0;
  /** Datagrams given up to stay within the memory limit. */
  reassemblyEvicted = 0;
}

/** ICMP and ICMPv6. */
export class IcmpCounters {
  received = 0;
  sent = 0;
  malformed = 0;
  badChecksum = 0;
  echoReplies = 0;
  /** Echo requests for addresses that are not the ingress NIC's own, and that no forwarder takes. */
  echoIgnored = 0;
  /** Echo requests that a forwarder took, and replies that it sent. */
  echoForwarded = 0;
  echoReturned = 0;
  /** Echo requests that a forwarder's policy refused, and those that it dropped. */
  echoProhibited = 0;
  echoDropped = 0;
  /** Echo requests for which the flow table was full. */
  flowLimit = 0;
  errorsReceived = 0;
  /** Errors that quote nothing we could have sent. */
  errorsIgnored = 0;
  errorsSent = 0;
  /** Errors that must not be sent: about errors, fragments, multicast. */
  errorsForbidden = 0;
  errorsRateLimited = 0;
  /** Types that nobody here handles. */
  unhandled = 0;
}

/** UDP datagrams. */
export class UdpCounters {
  received = 0;
  sent = 0;
  malformed = 0;
  badChecksum = 0;
  /** For an own address and a port nobody is bound to, or refused by the forwarder. */
  portUnreachable = 0;
  /** Refused by the forwarder's policy. */
  prohibited = 0;
  /** Dropped by the forwarder. */
  dropped = 0;
  /** The flow table was full. */
  flowLimit = 0;
  noRoute = 0;
  /** The link had no slot, or the queue before it was full. */
  noBuffer = 0;
}
