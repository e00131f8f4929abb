/**
 * Every event of the log: a name that stays whatever its words become, and what it has to say, field
 * by field. `docs/logging.md` has the same table, and a test holds both to the calls in the sources.
 *
 * @module
 */

import type { LogRecord } from "npm:@logtape/logtape@2.4.2";

/** What a field is in a line of JSON. `object` is as deep as it is. */
export type FieldType = "text" | "number" | "boolean" | "object";

export interface LogEvent {
  /** In the field `event`. */
  readonly name: string;
  /** Behind `wirestack.`; `wirestack` for that itself. */
  readonly logger: string;
  readonly level: "debug" | "info" | "warning" | "error";
  /** As it is given to LogTape. */
  readonly message: string;
  /** More may follow, about fields that are not always there. */
  readonly continues?: true;
  /** Some are there only if there is something to say. */
  readonly fields: Readonly<Record<string, FieldType>>;
}

export const EVENTS: readonly LogEvent[] = [
  {
    name: "confinement",
    logger: "wirestack",
    level: "info",
    message: "{confinement}",
    fields: { confinement: "text" },
  },
  {
    name: "defect",
    logger: "wirestack",
    level: "error",
    message: "a defect: {error}",
    fields: { error: "text" },
  },
  {
    name: "failed",
    logger: "wirestack",
    level: "error",
    message: "failed: {error}",
    fields: { error: "text" },
  },
  {
    name: "failed-stack",
    logger: "wirestack",
    level: "debug",
    message: "{stack}",
    fields: { stack: "text" },
  },
  {
    name: "forwarding",
    logger: "wirestack",
    level: "info",
    message: "forwarding, without WireGuard, for links {links}, {proxy}",
    fields: { links: "text", proxy: "text" },
  },
  {
    name: "listening",
    logger: "wirestack",
    level: "info",
    message:
      "listening on UDP port {port}, public key {publicKey}, address {address}, peers {peers}, {proxy}, {udp}",
    fields: {
      port: "number",
      publicKey: "text",
      address: "text",
      peers: "number",
      proxy: "text",
      udp: "text",
    },
  },
  {
    name: "module-listening",
    logger: "wirestack",
    level: "info",
    message: "listening on UDP port {port}, public key {publicKey}, {udp}",
    fields: { port: "number", publicKey: "text", udp: "text" },
  },
  {
    name: "stats",
    logger: "wirestack",
    level: "info",
    message: "stats",
    fields: { stats: "object" },
  },
  {
    name: "stopped",
    logger: "wirestack",
    level: "info",
    message: "stopped",
    fields: {},
  },
  {
    name: "stopping",
    logger: "wirestack",
    level: "info",
    message: "{why}stopping, connections have {seconds} s",
    fields: { why: "text", seconds: "number" },
  },
  {
    name: "config-problem",
    logger: "config",
    level: "error",
    message: "{problem}",
    fields: { problem: "text" },
  },
  {
    name: "config-warning",
    logger: "config",
    level: "warning",
    message: "{warning}",
    fields: { warning: "text" },
  },
  {
    name: "peer-in-two-sources",
    logger: "config",
    level: "warning",
    message:
      "peer {peer}: is in two sources of peers, {source} and {other}: that of {source} counts",
    fields: { peer: "text", source: "text", other: "text" },
  },
  {
    name: "peer-left-out",
    logger: "config",
    level: "warning",
    message: "peer {peer} of {source}: left out, {reason}",
    fields: { peer: "text", source: "text", reason: "text" },
  },
  {
    name: "reload-failed",
    logger: "config",
    level: "error",
    message: "not reloaded: the configuration stays as it is",
    fields: {},
  },
  {
    name: "reloaded",
    logger: "config",
    level: "info",
    message: "reloaded: {added} peers added, {removed} removed, {changed} changed",
    continues: true,
    fields: { changes: "text", added: "number", removed: "number", changed: "number" },
  },
  {
    name: "settings-changed",
    logger: "config",
    level: "info",
    message: "set: {changes}",
    fields: { changes: "text" },
  },
  {
    name: "capture-accept-failed",
    logger: "capture",
    level: "warning",
    message: "no reader can be accepted: {error}",
    fields: { error: "text" },
  },
  {
    name: "capture-begun",
    logger: "capture",
    level: "info",
    message: "capturing at {at}",
    fields: { at: "text" },
  },
  {
    name: "capture-ended",
    logger: "capture",
    level: "info",
    message: "captured {packets} packets, {lost} were lost",
    fields: { packets: "number", lost: "number" },
  },
  {
    name: "capture-failed",
    logger: "capture",
    level: "error",
    message: "the capture has ended: {error}",
    fields: { error: "text" },
  },
  {
    name: "capture-listening",
    logger: "capture",
    level: "info",
    message: "captures at {host} port {port}",
    fields: { host: "text", port: "number" },
  },
  {
    name: "capture-refused",
    logger: "capture",
    level: "warning",
    message: "a reader is refused: {reason}",
    fields: { reason: "text" },
  },
  {
    name: "control-accept-failed",
    logger: "control",
    level: "warning",
    message: "{error}",
    fields: { error: "text" },
  },
  {
    name: "control-closed",
    logger: "control",
    level: "debug",
    message: "connection closed: {reason}",
    fields: { reason: "text" },
  },
  {
    name: "control-defect",
    logger: "control",
    level: "error",
    message: "a defect: {error}",
    fields: { error: "text" },
  },
  {
    name: "control-full",
    logger: "control",
    level: "warning",
    message: "{count} connections are open, refusing another",
    fields: { count: "number" },
  },
  {
    name: "control-no-name",
    logger: "control",
    level: "warning",
    message:
      "no control socket: the file's name is no interface name (1 to 15 of a-z A-Z 0-9 _ = + . -), give one with --name",
    fields: {},
  },
  {
    name: "control-no-socket",
    logger: "control",
    level: "warning",
    message: "no control socket in {directory}: {reason}",
    fields: { directory: "text", reason: "text" },
  },
  {
    name: "control-open",
    logger: "control",
    level: "info",
    message: "control socket {path}",
    fields: { path: "text" },
  },
  {
    name: "control-refused",
    logger: "control",
    level: "warning",
    message: "{reason}",
    fields: { reason: "text" },
  },
  {
    name: "control-socket-left",
    logger: "control",
    level: "debug",
    message: "{path} stays behind: the right to remove it is given up",
    fields: { path: "text" },
  },
  {
    name: "control-socket-stuck",
    logger: "control",
    level: "warning",
    message: "{path} stays behind: {error}",
    fields: { path: "text", error: "text" },
  },
  {
    name: "control-unknown-operation",
    logger: "control",
    level: "warning",
    message: "a request has an unknown operation, closing its connection",
    fields: {},
  },
  {
    name: "close-unfinished",
    logger: "engine",
    level: "warning",
    message: "closing: {unfinished} connections or peers had not finished after {seconds} s",
    fields: { unfinished: "number", seconds: "number" },
  },
  {
    name: "endpoint-not-found",
    logger: "engine",
    level: "warning",
    message: "{peer}: endpoint {hostname} is not found, trying again in {seconds} s: {error}",
    fields: { peer: "text", hostname: "text", seconds: "number", error: "text" },
  },
  {
    name: "endpoints-not-remembered",
    logger: "engine",
    level: "info",
    message: "the endpoints that were remembered are not used: {error}",
    fields: { error: "text" },
  },
  {
    name: "engine-defect",
    logger: "engine",
    level: "error",
    message: "a defect, {faults} so far: {stack}",
    fields: { faults: "number", stack: "text" },
  },
  {
    name: "flow-killed",
    logger: "engine",
    level: "info",
    message: "{protocol} flow {id} of {peer}, {source} to {destination}: ended on request",
    fields: { protocol: "text", id: "text", peer: "text", source: "text", destination: "text" },
  },
  {
    name: "foreign-source",
    logger: "engine",
    level: "warning",
    message: "peer {peer}: a packet from {address} dropped, not in its AllowedIPs",
    continues: true,
    fields: { suppressed: "number", peer: "text", address: "text" },
  },
  {
    name: "handshake-complete",
    logger: "engine",
    level: "info",
    message: "peer {peer}: handshake complete with {endpoint}",
    fields: { peer: "text", endpoint: "text", initiator: "boolean" },
  },
  {
    name: "handshake-failed",
    logger: "engine",
    level: "warning",
    message: "peer {peer}: no answer from {endpoint}, given up for now",
    fields: { peer: "text", endpoint: "text" },
  },
  {
    name: "handshake-key",
    logger: "engine",
    level: "debug",
    message: "the handshake from {from} claimed the key {publicKey}",
    fields: { from: "text", publicKey: "text" },
  },
  {
    name: "handshake-refused",
    logger: "engine",
    level: "info",
    message: "a handshake from {from} refused: {reason}",
    continues: true,
    fields: { from: "text", reason: "text", suppressed: "number" },
  },
  {
    name: "handshake-retry",
    logger: "engine",
    level: "debug",
    message: "peer {peer}: no answer from {endpoint}, attempt {attempt}",
    fields: { peer: "text", endpoint: "text", attempt: "number" },
  },
  {
    name: "handshake-unconfirmed",
    logger: "engine",
    level: "warning",
    message:
      "peer {peer}: {answers} answers to its handshakes were not confirmed by {endpoint}: the preshared keys differ, most likely, or our answers do not arrive, or another replica's come first",
    fields: { peer: "text", answers: "number", endpoint: "text" },
  },
  {
    name: "peer-handshake-refused",
    logger: "engine",
    level: "warning",
    message: "peer {peer}: a handshake from {from} refused: {reason}",
    continues: true,
    fields: { peer: "text", from: "text", reason: "text", suppressed: "number" },
  },
  {
    name: "peer-moved",
    logger: "engine",
    level: "info",
    message: "peer {peer}: now at {endpoint}",
    continues: true,
    fields: { suppressed: "number", peer: "text", endpoint: "text" },
  },
  {
    name: "port-changed",
    logger: "engine",
    level: "info",
    message: "listening on UDP port {port} now",
    fields: { port: "number" },
  },
  {
    name: "session-expired",
    logger: "engine",
    level: "debug",
    message: "peer {peer}: keys wiped",
    fields: { peer: "text", endpoint: "text" },
  },
  {
    name: "simd-missing",
    logger: "engine",
    level: "warning",
    message: "no WebAssembly SIMD on this processor, node:crypto takes its place: {error}",
    fields: { error: "text" },
  },
  {
    name: "single-interface",
    logger: "engine",
    level: "warning",
    message: "the forwarders answer on the tunnel's own interface: peers reach every target",
    fields: {},
  },
  {
    name: "udp-ffi",
    logger: "engine",
    level: "info",
    message: "UDP over FFI: buffers {receiveBuffer} and {sendBuffer} bytes, GRO {gro}, GSO {gso}",
    fields: { receiveBuffer: "number", sendBuffer: "number", gro: "boolean", gso: "boolean" },
  },
  {
    name: "connections-evicted",
    logger: "flow",
    level: "warning",
    message:
      "all {limit} connections are in use: idle ones of {from} were reset for others ({count} so far), the last for {for}",
    fields: { limit: "number", from: "text", count: "number", for: "text" },
  },
  {
    name: "flows-revoked",
    logger: "flow",
    level: "info",
    message: "{count} connections and sessions are no longer allowed and have ended",
    fields: { count: "number" },
  },
  {
    name: "pings-unavailable",
    logger: "flow",
    level: "info",
    message: "pings of targets are not forwarded, which needs {missing}",
    fields: { missing: "text" },
  },
  {
    name: "quota-full",
    logger: "flow",
    level: "warning",
    message: "{name} has all of its {limit} {what}: {count} more were refused so far",
    fields: { name: "text", limit: "number", what: "text", count: "number" },
  },
  {
    name: "transit-refused",
    logger: "flow",
    level: "debug",
    message: "{peer}, {client} port {clientPort}: {target} port {port} is refused: {why}",
    fields: {
      peer: "text",
      client: "text",
      clientPort: "number",
      target: "text",
      port: "number",
      why: "text",
    },
  },
  {
    name: "ping-defect",
    logger: "icmp",
    level: "error",
    message: "a defect: {error}",
    fields: { error: "text" },
  },
  {
    name: "ping-refused",
    logger: "icmp",
    level: "debug",
    message: "{peer}, {client} identifier {identifier}: ping of {target} is refused: {why}",
    fields: { peer: "text", client: "text", identifier: "number", target: "text", why: "text" },
  },
  {
    name: "buffers-budget",
    logger: "proxy",
    level: "info",
    message: "buffers of connections: up to {megabytes} MB in all",
    fields: { megabytes: "number" },
  },
  {
    name: "buffers-full",
    logger: "proxy",
    level: "warning",
    message:
      "buffers of connections: {used} of {total} MB in use (MaxBufferMemory): they grow no more",
    fields: { used: "number", total: "number", refusals: "number", resets: "number" },
  },
  {
    name: "buffers-relieved",
    logger: "proxy",
    level: "info",
    message:
      "buffers of connections: {used} of {total} MB in use again, {resets} connections were reset",
    fields: { used: "number", total: "number", refusals: "number", resets: "number" },
  },
  {
    name: "access-log-failing",
    logger: "status",
    level: "warning",
    message: "access log {output}: {error}",
    fields: { output: "text", error: "text" },
  },
  {
    name: "access-log-lost",
    logger: "status",
    level: "warning",
    message: "access log {output}: lines were lost: {lost}",
    fields: { output: "text", lost: "number" },
  },
  {
    name: "access-log-written",
    logger: "status",
    level: "warning",
    message: "access log {output}: is written again, no line was lost",
    fields: { output: "text" },
  },
  {
    name: "status-open",
    logger: "status",
    level: "info",
    message: "status at http://{host}:{port}/metrics",
    fields: { host: "text", port: "number" },
  },
  {
    name: "status-open-socket",
    logger: "status",
    level: "info",
    message: "status at {path}",
    fields: { path: "text" },
  },
  {
    name: "status-socket-stuck",
    logger: "status",
    level: "warning",
    message: "{path} stays behind: {error}",
    fields: { path: "text", error: "text" },
  },
  {
    name: "token-readable",
    logger: "status",
    level: "warning",
    message: "{path}: is world accessible, expected mode 600",
    fields: { path: "text" },
  },
  {
    name: "descriptors-back",
    logger: "target",
    level: "info",
    message: "there are file descriptors again; {count} connections and sessions failed",
    fields: { count: "number" },
  },
  {
    name: "descriptors-low",
    logger: "target",
    level: "warning",
    message:
      "this process may open {limit} files, and MaxTcpConnections, MaxUdpSessions and MaxPingSessions together allow {needed} sockets: raise the limit (ulimit -n, LimitNOFILE=) or lower these",
    fields: { limit: "number", needed: "number" },
  },
  {
    name: "descriptors-out",
    logger: "target",
    level: "warning",
    message: "no file descriptors are left ({code}): connections and sessions fail until some are",
    fields: { code: "text" },
  },
  {
    name: "name-dial-not-permitted",
    logger: "target",
    level: "error",
    message: "{target} port {port}: {error}",
    fields: { target: "text", port: "number", error: "text" },
  },
  {
    name: "name-empty",
    logger: "target",
    level: "warning",
    message: "{name} has no address, and flows to it fail",
    fields: { name: "text" },
  },
  {
    name: "name-refused",
    logger: "target",
    level: "warning",
    message: "{name} leads to {address}, which is refused: {why}",
    fields: { name: "text", address: "text", why: "text" },
  },
  {
    name: "named-dial-not-permitted",
    logger: "target",
    level: "error",
    message: "{target} port {port}: {error}",
    fields: { target: "text", port: "number", error: "text" },
  },
  {
    name: "names-back",
    logger: "target",
    level: "info",
    message: "names are resolved again",
    fields: {},
  },
  {
    name: "names-failing",
    logger: "target",
    level: "warning",
    message:
      "{name} is not resolved: {why}; names that are known go on, flows to others fail meanwhile",
    fields: { name: "text", why: "text" },
  },
  {
    name: "nonlocal-bind",
    logger: "target",
    level: "error",
    message:
      "net.ipv4.ip_nonlocal_bind is set: without FFI this host's own addresses cannot be told from others, and every target is refused",
    fields: {},
  },
  {
    name: "own-address-unknown",
    logger: "target",
    level: "warning",
    message: "whether {address} is this host's own is not known, so it is refused: {error}",
    fields: { address: "text", error: "text" },
  },
  {
    name: "routes-unknown",
    logger: "target",
    level: "debug",
    message: "this host's routes cannot be asked about: {error}",
    fields: { error: "text" },
  },
  {
    name: "warm-out-of-reach",
    logger: "target",
    level: "warning",
    message: "{to} port {port}: no connection stays ready, tried again later and later",
    fields: { to: "text", port: "number" },
  },
  {
    name: "warm-useless",
    logger: "target",
    level: "warning",
    message: "{to} port {port} speaks before its client does: WarmConnections is of no use there",
    fields: { to: "text", port: "number" },
  },
  {
    name: "dial-failed",
    logger: "tcp",
    level: "debug",
    message: "{peer}, {client} port {clientPort}: {target} port {port}: {why}",
    fields: {
      peer: "text",
      client: "text",
      clientPort: "number",
      target: "text",
      port: "number",
      why: "text",
    },
  },
  {
    name: "dial-not-permitted",
    logger: "tcp",
    level: "error",
    message: "{target} port {port}: {error}",
    fields: { target: "text", port: "number", error: "text" },
  },
  {
    name: "tcp-connected",
    logger: "tcp",
    level: "debug",
    message: "{peer}, {client} port {clientPort}: connected to {target} port {port}",
    fields: { peer: "text", client: "text", clientPort: "number", target: "text", port: "number" },
  },
  {
    name: "tcp-refused",
    logger: "tcp",
    level: "debug",
    message: "{peer}, {client} port {clientPort}: {target} port {port} is refused: {why}",
    fields: {
      peer: "text",
      client: "text",
      clientPort: "number",
      target: "text",
      port: "number",
      why: "text",
    },
  },
  {
    name: "proxy-header-refused",
    logger: "tunnel",
    level: "debug",
    message: "{remote} port {port} is refused: {why}",
    fields: { remote: "text", port: "number", why: "text" },
  },
  {
    name: "udp-refused",
    logger: "udp",
    level: "debug",
    message: "{peer}, {client} port {clientPort}: {target} port {port} is refused: {why}",
    fields: {
      peer: "text",
      client: "text",
      clientPort: "number",
      target: "text",
      port: "number",
      why: "text",
    },
  },
  {
    name: "udp-target-defect",
    logger: "udp",
    level: "error",
    message: "a defect: {error}",
    fields: { error: "text" },
  },
  {
    name: "link-opened",
    logger: "link",
    level: "info",
    message: "link {link}: {place}, {state}",
    fields: { link: "text", place: "text", state: "text" },
  },
  {
    name: "link-failed",
    logger: "link",
    level: "error",
    message: "link {link}: {reason}; it stays closed",
    fields: { link: "text", reason: "text" },
  },
  {
    name: "link-connected",
    logger: "link",
    level: "info",
    message: "link {link}: {peer} is connected",
    fields: { link: "text", peer: "text" },
  },
  {
    name: "link-ended",
    logger: "link",
    level: "warning",
    message: "link {link}: {peer} is gone: {reason}",
    fields: { link: "text", peer: "text", reason: "text" },
  },
  {
    name: "link-refused",
    logger: "link",
    level: "warning",
    message: "link {link}: {peer} is refused, {other} is connected",
    fields: { link: "text", peer: "text", other: "text" },
  },
  {
    name: "link-stalled",
    logger: "link",
    level: "warning",
    message: "link {link}: {peer} takes nothing, what does not fit is dropped",
    fields: { link: "text", peer: "text" },
  },
  {
    name: "link-unreachable",
    logger: "link",
    level: "warning",
    message: "link {link}: {place}: {reason}",
    fields: { link: "text", place: "text", reason: "text" },
  },
  {
    name: "leftovers-taken-back",
    logger: "system",
    level: "info",
    message: "{count} steps of an earlier {device} taken back",
    fields: { count: "number", device: "text" },
  },
  {
    name: "state-unreadable",
    logger: "system",
    level: "warning",
    message: "{problem}",
    fields: { problem: "text" },
  },
  {
    name: "tunnel-step",
    logger: "system",
    level: "debug",
    message: "{step}",
    fields: { step: "text" },
  },
  {
    name: "tunnel-up",
    logger: "system",
    level: "info",
    message: "{tunnel}",
    fields: { tunnel: "text" },
  },
  {
    name: "tunnel-endpoint-not-found",
    logger: "system",
    level: "warning",
    message: "Endpoint {host}: not found ({reason}), looked up again {count} times",
    fields: { host: "text", reason: "text", count: "number" },
  },
  {
    name: "tunnel-hook",
    logger: "system",
    level: "info",
    message: "{hook}",
    fields: { hook: "text" },
  },
  {
    name: "tunnel-problem",
    logger: "system",
    level: "error",
    message: "{problem}",
    fields: { problem: "text" },
  },
  {
    name: "not-taken-back",
    logger: "system",
    level: "error",
    message: "not all is taken back, expected wirestack down {device}",
    fields: { device: "text" },
  },
  {
    name: "kill-switch-stays",
    logger: "system",
    level: "error",
    message: "the kill switch stays, until the next start or wirestack down {device}",
    fields: { device: "text" },
  },
  {
    name: "default-route-needs-restart",
    logger: "system",
    level: "warning",
    message: "{prefix}: a default route takes a restart of {device}",
    fields: { prefix: "text", device: "text" },
  },
];

/** The event that a record is; undefined for what is not ours, as LogTape's own. */
export function eventOf({ category, rawMessage }: LogRecord): LogEvent | undefined {
  if (category[0] !== "wirestack" || typeof rawMessage !== "string") return undefined;
  const logger = category.slice(1).join(".") || "wirestack";
  return EXACT.get(`${logger} ${rawMessage}`) ??
    OPEN.find((event) => event.logger === logger && rawMessage.startsWith(event.message));
}

/** A value in the type that the table promises. */
export function typed(value: unknown, type: FieldType | undefined): unknown {
  if (value === null || value === undefined) return value;
  if (type === "text") return typeof value === "object" ? JSON.stringify(value) : String(value);
  if (type === "number") return Number(value);
  return type === "boolean" ? Boolean(value) : value;
}

const EXACT = new Map(EVENTS.map((event) => [`${event.logger} ${event.message}`, event]));
const OPEN = EVENTS.filter(({ continues }) => continues);
