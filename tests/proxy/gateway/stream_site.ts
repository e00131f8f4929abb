/**
 * A hub that listens in TLS or in gRPC, and gateways that come to it, with real sockets.
 *
 * @module
 */

import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { DialledEndpoint } from "../../../proxy/bind/stream/mod.ts";
import { type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";
import type { Gateway } from "../../../proxy/gateway/gateway.ts";
import { MadeAuthority } from "../bind/certificates/made.ts";
import { until } from "../pair.ts";
import { startGateway } from "../start.ts";

/** A hub that listens in TLS, and gateways that come to it. */
export class StreamSite implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "wirestack-streams-" });
  readonly hubKey = generatePrivateKey();
  readonly keys = [generatePrivateKey(), generatePrivateKey()];
  readonly #started: Gateway[] = [];
  authority!: MadeAuthority;
  hub!: Gateway;

  static async make(): Promise<StreamSite> {
    const site = new StreamSite();
    site.authority = await MadeAuthority.make();
    Deno.writeTextFileSync(`${site.folder}/ca.pem`, site.authority.cert);
    await site.certificate("hub", { name: "hub", usage: "serverAuth", hosts: ["localhost"] });
    await site.certificate("0", { name: "first" });
    await site.certificate("1", { name: "second" });
    return site;
  }

  async certificate(file: string, options: Parameters<MadeAuthority["leaf"]>[0]) {
    const leaf = await this.authority.leaf(options);
    Deno.writeTextFileSync(`${this.folder}/${file}.pem`, leaf.cert);
    Deno.writeTextFileSync(`${this.folder}/${file}.key`, leaf.key);
    return leaf;
  }

  config(relay: Partial<ConfigInput["relay"]> = {}): ConfigInput {
    const { folder } = this;
    return {
      interface: { privateKey: encodeKey(this.hubKey), address: "10.9.0.1/24" },
      peers: this.keys.map((key, i) => ({
        publicKey: encodeKey(publicKeyOf(key)),
        allowedIps: `10.9.0.${i + 2}/32`,
      })),
      relay: {
        listen: "tls:127.0.0.1:0",
        cert: `${folder}/hub.pem`,
        key: `${folder}/hub.key`,
        clientCa: `${folder}/ca.pem`,
        ...relay,
      },
    };
  }

  async startHub(relay?: Partial<ConfigInput["relay"]>): Promise<Gateway> {
    return this.hub = await this.start(this.config(relay));
  }

  async start(input: ConfigInput): Promise<Gateway> {
    const gateway = await startGateway(loadConfig(input).config);
    this.#started.push(gateway);
    return gateway;
  }

  /** The way to the hub, as one of those who may come has it. */
  fallback(i: number) {
    const { transport, port } = this.hub.streams.places[0]!;
    return {
      fallback: `${transport}://localhost:${port}`,
      cert: `${this.folder}/${i}.pem`,
      key: `${this.folder}/${i}.key`,
      ca: `${this.folder}/ca.pem`,
    };
  }

  /** A gateway whose only way to the hub is that. */
  async client(i: number) {
    const input: ConfigInput = {
      interface: { privateKey: encodeKey(this.keys[i]!), address: `10.9.0.${i + 2}/24` },
      peers: [{
        publicKey: encodeKey(publicKeyOf(this.hubKey)),
        allowedIps: "10.9.0.1/32",
        ...this.fallback(i),
      }],
    };
    const gateway = await this.start(input);
    const [peer] = gateway.engine.device.peers();
    const endpoint = gateway.peers.paths.of(peer!)!.fallbacks[0] as DialledEndpoint;
    const shakeHands = async () => {
      peer!.initiate(gateway.engine.now());
      gateway.engine.wake();
      await until(() => peer!.hasSession, "a session");
    };
    return { gateway, input, endpoint, peer: peer!, shakeHands };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gateway of this.#started.toReversed()) await gateway.close();
    Deno.removeSync(this.folder, { recursive: true });
  }
}
