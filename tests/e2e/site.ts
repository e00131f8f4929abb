/**
 * The topology that the tests share:
 *
 *     client ── 192.0.2.0/24, 2001:db8:2::/64 ── gateway ── 10.50.0.0/24, fd50::/64 ── target
 *       └──────────── tunnel 10.9.0.0/24, fd09::/64 ────────┘
 *
 * @module
 */

import { createHash, randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { defaultSubject, type Gateway, startGateway, type Subject } from "./gateway.ts";
import { type Host, Lab } from "./lab.ts";
import type { Process } from "./process.ts";
import {
  type KeyPair,
  keyPair,
  peerSections,
  type PeerSettings,
  presharedKey,
} from "./wireguard_go.ts";
import { WireguardGo } from "./wireguard_go.ts";

/** IP versions, inner or outer. */
export type Family = 4 | 6;

/** Of the target host. */
export const TARGET: Record<Family, string> = { 4: "10.50.0.2", 6: "fd50::2" };
/** Also the target host's, and it answers nothing there. */
export const SILENT: Record<Family, string> = { 4: "10.50.0.3", 6: "fd50::3" };
/** On the target's network, nobody's. */
export const ABSENT: Record<Family, string> = { 4: "10.50.0.4", 6: "fd50::4" };
/** The gateway's own, in the tunnel. */
export const GATEWAY: Record<Family, string> = { 4: "10.9.0.1", 6: "fd09::1" };
/** The gateway's, outside the tunnel. */
export const OUTER: Record<Family, string> = { 4: "192.0.2.1", 6: "2001:db8:2::1" };
/** The gateway's, on the target's network. */
export const INSIDE: Record<Family, string> = { 4: "10.50.0.1", 6: "fd50::1" };
export const LISTEN_PORT = 51820;
/** The client's. */
export const CLIENT: Record<Family, string> = { 4: "10.9.0.2", 6: "fd09::2" };

const SERVICES = fileURLToPath(new URL("./services.ts", import.meta.url));
const CLIENT_PROGRAM = fileURLToPath(new URL("./client.ts", import.meta.url));

export interface SiteOptions {
  readonly subject?: Subject;
  /** Bytes of the file that the services have. */
  readonly fileBytes?: number;
  /** Lines for the [Interface] section of the gateway's file. */
  readonly interface?: string[];
  /** The whole [Proxy] section; by default the target's networks. */
  readonly proxy?: string[];
  /** Beside what both sides always have. */
  readonly gatewaySidePeer?: Partial<PeerSettings>;
  readonly clientSidePeer?: Partial<PeerSettings>;
  /** Peers of the gateway beside the client. */
  readonly furtherPeers?: PeerSettings[];
  /** Prefixes beside the tunnel's and the target's that the client routes into the tunnel. */
  readonly routes?: string[];
  /** Of the outer addresses. */
  readonly outer?: Family;
  /** Of the tunnel, on both sides. */
  readonly mtu?: number;
  /** Of the cable that the tunnel runs over. */
  readonly outerMtu?: number;
  /** Whether `wg` can be used on the gateway. */
  readonly isControlled?: boolean;
  /** What the gateway's user is allowed. Nothing by default. */
  readonly capabilities?: string[];
  /** The gateway's hosts file. */
  readonly hosts?: string;
  /** net.ipv4.ping_group_range of the gateway's host. Nobody's by default, as a namespace has it. */
  readonly pingGroups?: string;
  /** Nothing is sent through the tunnel yet. */
  readonly isQuiet?: boolean;
}

/** A lab with a client, a gateway, a target and what runs on them. */
export class Site implements AsyncDisposable {
  readonly lab: Lab;
  readonly client: Host;
  readonly gatewayHost: Host;
  readonly target: Host;
  readonly services: Process;
  readonly file: { path: string; bytes: number; sha256: string };
  wireguard!: WireguardGo;
  gateway!: Gateway;
  gatewayPublicKey!: string;
  clientPublicKey!: string;
  readonly #subject: Subject;
  #isControlled = false;
  #capabilities: string[] = [];
  #config = "";

  private constructor(
    parts: Pick<Site, "lab" | "client" | "gatewayHost" | "target" | "services" | "file">,
    subject: Subject,
  ) {
    this.lab = parts.lab;
    this.client = parts.client;
    this.gatewayHost = parts.gatewayHost;
    this.target = parts.target;
    this.services = parts.services;
    this.file = parts.file;
    this.#subject = subject;
  }

  /** Everything up, and the tunnel has carried a packet unless it is to be quiet. */
  static async start(options: SiteOptions = {}): Promise<Site> {
    const lab = await Lab.create();
    try {
      return await Site.#start(lab, options);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async #start(lab: Lab, options: SiteOptions): Promise<Site> {
    const [client, gatewayHost, target] = [
      await lab.host("client"),
      await lab.host("gateway"),
      await lab.host("target"),
    ];
    await lab.connect(
      { host: client, device: "wan", addresses: ["192.0.2.2/24", "2001:db8:2::2/64"] },
      {
        host: gatewayHost,
        device: "wan",
        addresses: Object.values(OUTER).map((address) => withLength(address, 24, 64)),
      },
      options.outerMtu,
    );
    const { pingGroups } = options;
    if (pingGroups !== undefined) {
      await gatewayHost.sysctl(`net.ipv4.ping_group_range=${pingGroups}`);
    }
    const services = await startTarget(lab, gatewayHost, target, options.fileBytes ?? 4096);
    const site = new Site(
      { lab, client, gatewayHost, target, ...services },
      options.subject ?? defaultSubject(),
    );
    if (options.hosts !== undefined) await gatewayHost.etc("hosts", options.hosts);
    await site.#connect(options);
    return site;
  }

  async #connect(options: SiteOptions): Promise<void> {
    const [ours, theirs] = [await keyPair(), await keyPair()];
    const psk = await presharedKey();
    const routes = [...TUNNELLED, ...options.routes ?? []];
    this.#config = gatewayConfig({
      keys: ours,
      listenPort: LISTEN_PORT,
      interface: [
        ...options.mtu === undefined ? [] : [`MTU = ${options.mtu}`],
        ...options.interface ?? [],
      ],
      peers: [{
        publicKey: theirs.publicKey,
        presharedKey: psk,
        allowedIps: [`${CLIENT[4]}/32`, `${CLIENT[6]}/128`],
        ...options.gatewaySidePeer,
      }, ...options.furtherPeers ?? []],
      proxy: options.proxy,
    });
    this.#isControlled = options.isControlled ?? false;
    this.#capabilities = options.capabilities ?? [];
    this.gatewayPublicKey = ours.publicKey;
    this.clientPublicKey = theirs.publicKey;
    await this.startGateway();
    this.wireguard = await WireguardGo.start(this.client, {
      privateKey: theirs.privateKey,
      addresses: [`${CLIENT[4]}/32`, `${CLIENT[6]}/128`],
      routes,
      listenPort: 51821,
      mtu: options.mtu,
      peers: [{
        publicKey: ours.publicKey,
        presharedKey: psk,
        allowedIps: routes,
        endpoint: endpoint(OUTER[options.outer ?? 4], LISTEN_PORT),
        ...options.clientSidePeer,
      }],
    });
    if (options.isQuiet) return;
    await this.client.output(["ping", "-c", "1", "-w", "60", GATEWAY[4]]);
  }

  /** Starts the gateway, again after it was stopped. */
  async startGateway(): Promise<void> {
    this.gateway = await startGateway(this.gatewayHost, this.lab.directory, this.#config, {
      subject: this.#subject,
      isControlled: this.#isControlled,
      capabilities: this.#capabilities,
    });
  }

  /** Runs a command of client.ts on the client and parses its answer. */
  // deno-lint-ignore no-explicit-any
  ask(command: string, hostname: string, port: number, ...args: (string | number)[]): Promise<any> {
    return ask(this.client, command, hostname, port, ...args);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.lab[Symbol.asyncDispose]();
  }
}

/** Prefixes that a client has behind the gateway. */
export const TUNNELLED = ["10.9.0.0/24", "10.50.0.0/16", "fd09::/64", "fd50::/64"];

/** The target host behind `gateway`, with services and the addresses that do not answer. */
export async function startTarget(
  lab: Lab,
  gateway: Host,
  target: Host,
  fileBytes: number,
): Promise<Pick<Site, "services" | "file">> {
  await lab.connect(
    {
      host: gateway,
      device: "site",
      addresses: Object.values(INSIDE).map((address) => withLength(address, 24, 64)),
    },
    {
      host: target,
      device: "site",
      addresses: [TARGET, SILENT].flatMap((of) => Object.values(of))
        .map((address) => withLength(address, 24, 64)),
    },
  );
  await target.output(["nft", "-f", "-"], {
    input: `table inet silent { chain input { type filter hook input priority 0;
      ip daddr ${SILENT[4]} drop
      ip6 daddr ${SILENT[6]} meta l4proto != ipv6-icmp drop;
    }; }`,
  });
  const path = `${lab.directory}/file`;
  const content = randomBytes(fileBytes);
  await Deno.writeFile(path, content);
  const services = target.spawn("services", [
    ...[Deno.execPath(), "run", "--no-lock", "--allow-net", "--allow-read", SERVICES, path],
    ...Object.values(TARGET),
  ]);
  await services.line(/ready/);
  const sha256 = createHash("sha256").update(content).digest("hex");
  return { services, file: { path, bytes: fileBytes, sha256 } };
}

/** Runs a command of client.ts on a host and parses its answer. */
export async function ask(
  host: Host,
  command: string,
  hostname: string,
  port: number,
  ...args: (string | number)[]
  // deno-lint-ignore no-explicit-any
): Promise<any> {
  const text = await host.output(clientCommand(command, hostname, port, ...args), {
    timeoutMs: 300_000,
  });
  return JSON.parse(text.trim().split("\n").at(-1)!);
}

/** Runs client.ts. */
export function clientCommand(
  command: string,
  hostname: string,
  port: number,
  ...args: (string | number)[]
): string[] {
  return [
    ...[
      Deno.execPath(),
      "run",
      "--no-lock",
      "--allow-net",
      "--allow-read",
      "--unstable-net",
      CLIENT_PROGRAM,
    ],
    ...[command, hostname, port, ...args].map(String),
  ];
}

/** A wg-quick file with our [Proxy] section. */
export function gatewayConfig(settings: {
  keys: KeyPair;
  listenPort?: number;
  interface?: string[];
  peers: PeerSettings[];
  proxy?: string[];
}): string {
  return [
    "[Interface]",
    `PrivateKey = ${settings.keys.privateKey}`,
    `Address = ${GATEWAY[4]}/24, ${GATEWAY[6]}/64`,
    ...settings.listenPort === undefined ? [] : [`ListenPort = ${settings.listenPort}`],
    ...settings.interface ?? [],
    "",
    peerSections(settings.peers),
    "[Proxy]",
    ...settings.proxy ?? ["Subnets = 10.50.0.0/16, fd50::/64"],
    "",
  ].join("\n");
}

/** As in a configuration file or a URL. */
export function endpoint(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

export function withLength(address: string, length4: number, length6: number): string {
  return `${address}/${address.includes(":") ? length6 : length4}`;
}
