/**
 * Defaults of `[Proxy]`, also for a proxy that is switched on without that section, and of `[Status]`.
 *
 * @module
 */

import type { ProxyLimits, ProxyTimeouts } from "./checked.ts";
import type { UdpFiltering } from "./input.ts";

export const DEFAULT_TIMEOUTS: ProxyTimeouts = {
  tcpDialMs: 5_000,
  tcpHalfCloseMs: 60_000,
  tcpKeepAliveIdleMs: 60_000,
  tcpKeepAliveIntervalMs: 30_000,
  tcpKeepAliveCount: 9,
  udpIdleMs: 60_000,
  udpDnsIdleMs: 30_000,
  icmpIdleMs: 30_000,
};

export const DEFAULT_LIMITS: ProxyLimits = {
  maxDials: 2_048,
  maxTcpConnections: 16_384,
  maxUdpSessions: 4_096,
  maxPingSessions: 1_024,
  maxPingRate: 2_000,
};

/** Of a rate: that much may be saved up. Longer than the process ever stalls, or it would be lost. */
export const DEFAULT_RATE_BURST_MS = 200;

/** RFC 4787 REQ-8: so that servers work that answer from another port, such as TFTP's. */
export const DEFAULT_UDP_FILTERING: UdpFiltering = "address";

/** Of `[Status]`. */
export const DEFAULT_STATUS = { listen: "127.0.0.1:9586", maxPeers: 100 } as const;
