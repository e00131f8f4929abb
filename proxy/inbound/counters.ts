/**
 * What inbounds count, all together.
 *
 * @module
 */

import { newTcpCounters, type TcpForwarderCounters } from "../forward/tcp_counters.ts";
import { newUdpCounters, type UdpForwarderCounters } from "../forward/udp_counters.ts";

/** The "client" of all of them is a program of this host, the target is inside the tunnel. */
export interface InboundCounters {
  readonly tcp: TcpForwarderCounters;
  readonly udp: UdpForwarderCounters;
  readonly capture: CaptureCounters;
}

/** Totals since the start, by reason: what never became a flow. */
export interface CaptureCounters {
  /** Connections made to a redirect's own port, which nobody redirected: reset. */
  direct: number;
  /** Connections of which the kernel does not know where they wanted to go: reset. */
  unknown: number;
  /** How often there was no descriptor for a connection that waits. */
  exhausted: number;
  /** Datagrams without the address that they were on their way to: dropped. */
  stray: number;
  /** Sockets for answers that could not be opened: their datagrams are dropped. */
  noReplySocket: number;
}

export function newInboundCounters(): InboundCounters {
  return {
    tcp: newTcpCounters(),
    udp: newUdpCounters(),
    capture: { direct: 0, unknown: 0, exhausted: 0, stray: 0, noReplySocket: 0 },
  };
}
