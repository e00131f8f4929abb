/**
 * The other side of every tunnel here: Debian's `wireguard-go` where a test does not say otherwise,
 * configured by Debian's `wg`.
 *
 * @module
 */

import { type Host, unique } from "./lab.ts";
import { output, type Process } from "./process.ts";
import { WIREGUARD_GO, type WireguardProgram } from "./wireguard_programs.ts";

export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

export async function keyPair(): Promise<KeyPair> {
  const privateKey = (await output(["wg", "genkey"])).trim();
  return { privateKey, publicKey: (await output(["wg", "pubkey"], { input: privateKey })).trim() };
}

export async function presharedKey(): Promise<string> {
  return (await output(["wg", "genpsk"])).trim();
}

export interface PeerSettings {
  readonly publicKey: string;
  readonly presharedKey?: string;
  readonly allowedIps: string[];
  readonly endpoint?: string;
  readonly persistentKeepalive?: number;
  /** More lines, as only the gateway's own file may have. */
  readonly lines?: string[];
}

export interface InterfaceSettings {
  readonly privateKey: string;
  readonly addresses: string[];
  readonly listenPort?: number;
  readonly mtu?: number;
  readonly peers: PeerSettings[];
  /** Prefixes routed into the tunnel. */
  readonly routes?: string[];
}

/** Peers of `wg setconf` and of a wg-quick file. */
export function peerSections(peers: readonly PeerSettings[]): string {
  return peers.map((peer) =>
    [
      "[Peer]",
      `PublicKey = ${peer.publicKey}`,
      ...optional("PresharedKey", peer.presharedKey),
      `AllowedIPs = ${peer.allowedIps.join(", ")}`,
      ...optional("Endpoint", peer.endpoint),
      ...optional("PersistentKeepalive", peer.persistentKeepalive),
      ...peer.lines ?? [],
      "",
    ].join("\n")
  ).join("\n");
}

function optional(key: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [`${key} = ${value}`];
}

/** A WireGuard interface on a host. */
export class WireguardGo {
  /** Unique among all hosts: `wg` finds it by its socket's name in a directory they share. */
  readonly device = `wst${Deno.pid}n${unique()}`;
  readonly host: Host;
  readonly settings: InterfaceSettings;
  readonly program: WireguardProgram;
  #process: Process | undefined;

  private constructor(host: Host, settings: InterfaceSettings, program: WireguardProgram) {
    this.host = host;
    this.settings = settings;
    this.program = program;
  }

  static async start(
    host: Host,
    settings: InterfaceSettings,
    program: WireguardProgram = WIREGUARD_GO,
  ): Promise<WireguardGo> {
    const peer = new WireguardGo(host, settings, program);
    host.disposeFile(peer.#socketPath);
    await peer.start();
    return peer;
  }

  /** Again after {@link stop}, with the same settings and no memory of sessions. */
  async start(): Promise<void> {
    const { privateKey, listenPort, addresses, mtu = 1420, peers, routes = [] } = this.settings;
    const command = await this.program.command(this.device);
    this.#process = this.host.spawn(this.program.name, command, {
      env: { PATH: Deno.env.get("PATH")!, WG_PROCESS_FOREGROUND: "1", LOG_LEVEL: "error" },
    });
    await this.#socket();
    const text = [
      "[Interface]",
      `PrivateKey = ${privateKey}`,
      ...optional("ListenPort", listenPort),
      "",
      peerSections(peers),
    ].join("\n");
    await this.host.addAddresses(this.device, addresses);
    await this.host.ip(
      `link set ${this.device} mtu ${mtu} up`,
      ...routes.map((route) => `route add ${route} dev ${this.device}`),
    );
    await this.host.output(["wg", "setconf", this.device, "/dev/stdin"], { input: text });
  }

  /** Kills it: nothing is said to its peers. */
  async stop(): Promise<void> {
    await this.#process![Symbol.asyncDispose]();
    await Deno.remove(this.#socketPath).catch(() => {});
  }

  async set(...args: string[]): Promise<void> {
    await this.host.output(["wg", "set", this.device, ...args]);
  }

  /** What `wg show` says of the only peer. */
  async peer(): Promise<
    { endpoint: string; latestHandshake: number; received: number; sent: number }
  > {
    const dump = await this.host.output(["wg", "show", this.device, "dump"]);
    const fields = dump.trim().split("\n")[1]!.split("\t");
    return {
      endpoint: fields[2]!,
      latestHandshake: Number(fields[4]),
      received: Number(fields[5]),
      sent: Number(fields[6]),
    };
  }

  get #socketPath(): string {
    return `/var/run/wireguard/${this.device}.sock`;
  }

  async #socket(): Promise<void> {
    const deadline = performance.now() + 90_000;
    while (true) {
      // Not with `wg`: that removes a socket which is bound and does not listen yet.
      try {
        (await Deno.connect({ transport: "unix", path: this.#socketPath })).close();
        return;
      } catch {
        // Not yet.
      }
      if (performance.now() > deadline) {
        throw new Error(`${this.program.name}: no socket\n${this.#process}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
