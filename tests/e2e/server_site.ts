/**
 * A server for two clients whose default routes lead through it, to a public host:
 *
 *     client, other (wireguard-go) ── router ── server (wirestack)
 *                                       └────── public (HTTP, DNS, ping: says who asks)
 *
 * The server has a /run of its own, so that nothing of the machine is touched.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { startGateway } from "./gateway.ts";
import { eventually, type Host, Lab } from "./lab.ts";
import type { Output, Process } from "./process.ts";
import { networkState } from "./network_state.ts";
import { installed, wirestack, withRun } from "./own_run.ts";
import { PUBLIC, SERVER, SERVER_PORT } from "./tunnel_site.ts";
import { keyPair, WireguardGo } from "./wireguard_go.ts";

/** How clients get out: by NIC 2, or by a device and the kernel. */
export type ServerKind = "rootless" | "masquerade";

/** The server's, inside. */
export const GATE = ["10.9.0.1", "fd09::1"] as const;
/** Another of the server, outside: its first is the clients' endpoint, which they reach as it is. */
export const SECOND = SERVER[0].replace(/\.2$/, ".3");
/** Of the two clients, inside. */
export const INSIDE = [["10.9.0.2", "fd09::2"], ["10.9.0.3", "fd09::3"]] as const;
const OUTSIDE = ["198.51.100", "198.51.101"] as const;

export class ServerSite implements AsyncDisposable {
  readonly lab: Lab;
  readonly clients: readonly Host[];
  readonly router: Host;
  readonly server: Host;
  readonly public: Host;
  readonly #config: string;
  readonly #run: string;

  private constructor(lab: Lab, clients: readonly Host[], hosts: readonly Host[], config: string) {
    this.lab = lab;
    this.clients = clients;
    [this.router, this.server, this.public] = hosts as [Host, Host, Host];
    this.#config = config;
    this.#run = `${lab.directory}/run`;
  }

  /** Without the server's program. */
  static async start(): Promise<ServerSite> {
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
        [client, OUTSIDE[0], "2001:db8:1"],
        [other, OUTSIDE[1], "2001:db8:4"],
      ];
      for (const [host, net, net6] of links) {
        await lab.connect(
          { host, device: "wan", addresses: [`${net}.2/24`, `${net6}::2/64`] },
          { host: router, device: host.label, addresses: [`${net}.1/24`, `${net6}::1/64`] },
        );
        // Of clients the tunnel has the default routes.
        await host.ip(
          ...(clients.includes(host)
            ? [`route add ${SERVER[0]} via ${net}.1`]
            : [`route add default via ${net}.1`, `route add default via ${net6}::1`]),
        );
      }
      await server.ip(`address add ${SECOND}/24 dev wan`);
      await router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
      const keys = await keyPair();
      const sections = await Promise.all(clients.map(async (host, i) => {
        const own = await keyPair();
        await WireguardGo.start(host, {
          privateKey: own.privateKey,
          addresses: [`${INSIDE[i]![0]}/32`, `${INSIDE[i]![1]}/128`],
          routes: ["default", "::/0"],
          peers: [{
            publicKey: keys.publicKey,
            allowedIps: ["0.0.0.0/0", "::/0"],
            endpoint: `${SERVER[0]}:${SERVER_PORT}`,
          }],
        });
        return `[Peer]\nName = ${host.label}\nPublicKey = ${own.publicKey}\n` +
          `AllowedIPs = ${INSIDE[i]!.join(", ")}\n`;
      }));
      const services = fileURLToPath(new URL("./tunnel_services.ts", import.meta.url));
      const run = [Deno.execPath(), "run", "--no-lock", "--allow-net", "--allow-read", services];
      // The server has services too, which are not for its clients.
      for (const [host, ...addresses] of [[open, ...PUBLIC], [server, "::"]] as const) {
        const process = host.spawn("services", [...run, ...addresses]);
        await process.line(/ready/, { timeoutMs: 60_000 });
      }
      await server.sysctl("net.ipv4.ping_group_range=0 2147483647");
      await Deno.mkdir(`${lab.directory}/run/wireguard`, { recursive: true });
      await Deno.chmod(`${lab.directory}/run`, 0o755);
      const config = `[Interface]\nPrivateKey = ${keys.privateKey}\nListenPort = ${SERVER_PORT}\n` +
        `Address = ${GATE[0]}/24, ${GATE[1]}/64\n%s\n${sections.join("")}`;
      return new ServerSite(lab, clients, [router, server, open], config);
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
      const config = this.#config.replace("%s", "") +
        `[Proxy]\nSubnets = 0.0.0.0/0, ::/0\n${sections}`;
      const options = { subject: "deno task start" } as const;
      return (await startGateway(this.server, this.lab.directory, config, options)).process;
    }
    const file = `${this.lab.directory}/wg0.conf`;
    await Deno.writeTextFile(file, this.#config.replace("%s", "") + sections, { mode: 0o600 });
    if (capabilities !== undefined) {
      // As systemd makes it for a service.
      await Deno.mkdir(`${this.#run}/wirestack`, { mode: 0o755 });
      const own = [file, `${this.#run}/wireguard`, `${this.#run}/wirestack`];
      await this.server.output(["chown", "65534:65534", ...own]);
    }
    const process = this.server.spawn(
      "wirestack",
      wirestack(this.#run, ["up", "--tun", "--masquerade", ...args, file], capabilities),
      await installed(),
    );
    await process.line(/CAP_NET_ADMIN alone/, { timeoutMs: 60_000 });
    return process;
  }

  /** Runs another command of ours on the server. */
  async wirestack(...args: string[]): Promise<Output> {
    return await this.server.run(wirestack(this.#run, args), await installed());
  }

  /** Runs a command on the server with its /run. */
  here(command: readonly string[]): Promise<Output> {
    return this.server.run(withRun(this.#run, command));
  }

  /** Ends the server without a chance to take anything back. */
  async kill(process: Process): Promise<void> {
    const [state] = Array.from(Deno.readDirSync(`${this.#run}/wirestack`), ({ name }) => name);
    const text = await Deno.readTextFile(`${this.#run}/wirestack/${state}`);
    Deno.kill(JSON.parse(text.trim().split("\n")[0]!).pid, "SIGKILL");
    await process.exit();
  }

  /** Until both clients get out. */
  async isUp(): Promise<void> {
    for (const client of this.clients) {
      for (const address of PUBLIC) {
        await eventually(
          `${client.label} reaches ${address}`,
          () => this.seenAs(client, address, 3),
          { timeoutMs: 30_000 },
        );
      }
    }
  }

  /** Who a host says asks, or undefined if it cannot be reached. */
  async seenAs(client: Host, address: string, timeoutS = 10): Promise<string | undefined> {
    const host = address.includes(":") ? `[${address}]` : address;
    const { code, stdout } = await client.run([
      ...["curl", "--silent", "--max-time", `${timeoutS}`, `http://${host}:8000/who`],
    ]);
    return code === 0 ? stdout.replace(/^::ffff:/, "") : undefined;
  }

  /** Everything of the server that may be changed. */
  async state(): Promise<Record<string, unknown>> {
    return await networkState(this.server, "forward|accept_ra$|src_valid_mark");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}
