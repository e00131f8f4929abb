/**
 * The peers of a running gateway, and what belongs to each: routes to its allowed IPs, a name that is
 * looked up for its endpoint. The configuration at start, a reload and the control socket all
 * change peers here.
 *
 * @module
 */

import { IpAddress, type Prefix } from "../../netstack/mod.ts";
import { clampPrivateKey, type Endpoint, type Peer } from "../../wireguard/protocol.ts";
import { UdpAddress } from "../bind/udp_address.ts";
import type { UdpBind } from "../bind/udp.ts";
import type { PeerConfig } from "../config/config.ts";
import type { FallbackConfig, PeerLimits } from "../config/checked.ts";
import type { Engine, TimeoutSource } from "../engine/engine.ts";
import type { GatewayRoutes } from "./routes.ts";
import { generatePrivateKey, isSameKey, publicKeyOf } from "../base64.ts";
import { getLogger } from "../log/logger.ts";
import { toAllowedIp, toPrefix } from "./allowed_ip.ts";
import { Callers } from "./callers.ts";
import { EndpointMemory } from "./endpoint_memory.ts";
import { type LocatorOptions, type PeerLocation, PeerLocator } from "./locator.ts";
import { Paths } from "./paths/paths.ts";
import type { Fallback } from "./paths/peer_choice.ts";
import { resolveBySystem } from "../target/system_names.ts";
import type { Resolve } from "./resolver.ts";

const log = getLogger(["wirestack", "relay"]);

/** Handshakes that begin together at most, and how long the next wait: 640 per second. */
const CALLS = 32;
const CALL_PAUSE_MS = 50;
type FallbackConfigs = readonly FallbackConfig[];

/** Not to bother the name server at every failed handshake of 5 s. */
const RESOLVE_AGAIN_MS = 15_000;

export interface TunnelPeersOptions {
  /** Default: as the system resolves names. */
  readonly resolve?: Resolve;
  /** How old the addresses of a name must be before failing handshakes have it looked up again. */
  readonly resolveAgainMs?: number;
  /** Where peers' endpoints are remembered for the next start. Default: nowhere. */
  readonly stateDirectories?: readonly string[];
  /** Where ends of fallbacks come from. Default: there are none, whatever is configured. */
  readonly fallbacks?: FallbackOpener;
}

/** Makes ends of fallbacks, when what they need is loaded. */
export interface FallbackOpener {
  isReady(): boolean;
  ready(): Promise<void>;
  open(config: FallbackConfig): OpenedFallback;
}

/** The end of a fallback of a peer's, closed, until it is not needed any more. */
export interface OpenedFallback {
  readonly endpoint: Fallback;
  /** Closes it for good. */
  forget(): void;
}

interface FallbacksOfPeer {
  readonly configs: FallbackConfigs;
  /** Empty until what they need is loaded. */
  readonly opened: OpenedFallback[];
}

export class TunnelPeers implements TimeoutSource {
  /** By what the peers are reached: UDP, or a fallback. */
  readonly paths: Paths;
  readonly #engine: Engine;
  readonly #udp: UdpBind;
  readonly #routes: GatewayRoutes;
  readonly #locators = new Map<Peer, PeerLocator>();
  /** Those that have a deadline, and the earliest of them, or an earlier time. */
  readonly #waiting = new Set<PeerLocator>();
  #retryAt = Infinity;
  readonly #locatorOptions: LocatorOptions;
  readonly #memory: EndpointMemory;
  readonly #callers = new Callers();
  /** Peers to shake hands with, and when it is their turn. */
  readonly #calls = new Set<Peer>();
  #callAt = -Infinity;
  /** Called when an address has become another peer's, or nobody's. */
  onHeldChanged: () => void = () => {};
  /** Of those that have any. */
  readonly #limits = new WeakMap<Peer, PeerLimits>();
  /** Called when a peer has other limits than before. */
  onLimitsChanged: (peer: Peer) => void = () => {};
  #privateKey: Uint8Array | undefined;
  readonly #opener: FallbackOpener | undefined;
  readonly #fallbacks = new Map<Peer, FallbacksOfPeer>();
  #isClosed = false;

  /**
   * @param udp Where configured addresses are sent to.
   * @param privateKey The one the engine was started with; undefined without WireGuard.
   */
  constructor(
    engine: Engine,
    udp: UdpBind,
    routes: GatewayRoutes,
    privateKey: Uint8Array | undefined,
    options: TunnelPeersOptions,
  ) {
    this.#engine = engine;
    this.#udp = udp;
    this.#routes = routes;
    this.paths = new Paths({
      now: () => engine.now(),
      wake: () => engine.wake(),
      tryElsewhere: (peer) => this.#locators.get(peer)?.tryElsewhere(),
      switched: (peer) => this.#tryAgain(peer),
    });
    engine.addTimeouts(this.paths);
    engine.addTimeouts(this.#callers);
    this.#opener = options.fallbacks;
    this.#locatorOptions = {
      resolve: options.resolve ?? resolveBySystem,
      resolveAgainMs: options.resolveAgainMs ?? RESOLVE_AGAIN_MS,
      now: () => engine.now(),
      endpoint: (address, port) => udp.endpoint(address, port),
      endpointOf: (peer) => this.paths.udpOf(peer),
      moveTo: (peer, endpoint) => this.paths.setUdpOf(peer, endpoint),
      initiate: (peer) => void this.#calls.add(peer),
      changed: (locator) => {
        if (locator.retryAt < Infinity) this.#waiting.add(locator);
        this.#retryAt = Math.min(this.#retryAt, locator.retryAt);
        engine.wake();
      },
    };
    this.#memory = new EndpointMemory({
      directories: options.stateDirectories ?? [],
      now: () => engine.now(),
      wallClock: () => Date.now(),
      publicKey: () => engine.device.publicKey,
      peers: () => engine.device.peers(),
    });
    engine.addTimeouts(this);
    this.#privateKey = privateKey && clampPrivateKey(privateKey.slice());
  }

  /** 32 bytes, clamped; not to be written to. Undefined when it was taken away. */
  get privateKey(): Uint8Array | undefined {
    return this.#privateKey;
  }

  /**
   * Changes the gateway's own key; new handshakes follow, and a peer that has this key is removed.
   * The same key again changes nothing. Without a key there are no handshakes.
   */
  setPrivateKey(key: Uint8Array | undefined): void {
    const { device } = this.#engine;
    const next = key && clampPrivateKey(key.slice());
    const known = this.#privateKey;
    if (next === undefined ? known === undefined : known && isSameKey(next, known)) return;
    const self = next && device.peer(publicKeyOf(next));
    if (self !== undefined) this.remove(self);
    // The device cannot be without one: it gets one that nobody knows, nor its public half.
    const unknown = next === undefined ? generatePrivateKey() : undefined;
    device.setPrivateKey(next ?? unknown!, this.#engine.now());
    unknown?.fill(0);
    known?.fill(0);
    this.#privateKey = next;
    this.#engine.wake();
  }

  /** @throws {TypeError} if the key is the gateway's own, or a peer's already. */
  add(config: PeerConfig): Peer {
    const { publicKey, name, presharedKey, allowedIps, persistentKeepalive } = config;
    const peer = this.#engine.device.addPeer({
      publicKey,
      ...(presharedKey && { presharedKey }),
    }, this.#engine.now());
    peer.name = name;
    const locations = locationsOf(config);
    // Without an endpoint fallbacks are all there is, whatever there was before.
    const isByUdp = locations.length > 0 || (config.fallbacks ?? []).length === 0;
    const known = isByUdp ? this.#memory.of(publicKey) : undefined;
    const hint = known && this.#udp.endpoint(known.address, known.port);
    this.setFallbacks(peer, config.fallbacks);
    if (locations.length > 0 || hint !== undefined) this.#locate(peer, locations, hint);
    else this.paths.of(peer)?.setUdp(undefined); // it has nothing but fallbacks
    this.setLimits(peer, config.limits);
    this.setAllowedIps(peer, allowedIps);
    this.setPersistentKeepalive(peer, persistentKeepalive); // last: it may start a handshake
    return peer;
  }

  remove(peer: Peer): void {
    for (const prefix of this.allowedIps(peer)) this.#routes.removeAllowedIp(prefix);
    this.setLimits(peer, undefined);
    this.forgetLocation(peer);
    this.setFallbacks(peer, undefined);
    this.#calls.delete(peer);
    this.#callers.watch(peer, false, this.#engine.now());
    this.#memory.changed();
    this.#engine.device.removePeer(peer, this.#engine.now());
    this.onHeldChanged();
  }

  /** Where the peer was last configured to be, not where it was heard: the first, if there are several. */
  location(peer: Peer): PeerLocation | undefined {
    return this.locations(peer)[0];
  }

  /** The same, all of them. */
  locations(peer: Peer): readonly PeerLocation[] {
    return this.#locators.get(peer)?.locations ?? [];
  }

  /** A name is looked up from now on; until it is found the peer stays where it is. */
  setLocation(peer: Peer, ...locations: PeerLocation[]): void {
    this.#locate(peer, locations);
  }

  /** The peer is where its packets come from. */
  forgetLocation(peer: Peer): void {
    const locator = this.#locators.get(peer);
    if (locator === undefined) return;
    locator.close();
    this.#locators.delete(peer);
    this.#waiting.delete(locator);
    this.#watch(peer);
  }

  /** Where else the peer is when UDP does not get through, in order. */
  fallbacks(peer: Peer): FallbackConfigs {
    return this.#fallbacks.get(peer)?.configs ?? [];
  }

  /** The ones before are closed, and what they carried goes by UDP at first. */
  setFallbacks(peer: Peer, configs: FallbackConfigs = []): void {
    this.paths.remove(peer);
    for (const { forget } of this.#fallbacks.get(peer)?.opened ?? []) forget();
    this.#fallbacks.delete(peer);
    if (configs.length === 0 || this.#opener === undefined) return;
    const entry: FallbacksOfPeer = { configs, opened: [] };
    this.#fallbacks.set(peer, entry);
    if (this.#opener.isReady()) this.#openFallbacks(peer, entry);
    else void this.#openFallbacksLater(peer, entry, this.#opener);
  }

  /** What the peer may have by itself; undefined for as much as there is. */
  limits(peer: Peer): PeerLimits | undefined {
    return this.#limits.get(peer);
  }

  /** Applies at once, to flows that there are too. */
  setLimits(peer: Peer, limits: PeerLimits | undefined): void {
    if (limits === this.#limits.get(peer)) return;
    if (limits === undefined) this.#limits.delete(peer);
    else this.#limits.set(peer, limits);
    this.onLimitsChanged(peer);
  }

  allowedIps(peer: Peer): Prefix[] {
    return peer.allowedIps.map(toPrefix);
  }

  /** A prefix that another peer has is taken from it. */
  addAllowedIp(peer: Peer, prefix: Prefix): void {
    peer.addAllowedIp(toAllowedIp(prefix));
    this.#routes.addAllowedIp(prefix);
    this.onHeldChanged();
  }

  /** Nothing happens unless the prefix is this peer's. */
  removeAllowedIp(peer: Peer, prefix: Prefix): void {
    if (!peer.removeAllowedIp(toAllowedIp(prefix))) return;
    this.#routes.removeAllowedIp(prefix);
    this.onHeldChanged();
  }

  /** Makes this the whole list. What stays is never unrouted in between. */
  setAllowedIps(peer: Peer, prefixes: readonly Prefix[]): void {
    const stay = new Set(prefixes.map(String));
    for (const prefix of this.allowedIps(peer)) {
      if (!stay.has(`${prefix}`)) this.removeAllowedIp(peer, prefix);
    }
    for (const prefix of prefixes) this.addAllowedIp(peer, prefix);
  }

  /** @param seconds 0 is off. */
  setPersistentKeepalive(peer: Peer, seconds: number): void {
    if (seconds === peer.persistentKeepalive) return;
    peer.setPersistentKeepalive(seconds, this.#engine.now());
    this.#watch(peer);
    this.#engine.wake();
  }

  /** @param attempt The initiations that were not answered. */
  handshakeUnanswered(peer: Peer, attempt: number): void {
    const choice = this.paths.of(peer);
    if (attempt === Infinity) choice?.handshakeGivenUp();
    // By a fallback it says nothing of the peer's addresses.
    if (choice?.isByUdp ?? true) this.#locators.get(peer)?.handshakeUnanswered(attempt);
  }

  handshakeComplete(peer: Peer): void {
    if (this.paths.of(peer)?.isByUdp ?? true) this.#locators.get(peer)?.handshakeComplete();
    else peer.isSearched = false;
    this.paths.transportOf(peer); // from when on it is known
    this.#memory.changed(peer);
  }

  /** Writes down at once where the peers are. */
  remember(): void {
    this.#memory.save();
  }

  /** The peer was heard from a new address. @returns whether by another transport. */
  moved(peer: Peer): boolean {
    this.#memory.changed(peer);
    return this.paths.moved(peer);
  }

  /** The socket is another one: every endpoint of it becomes one of its own. */
  rebound(): void {
    for (const locator of this.#locators.values()) locator.rebound();
    for (const peer of this.#engine.device.peers()) {
      const endpoint = this.paths.udpOf(peer);
      if (!(endpoint instanceof UdpAddress) || endpoint.bind !== this.#udp) continue;
      const { address, port, scope } = endpoint;
      this.paths.setUdpOf(peer, this.#udp.endpoint(new IpAddress(address), port, scope));
    }
  }

  pollTimeout(): number {
    const next = Math.min(this.#memory.pollTimeout(), this.#retryAt);
    return this.#calls.size > 0 ? Math.min(next, this.#callAt) : next;
  }

  handleTimeout(now: number): void {
    if (now >= this.#retryAt) this.#retry(now);
    this.#memory.handleTimeout(now);
    this.#call(now);
  }

  /** No name is looked up any more; where the peers are is remembered. */
  close(): void {
    this.#isClosed = true;
    this.#memory.save();
    this.#calls.clear();
    this.paths.close();
    for (const locator of this.#locators.values()) locator.close();
    this.#waiting.clear();
  }

  /** Of what went to a peer, and was lost on another way, what is ours: it would wait twice as long. */
  #tryAgain(peer: Peer): void {
    const { stack, device } = this.#engine;
    const isThere = ({ bytes, version }: IpAddress) => device.peerAt(bytes, 0, version) === peer;
    stack.tcp.tryAgain(isThere, this.#engine.now());
    this.#engine.wake();
  }

  #retry(now: number): void {
    this.#retryAt = Infinity;
    for (const locator of this.#waiting) {
      if (locator.retryAt <= now) locator.handleTimeout(now);
      const { retryAt } = locator; // of several names one may be due, and the next later
      if (retryAt === Infinity) this.#waiting.delete(locator);
      else this.#retryAt = Math.min(this.#retryAt, retryAt);
    }
  }

  #call(now: number): void {
    if (now < this.#callAt || this.#calls.size === 0) return;
    let left = CALLS;
    for (const peer of this.#calls) {
      if (left-- === 0) break;
      this.#calls.delete(peer);
      peer.initiate(now);
    }
    this.#callAt = now + CALL_PAUSE_MS;
  }

  #openFallbacks(peer: Peer, entry: FallbacksOfPeer): void {
    for (const config of entry.configs) entry.opened.push(this.#opener!.open(config));
    this.paths.setFallbacks(peer, entry.opened.map(({ endpoint }) => endpoint));
  }

  /** The first ones of a gateway that had none so far. */
  async #openFallbacksLater(
    peer: Peer,
    entry: FallbacksOfPeer,
    opener: FallbackOpener,
  ): Promise<void> {
    try {
      await opener.ready();
    } catch (error) {
      const { url } = entry.configs[0]!;
      log.warn("{url} cannot be dialled: {problem}", { url, problem: (error as Error).message });
      return;
    }
    // It may have others meanwhile, or be gone.
    if (this.#isClosed || this.#fallbacks.get(peer) !== entry) return;
    this.#openFallbacks(peer, entry);
    const choice = this.paths.of(peer);
    if (choice?.udp === undefined && !this.#locators.has(peer)) choice?.setUdp(undefined);
  }

  /** Whom this side keeps calling has to know it. */
  #watch(peer: Peer): void {
    const isCalled = peer.persistentKeepalive > 0 && this.locations(peer).length > 0;
    this.#callers.watch(peer, isCalled, this.#engine.now());
  }

  #locate(peer: Peer, locations: readonly PeerLocation[], hint?: Endpoint): void {
    this.forgetLocation(peer);
    const locator = new PeerLocator(peer, locations, hint, this.#locatorOptions);
    this.#locators.set(peer, locator);
    this.#watch(peer);
    locator.start();
  }
}

/** Where a peer is configured to be, in order. */
export function locationsOf({ endpoint, otherEndpoints = [] }: PeerConfig): PeerLocation[] {
  return endpoint === undefined ? [] : [endpoint, ...otherEndpoints];
}
