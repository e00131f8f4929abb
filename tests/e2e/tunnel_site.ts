/**
 * A client whose whole traffic goes through a tunnel, and what it must not reach around it:
 *
 *     client (wirestack up --tun) ── router ── server (wirestack, or wireguard-go)
 *                                       └───── public (HTTP, DNS, ping: says who asks)
 *
 * The client has a /run and an /etc/resolv.conf of its own, so that nothing of the machine is touched.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { startGateway } from "./gateway.ts";
import { eventually, type Host, Lab } from "./lab.ts";
import type { Output, Process } from "./process.ts";
import type { SiteExtras } from "./redirect_site.ts";
import { seenAs, TunnelHost } from "./tunnel_host.ts";
import { keyPair, WireguardGo } from "./wireguard_go.ts";

export const SERVER_PORT = 51820;
/** Of the router's three links: the router has .1 and ::1, the host behind it .2 and ::2. */
export const LINKS = { client: "198.51.100", server: "203.0.113", public: "192.0.2" } as const;
const LINKS6 = { client: "2001:db8:1", server: "2001:db8:2", public: "2001:db8:3" } as const;
export const PUBLIC = [`${LINKS.public}.2`, `${LINKS6.public}::2`] as const;
export const SERVER = [`${LINKS.server}.2`, `${LINKS6.server}::2`] as const;
export const CLIENT = [`${LINKS.client}.2`, `${LINKS6.client}::2`] as const;
/** Inside. */
const CLIENT_INSIDE = ["10.9.0.2/24", "fd09::2/64"];
const NAME_SERVER_BEFORE = "# of the machine\nnameserver 198.51.100.53\n";

export type ServerKind = "wirestack" | "wireguard-go";

export class TunnelSite implements AsyncDisposable {
  readonly lab: Lab;
  readonly client: Host;
  readonly router: Host;
  readonly server: Host;
  readonly public: Host;
  readonly #tunnel: TunnelHost;
  readonly #config: (lines: readonly string[], allowedIps: string) => string;

  private constructor(
    lab: Lab,
    hosts: readonly Host[],
    tunnel: TunnelHost,
    config: (lines: readonly string[], allowedIps: string) => string,
  ) {
    this.lab = lab;
    [this.client, this.router, this.server, this.public] = hosts as [Host, Host, Host, Host];
    this.#tunnel = tunnel;
    this.#config = config;
  }

  static async start(
    kind: ServerKind,
    endpoint = `${SERVER[0]}:${SERVER_PORT}`,
    prepare: (lab: Lab) => Promise<SiteExtras> = () => Promise.resolve({}),
  ): Promise<TunnelSite> {
    const lab = await Lab.create();
    try {
      const labels = ["client", "router", "server", "public"] as const;
      const hosts = await Promise.all(labels.map((label) => lab.host(label)));
      const [client, router, server, open] = hosts as [Host, Host, Host, Host];
      for (
        const [name, host] of [["client", client], ["server", server], ["public", open]] as const
      ) {
        await lab.connect(
          {
            host,
            device: "wan",
            addresses: [`${LINKS[name]}.2/24`, `${LINKS6[name]}::2/64`],
          },
          {
            host: router,
            device: name,
            addresses: [`${LINKS[name]}.1/24`, `${LINKS6[name]}::1/64`],
          },
        );
        await host.ip(
          `route add default via ${LINKS[name]}.1`,
          `route add default via ${LINKS6[name]}::1`,
        );
      }
      await router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
      // Strict, as many distributions have it: what WireGuard receives must pass all the same.
      await client.sysctl("net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.wan.rp_filter=1");
      await client.etc("resolv.conf", NAME_SERVER_BEFORE);
      const tunnel = await TunnelHost.create(client, `${lab.directory}/client`);

      const [clientKeys, serverKeys] = await Promise.all([keyPair(), keyPair()]);
      const extras = await prepare(lab);
      const peers = [{
        publicKey: clientKeys.publicKey,
        allowedIps: ["10.9.0.2/32", "fd09::2/128"],
      }];
      if (kind === "wireguard-go") {
        await server.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
        await server.output(["nft", "-f", "-"], {
          input: "table inet nat { chain post { type nat hook postrouting priority 100; " +
            'oifname "wan" masquerade\n}\n}\n',
        });
        await WireguardGo.start(server, {
          privateKey: serverKeys.privateKey,
          addresses: ["10.9.0.1/24", "fd09::1/64"],
          listenPort: SERVER_PORT,
          peers,
        });
      } else {
        // Unprivileged pings are a matter of the group.
        await server.sysctl("net.ipv4.ping_group_range=0 2147483647");
        await startGateway(
          server,
          lab.directory,
          `[Interface]\nPrivateKey = ${serverKeys.privateKey}\nListenPort = ${SERVER_PORT}\n` +
            `[Proxy]\nSubnets = 0.0.0.0/0, ::/0\n` +
            `[Peer]\nPublicKey = ${peers[0]!.publicKey}\nAllowedIPs = ${peers[0]!.allowedIps}\n` +
            (extras.hub ?? []).join("\n"),
          { subject: "deno task start" },
        );
      }
      const services = open.spawn("services", [
        Deno.execPath(),
        ...["run", "--no-lock", "--allow-net", "--allow-read"],
        fileURLToPath(new URL("./tunnel_services.ts", import.meta.url)),
        ...PUBLIC,
      ]);
      await services.line(/ready/);
      return new TunnelSite(lab, hosts, tunnel, (lines, allowedIps) =>
        [
          "[Interface]",
          `PrivateKey = ${clientKeys.privateKey}`,
          `Address = ${CLIENT_INSIDE.join(", ")}`,
          ...lines,
          "[Peer]",
          `PublicKey = ${serverKeys.publicKey}`,
          `AllowedIPs = ${allowedIps}`,
          `Endpoint = ${endpoint}`,
          ...extras.client ?? [],
          "",
        ].join("\n"));
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The client's configuration. */
  get file(): string {
    return this.#tunnel.file;
  }

  /** A folder of programs that come before the system's; empty at first. */
  get programs(): string {
    return this.#tunnel.programs;
  }

  /** Starts `wirestack up --tun` as root. @param lines Of `[Interface]`. */
  async up(
    lines: readonly string[] = [],
    {
      allowedIps = "0.0.0.0/0, ::/0",
      args = [] as readonly string[],
      isReady = true,
      /** Of an ordinary user who has these; missing: root. */
      capabilities = undefined as string[] | undefined,
      umask = undefined as string | undefined,
    } = {},
  ): Promise<Process> {
    await Deno.writeTextFile(this.file, this.#config(lines, allowedIps), { mode: 0o600 });
    this.#tunnel.umask = umask;
    return await this.#tunnel.up(args, { capabilities, isReady });
  }

  /** Makes /run/wirestack of the ordinary user's, as systemd does for a service. */
  makeRuntimeDirectory(): Promise<void> {
    return this.#tunnel.makeRuntimeDirectory();
  }

  /** Runs another command of ours on the client. */
  wirestack(...args: string[]): Promise<Output> {
    return this.#tunnel.wirestack(...args);
  }

  /** As {@link wirestack}, where the system shows no /dev/net/tun. */
  withoutDevice(...args: string[]): Promise<Output> {
    return this.#tunnel.withoutDevice(...args);
  }

  /** Changes the configuration of the tunnel that is up, and has it read again. */
  async reload(change: (text: string) => string): Promise<void> {
    await Deno.writeTextFile(this.file, change(await Deno.readTextFile(this.file)));
    // Mode 600 still, and the gateway another user by now: by its file, which is read for it.
    const { code, stderr } = await this.wirestack("reload", this.file);
    assert.equal(code, 0, stderr);
  }

  /** Runs a command on the client with its /run. */
  here(command: readonly string[]): Promise<Output> {
    return this.#tunnel.here(command);
  }

  /** Who the public host says asks, or undefined if it cannot be reached. */
  seenAs(address: string, timeoutS?: number): Promise<string | undefined> {
    return seenAs(this.client, address, timeoutS);
  }

  /** Everything of the client that a tunnel may change. */
  state(): Promise<Record<string, unknown>> {
    return this.#tunnel.state("^net.ipv4.conf.all.src_valid_mark$");
  }

  /** The process of the tunnel itself. */
  pid(): Promise<number> {
    return this.#tunnel.pid();
  }

  /** Ends it without a chance to take anything back. */
  kill(process: Process): Promise<void> {
    return this.#tunnel.kill(process);
  }

  /** Waits until the tunnel carries packets: IPv6 routes may take a moment to be usable. */
  async isUp(): Promise<void> {
    for (const address of PUBLIC) {
      await eventually(`${address} answers`, () => this.seenAs(address, 3));
    }
  }

  /** Waits until what goes to the first public address goes through the tunnel. */
  async carries(what: string, timeoutMs = 60_000): Promise<void> {
    const isThrough = async () => await this.seenAs(PUBLIC[0], 3) === SERVER[0];
    await eventually(what, isThrough, { timeoutMs });
  }

  /** Has the client in another network during `then`, as a laptop that goes from one to the next. */
  async elsewhere(then: () => Promise<void>): Promise<void> {
    const home = `${CLIENT[0]}/24`;
    const there = "198.51.101.2/24";
    await this.router.ip("address add 198.51.101.1/24 dev client");
    await this.client.ip(
      ...[`address del ${home} dev wan`, `address add ${there} dev wan`],
      "route add default via 198.51.101.1",
    );
    await then();
    await this.client.ip(
      ...[`address del ${there} dev wan`, `address add ${home} dev wan`],
      `route add default via ${LINKS.client}.1`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}
