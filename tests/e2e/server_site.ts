/**
 * A server for two clients whose default routes lead through it, to a public host:
 *
 *     client, other (wireguard-go, or wirestack up --tun) ── router ── server (wirestack)
 *                                                              └────── public (says who asks)
 *
 * The files are as `deploy/setup-server.sh` has them made. The server and each client of ours have a
 * /run of their own, so that nothing of the machine is touched.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { startGateway } from "./gateway.ts";
import { eventually, type Host, Lab } from "./lab.ts";
import type { Output, Process } from "./process.ts";
import { seenAs, TunnelHost } from "./tunnel_host.ts";
import { PUBLIC, SERVER, SERVER_PORT } from "./tunnel_site.ts";
import { keyPair, WireguardGo } from "./wireguard_go.ts";

/** How clients get out: by NIC 2, or by a device and the kernel. */
export type ServerKind = "rootless" | "masquerade";

/** What the clients are. */
export type ClientKind = "wireguard-go" | "wirestack";

/** The server's, inside. */
export const GATE = ["10.66.0.1", "fd66::1"] as const;
/** Another of the server, outside: its first is the clients' endpoint, which they reach as it is. */
export const SECOND = SERVER[0].replace(/\.2$/, ".3");
/** Of the two clients, inside: what `add-peer` gives first. */
export const INSIDE = [["10.66.0.2", "fd66::2"], ["10.66.0.3", "fd66::3"]] as const;
/** The clients' networks outside, of both families, and those that they can move to. */
const HOME = [["198.51.100", "2001:db8:1"], ["198.51.101", "2001:db8:4"]] as const;
const AWAY = [["198.51.102", "2001:db8:5"], ["198.51.103", "2001:db8:6"]] as const;
/** Of each client: the server's, one of each family. */
const ENDPOINTS = [`${SERVER[0]}:${SERVER_PORT}`, `[${SERVER[1]}]:${SERVER_PORT}`] as const;

export class ServerSite implements AsyncDisposable {
  readonly lab: Lab;
  readonly clients: readonly Host[];
  readonly router: Host;
  readonly server: Host;
  readonly public: Host;
  /** Those of ours among the clients. */
  readonly tunnels: readonly TunnelHost[];
  readonly #config: string;
  readonly #own: TunnelHost;

  private constructor(
    lab: Lab,
    clients: readonly Host[],
    hosts: readonly Host[],
    own: TunnelHost,
    tunnels: readonly TunnelHost[],
    config: string,
  ) {
    this.lab = lab;
    this.clients = clients;
    [this.router, this.server, this.public] = hosts as [Host, Host, Host];
    this.#own = own;
    this.tunnels = tunnels;
    this.#config = config;
  }

  /** Without the server's program. */
  static async start(kind: ClientKind = "wireguard-go"): Promise<ServerSite> {
    const lab = await Lab.create();
    try {
      const names = ["client", "other", "router", "server", "public"];
      const [client, other, router, server, open] = await Promise.all(
        names.map((name) => lab.host(name)),
      ) as [Host, Host, Host, Host, Host];
      const clients = [client, other];
      const links: [Host, string, string][] = [
        [server, SERVER[0].replace(/\.2$/, ""), SERVER[1].replace(/::2$/, "")],
        [open, PUBLIC[0].replace(/\.2$/, ""), PUBLIC[1].replace(/::2$/, "")],
        [client, ...HOME[0]],
        [other, ...HOME[1]],
      ];
      for (const [host, net, net6] of links) {
        await lab.connect(
          { host, device: "wan", addresses: [`${net}.2/24`, `${net6}::2/64`] },
          { host: router, device: host.label, addresses: [`${net}.1/24`, `${net6}::1/64`] },
        );
        // wireguard-go's clients get their default routes from its device.
        await host.ip(
          ...(clients.includes(host) && kind === "wireguard-go"
            ? [`route add ${SERVER[0]} via ${net}.1`]
            : [`route add default via ${net}.1`, `route add default via ${net6}::1`]),
        );
      }
      await server.ip(`address add ${SECOND}/24 dev wan`);
      await router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
      const own = await TunnelHost.create(server, `${lab.directory}/server`);
      const keys = await keyPair();
      const gate = `[Interface]\nPrivateKey = ${keys.privateKey}\nListenPort = ${SERVER_PORT}\n` +
        `Address = ${GATE[0]}/24, ${GATE[1]}/64\n`;
      const { config, tunnels } = kind === "wireguard-go"
        ? { config: gate + await foreignClients(clients, keys.publicKey), tunnels: [] }
        : await ownClients(lab, clients, router, own, gate);
      const services = fileURLToPath(new URL("./tunnel_services.ts", import.meta.url));
      const run = [Deno.execPath(), "run", "--no-lock", "--allow-net", "--allow-read", services];
      // The server has services too, which are not for its clients; one of these has some.
      await Promise.all(
        ([[open, ...PUBLIC], [server, "::"], [other, "::"]] as const).map(
          async ([host, ...addresses]) => {
            const process = host.spawn("services", [...run, ...addresses]);
            await process.line(/ready/);
          },
        ),
      );
      await server.sysctl("net.ipv4.ping_group_range=0 2147483647");
      return new ServerSite(lab, clients, [router, server, open], own, tunnels, config);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Starts the server.
   *
   * @param sections Of the file.
   * @param capabilities Of an ordinary user who has these; missing: root.
   */
  async up(
    kind: ServerKind,
    sections = "",
    args: readonly string[] = [],
    capabilities?: string[],
  ): Promise<Process> {
    if (kind === "rootless") {
      const config = `${this.#config}[Proxy]\nSubnets = 0.0.0.0/0, ::/0\n${sections}`;
      const { process } = await startGateway(this.server, this.lab.directory, config, {
        subject: "deno task start",
        args: [...args],
      });
      return process;
    }
    await Deno.writeTextFile(this.#own.file, this.#config + sections, { mode: 0o600 });
    if (capabilities !== undefined) await this.#own.makeRuntimeDirectory();
    return await this.#own.up(["--masquerade", ...args], { capabilities });
  }

  /** A file that the server, when it masquerades and is started next, cannot open. */
  hide(path: string): void {
    this.#own.hidden = path;
  }

  /** Runs another command of ours on the server. */
  wirestack(...args: string[]): Promise<Output> {
    return this.#own.wirestack(...args);
  }

  /** Runs a command on the server with its /run. */
  here(command: readonly string[]): Promise<Output> {
    return this.#own.here(command);
  }

  /** Ends a server that masquerades without a chance to take anything back. */
  kill(process: Process): Promise<void> {
    return this.#own.kill(process);
  }

  /** Each client goes from one network to another: other addresses, another gateway. */
  async move(where: "home" | "away"): Promise<void> {
    const [from, to] = where === "away" ? [HOME, AWAY] : [AWAY, HOME];
    await Promise.all(this.clients.map(async (client, i) => {
      const [[old4, old6], [new4, new6]] = [from[i]!, to[i]!];
      await client.ip(
        `address del ${old4}.2/24 dev wan`,
        `address del ${old6}::2/64 dev wan`,
        `address add ${new4}.2/24 dev wan`,
        `address add ${new6}::2/64 dev wan`,
        `route replace default via ${new4}.1`,
        `route replace default via ${new6}::1`,
      );
    }));
  }

  /** Until both clients get out. */
  async isUp(): Promise<void> {
    for (const client of this.clients) {
      for (const address of PUBLIC) {
        await eventually(
          `${client.label} reaches ${address}`,
          () => this.seenAs(client, address, 3),
        );
      }
    }
  }

  /** Who a host says asks, or undefined if it cannot be reached. */
  seenAs(client: Host, address: string, timeoutS?: number): Promise<string | undefined> {
    return seenAs(client, address, timeoutS);
  }

  /** Everything of the server that may be changed. */
  state(): Promise<Record<string, unknown>> {
    return this.#own.state("forward|accept_ra$|src_valid_mark");
  }

  /** The same of the server and of all clients of ours. */
  states(): Promise<Record<string, unknown>[]> {
    const clients = this.tunnels.map((each) => each.state("src_valid_mark|forward|rp_filter"));
    return Promise.all([this.state(), ...clients]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}

/** Starts wireguard-go on each. @returns the server's sections. */
async function foreignClients(clients: readonly Host[], publicKey: string): Promise<string> {
  const sections = await Promise.all(clients.map(async (host, i) => {
    const own = await keyPair();
    await WireguardGo.start(host, {
      privateKey: own.privateKey,
      addresses: [`${INSIDE[i]![0]}/32`, `${INSIDE[i]![1]}/128`],
      routes: ["default", "::/0"],
      peers: [{ publicKey, allowedIps: ["0.0.0.0/0", "::/0"], endpoint: ENDPOINTS[0] }],
    });
    return `[Peer]\nName = ${host.label}\nPublicKey = ${own.publicKey}\n` +
      `AllowedIPs = ${INSIDE[i]!.join(", ")}\n`;
  }));
  return sections.join("");
}

/** Files for `wirestack up --tun`, by `add-peer`. @returns the server's. */
async function ownClients(
  lab: Lab,
  clients: readonly Host[],
  router: Host,
  server: TunnelHost,
  gate: string,
): Promise<{ config: string; tunnels: TunnelHost[] }> {
  await Deno.writeTextFile(server.file, gate, { mode: 0o600 });
  const tunnels = [];
  for (const [i, host] of clients.entries()) {
    const tunnel = await TunnelHost.create(host, `${lab.directory}/${host.label}`);
    const options = ["--allowed-ips", "0.0.0.0/0,::/0", "--dns", PUBLIC[0], "--out", tunnel.file];
    const added = await server.wirestack(
      ...["add-peer", host.label, "--config", server.file, "--endpoint", ENDPOINTS[i]!],
      ...options,
    );
    if (added.code !== 0) throw new Error(added.stderr);
    tunnels.push(tunnel);
    const [net, net6] = AWAY[i]!;
    await router.addAddresses(host.label, [`${net}.1/24`, `${net6}::1/64`]);
    // Strict, as many distributions have it: what WireGuard receives must pass all the same.
    await host.sysctl("net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.wan.rp_filter=1");
    await host.etc("resolv.conf", "# of the machine\nnameserver 198.51.100.53\n");
  }
  return { config: await Deno.readTextFile(server.file), tunnels };
}
