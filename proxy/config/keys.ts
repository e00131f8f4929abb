/**
 * Every key of the configuration, once: its name in the file, in an embedder's object and on the
 * command line.
 *
 * @module
 */

import {
  DEFAULT_LIMITS,
  DEFAULT_RATE_BURST_MS,
  DEFAULT_STATUS,
  DEFAULT_TIMEOUTS,
  DEFAULT_UDP_FILTERING,
} from "./defaults.ts";
import type {
  InterfaceInput,
  LogInput,
  PeerInput,
  ProxyInput,
  RuleInput,
  StatusInput,
} from "./input.ts";

/** The sections, by their name in {@link ConfigInput}. */
export type Section = "interface" | "peers" | "rules" | "proxy" | "status" | "log";

/** The sections, by their name in the file. */
export const SECTION_NAMES: Readonly<Record<Section, string>> = {
  interface: "Interface",
  peers: "Peer",
  rules: "Rule",
  proxy: "Proxy",
  status: "Status",
  log: "Log",
};

/** Those of which there may be several. */
export type RepeatedSection = "peers" | "rules";

/** Whether there may be several of a section. */
export function isRepeated(section: Section): section is RepeatedSection {
  return section === "peers" || section === "rules";
}

export interface Key {
  readonly section: Section;
  /** In the file. Compared without regard to case, as `wg` and `wg-quick` do. */
  readonly name: string;
  /** In {@link ConfigInput}. */
  readonly field: string;
  /**
   * A key that may be repeated: its values add up. `comma`: one line may hold several, `names` too, but
   * a blank does not part them. `line`: a line is one value, whatever is in it.
   */
  readonly list?: "comma" | "names" | "line";
  /** Its value is never shown. */
  readonly secret?: true;
  /** Accepted because wg-quick or one of WireGuard's apps has it; nothing happens. */
  readonly inert?: "yet" | "app";
  /** On the command line, without the dashes. */
  readonly flag?: string;
  /** Name of the flag's value in `--help`. */
  readonly argument?: string;
  readonly help?: string;
}

function keys<Input>(
  section: Section,
  specs: readonly (Omit<Key, "section" | "field"> & { readonly field: keyof Input & string })[],
): readonly Key[] {
  return specs.map((spec) => ({ section, ...spec }));
}

export const KEYS: readonly Key[] = [
  ...keys<InterfaceInput>("interface", [
    {
      name: "PrivateKey",
      field: "privateKey",
      secret: true,
      flag: "private-key-file",
      argument: "FILE",
      help: "file with the gateway's private key",
    },
    {
      name: "Address",
      field: "address",
      list: "comma",
      flag: "address",
      argument: "ADDRESS/LENGTH",
      help: "the gateway's addresses in the tunnel",
    },
    {
      name: "ListenPort",
      field: "listenPort",
      flag: "listen-port",
      argument: "PORT",
      help: "UDP port; any free one when not given",
    },
    {
      name: "ListenAddress",
      field: "listenAddress",
      flag: "listen-address",
      argument: "ADDRESS",
      help: "address of this host to listen on; all when not given",
    },
    {
      name: "MTU",
      field: "mtu",
      flag: "mtu",
      argument: "BYTES",
      help: "largest packet in the tunnel (default 1420)",
    },
    {
      name: "RekeyAfter",
      field: "rekeyAfter",
      flag: "rekey-after",
      argument: "SECONDS",
      help: "make new session keys earlier than after 120 seconds; a lower figure only",
    },
    {
      name: "PeerToPeer",
      field: "peerToPeer",
      flag: "peer-to-peer",
      argument: "true|false",
      help: "let peers reach each other through the gateway (default false)",
    },
    {
      name: "ControlDir",
      field: "controlDir",
      flag: "control-dir",
      argument: "DIR|off",
      help:
        "folder of the control socket (default: root's /var/run/wireguard, else the user's own)",
    },
    {
      name: "FwMark",
      field: "fwMark",
      flag: "fw-mark",
      argument: "MARK|off",
      help: "mark of what WireGuard sends, for routing rules (needs --ffi and CAP_NET_ADMIN)",
    },
    { name: "DNS", field: "dns", list: "comma", inert: "yet" },
    { name: "Table", field: "table", inert: "yet" },
    { name: "PreUp", field: "preUp", list: "line", inert: "yet" },
    { name: "PostUp", field: "postUp", list: "line", inert: "yet" },
    { name: "PreDown", field: "preDown", list: "line", inert: "yet" },
    { name: "PostDown", field: "postDown", list: "line", inert: "yet" },
    { name: "SaveConfig", field: "saveConfig", inert: "yet" },
    { name: "IncludedApplications", field: "includedApplications", list: "comma", inert: "app" },
    { name: "ExcludedApplications", field: "excludedApplications", list: "comma", inert: "app" },
  ]),
  ...keys<PeerInput>("peers", [
    {
      name: "PublicKey",
      field: "publicKey",
      flag: "peer",
      argument: "PUBLICKEY",
      help: "a peer; the options below that follow it are this peer's",
    },
    {
      name: "Name",
      field: "name",
      flag: "peer-name",
      argument: "NAME",
      help: "what to call the peer, here and in what is shown",
    },
    {
      name: "PresharedKey",
      field: "presharedKey",
      secret: true,
      flag: "preshared-key-file",
      argument: "FILE",
      help: "file with the key shared with the peer",
    },
    {
      name: "AllowedIPs",
      field: "allowedIps",
      list: "comma",
      flag: "allowed-ips",
      argument: "PREFIX,…",
      help: "addresses the peer may use",
    },
    {
      name: "Endpoint",
      field: "endpoint",
      flag: "endpoint",
      argument: "HOST:PORT",
      help: "where the peer is; learnt from its packets when not given",
    },
    {
      name: "PersistentKeepalive",
      field: "persistentKeepalive",
      flag: "persistent-keepalive",
      argument: "SECONDS",
      help: "a packet at least this often, 0 or off for none (default)",
    },
    {
      name: "RateUp",
      field: "rateUp",
      flag: "peer-rate-up",
      argument: "RATE",
      help: "most from the peer to targets and other peers, such as 20Mbit (default no limit)",
    },
    {
      name: "RateDown",
      field: "rateDown",
      flag: "peer-rate-down",
      argument: "RATE",
      help: "the same towards the peer",
    },
    {
      name: "RateBurst",
      field: "rateBurst",
      flag: "peer-rate-burst",
      argument: "SECONDS",
      help: `of the rate, which a peer that was quiet may use at once (default ${
        DEFAULT_RATE_BURST_MS / 1000
      })`,
    },
    {
      name: "MaxTcpConnections",
      field: "maxTcpConnections",
      flag: "peer-max-tcp-connections",
      argument: "N",
      help: "forwarded connections of the peer at once (default no limit of its own)",
    },
    {
      name: "MaxUdpSessions",
      field: "maxUdpSessions",
      flag: "peer-max-udp-sessions",
      argument: "N",
      help: "UDP sessions of the peer at once (default no limit of its own)",
    },
  ]),
  ...keys<RuleInput>("rules", [
    {
      name: "From",
      field: "from",
      list: "names",
      flag: "rule-from",
      argument: "PEER|PREFIX,…",
      help: "whose flows it is about (default everybody's)",
    },
    {
      name: "To",
      field: "to",
      list: "comma",
      flag: "rule-to",
      argument: "PREFIX|HOST,…",
      help: "where they want to go (default everywhere in the proxied subnets)",
    },
    {
      name: "Ports",
      field: "ports",
      list: "comma",
      flag: "rule-ports",
      argument: "tcp/80,udp/53,icmp,…",
      help: "protocols, and ports or ranges of ports (default all)",
    },
    {
      name: "Action",
      field: "action",
      flag: "rule",
      argument: "allow|reject|drop",
      help: "a rule; the options below that follow it are this rule's. The file's no longer count",
    },
    {
      name: "Rewrite",
      field: "rewrite",
      flag: "rule-rewrite",
      argument: "TARGET",
      help: "dial ADDRESS, PREFIX or HOST instead, with :PORT behind it another port",
    },
    {
      name: "Rate",
      field: "rate",
      flag: "rule-rate",
      argument: "RATE",
      help: "of all its flows together, each way, as 20Mbit",
    },
    {
      name: "FlowRate",
      field: "flowRate",
      flag: "rule-flow-rate",
      argument: "RATE",
      help: "of each of its flows, each way",
    },
    {
      name: "MaxConnections",
      field: "maxConnections",
      flag: "rule-max-connections",
      argument: "N",
      help: "connections and sessions at once",
    },
    {
      name: "SendProxyProtocol",
      field: "sendProxyProtocol",
      flag: "rule-send-proxy-protocol",
      argument: "v1|v2",
      help: "tell the target who the client is",
    },
    {
      name: "WarmConnections",
      field: "warmConnections",
      flag: "rule-warm-connections",
      argument: "N",
      help: "connections to the target that are kept ready (default 0)",
    },
  ]),
  ...keys<ProxyInput>("proxy", [
    {
      name: "Subnets",
      field: "subnets",
      list: "comma",
      flag: "proxy-subnet",
      argument: "PREFIX,…",
      help: "targets that peers may reach",
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
      help:
        `unanswered probes that end a connection (default ${DEFAULT_TIMEOUTS.tcpKeepAliveCount})`,
    },
    {
      name: "UdpIdleTimeout",
      field: "udpIdleTimeout",
      flag: "udp-idle-timeout",
      argument: "SECONDS",
      help: `without a datagram before a session ends (default ${
        DEFAULT_TIMEOUTS.udpIdleMs / 1000
      })`,
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
      help:
        "name servers for the names of targets, tried in turn (default: as the system resolves)",
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
        "for the buffers of all connections, also as 256M or 2G (default: a quarter of the memory)",
    },
  ]),
  ...keys<StatusInput>("status", [
    {
      name: "Listen",
      field: "listen",
      flag: "status",
      argument: "ADDRESS:PORT|unix:PATH",
      help: `answer /metrics, /healthz and /readyz there (${DEFAULT_STATUS.listen} in [Status])`,
    },
    {
      name: "TokenFile",
      field: "tokenFile",
      flag: "status-token-file",
      argument: "FILE",
      help: "file with the token that a request must bear; needed beyond loopback",
    },
    {
      name: "AllowedHosts",
      field: "allowedHosts",
      list: "comma",
      flag: "status-allowed-hosts",
      argument: "NAME,…",
      help: "names that a request may ask for beside addresses and localhost",
    },
    {
      name: "MaxPeers",
      field: "maxPeers",
      flag: "status-max-peers",
      argument: "N",
      help: `peers with figures of their own, the busiest (default ${DEFAULT_STATUS.maxPeers})`,
    },
  ]),
  ...keys<LogInput>("log", [
    {
      name: "Level",
      field: "level",
      flag: "log-level",
      argument: "LEVEL",
      help: "least that is logged: trace, debug, info (default), warning or error",
    },
    {
      name: "Format",
      field: "format",
      flag: "log-format",
      argument: "text|json",
      help: "form of the log (default text)",
    },
    {
      name: "Output",
      field: "output",
      flag: "log-file",
      argument: "FILE|stderr|stdout",
      help: "where the log goes (default stderr); SIGHUP opens a file again",
    },
    {
      name: "Access",
      field: "access",
      flag: "access-log",
      argument: "FILE|stderr|stdout",
      help: "one JSON line for each connection, session and ping that has ended",
    },
    {
      name: "AccessProtocols",
      field: "accessProtocols",
      list: "comma",
      flag: "access-protocols",
      argument: "tcp,udp,icmp",
      help: "which of them have a line (default all)",
    },
  ]),
];

/** The key of a section by its name in the file, in any case. */
export function findKey(section: Section, name: string): Key | undefined {
  return FILE_KEYS.get(`${section}.${name.toLowerCase()}`);
}

/** The key of a section by its name in {@link ConfigInput}. */
export function findField(section: Section, field: string): Key | undefined {
  return FIELD_KEYS.get(`${section}.${field}`);
}

/** The key whose value a file holds, by the name of that file's key: `PrivateKeyFile`, in any case. */
export function findFileKey(section: Section, name: string): Key | undefined {
  const key = findKey(section, name.replace(/File$/i, ""));
  return key?.secret && /File$/i.test(name) ? key : undefined;
}

/** The same by the name in an object: `privateKeyFile`. */
export function findFileField(section: Section, field: string): Key | undefined {
  const key = findField(section, field.replace(/File$/, ""));
  return key?.secret && field === fileFieldOf(key) ? key : undefined;
}

/** Of a secret: the name, in an object, of what names a file with it. */
export function fileFieldOf(key: Key): string {
  return `${key.field}File`;
}

/** Begins the name of every variable of the environment. */
export const VARIABLE_PREFIX = "WIRESTACK_";

/** A variable's name for a message: what is written as one may be a secret that slipped. */
export function shownVariable(name: string): string {
  return name.startsWith(VARIABLE_PREFIX) && /^[A-Z0-9_]{1,48}$/.test(name) ? name : "line";
}

/** The variable of the environment; undefined for a key that has none. A secret's names a file. */
export function variableOf(key: Key): string | undefined {
  if (isRepeated(key.section) || key.flag === undefined) return undefined;
  return VARIABLE_PREFIX + key.flag.toUpperCase().replaceAll("-", "_");
}

/** The variable that holds a secret itself. */
export function secretVariableOf(key: Key): string | undefined {
  return key.secret && variableOf(key)?.replace(/_FILE$/, "");
}

/** The variable that holds all sections of a kind, as JSON. */
export function variableOfList(section: Section): string {
  return VARIABLE_PREFIX + section.toUpperCase();
}

/** The section by its name in the file, in any case. */
export function findSection(name: string): Section | undefined {
  return SECTIONS.get(name.toLowerCase());
}

const FILE_KEYS = new Map(KEYS.map((key) => [`${key.section}.${key.name.toLowerCase()}`, key]));
const FIELD_KEYS = new Map(KEYS.map((key) => [`${key.section}.${key.field}`, key]));
const SECTIONS = new Map(
  Object.entries(SECTION_NAMES).map(([section, name]) => [name.toLowerCase(), section as Section]),
);
