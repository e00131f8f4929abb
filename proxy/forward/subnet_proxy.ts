/**
 * The proxy side of a gateway: which addresses are proxied, NIC 2 with its routes, the forwarders.
 *
 * @module
 */

import { IpAddress, type Nic, Prefix } from "../../netstack/mod.ts";
import type { ProxyConfig, ProxyLimits, ProxyTimeouts } from "../config/config.ts";
import type { Engine, TimeoutSource } from "../engine/engine.ts";
import type { GatewayRoutes } from "../gateway/routes.ts";
import { TargetPolicy } from "../flow/safe_targets.ts";
import { TcpForwarder } from "./tcp_forwarder.ts";
import { UdpForwarder } from "./udp_forwarder.ts";
import { NO_LINK } from "../link/wireguard.ts";

/** What of a subnet is proxied. */
export interface Protocols {
  readonly tcp: boolean;
  readonly udp: boolean;
}

/** What a configuration without `[Proxy]` has, for a proxy that is switched on later. */
export const DEFAULT_TIMEOUTS: ProxyTimeouts = {
  tcpDialMs: 5_000,
  tcpHalfCloseMs: 60_000,
  tcpKeepAliveIdleMs: 60_000,
  tcpKeepAliveIntervalMs: 30_000,
  tcpKeepAliveCount: 9,
  udpIdleMs: 60_000,
  udpDnsIdleMs: 30_000,
};
export const DEFAULT_LIMITS: ProxyLimits = {
  maxDials: 2_048,
  maxTcpConnections: 16_384,
  maxUdpSessions: 4_096,
};

/** A subnet that is proxied, as plain values. */
export interface ProxiedSubnet extends Protocols {
  readonly prefix: string;
}

export interface SubnetProxyOptions {
  /** Whether sockets towards UDP targets are over FFI. */
  readonly ffi: boolean;
  /** Whether this process hears WireGuard on a UDP port. */
  isOwnPort(port: number): boolean;
}

export class SubnetProxy implements TimeoutSource {
  readonly tcp: TcpForwarder;
  readonly udp: UdpForwarder;
  readonly #engine: Engine;
  readonly #policy: TargetPolicy;
  readonly #routes: GatewayRoutes;
  /** Shared with the forwarders, which look at it whenever they need a value. */
  readonly #settings: { timeouts: ProxyTimeouts; limits: ProxyLimits };
  #nic2: Nic | undefined;
  /** The longest prefix first. */
  #subnets: { readonly prefix: Prefix; readonly protocols: Protocols }[] = [];
  #single: Protocols = { tcp: false, udp: false };
  /** No longer proxied, and still routed to NIC 2 for the connections that are. */
  #draining: Prefix[] = [];
  #drainAt = Infinity;

  constructor(
    engine: Engine,
    routes: GatewayRoutes,
    config: ProxyConfig | undefined,
    { ffi, isOwnPort }: SubnetProxyOptions,
  ) {
    this.#engine = engine;
    this.#routes = routes;
    this.#policy = new TargetPolicy(config?.maps ?? []);
    this.#settings = settingsOf(config);
    const options = {
      policy: this.#policy,
      isProxied: (address: IpAddress, protocol: keyof Protocols) =>
        this.#isProxied(address, protocol),
      isOwnSocket: (target: IpAddress, port: number) => isOwnPort(port) && isOfThisHost(target),
      sharerOf: ({ bytes, version }: IpAddress) =>
        engine.hasSeveralPeers ? engine.device.peerAt(bytes, 0, version) : undefined,
      settings: this.#settings,
      now: () => engine.now(),
      wake: () => engine.wake(),
      hasRoom: () => engine.hasRoom,
    };
    this.tcp = new TcpForwarder(options);
    this.udp = new UdpForwarder({ ...options, ffi });
    engine.addTimeouts(this.tcp);
    engine.addTimeouts(this.udp);
    engine.addTimeouts(this);
    engine.addTurns(this.udp);
  }

  /** Proxies `prefixes` behind NIC 2; one that is proxied already gets other protocols. */
  enable(prefixes: readonly Prefix[], protocols: Protocols): void {
    for (const prefix of prefixes) this.#routes.addProxied(prefix, this.#secondNic());
    this.#draining = without(this.#draining, prefixes);
    this.#setSubnets(prefixes, protocols);
  }

  /** Ends the proxying of `prefixes`. Connections that are stay, and their route as long as they. */
  disable(prefixes: readonly Prefix[]): void {
    this.#subnets = this.#without(prefixes);
    this.#draining = [...without(this.#draining, prefixes), ...prefixes];
    this.#drain(this.#engine.now());
    this.#engine.wake();
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return this.#drainAt;
  }

  handleTimeout(now: number): void {
    this.#drain(now);
  }

  /**
   * Single-interface mode: forwarders on NIC 1 itself answer for every address, or for those in
   * `prefixes`, but not for the tunnel's own unless a map names it. No peer reaches another then.
   */
  enableSingle(protocols: Partial<Protocols>, prefixes: readonly Prefix[] = EVERYTHING): void {
    const { stack, nic1 } = this.#engine;
    nic1.promiscuous = true;
    nic1.spoofing = true;
    if (protocols.tcp) stack.tcp.setForwarder(nic1, this.tcp);
    if (protocols.udp) stack.setUdpForwarder(nic1, this.udp);
    this.#single = { ...this.#single, ...protocols };
    this.#setSubnets(prefixes, this.#single);
  }

  /**
   * Changes maps, timeouts and limits: for what begins from now on, and for deadlines that are set
   * from now on.
   */
  setSettings(config: ProxyConfig | undefined): void {
    this.#policy.setMaps(config?.maps ?? []);
    Object.assign(this.#settings, settingsOf(config));
  }

  /** What is proxied, the longest first. */
  prefixes(): Prefix[] {
    return this.#subnets.map(({ prefix }) => prefix);
  }

  /** The same with the protocols, as plain values. */
  subnets(): ProxiedSubnet[] {
    return this.#subnets.map(({ prefix, protocols: { tcp, udp } }) => ({
      prefix: `${prefix}`,
      tcp,
      udp,
    }));
  }

  /** No new connections and sessions from now on. */
  close(): void {
    this.tcp.close();
    this.udp.close();
  }

  /** Ends everything that is left. Resolves when no socket towards a target is. */
  async abort(): Promise<void> {
    this.tcp.abort();
    await this.udp.abort();
  }

  /** Takes away the routes that nothing uses any more. */
  #drain(now: number): void {
    const used = (prefix: Prefix) => this.tcp.uses(prefix) || this.udp.uses(prefix);
    this.#draining = this.#draining.filter((prefix) => {
      if (used(prefix)) return true;
      this.#routes.removeProxied(prefix);
      return false;
    });
    this.#drainAt = this.#draining.length > 0 ? now + DRAIN_MS : Infinity;
  }

  #secondNic(): Nic {
    if (this.#nic2 === undefined) {
      const { stack, nic1 } = this.#engine;
      this.#nic2 = stack.addNic({
        name: "proxy",
        mtu: nic1.mtu,
        link: NO_LINK,
        promiscuous: true,
        spoofing: true,
      });
      stack.tcp.setForwarder(this.#nic2, this.tcp);
      stack.setUdpForwarder(this.#nic2, this.udp);
    }
    return this.#nic2;
  }

  #setSubnets(prefixes: readonly Prefix[], protocols: Protocols): void {
    const added = prefixes.map((prefix) => ({ prefix, protocols }));
    this.#subnets = [...this.#without(prefixes), ...added]
      .sort((a, b) => b.prefix.length - a.prefix.length);
  }

  #without(prefixes: readonly Prefix[]) {
    return this.#subnets.filter(({ prefix }) => !prefixes.some((other) => other.equals(prefix)));
  }

  #isProxied(address: IpAddress, protocol: keyof Protocols): boolean {
    const subnet = this.#subnets.find(({ prefix }) => prefix.contains(address));
    if (subnet === undefined || !subnet.protocols[protocol]) return false;
    return !this.#engine.nic1.owns(address.bytes, 0, address.version) ||
      this.#policy.isMapped(address);
  }
}

/** How often it is looked whether connections to subnets that are no longer proxied have ended. */
const DRAIN_MS = 1000;

function without(prefixes: readonly Prefix[], others: readonly Prefix[]): Prefix[] {
  return prefixes.filter((prefix) => !others.some((other) => other.equals(prefix)));
}

function settingsOf(config: ProxyConfig | undefined) {
  return {
    timeouts: config?.timeouts ?? DEFAULT_TIMEOUTS,
    limits: config?.limits ?? DEFAULT_LIMITS,
  };
}

const EVERYTHING = [
  new Prefix(IpAddress.v4(0, 0, 0, 0), 0),
  new Prefix(new IpAddress(new Uint8Array(16)), 0),
];

/** Only an address of this host can be bound. Asking for the list would take a permission more. */
function isOfThisHost(address: IpAddress): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname: address.toString(), port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}
