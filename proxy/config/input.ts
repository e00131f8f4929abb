/**
 * The configuration as people write it, in an object; a file's sections and keys are the same.
 * `docs/configuration.md` has every key.
 *
 * @module
 */

import type { KeyInput } from "../base64.ts";

/** Several values: an array, or one text with commas between them. */
export type ListInput = string | readonly string[];

/**
 * A configuration as an embedder writes it. Names and meanings are those of the file, so every
 * number may also be text.
 *
 * @example
 * ```ts ignore
 * const input: ConfigInput = {
 *   interface: { privateKey, address: ["10.9.0.1/24", "fd09::1/64"], listenPort: 51820 },
 *   peers: [{ publicKey, allowedIps: ["10.9.0.2/32"] }],
 *   proxy: { subnets: ["10.50.0.0/16"], map: ["10.50.0.1/32 -> 127.0.0.1/32"] },
 * };
 * ```
 */
export interface ConfigInput {
  /** This end of the tunnel. Missing, or without a key: {@link links} alone, and no WireGuard. */
  interface?: InterfaceInput;
  /** The other ends. */
  peers?: readonly PeerInput[];
  /** What of it is allowed, and how. The first that matches decides. */
  rules?: readonly RuleInput[];
  /** Packets from elsewhere than WireGuard. An empty list does without WireGuard too: links are added later. */
  links?: readonly LinkInput[];
  /** What peers reach through this process. Missing: nothing. */
  proxy?: ProxyInput;
  /** Where peers come that UDP does not get through to. Missing: nowhere. */
  relay?: RelayInput;
  /** Where the gateway can be asked how it is. Missing: nowhere. */
  status?: StatusInput;
  /** Which packets are captured from the start. Missing: none. */
  capture?: CaptureInput;
  /** What is written down. */
  log?: LogInput;
}

/** This end of the tunnel, as `[Interface]` of a file. */
export interface InterfaceInput {
  /** As {@link generatePrivateKey} or `wg genkey` makes it. Required but where {@link ConfigInput.links} are given, and nothing of WireGuard is. */
  privateKey?: KeyInput;
  /** This end's own, with the length of the network each is in: `10.9.0.1/24`. */
  address?: ListInput;
  /** Networks that new peers get their addresses from. Those of {@link address} when missing. */
  addressPool?: ListInput;
  /** UDP. Missing or 0: any free one. */
  listenPort?: number | string;
  /** The address of this host to listen on. Every one, IPv4 and IPv6, when missing. */
  listenAddress?: string;
  /** Bytes. Default 1420. */
  mtu?: number | string;
  /** Seconds, at most 120. */
  rekeyAfter?: number | string;
  /** Whether peers reach each other through this gateway; false by default. */
  peerToPeer?: boolean | string;
  /** A signed list of more peers, watched: `https://…` or a path. With {@link peersKey}. */
  peersFrom?: string;
  /** Ed25519: of who signs that list. */
  peersKey?: KeyInput;
  /** A PEM file with the authority of the list's server. Default: the well-known ones. */
  peersCa?: string;
  /** Seconds between two looks at a list's URL, 5 to 86400. Default 60. */
  peersInterval?: number | string;
  /** Only for the command line: an embedded gateway has no control socket. */
  controlDir?: string;
  /**
   * Of wg-quick: name servers and search domains. As all that follow except {@link fwMark} it is for
   * `up --tun` alone, and without effect here.
   */
  dns?: ListInput;
  /** Of wg-quick, for `up --tun`. */
  table?: number | string;
  /** Whether nothing leaves the host around the tunnel; for `up --tun`. */
  killSwitch?: boolean | string;
  /** Of what WireGuard sends, for the system's routing rules: a number, or `"off"`. Needs FFI. */
  fwMark?: number | string;
  /** Of wg-quick, for `up --tun`. */
  preUp?: ListInput;
  /** Of wg-quick, for `up --tun`. */
  postUp?: ListInput;
  /** Of wg-quick, for `up --tun`. */
  preDown?: ListInput;
  /** Of wg-quick, for `up --tun`. */
  postDown?: ListInput;
  /** Of wg-quick, for `up --tun`. */
  saveConfig?: boolean | string;
  /** Of WireGuard's apps, without effect. */
  includedApplications?: ListInput;
  /** Of WireGuard's apps, without effect. */
  excludedApplications?: ListInput;
}

/** Another end, as `[Peer]` of a file. */
export interface PeerInput {
  /** As {@link publicKeyOf} or `wg pubkey` makes it. */
  publicKey: KeyInput;
  /** What to call the peer: 1 to 64 of `a-z A-Z 0-9 . _ @ -` and blanks inside. No two are alike. */
  name?: string;
  /** Optional, the same at both ends: {@link generatePresharedKey}. */
  presharedKey?: KeyInput;
  /** What is sent to the peer, and from where it may send: `10.9.0.2/32`. */
  allowedIps?: ListInput;
  /** `HOST:PORT` or `[IPV6]:PORT`; several: whichever answers first while there is no session. */
  endpoint?: ListInput;
  /** Where else it is when UDP does not get through, in order: `tls://HOST:PORT`, `grpc://HOST:PORT`. */
  fallback?: ListInput;
  /** The path of a PEM file with the certificate to show there. */
  cert?: string;
  /** The same with its key. */
  key?: string;
  /** The same with the authority whose certificate the other side must show, for the host's name. */
  ca?: string;
  /** `sha256/…`: the public key that its certificate must have. Without {@link ca} this alone counts. */
  pin?: ListInput;
  /** `ADDRESS:PORT` in the tunnel, where it gives another certificate in time: see `wirestack join`. */
  renewAt?: string;
  /** Seconds, or `"off"`. */
  persistentKeepalive?: number | string;
  /** Most from the peer to targets and other peers: `20Mbit`. Missing: no limit. */
  rateUp?: string;
  /** The same towards the peer. */
  rateDown?: string;
  /** Seconds of the rate, which a peer that was quiet may use at once. Default 0.2. */
  rateBurst?: number | string;
  /** Connections to targets at once. Missing: no limit of its own. */
  maxTcpConnections?: number | string;
  /** UDP sessions at once. Missing: no limit of its own. */
  maxUdpSessions?: number | string;
}

/**
 * A rule, as `[Rule]` of a file: what of it is about which connections, sessions and pings (`from`,
 * `to`, `ports`), and what becomes of them. `docs/rules.md` has the whole of it.
 */
export interface RuleInput {
  /** Names of peers, or prefixes of their addresses. Missing: everybody. */
  from?: ListInput;
  /** Prefixes, or names of hosts, that were asked for. Missing: everything that is proxied. */
  to?: ListInput;
  /** `tcp/80`, `tcp/8000-8100`, `udp`, `icmp`. Missing: all. */
  ports?: ListInput;
  /** `reject` says so to the client, `drop` is silence. Default `allow`. */
  action?: RuleAction;
  /** What is dialled instead: `192.168.1.7:8443`, `192.168.1.0/24`, `db.corp.test`, `:8443`. */
  rewrite?: string;
  /** Of all its flows together, each way: `20Mbit`. */
  rate?: string;
  /** Of each of its flows: `5Mbit`. */
  flowRate?: string;
  /** Connections and sessions at once. */
  maxConnections?: number | string;
  /** Tells the target who the client is. */
  sendProxyProtocol?: "v1" | "v2";
  /** Connections to the target that are kept ready. Default 0. */
  warmConnections?: number | string;
}

/** What becomes of what a rule matches. */
export type RuleAction = "allow" | "reject" | "drop";

/**
 * A link, as `[Link]` of a file: raw IP packets to and from another program. `docs/packet-links.md` has
 * the whole of it.
 */
export interface LinkInput {
  /** What to call it: as a peer, and no peer's name. */
  name: string;
  /** Where the other side comes: `unix:PATH`, `unixgram:PATH`, `tcp:ADDRESS:PORT`, `udp:ADDRESS:PORT`. */
  listen?: string;
  /** Where the other side is, instead. */
  connect?: string;
  /** How packets are told apart in a stream: a length of 2 or 4 bytes in front of each. */
  framing?: "length16" | "length32" | "datagram";
  /** What is behind it. Missing: anything that is nowhere else, and nothing is routed to it. */
  prefixes?: ListInput;
  /** Bytes. Default 1500. */
  mtu?: number | string;
  /** What all of it appears as to peers and other links: one address of each family at most. */
  nat?: ListInput;
  /** Who may answer there: anybody, or an address, or an address and port, that it was sent to. Default `address`. */
  natFiltering?: UdpFiltering;
  /** Ports that stand for those behind it: `20000-24999`. Default all. */
  natPorts?: string;
}

/** Durations are seconds. */
export interface ProxyInput {
  /** What peers reach: `10.50.0.0/16`. */
  subnets?: ListInput;
  /** `tcp`, `udp`, `icmp`. Missing: all three. */
  protocols?: ListInput;
  /** Which addresses are dialled at others: `10.50.0.1/32 -> 127.0.0.1/32`. */
  map?: ListInput;
  /** `nic1`: the forwarders answer on the tunnel's own interface. Default `nic2`. */
  interface?: "nic1" | "nic2";
  /** For a target to answer. Default 5. */
  tcpDialTimeout?: number | string;
  /** How long a half-closed connection may be idle. Default 60. */
  tcpHalfCloseTimeout?: number | string;
  /** Silence before a client is probed. Default 60. */
  tcpKeepaliveIdle?: number | string;
  /** Between probes. Default 30. */
  tcpKeepaliveInterval?: number | string;
  /** Unanswered probes that end a connection. Default 9. */
  tcpKeepaliveCount?: number | string;
  /** After which a UDP session ends. Default 60. */
  udpIdleTimeout?: number | string;
  /** The same towards port 53. Default 30. */
  udpDnsIdleTimeout?: number | string;
  /** Without a ping or reply, after which a session of pings ends. Default 30. */
  icmpIdleTimeout?: number | string;
  /**
   * Whose replies reach a client: anybody's, those of an address that it has sent to, or only those of
   * such an address and port. Default `address`.
   */
  udpFiltering?: UdpFiltering;
  /** Name servers for the names of targets: `192.168.1.53`, `[fd00::53]:5353`. Missing: the system. */
  resolver?: ListInput;
  /** For what is proxied and no rule matches. Default `allow`. */
  default?: RuleAction;
  /** Connections being made to targets at once. Default 2048. */
  maxDials?: number | string;
  /** Connections to targets at once. Default 16384. */
  maxTcpConnections?: number | string;
  /** UDP sessions at once. Default 4096. */
  maxUdpSessions?: number | string;
  /** Pings at once, one for each identifier of a client. Default 1024. */
  maxPingSessions?: number | string;
  /** Pings per second of one peer. Default 2000. */
  maxPingRate?: number | string;
  /** Bytes, or with `k`, `M` or `G`: of all connections' buffers. Default: a quarter of the memory. */
  maxBufferMemory?: number | string;
}

/** RFC 4787 §5, there called endpoint-independent, address-dependent, address-and-port-dependent. */
export type UdpFiltering = "endpoint" | "address" | "address-port";

/**
 * Where peers come that UDP does not get through to, as `[Relay]` of a file. `docs/transports.md` has the
 * whole of it. Paths are of PEM files.
 */
export interface RelayInput {
  /** `tls:ADDRESS:PORT`, `grpc:ADDRESS:PORT`. */
  listen: ListInput;
  /** The certificate to show, and those between it and the authority. */
  cert: string;
  /** Its key. */
  key: string;
  /** The authority, or several, whose certificates peers must show. */
  clientCa: string;
  /** That authority's key, to sign for machines that enrol. */
  clientCaKey?: string;
  /** The authority's list of revoked certificates. */
  crl?: string;
  /** Names, or keys as `sha256/…`, of the certificates that are let in. Missing: all. */
  allowedClients?: ListInput;
}

/** Where the gateway answers `/metrics`, `/healthz` and `/readyz`, as `[Status]` of a file. */
export interface StatusInput {
  /** `ADDRESS:PORT`, `localhost:PORT` or `unix:PATH`. Default `127.0.0.1:9586`; port 0 is any free one. */
  listen?: string;
  /** A file with the token that requests must bear. Needed where `listen` is not loopback. */
  tokenFile?: string;
  /** Names that a request may ask for, beside addresses and `localhost`. */
  allowedHosts?: ListInput;
  /** Peers with figures of their own: the busiest. The rest are summed. Default 100. */
  maxPeers?: number | string;
}

/** Which packets are captured from the start, and where to, as `[Capture]` of a file. */
export interface CaptureInput {
  /** The path of a file, `-` for standard output, or `tcp:ADDRESS:PORT` with a loopback address. */
  write: string;
  /** `nic1` (default), `nic2`, `link:NAME`, `outer`. */
  at?: ListInput;
  /** As `host 10.0.0.1 and tcp`. Missing: all. */
  filter?: string;
  /** Bytes of each packet. Default 0: all of it. */
  snap?: number | string;
  /** `SIZE,COUNT`: files that take turns. */
  rotate?: string;
}

/** What is written down, as `[Log]` of a file. */
export interface LogInput {
  /** Only for the command line, as are `format` and `output`: an embedder's program configures LogTape. */
  level?: LogLevel;
  /** Only for the command line. */
  format?: "text" | "json";
  /** Only for the command line: the path of a file, `stderr` (default) or `stdout`. */
  output?: string;
  /** The path of a file, `stderr` or `stdout`: a JSON line for each flow that has ended. */
  access?: string;
  /** Which flows have a line: `tcp`, `udp`, `icmp`. Missing: all. */
  accessProtocols?: ListInput;
}

/** The least that is logged. */
export type LogLevel = "trace" | "debug" | "info" | "warning" | "error";
