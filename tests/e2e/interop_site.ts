/**
 * One gateway and, for every implementation and either role, a host of its own:
 *
 *     wireguard-go, which begins    ── 10.100.1.0/24, fd64:1::/64 ─┐
 *     wireguard-go, which answers   ── 10.100.2.0/24, fd64:2::/64 ─┼─ gateway ── target
 *     boringtun, which begins       ── 10.100.3.0/24, fd64:3::/64 ─┘
 *
 * @module
 */

import { type Gateway, startGateway } from "./gateway.ts";
import { type Host, Lab } from "./lab.ts";
import {
  endpoint,
  type Family,
  gatewayConfig,
  LISTEN_PORT,
  startTarget,
  TUNNELLED,
} from "./site.ts";
import { type KeyPair, keyPair, presharedKey, WireguardGo } from "./wireguard_go.ts";
import type { WireguardProgram } from "./wireguard_programs.ts";

/** Of every peer. */
export const PEER_PORT = 51821;

/** Which of both sides knows where the other is, and so sends the first message. */
export type Beginner = "Wirestack" | "peer";

export interface InteropOptions {
  readonly programs: readonly WireguardProgram[];
  readonly outer: Family;
  readonly mtu: number;
  readonly fileBytes: number;
  /** Lines for the [Interface] section of the gateway's file. */
  readonly interface?: string[];
}

/** An implementation in a role. */
export interface InteropPeer {
  readonly name: string;
  readonly program: WireguardProgram;
  readonly beginner: Beginner;
  readonly host: Host;
  readonly wireguard: WireguardGo;
  readonly publicKey: string;
  /** In the tunnel. */
  readonly address: Record<Family, string>;
  /** Of both ends of its cable. */
  readonly outer: Record<Family, { readonly peer: string; readonly gateway: string }>;
}

export class InteropSite implements AsyncDisposable {
  readonly lab: Lab;
  readonly gatewayHost: Host;
  readonly file: { path: string; bytes: number; sha256: string };
  readonly peers: readonly InteropPeer[];
  readonly publicKey: string;
  gateway!: Gateway;
  readonly #config: string;

  private constructor(
    parts: Pick<InteropSite, "lab" | "gatewayHost" | "file" | "peers" | "publicKey">,
    config: string,
  ) {
    this.lab = parts.lab;
    this.gatewayHost = parts.gatewayHost;
    this.file = parts.file;
    this.peers = parts.peers;
    this.publicKey = parts.publicKey;
    this.#config = config;
  }

  /** The gateway listens, the peers run; nobody has been waited for to shake hands. */
  static async start(options: InteropOptions): Promise<InteropSite> {
    const lab = await Lab.create();
    try {
      const site = await InteropSite.#start(lab, options);
      await site.startGateway();
      return site;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async #start(lab: Lab, options: InteropOptions): Promise<InteropSite> {
    const [gatewayHost, target] = [await lab.host("gateway"), await lab.host("target")];
    const { file } = await startTarget(lab, gatewayHost, target, options.fileBytes);
    const keys = await keyPair();
    const roles = options.programs.flatMap((program) =>
      (["peer", "Wirestack"] as Beginner[]).map((beginner) => ({ program, beginner }))
    );
    const made = await Promise.all(
      roles.map((role, index) => startPeer(lab, gatewayHost, keys, role, index + 1, options)),
    );
    const config = gatewayConfig({
      keys,
      listenPort: LISTEN_PORT,
      interface: [`MTU = ${options.mtu}`, "PeerToPeer = true", ...options.interface ?? []],
      peers: made.map(({ settings }) => settings),
    });
    const peers = made.map(({ peer }) => peer);
    return new InteropSite({ lab, gatewayHost, file, peers, publicKey: keys.publicKey }, config);
  }

  /** Starts the gateway, again after it was stopped. */
  async startGateway(): Promise<void> {
    this.gateway = await startGateway(this.gatewayHost, this.lab.directory, this.#config, {
      isControlled: true,
    });
  }

  /** Who has begun the handshakes with a peer that the gateway has completed, in order. */
  handshakes({ publicKey }: InteropPeer): Beginner[] {
    return this.gateway.process.lines
      .filter((line) => line.includes("handshake complete") && line.includes(publicKey))
      .map((line) => line.includes('"initiator":true') ? "Wirestack" : "peer");
  }

  /** Where the gateway believes a peer to be. */
  async endpointOf({ publicKey }: InteropPeer): Promise<string | null> {
    return (await this.gateway.peer(publicKey)).endpoint;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.lab[Symbol.asyncDispose]();
  }
}

async function startPeer(
  lab: Lab,
  gatewayHost: Host,
  gatewayKeys: KeyPair,
  { program, beginner }: { program: WireguardProgram; beginner: Beginner },
  number: number,
  { outer: family, mtu }: InteropOptions,
) {
  const name = `${program.name}, ${beginner} begins`;
  const host = await lab.host(name);
  const outer = {
    4: { peer: `10.100.${number}.2`, gateway: `10.100.${number}.1` },
    6: { peer: `fd64:${number}::2`, gateway: `fd64:${number}::1` },
  };
  await lab.connect(
    { host, device: "wan", addresses: [`${outer[4].peer}/24`, `${outer[6].peer}/64`] },
    {
      host: gatewayHost,
      device: `wan${number}`,
      addresses: [`${outer[4].gateway}/24`, `${outer[6].gateway}/64`],
    },
  );
  const keys = await keyPair();
  const psk = await presharedKey();
  const address = { 4: `10.9.0.${number + 1}`, 6: `fd09::${number + 1}` };
  const own = [`${address[4]}/32`, `${address[6]}/128`];
  const wireguard = await WireguardGo.start(host, {
    privateKey: keys.privateKey,
    addresses: own,
    routes: TUNNELLED,
    listenPort: PEER_PORT,
    mtu,
    peers: [{
      publicKey: gatewayKeys.publicKey,
      presharedKey: psk,
      allowedIps: TUNNELLED,
      ...beginner === "peer" && { endpoint: endpoint(outer[family].gateway, LISTEN_PORT) },
    }],
  }, program);
  const { publicKey } = keys;
  return {
    peer: { name, program, beginner, host, wireguard, publicKey, address, outer },
    settings: {
      publicKey,
      presharedKey: psk,
      allowedIps: own,
      // Nobody on the gateway sends anything unasked: only a keepalive makes it begin.
      ...beginner === "Wirestack" && {
        endpoint: endpoint(outer[family].peer, PEER_PORT),
        persistentKeepalive: 1,
      },
    },
  };
}
