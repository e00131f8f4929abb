/**
 * Two networks with the same addresses, joined by a hub, and a client of both (seed 3):
 *
 *     client ─┐             ┌─ nat ── agent ── target  192.168.1.5, in the tunnel 100.64.1.5
 *             ├─ internet ──┤
 *        hub ─┘             └─ nat ── agent ── target  192.168.1.5, in the tunnel 100.64.10.5
 *
 * The NATs let in nothing that nobody inside has asked for. The client has a /run of its own.
 *
 * @module
 */

import { type Gateway, startGateway } from "./gateway.ts";
import { behindNat, HUB, HUB_PORT, nameAt, startInternet } from "./internet.ts";
import { type Host, Lab } from "./lab.ts";
import type { Process } from "./process.ts";
import { TunnelHost } from "./tunnel_host.ts";
import { keyPair } from "./wireguard_go.ts";

/** The targets, as the client reaches them. */
export const FIRST = ["100.64.1.5", "fd64:1::5"] as const;
export const SECOND = ["100.64.10.5", "fd64:10::5"] as const;
export const CIDRS = ["100.64.0.0/10", "fd64::/16"] as const;
const INSIDE = {
  hub: ["10.9.0.1", "fd09::1"],
  /** The client's, as the first or second peer that it is. */
  client: [["10.9.0.2", "fd09::2"], ["10.9.0.3", "fd09::3"]],
} as const;

/** What a site has beside that. */
export interface SiteExtras {
  /** Lines behind the hub's file. */
  readonly hub?: readonly string[];
  /** Lines of the others' [Peer], which is the hub. */
  readonly peer?: readonly string[];
  /** Of the client's, instead of those. */
  readonly client?: readonly string[];
}

export class RedirectSite implements AsyncDisposable {
  readonly lab: Lab;
  readonly client: Host;
  readonly internet: Host;
  readonly hub: Gateway;
  /** In front of the first target, and of the second. */
  readonly agents: readonly Gateway[];
  readonly tunnel: TunnelHost;
  readonly #config: (which: 1 | 2) => string;

  private constructor(
    lab: Lab,
    client: Host,
    internet: Host,
    hub: Gateway,
    agents: readonly Gateway[],
    tunnel: TunnelHost,
    config: (which: 1 | 2) => string,
  ) {
    this.lab = lab;
    this.client = client;
    this.internet = internet;
    this.hub = hub;
    this.agents = agents;
    this.tunnel = tunnel;
    this.#config = config;
  }

  /** @param prepare Called before anything runs. */
  static async start(
    prepare: (lab: Lab, internet: Host) => Promise<SiteExtras> = () => Promise.resolve({}),
  ): Promise<RedirectSite> {
    const lab = await Lab.create();
    try {
      return await RedirectSite.#start(lab, prepare);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async #start(
    lab: Lab,
    prepare: (lab: Lab, internet: Host) => Promise<SiteExtras>,
  ): Promise<RedirectSite> {
    const { internet, client, hub, nats } = await startInternet(lab);
    // Somewhere to go to, or no program would try: nobody is there.
    await client.ip("address add 2001:db8:1::2/64 dev wan", "route add default via 2001:db8:1::1");
    await internet.ip("address add 2001:db8:1::1/64 dev client");
    await internet.sysctl("net.ipv6.conf.all.forwarding=1");
    await client.etc("resolv.conf", "nameserver 198.51.100.53\n");
    const [hubKeys, ...keys] = await Promise.all(Array.from({ length: 5 }, () => keyPair()));
    const extras = await prepare(lab, internet);
    const [agentKeys, clientKeys] = [keys.slice(0, 2), keys.slice(2)];
    const gateway = await startGateway(
      hub,
      lab.directory,
      [
        "[Interface]",
        `PrivateKey = ${hubKeys!.privateKey}`,
        `Address = ${INSIDE.hub[0]}/24, ${INSIDE.hub[1]}/64`,
        `ListenPort = ${HUB_PORT}`,
        ...clientKeys.flatMap(({ publicKey }, i) => peer(publicKey, ...INSIDE.client[i]!)),
        ...peer(agentKeys[0]!.publicKey, "100.64.1.0/24", "fd64:1::/64", "10.9.0.11"),
        ...peer(agentKeys[1]!.publicKey, "100.64.10.0/24", "fd64:10::/64", "10.9.0.12"),
        ...extras.hub ?? [],
      ].join("\n"),
      { subject: "deno task start", command: "hub" },
    );
    const agents = await Promise.all([1, 10].map(async (network, i) => {
      const agent = await behindNat(lab, nats[i]!, i + 1);
      const config = [
        "[Interface]",
        `PrivateKey = ${agentKeys[i]!.privateKey}`,
        `Address = 10.9.0.${11 + i}/24`,
        "[Proxy]",
        `Map = 100.64.${network}.0/24 -> 192.168.1.0/24`,
        `Map = fd64:${network}::/64 -> fd01:168:1::/64`,
        ...peer(hubKeys!.publicKey, "10.9.0.0/24", "fd09::/64"),
        `Endpoint = ${HUB}:${HUB_PORT}`,
        ...extras.peer ?? [],
        "",
      ].join("\n");
      const options = { subject: "deno task start", command: "agent" } as const;
      const started = await startGateway(agent, lab.directory, config, options);
      await started.process.line(/handshake complete/);
      return started;
    }));
    const tunnel = await TunnelHost.create(client, `${lab.directory}/client`);
    const config = (which: 1 | 2) =>
      [
        "[Interface]",
        `PrivateKey = ${clientKeys[which - 1]!.privateKey}`,
        `Address = ${INSIDE.client[which - 1]![0]}/24, ${INSIDE.client[which - 1]![1]}/64`,
        ...peer(hubKeys!.publicKey, ...CIDRS, "10.9.0.0/24", "fd09::/64"),
        `Endpoint = ${HUB}:${HUB_PORT}`,
        ...extras.client ?? extras.peer ?? [],
        "",
      ].join("\n");
    return new RedirectSite(lab, client, internet, gateway, agents, tunnel, config);
  }

  /** Writes the client's configuration. @param which Of its two peers it is. */
  async write(which: 1 | 2 = 1): Promise<void> {
    await Deno.writeTextFile(this.tunnel.file, this.#config(which), { mode: 0o600 });
  }

  /**
   * Starts `wirestack redirect`.
   *
   * @param capabilities Of an ordinary user who has these; missing: root.
   * @returns once it is up.
   */
  async redirect(
    args: readonly string[] = CIDRS.flatMap((cidr) => ["--cidr", cidr]),
    which: 1 | 2 = 1,
    capabilities?: string[],
  ): Promise<Process> {
    await this.write(which);
    if (capabilities !== undefined) await this.tunnel.giveAway();
    const process = await this.tunnel.start(["redirect", ...args, this.tunnel.file], {
      capabilities,
    });
    await process.line(/CAP_NET_BIND_SERVICE alone/);
    return process;
  }

  /** Everything of the client that a redirect may change. */
  state(): Promise<Record<string, unknown>> {
    return this.tunnel.state("^net.ipv4.ip_forward$");
  }

  /** What a target says its name is, or undefined if it cannot be reached. */
  nameAt(address: string, port = 80, from: Host = this.client): Promise<string | undefined> {
    return nameAt(from, address, { port });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}

function peer(publicKey: string, ...allowedIps: string[]): string[] {
  return ["[Peer]", `PublicKey = ${publicKey}`, `AllowedIPs = ${allowedIps.join(", ")}`];
}
