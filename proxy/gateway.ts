/**
 * A gateway: everything that a configuration asks for, wired together and running.
 *
 * @module
 */

import { getLogger } from "./logger.ts";
import { type IpAddress, Prefix, type TcpSettings } from "../netstack/mod.ts";
import type { Crypto, DeviceEvent, Peer, TimerSettings } from "../wireguard/mod.ts";
import { parseIpAddress } from "./address.ts";
import type { GatewayConfig, PeerConfig } from "./config.ts";
import { Engine } from "./engine.ts";
import { type GatewayStats, gatewayStats } from "./gateway_stats.ts";
import { logRejection } from "./handshake_log.ts";
import { encodeKey } from "./keys.ts";
import { PeerEndpoint, type Resolve } from "./peer_endpoints.ts";
import { type Protocols, SubnetProxy } from "./subnet_proxy.ts";

export type { ConnectionStats, GatewayStats, PeerStats } from "./gateway_stats.ts";

const log = getLogger(["wirestack", "engine"]);

/** What tests and embedders may replace. */
export interface GatewayOptions {
  /** Default: X25519 and ChaCha20-Poly1305 from `node:crypto`. */
  readonly crypto?: Crypto;
  /** WireGuard's time constants. */
  readonly timers?: Partial<TimerSettings>;
  readonly tcp?: Partial<TcpSettings>;
  /** Default: as the system resolves names. */
  readonly resolve?: Resolve;
  /** UDP in batches, over FFI: Linux, with the permission --allow-ffi. Default: Deno's sockets. */
  readonly ffi?: boolean;
  /** How old the address of a name must be before a failing handshake has it looked up again. */
  readonly resolveAgainMs?: number;
}

export interface CloseOptions {
  /** How long connections may go on. Default 0: they are reset at once. */
  readonly graceMs?: number;
}

const GRACE_POLL_MS = 20;

export class Gateway implements AsyncDisposable {
  /** Bound UDP port. */
  readonly port: number;
  readonly publicKey: Uint8Array;
  /** Resolves once closed; rejects if the gateway cannot go on. */
  readonly closed: Promise<void>;
  /** For what uses the stack directly. */
  readonly engine: Engine;
  readonly proxy: SubnetProxy;
  readonly #names = new Map<Peer, PeerEndpoint>();
  readonly #startedAt: number;
  readonly #closed = Promise.withResolvers<void>();
  #closing: Promise<void> | undefined;

  /**
   * Listens and, where a peer's endpoint and keepalive say so, begins to shake hands.
   *
   * @throws {SettingError} if the system refuses a value: a port in use.
   */
  static async start(config: GatewayConfig, options: GatewayOptions = {}): Promise<Gateway> {
    const gateway = new Gateway(config, options);
    try {
      gateway.#configure(config, options);
      return gateway;
    } catch (error) {
      await gateway.close();
      throw error;
    }
  }

  private constructor(config: GatewayConfig, options: GatewayOptions) {
    this.closed = this.#closed.promise;
    this.closed.catch(() => {}); // whoever waits for it hears of it
    const { crypto, timers, tcp, ffi } = options;
    const engine = new Engine({
      config,
      ...(crypto && { crypto }),
      ...(timers && { timers }),
      ...(tcp && { tcp }),
      ...(ffi !== undefined && { ffi }),
      onEvent: (event) => this.#onEvent(event),
      onFailed: (error) => {
        this.#closed.reject(error);
        this.close();
      },
    });
    this.engine = engine;
    this.port = engine.bind.port;
    this.publicKey = engine.device.publicKey;
    this.#startedAt = engine.now();
    const tunnel = [
      ...config.addresses.map(({ address, length }) => new Prefix(address, length)),
      ...config.peers.flatMap(({ allowedIps }) => allowedIps),
    ];
    for (const prefix of tunnel) engine.stack.routes.insert(prefix, engine.nic1);
    this.proxy = new SubnetProxy(engine, tunnel, config.proxy);
  }

  /**
   * Proxies subnets behind NIC 2: at creation, later, or never. Of a subnet that is proxied already
   * the protocols change.
   */
  enableProxyOnSubnet(
    prefixes: readonly Prefix[],
    protocols: Protocols = { tcp: true, udp: true },
  ): void {
    this.proxy.enable(prefixes, protocols);
  }

  /** The addresses are no longer proxied. Connections that are stay. */
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

  stats(): GatewayStats {
    return gatewayStats(this.engine, this.proxy, this.#startedAt);
  }

  /** Takes no new connections, lets those that are finish, resets the rest. Idempotent. */
  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? 0);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #configure(config: GatewayConfig, options: GatewayOptions): void {
    if (config.proxy?.interface === "nic1") {
      const { subnets } = config.proxy;
      // The configuration has warned of it.
      this.proxy.enableSingle(config.proxy, subnets.length > 0 ? subnets : undefined);
    } else if (config.proxy !== undefined) {
      this.proxy.enable(config.proxy.subnets, config.proxy);
    }
    for (const peer of config.peers) this.#addPeer(peer, options);
    this.engine.wake();
  }

  async #close(graceMs: number): Promise<void> {
    this.proxy.close();
    for (const name of this.#names.values()) name.close();
    const deadline = this.engine.now() + graceMs;
    while (this.#isBusy() && this.engine.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, GRACE_POLL_MS));
    }
    for (const endpoint of [...this.engine.stack.tcp.connections()]) {
      if (!isOver(endpoint.state)) endpoint.abort();
    }
    await this.proxy.abort();
    await this.engine.close();
    this.#closed.resolve();
  }

  /** Whether a connection would be cut off. */
  #isBusy(): boolean {
    if (this.proxy.tcp.size > 0) return true;
    for (const { state } of this.engine.stack.tcp.connections()) {
      if (!isOver(state)) return true;
    }
    return false;
  }

  #addPeer(config: PeerConfig, options: GatewayOptions): void {
    const { device, bind } = this.engine;
    const now = this.engine.now();
    const { publicKey, presharedKey, allowedIps, endpoint, persistentKeepalive } = config;
    const ip = endpoint && parseIpAddress(endpoint.hostname);
    const peer = device.addPeer({
      publicKey,
      ...(presharedKey && { presharedKey }),
      allowedIps: allowedIps.map(({ address, length }) => ({ address: address.bytes, length })),
      ...(endpoint && ip && { endpoint: bind.endpoint(ip, endpoint.port) }),
      persistentKeepalive,
    }, now);
    if (endpoint === undefined || ip !== undefined) return;
    const found = (address: IpAddress) => {
      peer.setEndpoint(bind.endpoint(address, endpoint.port));
      if (persistentKeepalive > 0 && !peer.hasSession) peer.initiate(this.engine.now());
      this.engine.wake();
    };
    const name = new PeerEndpoint(
      endpoint.hostname,
      found,
      options.resolve,
      options.resolveAgainMs,
    );
    this.#names.set(peer, name);
    name.start();
  }

  #enableSingle(protocols: Partial<Protocols>): void {
    log.warn("the forwarders answer on the tunnel's own interface: peers reach every target");
    this.proxy.enableSingle(protocols);
  }

  #onEvent(event: DeviceEvent): void {
    if (event.type === "handshake-rejected") {
      logRejection(event);
      return;
    }
    const { type, peer } = event;
    const properties = { peer: encodeKey(peer.publicKey), endpoint: `${peer.endpoint}` };
    switch (type) {
      case "handshake-complete":
        log.info("peer {peer}: handshake complete with {endpoint}", {
          ...properties,
          initiator: event.initiator,
        });
        break;
      case "handshake-retry":
        log.debug("peer {peer}: no answer from {endpoint}, attempt {attempt}", {
          ...properties,
          attempt: event.attempt,
        });
        this.#names.get(peer)?.handshakeFailed();
        break;
      case "handshake-failed":
        log.warn("peer {peer}: no answer from {endpoint}, given up for now", properties);
        this.#names.get(peer)?.handshakeFailed();
        break;
      case "endpoint-changed":
        log.info("peer {peer}: now at {endpoint}", properties);
        break;
      case "session-expired":
        log.debug("peer {peer}: keys wiped", properties);
    }
  }
}

/** Both sides have closed, and the application is done. */
function isOver(state: string): boolean {
  return state === "time-wait" || state === "closed";
}
