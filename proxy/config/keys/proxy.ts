/**
 * The keys of [Proxy].
 *
 * @module
 */

import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS, DEFAULT_UDP_FILTERING } from "../defaults.ts";
import type { ProxyInput } from "../input.ts";
import { keysOf } from "./key.ts";

export const PROXY_KEYS = keysOf<ProxyInput>("proxy", [
  {
    name: "Subnets",
    field: "subnets",
    list: "comma",
    flag: "proxy-subnet",
    argument: "PREFIX,…",
    help: "targets that peers may reach (an agent's default: what Map names)",
  },
  {
    name: "Protocols",
    field: "protocols",
    list: "comma",
    flag: "protocols",
    argument: "tcp,udp,icmp",
    help: "what is forwarded (default all three)",
  },
  {
    name: "Map",
    field: "map",
    list: "comma",
    flag: "map",
    argument: "FROM=TO",
    help: "dial TO for targets in FROM; `FROM -> TO` is the same",
  },
  {
    name: "Interface",
    field: "interface",
    flag: "proxy-interface",
    argument: "nic1|nic2",
    help: "nic1: forward on the tunnel's own interface (default nic2)",
  },
  {
    name: "TcpDialTimeout",
    field: "tcpDialTimeout",
    flag: "tcp-dial-timeout",
    argument: "SECONDS",
    help: `for a connection to a target (default ${DEFAULT_TIMEOUTS.tcpDialMs / 1000})`,
  },
  {
    name: "TcpHalfCloseTimeout",
    field: "tcpHalfCloseTimeout",
    flag: "tcp-half-close-timeout",
    argument: "SECONDS",
    help: `without data once one side has ended (default ${
      DEFAULT_TIMEOUTS.tcpHalfCloseMs / 1000
    })`,
  },
  {
    name: "TcpKeepaliveIdle",
    field: "tcpKeepaliveIdle",
    flag: "tcp-keepalive-idle",
    argument: "SECONDS",
    help: `without a segment before probes begin (default ${
      DEFAULT_TIMEOUTS.tcpKeepAliveIdleMs / 1000
    })`,
  },
  {
    name: "TcpKeepaliveInterval",
    field: "tcpKeepaliveInterval",
    flag: "tcp-keepalive-interval",
    argument: "SECONDS",
    help: `between probes (default ${DEFAULT_TIMEOUTS.tcpKeepAliveIntervalMs / 1000})`,
  },
  {
    name: "TcpKeepaliveCount",
    field: "tcpKeepaliveCount",
    flag: "tcp-keepalive-count",
    argument: "N",
    help: `unanswered probes that end a connection (default ${DEFAULT_TIMEOUTS.tcpKeepAliveCount})`,
  },
  {
    name: "UdpIdleTimeout",
    field: "udpIdleTimeout",
    flag: "udp-idle-timeout",
    argument: "SECONDS",
    help: `without a datagram before a session ends (default ${DEFAULT_TIMEOUTS.udpIdleMs / 1000})`,
  },
  {
    name: "UdpDnsIdleTimeout",
    field: "udpDnsIdleTimeout",
    flag: "udp-dns-idle-timeout",
    argument: "SECONDS",
    help: `the same for port 53 (default ${DEFAULT_TIMEOUTS.udpDnsIdleMs / 1000})`,
  },
  {
    name: "IcmpIdleTimeout",
    field: "icmpIdleTimeout",
    flag: "icmp-idle-timeout",
    argument: "SECONDS",
    help: `without a ping or reply before a session ends (default ${
      DEFAULT_TIMEOUTS.icmpIdleMs / 1000
    })`,
  },
  {
    name: "UdpFiltering",
    field: "udpFiltering",
    flag: "udp-filtering",
    argument: "endpoint|address|address-port",
    help:
      `who may answer a UDP session: anybody, an address that the client has sent to, or only its port (default ${DEFAULT_UDP_FILTERING})`,
  },
  {
    name: "Resolver",
    field: "resolver",
    list: "comma",
    flag: "resolver",
    argument: "ADDRESS[:PORT],…",
    help: "name servers for the names of targets, tried in turn (default: as the system resolves)",
  },
  {
    name: "Default",
    field: "default",
    flag: "proxy-default",
    argument: "allow|reject|drop",
    help: "for what is proxied and no rule matches (default allow)",
  },
  {
    name: "MaxDials",
    field: "maxDials",
    flag: "max-dials",
    argument: "N",
    help: `connections to targets being made at once (default ${DEFAULT_LIMITS.maxDials})`,
  },
  {
    name: "MaxTcpConnections",
    field: "maxTcpConnections",
    flag: "max-tcp-connections",
    argument: "N",
    help: `forwarded connections at once (default ${DEFAULT_LIMITS.maxTcpConnections})`,
  },
  {
    name: "MaxUdpSessions",
    field: "maxUdpSessions",
    flag: "max-udp-sessions",
    argument: "N",
    help: `UDP sessions at once (default ${DEFAULT_LIMITS.maxUdpSessions})`,
  },
  {
    name: "MaxPingSessions",
    field: "maxPingSessions",
    flag: "max-ping-sessions",
    argument: "N",
    help:
      `clients' pings at once, one for each \`ping\` (default ${DEFAULT_LIMITS.maxPingSessions})`,
  },
  {
    name: "MaxPingRate",
    field: "maxPingRate",
    flag: "max-ping-rate",
    argument: "N",
    help: `pings per second of one peer (default ${DEFAULT_LIMITS.maxPingRate})`,
  },
  {
    name: "MaxBufferMemory",
    field: "maxBufferMemory",
    flag: "max-buffer-memory",
    argument: "BYTES",
    help:
      "for the buffers of all connections, and as much for those of [Relay], also as 256M or 2G " +
      "(default: a quarter of the memory)",
  },
]);
