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

import { fileURLToPath } from "node:url";
import { startGateway } from "./gateway.ts";
import { eventually, type Host, Lab } from "./lab.ts";
import { networkState } from "./network_state.ts";
import { installed, wirestack, withRun } from "./own_run.ts";
import { type Output, type Process } from "./process.ts";
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
  /** The client's configuration. */
  readonly file: string;
  /** A folder of programs that come before the system's; empty at first. */
  readonly programs: string;
  readonly #run: string;
  readonly #config: (lines: readonly string[], allowedIps: string) => string;

  private constructor(
    lab: Lab,
    hosts: readonly Host[],
    config: (lines: readonly string[], allowedIps: string) => string,
  ) {
    this.lab = lab;
    [this.client, this.router, this.server, this.public] = hosts as [Host, Host, Host, Host];
    this.file = `${lab.directory}/wg0.conf`;
    this.programs = `${lab.directory}/bin`;
    this.#run = `${lab.directory}/run`;
    this.#config = config;
  }

  static async start(
    kind: ServerKind,
    endpoint = `${SERVER[0]}:${SERVER_PORT}`,
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
      await Deno.mkdir(`${lab.directory}/run/wireguard`, { recursive: true });
      await Deno.mkdir(`${lab.directory}/bin`);
      await Deno.chmod(`${lab.directory}/run`, 0o755);

      const [clientKeys, serverKeys] = await Promise.all([keyPair(), keyPair()]);
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
            `[Peer]\nPublicKey = ${peers[0]!.publicKey}\nAllowedIPs = ${peers[0]!.allowedIps}\n`,
          { subject: "deno task start" },
        );
      }
      const services = open.spawn("services", [
        Deno.execPath(),
        ...["run", "--no-lock", "--allow-net", "--allow-read"],
        fileURLToPath(new URL("./tunnel_services.ts", import.meta.url)),
        ...PUBLIC,
      ]);
      await services.line(/ready/, { timeoutMs: 60_000 });
      return new TunnelSite(lab, hosts, (lines, allowedIps) =>
        [
          "[Interface]",
          `PrivateKey = ${clientKeys.privateKey}`,
          `Address = ${CLIENT_INSIDE.join(", ")}`,
          ...lines,
          "[Peer]",
          `PublicKey = ${serverKeys.publicKey}`,
          `AllowedIPs = ${allowedIps}`,
          `Endpoint = ${endpoint}`,
          "",
        ].join("\n"));
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
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
    } = {},
  ): Promise<Process> {
    await Deno.writeTextFile(this.file, this.#config(lines, allowedIps), { mode: 0o600 });
    if (capabilities !== undefined) {
      await this.client.output(["chown", "65534:65534", this.file, `${this.#run}/wireguard`]);
    }
    const command = ["up", "--tun", ...args, this.file];
    const process = this.client.spawn(
      "wirestack",
      wirestack(this.#run, command, capabilities),
      await installed(this.programs),
    );
    if (isReady) await process.line(/CAP_NET_ADMIN alone/, { timeoutMs: 60_000 });
    return process;
  }

  /** Makes /run/wirestack of the ordinary user's, as systemd does for a service. */
  async makeRuntimeDirectory(): Promise<void> {
    await Deno.mkdir(`${this.#run}/wirestack`, { mode: 0o755 });
    await Deno.chown(`${this.#run}/wirestack`, 65534, 65534);
  }

  /** Runs another command of ours on the client. */
  async wirestack(...args: string[]): Promise<Output> {
    return await this.client.run(wirestack(this.#run, args), await installed(this.programs));
  }

  /** Runs a command on the client with its /run. */
  here(command: readonly string[]): Promise<Output> {
    return this.client.run(withRun(this.#run, command));
  }

  /** Who the public host says asks, or undefined if it cannot be reached. */
  async seenAs(address: string, timeoutS = 10): Promise<string | undefined> {
    const host = address.includes(":") ? `[${address}]` : address;
    const { code, stdout } = await this.client.run([
      ...["curl", "--silent", "--max-time", `${timeoutS}`, `http://${host}:8000/who`],
    ]);
    return code === 0 ? stdout : undefined;
  }

  /** Everything of the client that a tunnel may change. */
  async state(): Promise<Record<string, unknown>> {
    return {
      ...await networkState(this.client, "^net.ipv4.conf.all.src_valid_mark$"),
      resolvConf: await this.client.output(["cat", "/etc/resolv.conf"]),
      left: await names(`${this.#run}/wirestack`),
      sockets: await names(`${this.#run}/wireguard`),
    };
  }

  /** The process of the tunnel itself. */
  async pid(): Promise<number> {
    const [name] = await names(`${this.#run}/wirestack`);
    const text = await Deno.readTextFile(`${this.#run}/wirestack/${name}`);
    return JSON.parse(text.trim().split("\n")[0]!).pid;
  }

  /** Ends it without a chance to take anything back. */
  async kill(process: Process): Promise<void> {
    Deno.kill(await this.pid(), "SIGKILL");
    await process.exit();
  }

  /** Waits until the tunnel carries packets: IPv6 routes may take a moment to be usable. */
  async isUp(): Promise<void> {
    for (const address of PUBLIC) {
      await eventually(`${address} answers`, () => this.seenAs(address, 3), { timeoutMs: 30_000 });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}

async function names(directory: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(directory), ({ name }) => name)).sort();
  } catch {
    return [];
  }
}
