/**
 * The two sides of the kernel's netns.sh, in its names. Wirestack is n1: it has no programs of its own
 * that could ping or run iperf3, so those of n1 run on the target behind its forwarders when they
 * serve, and on another peer that goes through the gateway when they begin:
 *
 *     n2: client (wireguard-go) ── n1: gateway (Wirestack) ── target     n1's servers
 *                                            └─────────────── inside     n1's clients (wireguard-go)
 *
 * @module
 */

import assert from "node:assert/strict";
import { allAnswered } from "./all_answered.ts";
import type { Host } from "./lab.ts";
import {
  CLIENT,
  endpoint,
  type Family,
  GATEWAY,
  LISTEN_PORT,
  Site,
  type SiteOptions,
  TARGET,
  TUNNELLED,
} from "./site.ts";
import { tries } from "../tries.ts";
import { keyPair, WireguardGo } from "./wireguard_go.ts";

export class NetnsSite implements AsyncDisposable {
  readonly site: Site;
  readonly n2: Host;
  readonly inside: Host;
  readonly #insideWireguard: WireguardGo;

  private constructor(site: Site, insideWireguard: WireguardGo) {
    this.site = site;
    this.n2 = site.client;
    this.inside = insideWireguard.host;
    this.#insideWireguard = insideWireguard;
  }

  static async start(options: SiteOptions = {}): Promise<NetnsSite> {
    const keys = await keyPair();
    const own = ["10.9.0.3/32", "fd09::3/128"];
    const site = await Site.start({
      ...options,
      interface: ["PeerToPeer = true", ...options.interface ?? []],
      furtherPeers: [{ publicKey: keys.publicKey, allowedIps: own }],
    });
    const inside = await site.lab.host("inside");
    await site.lab.connect(
      { host: inside, device: "wan", addresses: ["192.0.3.2/24"] },
      { host: site.gatewayHost, device: "wan2", addresses: ["192.0.3.1/24"] },
      options.outerMtu,
    );
    const wireguard = await WireguardGo.start(inside, {
      privateKey: keys.privateKey,
      addresses: own,
      routes: TUNNELLED,
      mtu: options.mtu,
      peers: [{
        publicKey: site.gatewayPublicKey,
        allowedIps: TUNNELLED,
        endpoint: endpoint("192.0.3.1", LISTEN_PORT),
      }],
    });
    return new NetnsSite(site, wireguard);
  }

  /** Tells n1's own programs that the gateway listens on another port now. */
  async isAt(port: number): Promise<void> {
    await this.#insideWireguard.set(
      ...["peer", this.site.gatewayPublicKey, "endpoint", endpoint("192.0.3.1", port)],
    );
  }

  /** Tells them that it has another key. */
  async hasKey(publicKey: string): Promise<void> {
    await this.#insideWireguard.set(
      ...["peer", publicKey, "allowed-ips", TUNNELLED.join(",")],
      ...["endpoint", endpoint("192.0.3.1", LISTEN_PORT)],
      ...["peer", this.site.gatewayPublicKey, "remove"],
    );
  }

  /** The pings of netns.sh's tests(). */
  async pings(): Promise<void> {
    for (const family of [4, 6] as const) {
      await pingFlood(this.n2, GATEWAY[family]);
      await pingFlood(this.inside, CLIENT[family]);
    }
  }

  /** All of netns.sh's tests(), its 3 s a flow shortened to 1. */
  async tests(): Promise<void> {
    await this.pings();
    await this.fromN1({ family: 4 });
    await this.fromN2({ family: 6 });
    await this.fromN2({ family: 4, udp: true });
    await this.fromN1({ family: 6, udp: true });
    for (const flows of [4, 5, 50]) await this.fromN1({ family: 4, flows });
  }

  /** iperf3 of n1 against a server of n2. */
  async fromN1({ family, ...options }: Flows & { family: Family }): Promise<void> {
    await iperf(this.inside, this.n2, CLIENT[family], options);
  }

  /** The reverse. */
  async fromN2({ family, ...options }: Flows & { family: Family }): Promise<void> {
    await iperf(this.n2, this.site.target, TARGET[family], options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.site[Symbol.asyncDispose]();
  }
}

/** netns.sh's `ping -c 10 -f`, none of which may be lost. */
export async function pingFlood(host: Host, address: string, count = 10): Promise<void> {
  await allAnswered(host, address, count, "-f");
}

/** One ping that is answered. */
export async function pingOnce(host: Host, address: string, ...options: string[]): Promise<void> {
  await host.output(["ping", "-c", "1", "-W", "30", ...options, address]);
}

export interface Flows {
  readonly udp?: boolean;
  /** Side by side. Default 1. */
  readonly flows?: number;
}

/** iperf3 as fast as it goes (netns.sh's `-b 0`), for a second. */
export function iperf(from: Host, to: Host, address: string, options: Flows): Promise<void> {
  // On a machine that has others to serve the second may be nobody's.
  return tries(5, () => iperfOnce(from, to, address, options));
}

async function iperfOnce(
  from: Host,
  to: Host,
  address: string,
  { udp = false, flows = 1 }: Flows,
): Promise<void> {
  await using server = to.spawn("iperf3", ["iperf3", "--server", "--one-off", "--forceflush"]);
  await server.line(/listening/);
  const { code, stdout } = await from.run([
    ...["iperf3", "--client", address, "--time", "1", "--parallel", `${flows}`, "--json"],
    ...udp ? ["--udp", "--bitrate", "0"] : [],
  ]);
  const what = `${udp ? "UDP" : "TCP"} to ${address}, ${flows} flows`;
  const { end, error } = JSON.parse(stdout);
  assert.equal(error, undefined, what);
  assert.equal(code, 0, what);
  assert.equal(end.streams.length, flows, what);
  assert.ok((udp ? end.sum : end.sum_received).bytes > 0, what);
  assert.equal((await server.exit()).code, 0, what);
}
