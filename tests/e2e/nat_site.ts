/**
 * A site behind NAT, whose gateway dials out to a peer by name:
 *
 *     peer ── 198.51.100.0/24 ── router (masquerades) ── 192.168.1.0/24 ── gateway ── target
 *
 * @module
 */

import { type Gateway, startGateway } from "./gateway.ts";
import { eventually, type Host, Lab } from "./lab.ts";
import { gatewayConfig, startTarget, TARGET, TUNNELLED } from "./site.ts";
import { keyPair, WireguardGo } from "./wireguard_go.ts";

const PEER_PORT = 51820;

export interface NatSiteOptions {
  /** Of the gateway towards its peer, in seconds. */
  readonly persistentKeepalive: number;
  /** Lines for the [Interface] section of the gateway's file. */
  readonly interface?: string[];
  /** How long the router remembers a silent UDP mapping, in seconds. */
  readonly mappingSeconds: number;
  /** Other addresses of the peer's name, before the one where it is. */
  readonly deadAddresses?: readonly string[];
}

export class NatSite implements AsyncDisposable {
  readonly peer: Host;
  readonly gatewayHost: Host;
  readonly wireguard: WireguardGo;
  readonly gateway: Gateway;
  readonly #lab: Lab;

  private constructor(
    lab: Lab,
    peer: Host,
    gatewayHost: Host,
    wireguard: WireguardGo,
    gateway: Gateway,
  ) {
    this.#lab = lab;
    this.peer = peer;
    this.gatewayHost = gatewayHost;
    this.wireguard = wireguard;
    this.gateway = gateway;
  }

  static async start(options: NatSiteOptions): Promise<NatSite> {
    const lab = await Lab.create();
    try {
      return await NatSite.#start(lab, options);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async #start(lab: Lab, options: NatSiteOptions): Promise<NatSite> {
    const [peer, router, gatewayHost, target] = [
      await lab.host("peer"),
      await lab.host("router"),
      await lab.host("gateway"),
      await lab.host("target"),
    ];
    await lab.connect(
      { host: peer, device: "wan", addresses: ["198.51.100.2/24"] },
      { host: router, device: "wan", addresses: ["198.51.100.1/24"] },
    );
    await lab.connect(
      { host: router, device: "lan", addresses: ["192.168.1.1/24"] },
      { host: gatewayHost, device: "lan", addresses: ["192.168.1.2/24", "2001:db8:1::2/64"] },
    );
    await gatewayHost.ip("route add default via 192.168.1.1");
    const named = [...options.deadAddresses ?? [], "198.51.100.2"];
    await gatewayHost.etc("hosts", named.map((address) => `${address} peer.test\n`).join(""));
    await router.output(["nft", "-f", "-"], {
      input: `table ip nat { chain postrouting {
        type nat hook postrouting priority 100;
        oifname wan masquerade;
      }; }\n`,
    });
    await router.sysctl(
      "net.ipv4.ip_forward=1",
      `net.netfilter.nf_conntrack_udp_timeout=${options.mappingSeconds}`,
      `net.netfilter.nf_conntrack_udp_timeout_stream=${options.mappingSeconds}`,
    );
    await startTarget(lab, gatewayHost, target, 4096);

    const [ours, theirs] = [await keyPair(), await keyPair()];
    const wireguard = await WireguardGo.start(peer, {
      privateKey: theirs.privateKey,
      addresses: ["10.9.0.2/32", "fd09::2/128"],
      routes: TUNNELLED,
      listenPort: PEER_PORT,
      // No endpoint: only the gateway can begin.
      peers: [{ publicKey: ours.publicKey, allowedIps: TUNNELLED }],
    });
    const gateway = await startGateway(
      gatewayHost,
      lab.directory,
      gatewayConfig({
        keys: ours,
        interface: options.interface,
        peers: [{
          publicKey: theirs.publicKey,
          allowedIps: ["10.9.0.2/32", "fd09::2/128"],
          endpoint: `peer.test:${PEER_PORT}`,
          persistentKeepalive: options.persistentKeepalive,
        }],
      }),
    );
    return new NatSite(lab, peer, gatewayHost, wireguard, gateway);
  }

  /** Until the peer reaches the target. @returns after how many ms */
  async reached(timeoutMs = 60_000): Promise<number> {
    const start = performance.now();
    await eventually("a connection to the target", () => this.#reaches(), { timeoutMs });
    return performance.now() - start;
  }

  /** Whether the peer reaches a TCP service of the target now. */
  async #reaches(): Promise<boolean> {
    const url = `http://${TARGET[4]}/file`;
    const { code } = await this.peer.run(["curl", "-sSf", "-o", "/dev/null", "-m", "2", url]);
    return code === 0;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#lab[Symbol.asyncDispose]();
  }
}
