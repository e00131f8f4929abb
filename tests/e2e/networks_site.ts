/**
 * A hub, two agents behind NATs for the same network, and a client:
 *
 *     client ─┐             ┌─ nat1 ── agent1 ── target 1 ┐ 192.168.1.5, in the tunnel 100.64.1.5
 *             ├─ internet ──┤                             │
 *        hub ─┘             └─ nat2 ── agent2 ── target 2 ┘ which is 100.64.10.5 too
 *
 * A ping that never ends tells how long nothing got through.
 *
 * @module
 */

import { type Gateway, startGateway } from "./gateway.ts";
import { behindNat, HUB, HUB_PORT, type Internet, nameAt, startInternet } from "./internet.ts";
import { eventually, type Host, Lab } from "./lab.ts";
import type { Process } from "./process.ts";
import { TunnelHost } from "./tunnel_host.ts";
import { Waiting } from "./waiting.ts";
import { type KeyPair, keyPair, WireguardGo } from "./wireguard_go.ts";

/** By whichever agent is there, and by the second alone. */
export const SHARED = "100.64.1.5";
export const SINGLE = "100.64.10.5";

const SUBJECT = "deno task start";
const PING_MS = 100;

interface Keys {
  readonly client: KeyPair;
  readonly hub: KeyPair;
  readonly agents: readonly KeyPair[];
}

export class NetworksSite implements AsyncDisposable {
  readonly lab: Lab;
  readonly client: Host;
  readonly hubHost: Host;
  readonly nats: readonly Host[];
  readonly agentHosts: readonly Host[];
  hub!: Gateway;
  readonly agents: Gateway[] = [];
  readonly #keys: Keys;

  private constructor(lab: Lab, hosts: Internet, agentHosts: readonly Host[], keys: Keys) {
    this.lab = lab;
    this.client = hosts.client;
    this.hubHost = hosts.hub;
    this.nats = hosts.nats;
    this.agentHosts = agentHosts;
    this.#keys = keys;
  }

  /** @param client What WireGuard it has. */
  static async start(client: "wireguard-go" | "wirestack"): Promise<NetworksSite> {
    const lab = await Lab.create();
    try {
      const site = await NetworksSite.#start(lab);
      await site.#startClient(client);
      return site;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async #start(lab: Lab): Promise<NetworksSite> {
    const hosts = await startInternet(lab);
    await hosts.internet.ip("address add 198.51.101.1/24 dev client"); // for moveClient
    const [clientKeys, hubKeys, ...agentKeys] = await Promise.all(
      Array.from({ length: 4 }, () => keyPair()),
    );
    const keys = { client: clientKeys!, hub: hubKeys!, agents: agentKeys };
    const agents = [];
    for (const [i, nat] of hosts.nats.entries()) agents.push(await behindNat(lab, nat, i + 1));
    const site = new NetworksSite(lab, hosts, agents, keys);
    await site.startHub();
    for (const i of agents.keys()) {
      const agent = await site.startAgent(i);
      await agent.process.line(/handshake complete/);
    }
    return site;
  }

  async #startClient(kind: "wireguard-go" | "wirestack"): Promise<void> {
    const { privateKey } = this.#keys.client;
    const { publicKey } = this.#keys.hub;
    const allowedIps = ["100.64.0.0/10", "10.9.0.0/24"];
    const endpoint = `${HUB}:${HUB_PORT}`;
    if (kind === "wireguard-go") {
      await WireguardGo.start(this.client, {
        privateKey,
        addresses: ["10.9.0.2/32"],
        routes: ["100.64.0.0/10"],
        peers: [{ publicKey, allowedIps, endpoint }],
      });
      return;
    }
    const tunnel = await TunnelHost.create(this.client, `${this.lab.directory}/client`);
    const lines = ["[Interface]", `PrivateKey = ${privateKey}`, "Address = 10.9.0.2/32"];
    const text = [...lines, ...peer("hub", publicKey, ...allowedIps), `Endpoint = ${endpoint}`, ""];
    await Deno.writeTextFile(tunnel.file, text.join("\n"), { mode: 0o600 });
    await tunnel.up();
  }

  /** Again after it has ended, with the same file and the same state folder. */
  async startHub(): Promise<void> {
    const { client, hub, agents } = this.#keys;
    const text = [
      "[Interface]",
      `PrivateKey = ${hub.privateKey}`,
      "Address = 10.9.0.1/24",
      `ListenPort = ${HUB_PORT}`,
      ...peer("client", client.publicKey, "10.9.0.2/32"),
      ...peer("site-a", agents[0]!.publicKey, "10.9.0.11/32", "100.64.1.0/24"),
      ...peer("site-b", agents[1]!.publicKey, "10.9.0.12/32", "100.64.1.0/24", "100.64.10.0/24"),
      "",
    ].join("\n");
    this.hub = await startGateway(this.hubHost, this.lab.directory, text, {
      subject: SUBJECT,
      command: "hub",
    });
  }

  async startAgent(i: number): Promise<Gateway> {
    const { hub, agents } = this.#keys;
    const text = [
      "[Interface]",
      `PrivateKey = ${agents[i]!.privateKey}`,
      `Address = 10.9.0.${11 + i}/24`,
      "[Proxy]",
      "Map = 100.64.1.0/24 -> 192.168.1.0/24",
      ...i === 1 ? ["Map = 100.64.10.0/24 -> 192.168.1.0/24"] : [],
      ...peer("hub", hub.publicKey, "10.9.0.0/24"),
      `Endpoint = ${HUB}:${HUB_PORT}`,
      "",
    ].join("\n");
    const agent = await startGateway(this.agentHosts[i]!, this.lab.directory, text, {
      subject: SUBJECT,
      command: "agent",
    });
    this.agents[i] = agent;
    return agent;
  }

  /** Who answers a new connection: `target 1` or `target 2`; undefined for nobody. */
  answers(address: string): Promise<string | undefined> {
    return nameAt(this.client, address, { seconds: 10 });
  }

  /** As a laptop that goes from one network to the next. */
  async moveClient(): Promise<void> {
    await this.client.ip(
      ...["address del 198.51.100.2/24 dev wan", "address add 198.51.101.2/24 dev wan"],
      "route add default via 198.51.101.1",
    );
  }

  async ping(address: string): Promise<EndlessPing> {
    const command = ["ping", "-n", "-D", "-i", `${PING_MS / 1000}`, address];
    const ping = new EndlessPing(this.client.spawn("ping", command));
    await ping.goesOn();
    return ping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}

/** Ends a process without a chance to say anything. */
export async function kill(gateway: Gateway): Promise<void> {
  Deno.kill(gateway.process.worker, "SIGKILL");
  await gateway.process.exit();
}

/** Replies, with the times at which they came. */
export class EndlessPing {
  readonly #process: Process;

  constructor(process: Process) {
    this.#process = process;
  }

  /** ms since the Unix epoch. */
  #replies(): number[] {
    return this.#process.lines.flatMap((line) => {
      const match = /^\[(\d+\.\d+)\] \d+ bytes from .*icmp_seq=/.exec(line);
      return match === null ? [] : [Number(match[1]) * 1000];
    });
  }

  /** Waits for a reply that comes later than now. */
  async goesOn(timeoutMs = 60_000): Promise<void> {
    const from = Date.now() + 2 * PING_MS;
    await eventually(
      "a reply to a ping",
      () => (this.#replies().at(-1) ?? 0) > from,
      { timeoutMs, intervalMs: 50 },
    );
  }

  /**
   * The longest time without a reply from now until it goes on after `action`, ms, beside what the programs
   * have had to wait for a processor.
   */
  async pause(action: () => Promise<void>, timeoutMs = 60_000): Promise<number> {
    const start = this.#replies().at(-1)!;
    const waiting = new Waiting();
    await action();
    await this.goesOn(timeoutMs);
    await this.goesOn(timeoutMs); // it has not only been the last one
    const times = this.#replies().filter((time) => time >= start);
    const longest = Math.max(...times.map((time, i) => time - (times[i - 1] ?? time)));
    return Math.round(Math.max(0, longest - waiting.ms));
  }
}

function peer(name: string, publicKey: string, ...allowedIps: string[]): string[] {
  return [
    "[Peer]",
    `Name = ${name}`,
    `PublicKey = ${publicKey}`,
    `AllowedIPs = ${allowedIps.join(", ")}`,
  ];
}
