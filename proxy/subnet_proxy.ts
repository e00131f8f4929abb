/**
 * The proxy side of a gateway: which addresses are proxied, NIC 2 with its routes, the forwarders.
 *
 * @module
 */

import { IpAddress, type Nic, Prefix } from "../netstack/mod.ts";
import type { ProxyConfig, ProxyLimits, ProxyTimeouts } from "./config.ts";
import type { Engine } from "./engine.ts";
import { TargetPolicy } from "./target_policy.ts";
import { TcpForwarder } from "./tcp_forwarder.ts";
import { UdpForwarder } from "./udp_forwarder.ts";
import { NO_LINK } from "./wireguard_link.ts";

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

export class SubnetProxy {
  readonly tcp: TcpForwarder;
  readonly udp: UdpForwarder;
  readonly #engine: Engine;
  readonly #policy: TargetPolicy;
  /** Prefixes that lead to peers. */
  readonly #tunnel: readonly Prefix[];
  #nic2: Nic | undefined;
  /** The longest prefix first. */
  #subnets: { readonly prefix: Prefix; readonly protocols: Protocols }[] = [];
  #single: Protocols = { tcp: false, udp: false };

  /** @param tunnel Prefixes that lead to NIC 1 when they are not proxied. */
  constructor(engine: Engine, tunnel: readonly Prefix[], config: ProxyConfig | undefined) {
    this.#engine = engine;
    this.#tunnel = tunnel;
    this.#policy = new TargetPolicy(config?.maps ?? []);
    const options = {
      policy: this.#policy,
      isProxied: (address: IpAddress, protocol: keyof Protocols) =>
        this.#isProxied(address, protocol),
      isOwnSocket: (target: IpAddress, port: number) =>
        port === engine.bind.port && isOfThisHost(target),
      sharerOf: ({ bytes, version }: IpAddress) =>
        engine.hasSeveralPeers ? engine.device.peerAt(bytes, 0, version) : undefined,
      timeouts: config?.timeouts ?? DEFAULT_TIMEOUTS,
      limits: config?.limits ?? DEFAULT_LIMITS,
      now: () => engine.now(),
      wake: () => engine.wake(),
    };
    this.tcp = new TcpForwarder(options);
    this.udp = new UdpForwarder(options);
    engine.addTimeouts(this.tcp);
    engine.addTimeouts(this.udp);
  }

  /** Proxies `prefixes` behind NIC 2; one that is proxied already gets other protocols. */
  enable(prefixes: readonly Prefix[], protocols: Protocols): void {
    const { stack } = this.#engine;
    for (const prefix of prefixes) {
      // Equal to a tunnel's prefix, the proxy has it.
      stack.routes.insert(prefix, this.#secondNic());
    }
    this.#setSubnets(prefixes, protocols);
  }

  /** Ends the proxying of `prefixes`. Connections that are stay. */
  disable(prefixes: readonly Prefix[]): void {
    const { routes } = this.#engine.stack;
    for (const prefix of prefixes) {
      if (this.#nic2 === undefined || !routes.remove(prefix, this.#nic2)) continue;
      if (this.#tunnel.some((known) => known.equals(prefix))) {
        routes.insert(prefix, this.#engine.nic1);
      }
    }
    this.#subnets = this.#without(prefixes);
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
