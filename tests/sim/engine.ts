/**
 * Whole engines in simulated time: WireGuard, network stack and the loop around them as they run in
 * production, over the simulated bind and scheduler.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { IpAddress, Nic, StackResources, TcpSettings } from "../../netstack/mod.ts";
import { parseInterfaceAddress, parsePrefix } from "../../proxy/address.ts";
import { openArena } from "../../proxy/arena/arena.ts";
import type { Bind } from "../../proxy/bind/bind.ts";
import { Engine } from "../../proxy/engine/engine.ts";
import type { FlowLimits } from "../../proxy/flow/admit.ts";
import { SubnetProxy } from "../../proxy/forward/subnet_proxy.ts";
import { type FlowOwners, flowOwners, proxySettings } from "../../proxy/gateway/proxying.ts";
import { GatewayRoutes } from "../../proxy/gateway/routes.ts";
import { NO_LINK } from "../../proxy/link/wireguard.ts";
import {
  type DeviceEvent,
  generatePrivateKey,
  type Peer,
  type TimerSettings,
} from "../../wireguard/mod.ts";
import { preset } from "../preset.ts";
import { SimCpu, type SimCpuOptions } from "./cpu.ts";
import { type Impairments, Sim } from "./network.ts";
import { OuterNetwork, SimBind } from "./outer_network.ts";
import type { SimTargets } from "./targets.ts";

/** What the simulated clock's 0 is, ms since the Unix epoch. */
const EPOCH = Date.UTC(2026, 0, 1);

export interface SimEngineOptions extends SimCpuOptions {
  /** Outside, as `192.0.2.1`. */
  readonly address: string;
  readonly port?: number;
  /** More addresses of its own, each with a bind and a link of its own. */
  readonly alsoAt?: readonly string[];
  /** Inside, as `10.9.0.1/24`. */
  readonly tunnel: readonly string[];
  readonly mtu?: number;
  /** Of its access link, both ways unless given apart. */
  readonly impairments?: Impairments;
  readonly up?: Impairments;
  readonly down?: Impairments;
  /** As of {@link SimBindOptions}. */
  readonly sendBuffer?: number;
  readonly receiveBuffer?: number;
  readonly timers?: Partial<TimerSettings>;
  readonly tcp?: Partial<TcpSettings>;
  readonly forwarding?: boolean;
  /** Beside the simulated UDP. */
  readonly furtherBinds?: readonly Bind[];
}

export interface PeerLinkOptions {
  /** What else than its own addresses is behind the second one, as `10.50.0.0/16`. */
  readonly behind?: readonly string[];
  /** Seconds, of the first one. */
  readonly keepalive?: number;
}

/** A simulation with engines in it. */
export class EngineWorld {
  readonly sim: Sim;
  readonly network: OuterNetwork;
  readonly engines: SimEngine[] = [];

  constructor(seed: number) {
    this.sim = new Sim(seed);
    this.network = new OuterNetwork(this.sim);
  }

  engine(options: SimEngineOptions): SimEngine {
    const engine = new SimEngine(this, options);
    this.engines.push(engine);
    return engine;
  }

  /** Makes two engines peers. The first knows where the second is, and not the other way round. */
  connect(client: SimEngine, gateway: SimEngine, options: PeerLinkOptions = {}): SimPeering {
    const { behind = [], keepalive = 0 } = options;
    return {
      ofClient: client.addPeer(gateway, {
        prefixes: [...gateway.hosts, ...behind],
        endpoint: [gateway.options.address, gateway.bind.port],
        keepalive,
      }),
      ofGateway: gateway.addPeer(client, { prefixes: client.hosts }),
    };
  }

  /**
   * No defect was met, no slot is missing, and nothing is left of any connection.
   *
   * @param except What a test leaves open.
   */
  assertClean(except: Partial<Record<keyof StackResources, true>> = {}): void {
    for (const { engine, options } of this.engines) {
      const what = options.address;
      assert.equal(engine.counters.faults, 0, `${what}: faults`);
      assert.equal(engine.pool.free, engine.pool.slots, `${what}: slots`);
      const left = Object.entries(engine.stack.resources())
        .filter(([name, count]) => count > 0 && !except[name as keyof StackResources]);
      assert.deepEqual(left, [], what);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.engines.map(({ engine }) => engine.close()));
  }
}

export interface SimPeering {
  readonly ofClient: Peer;
  readonly ofGateway: Peer;
}

export class SimEngine {
  readonly engine: Engine;
  readonly binds: readonly SimBind[];
  /** The first. */
  readonly bind: SimBind;
  readonly options: SimEngineOptions;
  /** What WireGuard had to say, by type. */
  readonly events: Record<string, number> = {};
  /** Called with each of them. */
  onEvent: (event: DeviceEvent) => void = () => {};
  /** Of {@link forward}. */
  owners: FlowOwners | undefined;
  readonly cpu: SimCpu;
  readonly #sim: Sim;

  constructor(world: EngineWorld, options: SimEngineOptions) {
    const { sim, network } = world;
    const { address, alsoAt = [], port = 51820, mtu = 1420, impairments = {} } = options;
    const arena = openArena(mtu, preset.crypto);
    const cpu = new SimCpu(sim, options);
    const random = (out: Uint8Array) => sim.random.fill(out);
    this.#sim = sim;
    this.cpu = cpu;
    this.options = options;
    this.binds = [address, ...alsoAt].map((address) =>
      new SimBind(network, {
        ...options,
        address,
        port,
        pool: arena.pool,
        receiveRegion: arena.receiveRegion,
        cpu,
        up: { ...impairments, ...options.up },
        down: { ...impairments, ...options.down },
      })
    );
    this.bind = this.binds[0]!;
    this.engine = new Engine({
      ...options,
      clock: { now: () => sim.now, wallClock: () => EPOCH + sim.now, cpuTime: () => cpu.used },
      scheduler: cpu,
      random,
      arena,
      binds: [...this.binds, ...options.furtherBinds ?? []],
      privateKey: generatePrivateKey(random),
      mtu,
      addresses: options.tunnel.map((text) => parseInterfaceAddress(text)!),
      onEvent: (event) => this.#onEvent(event),
      onFailed: (error) => assert.fail(error),
    });
    for (const text of options.tunnel) this.route(text, this.engine.nic1);
  }

  /** Its own addresses in the tunnel, as prefixes. */
  get hosts(): string[] {
    return this.engine.nic1.addresses.map(({ address }) =>
      `${address}/${address.version === 4 ? 32 : 128}`
    );
  }

  addPeer(
    other: SimEngine,
    options: {
      readonly prefixes: readonly string[];
      readonly endpoint?: readonly [string, number];
      readonly keepalive?: number;
    },
  ): Peer {
    const { prefixes, endpoint, keepalive = 0 } = options;
    const peer = this.engine.device.addPeer({
      publicKey: other.engine.device.publicKey,
      allowedIps: prefixes.map((text) => {
        const { address, length } = parsePrefix(text)!;
        return { address: address.bytes, length };
      }),
      ...(endpoint && { endpoint: this.bind.endpoint(...endpoint) }),
    }, this.#sim.now);
    peer.setPersistentKeepalive(keepalive, this.#sim.now);
    for (const text of prefixes) this.route(text, this.engine.nic1);
    this.engine.wake();
    return peer;
  }

  route(prefix: string, nic: Nic): void {
    this.engine.stack.routes.insert(parsePrefix(prefix)!, nic);
  }

  /** A NIC that answers for every address in `prefixes`, as the gateway's second one. */
  proxy(...prefixes: string[]): Nic {
    const nic = this.engine.stack.addNic({
      name: "proxy",
      mtu: this.engine.nic1.mtu,
      link: NO_LINK,
      promiscuous: true,
      spoofing: true,
    });
    for (const prefix of prefixes) this.route(prefix, nic);
    return nic;
  }

  /** The forwarders of a gateway behind its second NIC, towards simulated targets. */
  forward(targets: SimTargets, prefixes: readonly string[], limits: Partial<FlowLimits> = {}) {
    const { engine } = this;
    this.owners = flowOwners(engine.device);
    const settings = proxySettings({ rules: [] });
    const proxy = new SubnetProxy({
      engine,
      routes: new GatewayRoutes(engine.stack.routes, engine.nic1),
      settings: { ...settings, limits: { ...settings.limits, ...limits } },
      ...this.owners,
      ffi: false,
      host: targets,
    });
    proxy.enable(prefixes.map((text) => parsePrefix(text)!), { tcp: true, udp: true, icmp: true });
    return proxy;
  }

  connectTcp(remote: IpAddress, remotePort: number) {
    return this.engine.stack.tcp.connect({ remote, remotePort }, this.#sim.now);
  }

  #onEvent(event: DeviceEvent): void {
    const { type } = event;
    this.events[type] = (this.events[type] ?? 0) + 1;
    this.onEvent(event);
  }
}
