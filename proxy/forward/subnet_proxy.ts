/**
 * The proxy side of a gateway: which addresses are proxied, NIC 2 with its routes, the forwarders.
 *
 * @module
 */

import {
  type DeliveryObserver,
  IpAddress,
  type Nic,
  Prefix,
  TransitPacket,
} from "../../netstack/mod.ts";
import type { Engine, TimeoutSource } from "../engine/engine.ts";
import { Admission, type FlowLimits } from "../flow/admit.ts";
import type { FlowOwner, FlowProtocol } from "../flow/flow.ts";
import type { HostGuard } from "../flow/host_guard.ts";
import { OwnListeners } from "../flow/own_listeners.ts";
import { FlowStatistics } from "../flow/statistics.ts";
import type { OwnerLimits } from "../flow/limits.ts";
import { Pacing } from "../flow/pacing.ts";
import { FlowTable } from "../flow/table.ts";
import { type PacketObserver, Tap } from "../link/tap.ts";
import { NO_LINK } from "../link/wireguard.ts";
import { getLogger } from "../log/logger.ts";
import { DescriptorWatch } from "../target/descriptors.ts";
import { openTargetHost, type TargetHost } from "../target/host.ts";
import type { DnsServer } from "../target/dns_client.ts";
import { IcmpForwarder } from "./icmp_forwarder.ts";
import { NamedTargets } from "./named_targets.ts";
import type { ForwardSettings } from "./options.ts";
import { type PeerOwners, PeerPolice } from "./peer_police.ts";
import { type Protocols, ProxiedSubnets } from "./proxied_subnets.ts";
import { TcpForwarder } from "./tcp_forwarder.ts";
import { TransitFlows } from "./transit_flows.ts";
import { UdpForwarder } from "./udp_forwarder.ts";

export type { Protocols };

const log = getLogger(["wirestack", "flow"]);

/** A subnet that is proxied, as plain values. */
export interface ProxiedSubnet extends Protocols {
  /** `10.50.0.0/16`. */
  readonly prefix: string;
}

/** The routes of proxied subnets. */
export interface ProxyRoutes {
  addProxied(prefix: Prefix, nic: Nic): void;
  removeProxied(prefix: Prefix): void;
}

export interface SubnetProxyOptions extends PeerOwners {
  readonly engine: Engine;
  readonly routes: ProxyRoutes;
  readonly settings: ForwardSettings;
  /** Whose a client's flows are: see {@link ForwarderOptions}. */
  ownerOf(from: unknown, client: IpAddress): FlowOwner;
  /** Whether what is sent to `client` still goes to `owner`. */
  isHeld(client: IpAddress, owner: FlowOwner): boolean;
  /** Guards this host's own network from packets that pass through. Default: none do. */
  readonly guard?: HostGuard | undefined;
  /** Whether sockets towards targets are over FFI. */
  readonly ffi: boolean;
  /** Default: this host's own sockets. */
  readonly host?: TargetHost;
}

export class SubnetProxy {
  readonly tcp: TcpForwarder;
  readonly udp: UdpForwarder;
  /** Packets from peer to peer, while there is anything to decide about them. */
  readonly transit: TransitFlows;
  readonly icmp: IcmpForwarder;
  readonly admission: Admission;
  /** Of the peers' rates, and the rules'. */
  readonly pacing: Pacing;
  /** What the flows did. */
  readonly statistics: FlowStatistics;
  /** Where this process listens itself. */
  readonly listeners: OwnListeners = new OwnListeners();
  readonly descriptors: DescriptorWatch;
  /** Names of targets, and what else it takes to reach them. */
  readonly targets: NamedTargets;
  /** Whether sockets towards targets are over FFI. */
  readonly ffi: boolean;
  /** While there are rates. */
  readonly #police: PeerPolice;
  /** Owners with rates. */
  readonly #limited = new Set<FlowOwner>();
  readonly #engine: Engine;
  readonly #routes: ProxyRoutes;
  readonly #isGuarded: boolean;
  /** Shared with the forwarders and the admission, which read it whenever they need a value. */
  readonly #settings: { -readonly [K in keyof ForwardSettings]: ForwardSettings[K] };
  readonly #host: TargetHost;
  #nic2: Nic | undefined;
  readonly #tap = new Tap(NO_LINK);
  readonly #delivered: DeliveryObserver = (buffer, offset, length, now, from) =>
    this.#tap.received(buffer, offset, length, now, from);
  readonly #subnets = new ProxiedSubnets();
  /** When the next review is due, or more of the one that is under way, ms. */
  #reviewAt = Infinity;
  /** Whether something has changed since the last review began. */
  #isChanged = false;
  /** Flows that the review under way has ended. */
  #revoked = 0;
  #single: Protocols = { tcp: false, udp: false, icmp: false };
  /** Whether this process can ping; undefined until that is asked. */
  #canPing: boolean | undefined;

  constructor(given: SubnetProxyOptions) {
    const { engine, routes, settings, ownerOf, isHeld, guard, ffi, host } = given;
    this.#engine = engine;
    this.#routes = routes;
    this.#isGuarded = guard !== undefined;
    this.#settings = { ...settings };
    this.ffi = ffi;
    const now = () => engine.now();
    const wake = () => engine.wake();
    this.descriptors = new DescriptorWatch(now, wake);
    this.#host = host ??
      openTargetHost(
        now,
        ffi,
        (code) => {
          if (this.descriptors.note(code)) this.targets.warm.giveUp();
        },
      );
    const { dialer, after, turn } = this.#host;
    const table = new FlowTable();
    this.statistics = new FlowStatistics(table);
    this.pacing = new Pacing({ mtu: engine.nic1.mtu, now, wake });
    this.#police = new PeerPolice(this.pacing, given);
    this.admission = new Admission({
      pacing: this.pacing,
      table,
      isProxied: (address, protocol) => this.#isProxied(address, protocol),
      isOwnAddress: (target) => this.#host.isOwnAddress(target),
      isTunnels: ({ bytes, version }) => engine.nic1.owns(bytes, 0, version),
      isTunnelled: (address) => {
        const nic = engine.stack.routes.lookupAddress(address);
        return nic !== undefined && nic !== this.#nic2;
      },
      isHeld,
      guard,
      listeners: this.listeners,
      maps: settings.maps,
      rules: settings,
      settings: this.#settings,
    });
    const { admission } = this;
    const source = this.#host.names(settings.nameServers);
    this.targets = new NamedTargets({
      admission,
      dialer,
      source,
      now,
      after,
      ...(turn !== undefined && { turn }),
      hasRoom: (more) =>
        admission.connections.total + more <= this.#settings.limits.maxTcpConnections,
    });
    this.targets.setRules(admission.rules);
    const options = {
      admission,
      ownerOf,
      settings: this.#settings,
      targets: this.targets,
      now,
      wake,
    };
    const giveWay = (owner: FlowOwner, now: number) =>
      this.udp.giveWay(owner, now) || this.icmp.giveWay(owner, now);
    this.tcp = new TcpForwarder({ ...options, dialer, giveWay });
    this.udp = new UdpForwarder({
      ...options,
      openTargets: (options) => this.#host.openUdp(options),
      hasRoom: () => engine.hasRoom,
      onNoSocket: (error) => this.descriptors.note(codeOf(error)),
      giveWay,
    });
    this.transit = new TransitFlows({
      admission,
      ownerOf,
      settings: this.#settings,
      guard,
      random: (out) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>),
    }, new TransitPacket());
    this.#watchTransit();
    this.icmp = new IcmpForwarder({
      ...options,
      openTargets: (options) => this.#host.openIcmp(options),
      hasRoom: () => engine.hasRoom,
      onNoSocket: (error) => this.descriptors.note(codeOf(error)),
      giveWay,
    });
    const sources: readonly TimeoutSource[] = [
      this.transit,
      this.pacing,
      this.tcp,
      this.udp,
      this.icmp,
      this.descriptors,
      this.statistics,
      {
        pollTimeout: () => this.#reviewAt,
        handleTimeout: () => {
          if (this.#isChanged) this.review();
          else this.#reviewed(this.admission.reviewOn());
        },
      },
    ];
    for (const source of sources) engine.addTimeouts(source);
    for (const forwarder of [this.udp, this.icmp]) engine.addTurns(forwarder);
    if (this.#host.look !== undefined) {
      engine.addTurns({ hasReady: false, drain: () => this.#host.look!(), flush() {} });
    }
  }

  /** Proxies `prefixes` behind NIC 2; one that is proxied already gets other protocols. */
  enable(prefixes: readonly Prefix[], protocols: Protocols): void {
    this.#route(prefixes);
    this.#setSubnets(prefixes, protocols);
    this.review();
  }

  /** Ends the proxying of `prefixes`, and of the flows to them. */
  disable(prefixes: readonly Prefix[]): void {
    this.#unroute(prefixes);
    this.review();
  }

  /** Proxies `prefixes` and no others. What stays is never unrouted in between. */
  setSubnets(prefixes: readonly Prefix[], protocols: Protocols): void {
    this.#unroute(this.#subnets.without(prefixes));
    this.enable(prefixes, protocols);
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
    if (protocols.icmp) stack.setIcmpForwarder(nic1, this.icmp);
    this.#single = { ...this.#single, ...protocols };
    this.#setSubnets(prefixes, this.#single);
    this.review();
  }

  /**
   * Changes rules, maps, timeouts, limits and filtering, of what is under way too. {@link review}
   * follows, when the subnets are as they should be too.
   */
  setSettings(settings: ForwardSettings): void {
    this.admission.setMaps(settings.maps);
    this.admission.setRules(settings);
    const before = this.#settings.timeouts;
    if (!isSame(settings.nameServers, this.#settings.nameServers)) {
      this.targets.names.setSource(this.#host.names(settings.nameServers));
    }
    Object.assign(this.#settings, settings);
    this.#watchTransit();
    this.targets.setRules(this.admission.rules);
    this.tcp.timeoutsChanged(before);
    this.udp.timeoutsChanged(before);
    this.icmp.timeoutsChanged(before);
  }

  /** What proxied addresses are routed to; undefined before there are any. */
  get nic(): Nic | undefined {
    return this.#nic2;
  }

  /** Shows `observer` every packet that NIC 2 is given, until what is returned is called. */
  observe(observer: PacketObserver): () => void {
    const nic = this.#secondNic();
    const tap = this.#tap;
    tap.add(observer);
    nic.observer = this.#delivered;
    return () => {
      tap.remove(observer);
      if (tap.isIdle) nic.observer = undefined;
    };
  }

  /** Round trips to targets: see {@link TargetHost.roundTrips}. */
  *roundTrips(): Generator<undefined, ReadonlyMap<number, number> | undefined, undefined> {
    return this.#host.roundTrips === undefined ? undefined : yield* this.#host.roundTrips();
  }

  /** What it runs on now. */
  get settings(): ForwardSettings {
    return this.#settings;
  }

  /** Changes the limits of a peer: rates at once, what they mean to its flows in the next turn. */
  setLimits(owner: FlowOwner, limits: OwnerLimits): void {
    this.pacing.setRates(owner.rates, limits);
    if (owner.rates.isLimited) this.#limited.add(owner);
    else this.#limited.delete(owner);
    this.#engine.stack.setTransitPolice(this.#limited.size > 0 ? this.#police : undefined);
    owner.maxTcpConnections = limits.maxTcpConnections ?? Infinity;
    owner.maxUdpSessions = limits.maxUdpSessions ?? Infinity;
    this.reviewSoon();
  }

  /** The same as {@link review} in the engine's next turn, once for whatever changes until then. */
  reviewSoon(): void {
    this.#isChanged = true;
    this.#reviewAt = this.#engine.now();
    this.#engine.wake();
  }

  /**
   * Ends the flows that are no longer allowed: what is proxied, or a map, a limit or a listener, has
   * changed, or who holds the client's address. Of more than some hundred the rest in the turns that
   * follow.
   */
  review(): void {
    this.#isChanged = false;
    this.#reviewed(this.admission.review());
  }

  #reviewed(count: number): void {
    this.#revoked += count;
    const goesOn = this.admission.isReviewing;
    this.#reviewAt = goesOn ? this.#engine.now() : Infinity;
    if (goesOn || count > 0) this.#engine.wake();
    if (goesOn || this.#revoked === 0) return;
    log.info("{count} connections and sessions are no longer allowed and have ended", {
      count: this.#revoked,
    });
    this.#revoked = 0;
  }

  get limits(): FlowLimits {
    return this.#settings.limits;
  }

  /** What is proxied, the longest first. */
  prefixes(): Prefix[] {
    return this.#subnets.list().map(({ prefix }) => prefix);
  }

  /** The same with the protocols, as plain values. */
  subnets(): ProxiedSubnet[] {
    return this.#subnets.list().map(({ prefix, protocols: { tcp, udp, icmp } }) => ({
      prefix: `${prefix}`,
      tcp,
      udp,
      icmp,
    }));
  }

  /** No new connections and sessions from now on. */
  close(): void {
    this.targets.stopWarm();
    this.tcp.close();
    this.udp.close();
    this.icmp.close();
  }

  /** Ends everything that is left. Resolves when no socket towards a target is. */
  async abort(): Promise<void> {
    this.tcp.abort();
    this.transit.clear("aborted");
    this.targets.close();
    await Promise.all([this.udp.abort(), this.icmp.abort()]);
    await this.#host.close();
  }

  /** What passes through is looked at only while there is something to decide. */
  #watchTransit(): void {
    const { stack } = this.#engine;
    const isNeeded = this.#isGuarded || !this.admission.rules.isEmpty;
    stack.setTransitFilter(isNeeded ? this.transit : undefined);
    if (!isNeeded) this.transit.clear("closed");
  }

  #route(prefixes: readonly Prefix[]): void {
    for (const prefix of prefixes) this.#routes.addProxied(prefix, this.#secondNic());
  }

  #unroute(prefixes: readonly Prefix[]): void {
    this.#subnets.remove(prefixes);
    for (const prefix of prefixes) this.#routes.removeProxied(prefix);
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
      stack.setIcmpForwarder(this.#nic2, this.icmp);
    }
    return this.#nic2;
  }

  #setSubnets(prefixes: readonly Prefix[], protocols: Protocols): void {
    if (prefixes.length > 0) {
      if (protocols.tcp) this.#host.prepare?.();
      if (protocols.icmp) this.#checkPings();
    }
    this.#subnets.add(prefixes, protocols);
  }

  /** Looks once whether this process can ping, and says what is missing. */
  #checkPings(): void {
    if (this.#canPing !== undefined) return;
    const missing = this.#host.icmpUnavailable();
    this.#canPing = missing === undefined;
    if (missing !== undefined) {
      log.info("pings of targets are not forwarded, which needs {missing}", { missing });
    }
  }

  #isProxied(address: IpAddress, protocol: FlowProtocol): boolean {
    if (this.#subnets.find(address)?.[protocol] !== true) return false;
    return protocol !== "icmp" || this.#canPing === true;
  }
}

function isSame(some: readonly DnsServer[], others: readonly DnsServer[]): boolean {
  return some.length === others.length &&
    some.every(({ address, port }, i) =>
      address.equals(others[i]!.address) && port === others[i]!.port
    );
}

function codeOf(error: unknown): string | undefined {
  return (error as { readonly code?: string } | undefined)?.code;
}

const EVERYTHING = [
  new Prefix(IpAddress.v4(0, 0, 0, 0), 0),
  new Prefix(new IpAddress(new Uint8Array(16)), 0),
];
