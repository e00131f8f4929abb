/**
 * A gateway in one class, for programs that embed it.
 *
 * @module
 */

import { IpAddress, type Prefix, type TcpEndpoint } from "../../netstack/mod.ts";
import type { Peer } from "../../wireguard/mod.ts";
import { parsePrefix } from "../address.ts";
import { encodeKey } from "../base64.ts";
import { chooseUdp } from "../bind/udp_open.ts";
import { type CaptureOptions, Captures } from "../capture/captures.ts";
import { Recorder } from "../capture/recorder.ts";
import { PacketCapture } from "../capture/packets.ts";
import type { KeyInput, ListInput, LoadedConfig, PeerInput } from "../config/config.ts";
import { settingsOfObject } from "../config/setting.ts";
import { splitList } from "../config/values.ts";
import type { Protocols } from "../forward/subnet_proxy.ts";
import {
  type CloseOptions,
  type CloseResult,
  Gateway,
  type GatewayOptions,
  type GatewayStats,
} from "../gateway/gateway.ts";
import type { FlowStats } from "../gateway/flow_stats.ts";
import { findPeer, peerName } from "../gateway/peer_name.ts";
import { getLogger } from "../log/logger.ts";
import {
  type LiveReloadReport,
  LiveSettings,
  type SetReport,
  type SettingsInput,
} from "../gateway/live_settings.ts";
import type { ProxyEnds } from "../target/proxy_protocol.ts";
import { netAddr, TunnelConn } from "../tunnel/conn.ts";
import { ProxyHeaders } from "../tunnel/proxy_header.ts";
import { Watch } from "../watch/watch.ts";
import { tunnelAddress, TunnelDatagramConn, TunnelListener } from "../tunnel/listener.ts";
import { addPeer, type PeerChanges, removePeer, updatePeer } from "../gateway/peer_changes.ts";
import { type AddLinkOptions, TunnelLink } from "./link.ts";
import { type ConfigSourceInput, loadSourceInput } from "./source.ts";

/** How long a connection may take to be established. */
const CONNECT_TIMEOUT_MS = 20_000;
/** How long closing waits for data under way. */
const CLOSE_GRACE_MS = 5_000;

/** Where to connect to. */
export interface ConnectOptions {
  /** As for `Deno.connect`. There is no other. */
  readonly transport?: "tcp";
  /** An address inside the tunnel. */
  readonly hostname: string;
  /** TCP, 1 to 65535. */
  readonly port: number;
  /** Gives up the connection while it is being made. */
  readonly signal?: AbortSignal;
  /** When to give up, ms. Default 20,000; Infinity for as long as TCP tries, two minutes. */
  readonly timeoutMs?: number;
}

/** Where to listen. */
export interface ListenOptions {
  /** As for `Deno.listen`. There is no other. */
  readonly transport?: "tcp";
  /** One of the tunnel's own addresses. Missing, `0.0.0.0` or `::`: every one, of both families. */
  readonly hostname?: string;
  /** 0: any free one. */
  readonly port: number;
  /** Connections that may wait for `accept`. Default 128. */
  readonly backlog?: number;
  /**
   * Every connection must begin with a header of the PROXY protocol, version 1 or 2, within 5 seconds;
   * its `remoteAddr` is the one in there. Others are reset.
   */
  readonly proxyProtocol?: {
    /** Whose headers are taken: addresses or prefixes, one at least. */
    readonly from: ListInput;
  };
}

/** Where to receive datagrams. */
export interface ListenDatagramOptions {
  /** As for `Deno.listenDatagram`. There is no other. */
  readonly transport?: "udp";
  /** One of the tunnel's own addresses. Missing, `0.0.0.0` or `::`: every one, of both families. */
  readonly hostname?: string;
  /** Missing or 0: any free one. */
  readonly port?: number;
}

/** What to capture. */
export interface PacketCaptureOptions extends CaptureOptions {
  /** Ends it; what there is can still be taken. */
  readonly signal?: AbortSignal;
}

/**
 * A running WireGuard gateway: a way into the tunnel for this program, and a proxy for the peers'.
 *
 * @example A client that fetches from a service behind a gateway
 * ```ts ignore
 * await using net = await Wirestack.start("wg0.conf");
 * using conn = await net.connect({ hostname: "10.50.0.1", port: 80 });
 * await conn.write(new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"));
 * console.log(await new Response(conn.readable).text());
 * ```
 */
export class Wirestack implements AsyncDisposable {
  readonly #gateway: Gateway;
  readonly #watch: Watch;
  readonly #recorder: Recorder;
  readonly #settings: LiveSettings;
  readonly #open = new Set<TunnelListener | TunnelDatagramConn>();
  readonly #conns = new Set<TunnelConn>();
  #isClosed = false;

  private constructor(gateway: Gateway, watch: Watch, recorder: Recorder, loaded: LoadedConfig) {
    this.#gateway = gateway;
    this.#watch = watch;
    this.#recorder = recorder;
    this.#settings = new LiveSettings(gateway, loaded, (config, isTrial) => {
      watch.apply(config, isTrial);
    });
    gateway.closed.catch(() => {}).finally(() => this.#isClosed = true);
  }

  /**
   * Listens, and starts handshakes with the peers that have a persistent keepalive.
   *
   * @param source The path of a wg-quick file, its text as `{ text }`, or an object.
   * @throws {ConfigError} naming everything that is wrong with the configuration.
   * @throws {SettingError} if the system refuses a value: a port in use.
   */
  static async start(source: ConfigSourceInput, options: GatewayOptions = {}): Promise<Wirestack> {
    checkPlatform();
    const loaded = await loadSourceInput(source);
    const { config } = loaded;
    const watch = await Watch.open(config);
    const recorder = await startOr(() => watch.close(), () => new Recorder(config.capture));
    const end = () => Promise.all([watch.close(), recorder.close()]);
    const gateway = await startOr(end, () => Gateway.start(config, options));
    watch.begin(gateway);
    await startOr(() => gateway.close().then(end), () => recorder.begin(gateway));
    if (!gateway.hasWireguard) return new Wirestack(gateway, watch, recorder, loaded);
    getLogger(["wirestack"]).info("listening on UDP port {port}, public key {publicKey}, {udp}", {
      port: gateway.port,
      publicKey: encodeKey(gateway.publicKey),
      udp: chooseUdp(options.ffi).ffi ? "UDP in batches (FFI)" : "UDP over Deno's sockets",
    });
    return new Wirestack(gateway, watch, recorder, loaded);
  }

  /** Bound UDP port. */
  get port(): number {
    return this.#gateway.port;
  }

  /** The TCP port of `[Status]`; undefined without one. */
  get statusPort(): number | undefined {
    return this.#watch.port;
  }

  /** 32 bytes. */
  get publicKey(): Uint8Array {
    return this.#gateway.publicKey;
  }

  /** Resolves once closed; rejects if the gateway cannot go on. */
  get closed(): Promise<void> {
    return this.#gateway.closed;
  }

  /**
   * Opens a TCP connection inside the tunnel.
   *
   * @throws {TypeError} if `hostname` is not an IP address.
   * @throws {Deno.errors.ConnectionRefused} if the port is closed.
   * @throws {Deno.errors.TimedOut} if there is no answer in time.
   * @throws {Deno.errors.NetworkUnreachable} if nothing leads there: no peer has the address, or it
   * is not known where that peer is.
   * @throws {Deno.errors.BadResource} after {@link close}.
   * @throws `signal.reason` when it is aborted.
   */
  async connect(options: ConnectOptions): Promise<TunnelConn> {
    this.#checkOpen();
    const { transport, hostname, port, signal, timeoutMs = CONNECT_TIMEOUT_MS } = options;
    checkTransport(transport, "tcp");
    if (!(timeoutMs > 0)) throw new RangeError(`timeoutMs: expected ms above 0, got ${timeoutMs}`);
    signal?.throwIfAborted();
    const remote = tunnelAddress(hostname);
    const peer = this.#peerAt(remote, "connect");
    const conn = this.#track(this.#dial(remote, port));
    const timeout = new AbortController();
    const giveUp = () => timeout.abort(this.#timedOut(peer, remote, port, timeoutMs));
    const timer = timeoutMs <= MAX_TIMER_MS ? setTimeout(giveUp, timeoutMs) : undefined;
    try {
      await conn.connected(signal ? AbortSignal.any([signal, timeout.signal]) : timeout.signal);
    } finally {
      clearTimeout(timer);
    }
    return conn;
  }

  /**
   * Listens for TCP connections from the tunnel.
   *
   * @throws {Deno.errors.AddrInUse} if something listens there already.
   * @throws {Deno.errors.BadResource} after {@link close}.
   * @throws {TypeError} if `proxyProtocol` names nobody.
   */
  listen(options: ListenOptions): TunnelListener {
    const { transport, hostname, port, backlog = 128, proxyProtocol } = options;
    this.#checkOpen();
    checkTransport(transport, "tcp");
    if (!(Number.isInteger(backlog) && backlog > 0)) {
      throw new RangeError(`backlog: expected a number above 0, got ${backlog}`);
    }
    const address = this.#ownAddress(hostname);
    const headers = proxyProtocol && headersFrom(proxyProtocol.from);
    const { tcp } = this.#gateway.engine.stack;
    try {
      const listener = new TunnelListener(
        (accepted) => tcp.listen({ ...specific(address), port, backlog }, { accepted }),
        {
          address,
          backlog,
          connOf: (endpoint, ends) => this.#track(endpoint, ends),
          headers,
          onClosed: (listener) => this.#open.delete(listener),
        },
      );
      this.#open.add(listener);
      return listener;
    } catch (error) {
      throw inUse(error, port);
    }
  }

  /**
   * Opens a UDP socket inside the tunnel.
   *
   * @throws {Deno.errors.AddrInUse} if that port is in use already.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  listenDatagram(options: ListenDatagramOptions = {}): TunnelDatagramConn {
    this.#checkOpen();
    const { transport, hostname, port = 0 } = options;
    checkTransport(transport, "udp");
    const address = this.#ownAddress(hostname);
    const { engine } = this.#gateway;
    try {
      const socket = new TunnelDatagramConn(
        engine.stack.bindUdp({ ...specific(address), ...(port !== 0 && { port }) }),
        {
          address,
          now: () => engine.now(),
          checkReach: (address) => this.#peerAt(address, "send"),
          onClosed: (socket) => this.#open.delete(socket),
        },
      );
      this.#open.add(socket);
      return socket;
    } catch (error) {
      throw inUse(error, port);
    }
  }

  /**
   * Adds a peer. An allowed IP that another has moves to this one, as with `wg`.
   *
   * @throws {ConfigError} naming everything that is wrong with it.
   * @throws {Deno.errors.AlreadyExists} if there is one with this key.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  addPeer(peer: PeerInput): void {
    this.#checkOpen();
    addPeer(this.#gateway, peer);
  }

  /**
   * Changes the given settings of a peer. Its session and connections stay.
   *
   * @throws {ConfigError} naming everything that is wrong; then nothing has changed.
   * @throws {Deno.errors.NotFound} if there is no such peer.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  updatePeer(publicKey: KeyInput, changes: PeerChanges): void {
    this.#checkOpen();
    checkObject("updatePeer", changes);
    updatePeer(this.#gateway, publicKey, changes);
  }

  /**
   * Removes a peer and its keys; it gets no answer any more.
   *
   * @returns whether there was one.
   * @throws {ConfigError} if that is no key.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  removePeer(publicKey: KeyInput): boolean {
    this.#checkOpen();
    return removePeer(this.#gateway, publicKey);
  }

  /**
   * Applies another configuration to the running gateway: peers, subnets, maps, times, limits, the
   * private key and the UDP port. What does not differ stays, sessions and connections too.
   *
   * @returns what it did, and a warning for each thing that only a restart can change.
   * @throws {ConfigError} naming everything that is wrong; then nothing has changed.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  async reload(source: ConfigSourceInput): Promise<LiveReloadReport> {
    this.#checkOpen();
    const loaded = await loadSourceInput(source);
    this.#checkOpen();
    return this.#settings.reload(loaded);
  }

  /**
   * Changes single values of the running gateway until the next {@link reload}: times, limits, rates,
   * rules, subnets, what a peer may. What is missing stays, `null` is the default. Sessions and
   * connections go on, but for those that are no longer allowed.
   *
   * @example
   * ```ts ignore
   * net.set({ proxy: { tcpDialTimeout: 2 }, peers: { laptop: { allowedIps: "10.9.0.2/32" } } });
   * net.set({ rules: { 3: { rate: "5Mbit" } } });
   * ```
   * @returns what it did, and what there is to say of the values.
   * @throws {ConfigError} naming everything that is wrong; then nothing has changed.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  set(settings: SettingsInput): SetReport {
    this.#checkOpen();
    checkObject("set", settings);
    return this.#settings.set(settingsOfObject(settings));
  }

  /**
   * Adds a link beside WireGuard: this program's own packets, as of a TUN device or a phone's packet
   * tunnel. They reach what peers reach: proxied subnets, this end's own addresses and, with
   * `peerToPeer`, peers and other links.
   *
   * @example
   * ```ts ignore
   * const link = net.addLink({ readable, writable, prefixes: "10.0.0.8/32" });
   * await link.closed;
   * ```
   * @throws {TypeError} if a stream is locked, a name is taken, or a prefix is none, or has a place already.
   * @throws {RangeError} for an MTU out of range.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  addLink(options: AddLinkOptions): TunnelLink {
    this.#checkOpen();
    return new TunnelLink(this.#gateway, options, prefixesOf(options.prefixes ?? []));
  }

  /**
   * Lets peers reach subnets on this side, through NIC 2. May be called at any time.
   *
   * @param prefixes As `10.50.0.0/16`: one, several, or a text with commas between them.
   * @throws {TypeError} if one is not a prefix.
   */
  enableProxyOnSubnet(
    prefixes: ListInput,
    { tcp = true, udp = true, icmp = true }: Partial<Protocols> = {},
  ): void {
    this.#checkOpen();
    this.#gateway.enableProxyOnSubnet(prefixesOf(prefixes), { tcp, udp, icmp });
  }

  /** Stops proxying the subnets, and ends flows to them. @throws {TypeError} if one is not a prefix. */
  disableProxyOnSubnet(prefixes: ListInput): void {
    this.#checkOpen();
    this.#gateway.disableProxyOnSubnet(prefixesOf(prefixes));
  }

  /** Single-interface mode: NIC 1 itself forwards TCP, for every address. Logs a warning. */
  enableTcpProxy(): void {
    this.#checkOpen();
    this.#gateway.enableTcpProxy();
  }

  /** Single-interface mode: NIC 1 itself forwards UDP, for every address. Logs a warning. */
  enableUdpProxy(): void {
    this.#checkOpen();
    this.#gateway.enableUdpProxy();
  }

  /**
   * The connections, UDP sessions and pings of peers through the proxy that are under way, in the order
   * in which they began.
   *
   * @param peer Whose alone: a name or public key, or the name of a link.
   */
  flows(peer?: string): FlowStats[] {
    if (peer === undefined) return [...this.#gateway.flows()];
    const found = findPeer(this.#gateway.engine.device, peer);
    const name = found === undefined ? this.#gateway.links.find(peer)?.name : peerName(found);
    return name === undefined ? [] : [...this.#gateway.flows(name)];
  }

  /**
   * Ends one of {@link flows}: TCP is reset on both sides; a UDP client's next datagram begins another.
   *
   * @param id All of it, or its first eight digits.
   * @returns whether there was one.
   * @throws {AmbiguousFlow} if several begin with fewer digits.
   */
  killFlow(id: string): boolean {
    return this.#gateway.killFlow(id) !== undefined;
  }

  /**
   * Captures packets from now on, as `wirestack capture` does: each as it is inside, with its peer and
   * flow. Whoever does not take them as fast as they come loses some, which are counted; the tunnel
   * loses nothing. At most eight captures run at once.
   *
   * @example
   * ```ts ignore
   * for await (const { data, peer } of net.capture({ filter: "tcp and port 443" })) { … }
   * await Deno.writeFile("a.pcapng", net.capture({ at: ["nic2"], signal }).pcapng);
   * ```
   * @throws {CaptureError} naming the option that is wrong, and how.
   * @throws {Deno.errors.BadResource} after {@link close}.
   */
  capture({ signal, ...options }: PacketCaptureOptions = {}): PacketCapture {
    this.#checkOpen();
    return new PacketCapture(Captures.of(this.#gateway).open(options), signal);
  }

  /**
   * Plain values: peers, connections, counters by reason, resources in use. No secret. Figures of flows
   * are as they are now; with more than 16,384 live ones as they were up to a second ago, their packets
   * and retransmissions up to a minute.
   */
  stats(): GatewayStats {
    return this.#gateway.stats();
  }

  /**
   * Closes what this program has open, and waits until everything written has arrived, for
   * `graceMs` at most (5,000); then resets the rest, and logs how much that was. Idle connections
   * of peers through the proxy are reset without waiting.
   *
   * @returns how much was cut off.
   */
  async close({ graceMs = CLOSE_GRACE_MS }: CloseOptions = {}): Promise<CloseResult> {
    this.#isClosed = true;
    for (const open of [...this.#open]) open.close();
    for (const conn of [...this.#conns]) conn[Symbol.dispose]();
    const result = await this.#gateway.close({ graceMs });
    await this.#recorder.close();
    await this.#watch.close();
    return result;
  }

  /** {@link close}, with the time it has by default. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new Deno.errors.BadResource("the gateway is closed");
  }

  #track(endpoint: TcpEndpoint, ends?: ProxyEnds): TunnelConn {
    const remote = ends && netAddr("tcp", ends.source, ends.sourcePort);
    const conn = new TunnelConn(endpoint, (conn) => this.#conns.delete(conn), remote);
    this.#conns.add(conn);
    return conn;
  }

  /** The peer that has an address, and can be reached; undefined for what is behind a link. */
  #peerAt(remote: IpAddress, operation: string): Peer | undefined {
    const { engine, peers, links } = this.#gateway;
    if (links.ownerAt(remote.bytes, 0, remote.version) !== undefined) return undefined;
    // A network the interface is in leads to NIC 1 as a whole, but only peers are there.
    const peer = engine.device.peerAt(remote.bytes, 0, remote.version);
    if (engine.stack.routes.lookupAddress(remote) !== engine.nic1 || peer === undefined) {
      throw new Deno.errors.NetworkUnreachable(`${operation}: no peer's AllowedIPs hold ${remote}`);
    }
    if (peer.endpoint !== undefined || peers.location(peer) !== undefined) return peer;
    throw new Deno.errors.NetworkUnreachable(
      `${operation}: peer ${peerName(peer)}, which has ${remote}, has no Endpoint and has ` +
        "not been heard yet",
    );
  }

  #dial(remote: IpAddress, remotePort: number): TcpEndpoint {
    const { engine } = this.#gateway;
    try {
      return engine.stack.tcp.connect({ remote, remotePort }, engine.now());
    } catch (error) {
      if (error instanceof RangeError) throw error;
      const { message } = error as Error;
      throw new Deno.errors.NetworkUnreachable(`connect: ${message}`, { cause: error });
    }
  }

  #timedOut(peer: Peer | undefined, remote: IpAddress, port: number, timeoutMs: number): Error {
    const target = remote.version === 4 ? `${remote}:${port}` : `[${remote}]:${port}`;
    if (peer === undefined) {
      return new Deno.errors.TimedOut(`connect: no answer from ${target} in ${timeoutMs / 1000} s`);
    }
    const key = peerName(peer);
    const why = peer.endpoint === undefined
      ? `the name of peer ${key} has not been found`
      : peer.hasSession
      ? `peer ${key} answers`
      : `peer ${key} at ${peer.endpoint} does not answer either`;
    const seconds = timeoutMs / 1000;
    return new Deno.errors.TimedOut(`connect: no answer from ${target} in ${seconds} s, ${why}`);
  }

  /** @throws {Deno.errors.AddrNotAvailable} unless it is one of the tunnel's own, or unspecified. */
  #ownAddress(hostname: string | undefined): IpAddress {
    if (hostname === undefined) return ANY;
    const address = tunnelAddress(hostname);
    const { nic1 } = this.#gateway.engine;
    if (address.isUnspecified || nic1.owns(address.bytes, 0, address.version)) return address;
    throw new Deno.errors.AddrNotAvailable(`${address} is not an address of this tunnel's end`);
  }
}

async function startOr<T>(undo: () => Promise<unknown>, start: () => T | Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    await undo();
    throw error;
  }
}

/** What `setTimeout` takes. */
const MAX_TIMER_MS = 0x7fffffff;
const ANY = IpAddress.v4(0, 0, 0, 0);

/** @throws {TypeError} with what to add to the command, or where. */
function checkPlatform(): void {
  if (typeof Deno.listenDatagram === "function") return;
  throw new TypeError(
    'Wirestack needs UDP sockets of Deno: add --unstable-net to "deno run", or ' +
      '"unstable": ["net"] to deno.json',
  );
}

/** For callers without types. */
function checkTransport(given: string | undefined, expected: string): void {
  if (given === undefined || given === expected) return;
  throw new TypeError(`transport: expected ${expected}, got ${JSON.stringify(given)}`);
}

/** For callers without types, as {@link checkTransport}: nothing would be changed, unsaid. */
function checkObject(operation: string, given: unknown): void {
  if (typeof given === "object" && given !== null) return;
  const got = given === null ? "null" : typeof given;
  throw new TypeError(`${operation}: expected an object with what is to change, got ${got}`);
}

/** As an option; nothing for every address. */
function specific(address: IpAddress): { address?: IpAddress } {
  return address.isUnspecified ? {} : { address };
}

function prefixesOf(list: ListInput): Prefix[] {
  const texts = typeof list === "string" ? splitList(list) : list;
  if (!Array.isArray(texts)) {
    throw new TypeError(`expected a prefix as 10.50.0.0/16, or a list of them, got ${typeof list}`);
  }
  return texts.map(prefixOf);
}

function prefixOf(text: unknown): Prefix {
  const prefix = typeof text === "string" ? parsePrefix(text) : undefined;
  if (prefix !== undefined) return prefix;
  const got = typeof text === "string" ? JSON.stringify(text) : typeof text;
  throw new TypeError(`expected a prefix as 10.50.0.0/16, got ${got}`);
}

function headersFrom(from: ListInput): ProxyHeaders {
  const prefixes = prefixesOf(from);
  if (prefixes.length === 0) {
    throw new TypeError("proxyProtocol.from: expected one address or prefix at least, got none");
  }
  const isTrusted = (address: IpAddress) => prefixes.some((prefix) => prefix.contains(address));
  return new ProxyHeaders({ isTrusted });
}

function inUse(error: unknown, port: number): unknown {
  if (!(error instanceof Error) || error instanceof RangeError) return error;
  return new Deno.errors.AddrInUse(`port ${port}: ${error.message}`, { cause: error });
}
