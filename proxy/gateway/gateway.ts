/**
 * A gateway: everything that a configuration asks for, wired together and running.
 *
 * @module
 */

import { type Arena, openArena } from "../arena/arena.ts";
import { NoUdpBind } from "../bind/no_udp.ts";
import type { UdpBind } from "../bind/udp.ts";
import { tryStreams } from "../../ffi/mod.ts";
import { chooseUdp } from "../bind/udp_open.ts";
import type { GatewayConfig } from "../config/config.ts";
import { Engine } from "../engine/engine.ts";
import { EventLoop, hostClock } from "../engine/event_loop.ts";
import { getLogger } from "../log/logger.ts";
import { checkDescriptorLimit } from "../target/descriptors.ts";
import { type IpAddress, Prefix, type TcpSettings } from "../../netstack/mod.ts";
import type { Crypto, Peer, TimerSettings } from "../../wireguard/mod.ts";
import { Enrolment } from "./enrolment/enrolment.ts";
import { GatewayInbounds } from "./inbounds.ts";
import { GatewayLinks } from "./links.ts";
import { attachDevice, guardHost, type OpenDevice } from "./device_link.ts";
import { openSocket, orSettingError, socketOf } from "./socket.ts";
import { hasStreams, LateStreams } from "./late_streams.ts";
import type { AsGuest } from "./streams.ts";
import { GatewayRoutes } from "./routes.ts";
import { findFlow, type FlowStats, flowStats } from "./flow_stats.ts";
import { type GatewayStats, gatewayStats, type StatsInSteps } from "./stats.ts";
import { type PeerStats, peerStats } from "./stats_peers.ts";
import { finishUnderWay, resetConnections } from "./finish.ts";
import { DeviceEvents, type HandshakeTotals } from "./device_events.ts";
import type { Resolve } from "./resolver.ts";
import { type Protocols, SubnetProxy } from "../forward/subnet_proxy.ts";
import { PeerRates } from "./peer_rates.ts";
import { PeerSources } from "./peer_sources.ts";
import { WatchedList } from "./peer_list/watched_list.ts";
import { TunnelPeers } from "./peers.ts";
import { takeTurns } from "./twins/sources.ts";
import type { Twins } from "./twins/twins.ts";
import { bufferMemory, openMemoryBudget } from "./buffer_memory.ts";
import { flowOwners, ownerLimits, proxySettings } from "./proxying.ts";
import type { EngineLink } from "../engine/link_port.ts";
import type { FlowOwner } from "../flow/flow.ts";
import type { OwnListener } from "../flow/own_listeners.ts";
import { parseIpAddress } from "../address.ts";
import { generatePrivateKey } from "../base64.ts";

export type { DeviceStats, LinkDropStats, LinkNatStats, LinkStats } from "./stats_links.ts";
export type { ConnectionStats, GatewayStats, MemoryStats, StatsInSteps } from "./stats.ts";
export type { PeerState, PeerStats } from "./stats_peers.ts";
export type { PeerOrigin } from "./peer_sources.ts";
export type { PeerListStats } from "./peer_list/watch.ts";
export type { ListRefusal } from "./peer_list/text.ts";

const log = getLogger(["wirestack", "engine"]);

/** Flows of other peers that are passed over before others have their turn. */
const OTHERS_PER_STEP = 1_024;

/** What tests and embedders may replace. */
export interface GatewayOptions {
  /** Default: X25519 and ChaCha20-Poly1305 from `node:crypto`. */
  readonly crypto?: Crypto;
  /** WireGuard's time constants. */
  readonly timers?: Partial<TimerSettings>;
  /** Constants of TCP inside the tunnel. */
  readonly tcp?: Partial<TcpSettings>;
  /** Default: as the system resolves names. */
  readonly resolve?: Resolve;
  /**
   * UDP in batches, over FFI: Linux, with the permission --allow-ffi. Default: where that is
   * available. `true` where it is not is an error.
   */
  readonly ffi?: boolean;
  /** How old the address of a name must be before a failing handshake has it looked up again. */
  readonly resolveAgainMs?: number;
  /** Where peers' endpoints are remembered for the next start; the first that works. Default: nowhere. */
  readonly stateDirectories?: readonly string[];
  /**
   * The same for who was enrolled at a hub, where this process is about to become another user: the file is
   * opened at the start, and the key of `ClientCaKey` read. Default: as the others.
   */
  readonly heldStateDirectories?: readonly string[];
  /** ms since the Unix epoch, for how long invitations are good. Default: this host's clock. */
  readonly wallClock?: () => number;
  /** A device of the operating system, which then has the configured addresses. Default: none. */
  readonly device?: OpenDevice;
  /**
   * Whether what peers send to the device is held to what targets are held to: no address of this host,
   * none that is unsafe, unless a rule names it. Default: it is not.
   */
  readonly guardsHost?: boolean;
  /**
   * Whether what a change of the configuration may need is loaded at the start: this process may be about
   * to become another user, who may not read the program. Default: it is loaded when it is needed.
   */
  readonly loadsAll?: boolean;
  /** Where fallbacks, proxies on the way, and a list's host are dialled. Default: as the system resolves names. */
  readonly dialledAddresses?: (host: string) => readonly IpAddress[];
  /** Whether the mark of WireGuard's datagrams stays as it is, whatever is set or reloaded. Default: not. */
  readonly keepsMark?: boolean;
  /** Fallbacks show this, whatever files are configured for them. */
  readonly asGuest?: AsGuest;
}

/** How to close. */
export interface CloseOptions {
  /**
   * How long what is under way may take: bytes that have not arrived, packets that wait for a
   * handshake. Idle connections are not waited for. 0: everything is reset at once.
   */
  readonly graceMs?: number;
}

/** What closing has done. */
export interface CloseResult {
  /** Connections, and peers with packets to send, that were cut off when the time was over. */
  readonly unfinished: number;
}

export class Gateway implements AsyncDisposable {
  /** Resolves once closed; rejects if the gateway cannot go on. */
  readonly closed: Promise<void>;
  /** For what uses the stack directly. */
  readonly engine: Engine;
  /** WireGuard's own socket. */
  readonly udp: UdpBind;
  readonly proxy: SubnetProxy;
  readonly peers: TunnelPeers;
  /** Where they come from. */
  readonly peerSources: PeerSources;
  /** A signed list of more. */
  readonly peerList: WatchedList;
  /** Prefixes that peers hold in turn, on a gateway whose peers reach each other. */
  readonly twins: Twins | undefined;
  /** Machines that were invited; undefined without WireGuard, or with nowhere to keep state. */
  enrolment: Enrolment | undefined;
  /** What carries WireGuard beside UDP. */
  readonly streams: LateStreams;
  /** Beside WireGuard. */
  readonly links: GatewayLinks;
  /** Of the operating system, with the configured addresses; undefined for none. */
  readonly device: EngineLink | undefined;
  /** Whether what goes around the tunnel is known by its mark, which stays as it is. */
  readonly keepsMark: boolean;
  readonly routes: GatewayRoutes;
  /** How programs of this host get into the tunnel, where there is no device. */
  readonly inbounds: GatewayInbounds;
  /** Whose flows a peer's are. */
  readonly ownerOf: (peer: Peer) => FlowOwner;
  readonly #startedAt: number;
  readonly #closed = Promise.withResolvers<void>();
  readonly #events = new DeviceEvents(this);
  #closing: Promise<CloseResult> | undefined;
  /** The configured port and address; the port 0 or missing for any. */
  #listen: Pick<GatewayConfig, "listenPort" | "listenAddress">;

  /**
   * Listens, opens links and, where a peer's endpoint and keepalive say so, begins to shake hands.
   *
   * @throws {SettingError} if the system refuses a value: a port in use; or a file of certificates can
   * never work.
   */
  static async start(config: GatewayConfig, options: GatewayOptions = {}): Promise<Gateway> {
    if (hasStreams(config) && options.asGuest === undefined) {
      (await import("./certificate_files.ts")).requireCertificates(config);
    }
    // First: a target that is dialled before would be reached over the runtime's sockets.
    if (chooseUdp(options.ffi).ffi) await tryStreams();
    const gateway = new Gateway(config, options);
    try {
      if (hasStreams(config) || options.loadsAll) await gateway.streams.load();
      gateway.#configure(config);
      gateway.#openEnrolment(config, options);
      if (gateway.hasWireguard) await gateway.peerList.apply(config.peerList);
      gateway.engine.wake();
      await gateway.links.open(config.links);
      await gateway.streams.open(
        config.relay,
        config.peers.flatMap(({ fallbacks = [] }) => fallbacks),
      );
      return gateway;
    } catch (error) {
      await gateway.close();
      throw error;
    }
  }

  /**
   * Opens WireGuard's socket as {@link start} does, and closes it: what the system refuses is known.
   *
   * @throws {SettingError} naming what it refuses.
   */
  static tryListening(config: GatewayConfig, options: Pick<GatewayOptions, "ffi"> = {}): void {
    const { ffi } = chooseUdp(options.ffi);
    if (config.privateKey === undefined) return;
    openSocket(config, openArena(config.mtu), ffi).close();
  }

  private constructor(config: GatewayConfig, options: GatewayOptions) {
    this.closed = this.#closed.promise;
    this.closed.catch(() => {}); // no unhandled rejection: a caller that awaits it sees the error
    const { ffi } = chooseUdp(options.ffi);
    const arena = openArena(config.mtu, options.crypto);
    this.udp = openSocket(config, arena, ffi);
    try {
      const engine = this.#makeEngine(config, options, arena);
      this.engine = engine;
      this.#startedAt = engine.now();
      this.#listen = config;
      this.keepsMark = options.keepsMark ?? false;
      const routes = new GatewayRoutes(engine.stack.routes, engine.nic1);
      this.routes = routes;
      let device: FlowOwner | undefined;
      if (options.device !== undefined) {
        const attached = attachDevice(
          ...[engine, arena, options.device, config] as const,
          (error) => this.#deviceClosed(error),
        );
        this.device = attached.port;
        device = attached.owner;
      } else {
        for (const { address, length } of config.addresses) {
          routes.addNetwork(new Prefix(address, length));
        }
      }
      engine.addTimeouts(new PeerRates(engine.device, () => engine.now()));
      this.peers = new TunnelPeers(engine, this.udp, routes, config.privateKey, {
        ...options,
        fallbacks: {
          isReady: () => this.streams.isLoaded,
          ready: () => this.streams.load(),
          open: (fallback) => this.streams.openFallback(fallback),
        },
      });
      this.peerSources = new PeerSources(engine.device, this.peers);
      this.peerList = new WatchedList({
        sources: this.peerSources,
        publicKey: () => this.publicKey,
        stateDirectories: options.stateDirectories ?? [],
        addresses: options.dialledAddresses,
      });
      if (this.hasWireguard) this.twins = takeTurns(engine, this.peerSources, config);
      const owners = flowOwners(engine.device, {
        ownerAt: (buffer, offset, version) => this.links.ownerAt(buffer, offset, version),
        holds: (client, owner) => this.links.holds(client, owner),
      }, device);
      this.ownerOf = owners.ofPeer;
      this.proxy = new SubnetProxy({
        engine,
        routes,
        settings: proxySettings(config),
        ...owners,
        ...(device && options.guardsHost && { guard: guardHost(engine, device, config) }),
        ffi,
      });
      this.peers.onLimitsChanged = (peer) =>
        this.proxy.setLimits(owners.ofPeer(peer), ownerLimits(this.peers.limits(peer)));
      this.peers.onHeldChanged = () => this.proxy.reviewSoon();
      this.links = new GatewayLinks({
        engine,
        routes,
        listeners: this.proxy.listeners,
        forwarding: config.peerToPeer,
        onHeldChanged: () => this.proxy.reviewSoon(),
      });
      this.proxy.listeners.add(this.#listener());
      this.streams = new LateStreams({
        engine,
        listeners: this.proxy.listeners,
        receiveRegion: arena.streamRegion,
        addresses: options.dialledAddresses,
        asGuest: options.asGuest,
        hasDevice: options.device !== undefined,
        wallClock: options.wallClock,
      }, bufferMemory(config.proxy?.maxBufferMemory));
      this.inbounds = new GatewayInbounds(engine, this.proxy);
    } catch (error) {
      this.udp.close();
      throw error;
    }
  }

  /** Milliseconds since it was started. */
  get uptimeMs(): number {
    return this.engine.now() - this.#startedAt;
  }

  /** Bound UDP port. */
  get port(): number {
    return this.udp.port;
  }

  /** Whether there is a socket of WireGuard's; otherwise links alone bring packets. */
  get hasWireguard(): boolean {
    return !(this.udp instanceof NoUdpBind);
  }

  /** Since the start: complete, given up without an answer, and those of others that were refused. */
  get handshakes(): Readonly<HandshakeTotals> {
    return this.#events.handshakes;
  }

  get publicKey(): Uint8Array {
    return this.engine.device.publicKey;
  }

  /**
   * Moves WireGuard's socket and marks it, unless the mark is to stay. Nothing happens
   * when it is there already; any port (0 or missing) keeps the one it has, if that was chosen by the
   * system.
   *
   * @throws {SettingError} if the system refuses; then it stays where and as it is.
   */
  listen(to: Pick<GatewayConfig, "listenPort" | "listenAddress" | "fwMark">): void {
    const known = this.#listen;
    const { udp } = this;
    const { mark } = udp;
    if (!this.keepsMark) orSettingError(() => udp.setMark(to.fwMark ?? 0));
    const isSamePort = to.listenPort ? to.listenPort === this.port : !known.listenPort;
    if (isSamePort && to.listenAddress === known.listenAddress) return;
    try {
      orSettingError(() => udp.rebind(socketOf(to)));
    } catch (error) {
      udp.setMark(mark);
      throw error;
    }
    this.engine.wake();
    this.peers.rebound();
    this.#listen = to;
    log.info("listening on UDP port {port} now", { port: this.port });
  }

  /** Mark of WireGuard's datagrams; 0 for none. */
  get fwMark(): number {
    return this.udp.mark;
  }

  /** The address last given to {@link listen}. */
  get listenAddress(): string | undefined {
    return this.#listen.listenAddress;
  }

  /**
   * Proxies subnets behind NIC 2: at creation, later, or never. Of a subnet that is proxied already
   * the protocols change.
   */
  enableProxyOnSubnet(
    prefixes: readonly Prefix[],
    protocols: Protocols = { tcp: true, udp: true, icmp: true },
  ): void {
    this.proxy.enable(prefixes, protocols);
  }

  /** The addresses are no longer proxied: connections and sessions with them end. */
  disableProxyOnSubnet(prefixes: readonly Prefix[]): void {
    this.proxy.disable(prefixes);
  }

  /** Single-interface mode for TCP: NIC 1 itself answers for every address. */
  enableTcpProxy(): void {
    this.#enableSingle({ tcp: true });
  }

  /** Single-interface mode for UDP: NIC 1 itself answers for every address. */
  enableUdpProxy(): void {
    this.#enableSingle({ udp: true });
  }

  /** Those that are machines: a token of an invitation is a peer too, for a while. */
  *machines(): Generator<Peer, void, undefined> {
    for (const peer of this.engine.device.peers()) {
      if (this.enrolment?.isToken(peer) !== true) yield peer;
    }
  }

  /**
   * {@link machines}, each looked at when its turn comes.
   *
   * @param text Of those alone that have it in their name, public key, place or a prefix, in any case.
   */
  peerStats(text?: string): Generator<PeerStats, void, undefined> {
    return peerStats(this, text, this.machines());
  }

  /** Figures as they are now; of more than 16,384 live flows as the last sample has them. */
  stats(): GatewayStats {
    this.proxy.statistics.settle();
    return gatewayStats(this, this.#startedAt, [...peerStats(this)]);
  }

  /** The same, and others may have their turns in between; each peer is looked at when its turn comes. */
  async statsInSteps(): Promise<StatsInSteps> {
    await this.settle();
    return gatewayStats(this, this.#startedAt, peerStats(this));
  }

  /** Counts what all flows did until now, with turns for others in between. */
  async settle(): Promise<void> {
    for (const _ of this.proxy.statistics.settleInSteps()) {
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  /**
   * Live flows, in the order in which they began; each is looked at when its turn comes.
   *
   * @param peer The name, as `FlowStats.peer` has it, of whose flows alone are wanted.
   * @param hasTargets Whether to ask the kernel for the round trips to targets, where it can be: that
   * looks at every descriptor of this process.
   */
  *flows(peer?: string, hasTargets = false): Generator<FlowStats, void, undefined> {
    for (const flow of this.flowsInSteps(peer, hasTargets)) if (flow !== undefined) yield flow;
  }

  /** The same, with an undefined wherever others should have their turn before it goes on. */
  *flowsInSteps(
    peer?: string,
    hasTargets = false,
  ): Generator<FlowStats | undefined, void, undefined> {
    const targets = hasTargets ? yield* this.proxy.roundTrips() : undefined;
    const isWanted = new Map<FlowOwner, boolean>(); // a name is made anew each time it is asked for
    let others = 0;
    for (const flow of this.proxy.admission.table.live) {
      const { owner } = flow;
      if (peer !== undefined && !isWanted.has(owner)) isWanted.set(owner, owner.name === peer);
      if (isWanted.get(owner) !== false) {
        yield flowStats(flow, this.engine.now(), Date.now(), targets);
      } else if (++others % OTHERS_PER_STEP === 0) yield undefined;
    }
  }

  /**
   * Ends a live flow: TCP by a reset to both sides. A UDP client's next datagram begins another.
   *
   * @param id All of it, or as many of its first digits as no other live flow has.
   * @returns what it was; undefined if there is none.
   * @throws {AmbiguousFlow} if there are several.
   */
  killFlow(id: string): FlowStats | undefined {
    const flow = findFlow(this.proxy.admission.table, id);
    if (flow === undefined) return undefined;
    const stats = flowStats(flow, this.engine.now(), Date.now());
    flow.carrier?.endFlow(flow, "killed");
    this.engine.wake();
    const { protocol, peer, source, destination } = stats;
    log.info("{protocol} flow {id} of {peer}, {source} to {destination}: ended on request", {
      protocol,
      id: flow.id,
      peer,
      source,
      destination,
    });
    return stats;
  }

  /**
   * Takes no new connections, lets what is under way finish (default: for 0 ms), resets the rest.
   * Idempotent.
   */
  close(options: CloseOptions = {}): Promise<CloseResult> {
    this.#closing ??= this.#close(options.graceMs ?? 0);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #makeEngine(config: GatewayConfig, options: GatewayOptions, arena: Arena): Engine {
    const { privateKey, mtu, addresses, peerToPeer, rekeyAfterMs } = config;
    return new Engine({
      clock: hostClock,
      scheduler: new EventLoop(),
      random: (out) => void crypto.getRandomValues(out),
      arena,
      binds: [this.udp],
      privateKey: privateKey ?? generatePrivateKey(),
      mtu,
      addresses: options.device === undefined ? addresses : [],
      forwarding: peerToPeer,
      timers: { ...(rekeyAfterMs !== undefined && { rekeyAfterMs }), ...options.timers },
      ...(options.tcp && { tcp: options.tcp }),
      memory: openMemoryBudget(config.proxy?.maxBufferMemory),
      onEvent: (event) => this.#events.handle(event),
      onFailed: (error) => {
        this.#closed.reject(error);
        this.close();
      },
    });
  }

  #deviceClosed(error = new Error("the device is gone")): void {
    this.#closed.reject(error);
    this.close();
  }

  #configure(config: GatewayConfig): void {
    if (config.proxy !== undefined) {
      const { maxTcpConnections, maxUdpSessions, maxPingSessions } = config.proxy.limits;
      const sockets = maxTcpConnections + maxUdpSessions + (this.proxy.ffi ? maxPingSessions : 0);
      checkDescriptorLimit(sockets, this.proxy.ffi);
    }
    if (config.proxy?.interface === "nic1") {
      const { subnets } = config.proxy;
      // Validation has warned of it.
      this.proxy.enableSingle(config.proxy, subnets.length > 0 ? subnets : undefined);
    } else if (config.proxy !== undefined) {
      this.proxy.enable(config.proxy.subnets, config.proxy);
    }
    this.peerSources.replace("file", config.peers);
    this.engine.wake();
  }

  #openEnrolment(config: GatewayConfig, options: GatewayOptions): void {
    const { heldStateDirectories, stateDirectories, wallClock } = options;
    const changesUser = heldStateDirectories !== undefined;
    const directories = heldStateDirectories ?? stateDirectories;
    if (!this.hasWireguard || directories === undefined) return;
    const { engine, peers, peerSources } = this;
    const port = () => this.port;
    this.enrolment = new Enrolment({
      ...{ engine, peers, peerSources, config, port, changesUser, stateDirectories: directories },
      hasDevice: options.device !== undefined,
      relayPlaces: () => this.streams.places,
      onAdmission: (admission) => this.streams.setAdmission(admission),
      ...(wallClock && { wallClock }),
    });
  }

  async #close(graceMs: number): Promise<CloseResult> {
    const enrolment = this.enrolment?.close();
    this.peerList.close();
    this.proxy.close();
    this.inbounds.close();
    const unfinished = graceMs > 0 ? await finishUnderWay(this, graceMs) : 0;
    if (unfinished > 0) {
      log.warn("closing: {unfinished} connections or peers had not finished after {seconds} s", {
        unfinished,
        seconds: graceMs / 1000,
      });
    }
    this.peers.close();
    const streams = this.streams.close();
    const links = this.links.close();
    const inbounds = this.inbounds.abort();
    resetConnections(this.engine.stack);
    await this.proxy.abort();
    await links;
    await streams;
    await inbounds;
    await enrolment;
    await this.engine.close();
    this.#closed.resolve();
    return { unfinished };
  }

  /** WireGuard's socket. A peer could send packets to it through the proxy, in a loop. */
  #listener(): OwnListener {
    const port = () => this.udp.port;
    const address = () => this.#listen.listenAddress;
    return {
      protocol: "udp",
      get port() {
        return port();
      },
      get address() {
        return parseIpAddress(address() ?? "");
      },
    };
  }

  #enableSingle(protocols: Partial<Protocols>): void {
    log.warn("the forwarders answer on the tunnel's own interface: peers reach every target");
    this.proxy.enableSingle(protocols);
  }
}
