/**
 * Three hosts, joined by two cables:
 *
 *     client  192.168.71.1 ── 192.168.71.2  gateway  192.168.72.1 ── 192.168.72.2  site
 *        └── 10.9.0.2 ═══ WireGuard ═══ 10.9.0.1 ──┘
 *
 * The gateway has core 0 for itself; whatever else the referee starts runs on core 1. A packet's way
 * through a cable and into the other host's socket is the sender's work, as with any veth. Receive
 * packet steering would share that out, but in a virtual machine waking the other core for it costs
 * more than it is: both sides took a third more CPU.
 *
 * @module
 */

import { eventually, type Host, Lab } from "../../tests/e2e/lab.ts";
import type { Process } from "../../tests/e2e/process.ts";
import { type KeyPair, keyPair, WireguardGo } from "../../tests/e2e/wireguard_go.ts";

export const GATEWAY_CORE = 0;
export const LOAD_CORE = 1;

export const TUNNEL_PORT = 51820;
/** Of the service, TCP and UDP. */
export const SERVICE_PORT = 7000;

export const CLIENT = "192.168.71.1";
export const GATEWAY = "192.168.71.2";
export const GATEWAY_AT_SITE = "192.168.72.1";
export const SITE = "192.168.72.2";
export const SITE_NETWORK = "192.168.72.0/24";
export const CLIENT_IN_TUNNEL = "10.9.0.2";
export const GATEWAY_IN_TUNNEL = "10.9.0.1";

/** Of the hosts' TCP: ports for many short and many long connections. */
const SYSCTLS = [
  "net.ipv4.ip_local_port_range=10000 65535",
  "net.ipv4.tcp_tw_reuse=1",
  "net.core.somaxconn=4096",
];

export class Topology implements AsyncDisposable {
  readonly client: Host;
  readonly gateway: Host;
  readonly site: Host;
  readonly directory: string;
  readonly clientKeys: KeyPair;
  readonly gatewayKeys: KeyPair;
  readonly #lab: Lab;

  private constructor(lab: Lab, hosts: Host[], keys: KeyPair[]) {
    this.#lab = lab;
    this.directory = lab.directory;
    [this.client, this.gateway, this.site] = hosts as [Host, Host, Host];
    [this.clientKeys, this.gatewayKeys] = keys as [KeyPair, KeyPair];
  }

  /** The file in which the service counts the bytes that clients sent. */
  get counter(): string {
    return `${this.directory}/counter`;
  }

  /** @param load the program with the service that the client and the site offer */
  static async create(load: string): Promise<Topology> {
    const lab = await Lab.create();
    try {
      const hosts = [];
      for (const label of ["client", "gateway", "site"]) {
        const host = await lab.host(label);
        await host.sysctl(...SYSCTLS);
        hosts.push(host);
      }
      const topology = new Topology(lab, hosts, [await keyPair(), await keyPair()]);
      const { client, gateway, site } = topology;
      await lab.connect(
        { host: client, device: "gateway", addresses: [`${CLIENT}/24`] },
        { host: gateway, device: "client", addresses: [`${GATEWAY}/24`] },
      );
      await lab.connect(
        { host: gateway, device: "site", addresses: [`${GATEWAY_AT_SITE}/24`] },
        { host: site, device: "gateway", addresses: [`${SITE}/24`] },
      );
      // What a router needs; gateways answer for the site themselves.
      await gateway.sysctl("net.ipv4.ip_forward=1", "net.ipv4.ping_group_range=0 2147483647");
      await site.ip(`route add ${CLIENT_IN_TUNNEL}/32 via ${GATEWAY_AT_SITE}`);
      for (const host of [client, site]) {
        const service = host.spawn("service", [
          ...[load, "serve", "--port", `${SERVICE_PORT}`, "--counter", topology.counter],
        ]);
        await service.line(/serving/);
      }
      return topology;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * The client's side of the tunnel, with no session: wireguard-go of the referee's own build, found
   * as the first in PATH.
   *
   * @param dials whether the client is the side that begins
   */
  async tunnel(dials: boolean): Promise<WireguardGo> {
    return await WireguardGo.start(this.client, {
      privateKey: this.clientKeys.privateKey,
      addresses: [`${CLIENT_IN_TUNNEL}/24`],
      listenPort: TUNNEL_PORT,
      routes: [SITE_NETWORK],
      peers: [{
        publicKey: this.gatewayKeys.publicKey,
        allowedIps: [`${GATEWAY_IN_TUNNEL}/32`, SITE_NETWORK],
        endpoint: dials ? `${GATEWAY}:${TUNNEL_PORT}` : undefined,
      }],
    });
  }

  /** One more host, with a cable of its own to the gateway. */
  async further(label: string, address: string, gatewayAddress: string): Promise<Host> {
    const host = await this.#lab.host(label);
    await host.sysctl(...SYSCTLS);
    await this.#lab.connect(
      { host, device: "gateway", addresses: [address] },
      { host: this.gateway, device: label, addresses: [gatewayAddress] },
    );
    return host;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab[Symbol.asyncDispose]();
  }
}

/** A command pinned to the gateway's core. */
export function onGatewayCore(command: readonly string[]): string[] {
  return ["taskset", "--cpu-list", `${GATEWAY_CORE}`, ...command];
}

/** Waits until a process has bound a port of its host. @throws when it ends before */
export async function listening(
  process: Process,
  { network, port }: { network: "tcp" | "udp"; port: number },
): Promise<void> {
  let ended: Deno.CommandStatus | undefined;
  process.status.then((status) => ended = status);
  const local = new RegExp(`^ *\\d+: [0-9A-F]+:${port.toString(16).toUpperCase()} `, "m");
  await eventually(`${network} port ${port}`, () => {
    if (ended !== undefined) throw new Error(`ended with status ${ended.code}\n${process}`);
    return [network, `${network}6`].some((table) => {
      try {
        return local.test(Deno.readTextFileSync(`/proc/${process.pid}/net/${table}`));
      } catch {
        return false;
      }
    });
  }, { timeoutMs: 20_000, intervalMs: 10 });
}
