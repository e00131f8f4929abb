/** Gateways whose peers have fallbacks, with real sockets. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../../proxy/base64.ts";
import { type ConfigInput, loadConfig } from "../../../../proxy/config/config.ts";
import type { Gateway } from "../../../../proxy/gateway/gateway.ts";
import { applyConfig } from "../../../../proxy/gateway/reload.ts";
import { MadeAuthority } from "../../bind/certificates/made.ts";
import { updatePeer } from "../../../../proxy/gateway/peer_changes.ts";
import { until } from "../../pair.ts";
import { startGateway } from "../../start.ts";

/** A hub that listens in TLS, and one peer of it. */
class Site implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "wirestack-paths-" });
  readonly hubKey = generatePrivateKey();
  readonly key = generatePrivateKey();
  readonly #started: Gateway[] = [];
  hub!: Gateway;

  static async make(): Promise<Site> {
    const site = new Site();
    const authority = await MadeAuthority.make();
    const write = (name: string, text: string) =>
      Deno.writeTextFileSync(`${site.folder}/${name}`, text, { mode: 0o600 });
    write("ca.pem", authority.cert);
    const hub = await authority.leaf({ usage: "serverAuth", hosts: ["localhost"] });
    const peer = await authority.leaf({ name: "peer" });
    write("hub.pem", hub.cert);
    write("hub.key", hub.key);
    write("peer.pem", peer.cert);
    write("peer.key", peer.key);
    site.hub = await site.start({
      interface: { privateKey: encodeKey(site.hubKey), address: "10.9.0.1/24" },
      peers: [{ publicKey: encodeKey(publicKeyOf(site.key)), allowedIps: "10.9.0.2/32" }],
      relay: {
        listen: "tls:127.0.0.1:0",
        cert: `${site.folder}/hub.pem`,
        key: `${site.folder}/hub.key`,
        clientCa: `${site.folder}/ca.pem`,
      },
    });
    return site;
  }

  /** Of the peer, with a keepalive, so that it begins by itself. */
  config(endpoint: string | undefined, hasFallback = true): ConfigInput {
    const { folder, hub } = this;
    return {
      interface: { privateKey: encodeKey(this.key), address: "10.9.0.2/24" },
      peers: [{
        name: "hub",
        publicKey: encodeKey(publicKeyOf(this.hubKey)),
        allowedIps: "10.9.0.1/32",
        persistentKeepalive: 25,
        ...(endpoint !== undefined && { endpoint }),
        ...(hasFallback && {
          fallback: `tls://localhost:${hub.streams.places[0]!.port}`,
          cert: `${folder}/peer.pem`,
          key: `${folder}/peer.key`,
          ca: `${folder}/ca.pem`,
        }),
      }],
    };
  }

  async start(input: ConfigInput): Promise<Gateway> {
    const gateway = await startGateway(loadConfig(input).config);
    this.#started.push(gateway);
    return gateway;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gateway of this.#started.toReversed()) await gateway.close();
    Deno.removeSync(this.folder, { recursive: true });
  }
}

const statsOf = (gateway: Gateway) => gateway.stats().peers[0]!;

Deno.test("nobody answers by UDP: the peer is reached by TLS, and both sides say so", async () => {
  await using site = await Site.make();
  // A socket that nobody reads.
  const silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = silent.addr as Deno.NetAddr;
  const gateway = await site.start(site.config(`127.0.0.1:${port}`));
  assert.equal(statsOf(gateway).transport, "udp");
  await until(() => statsOf(gateway).lastHandshake > 0, "a handshake", 20_000);
  assert.deepEqual(
    [statsOf(gateway).transport, statsOf(gateway).transportSwitches],
    ["tls", 1],
  );
  assert.match(statsOf(gateway).endpoint!, /^tls:\/\/localhost:\d+$/);
  assert.deepEqual([...gateway.peers.paths.switches], [["tls", 1]]);
  await until(() => statsOf(site.hub).transport === "tls", "the hub's word");
  silent.close();
});

Deno.test("a peer without an Endpoint, or with one whose name is not found, begins with its fallback", async () => {
  await using site = await Site.make();
  for (const endpoint of [undefined, "nobody.invalid:51820"]) {
    const gateway = await site.start(site.config(endpoint));
    await until(() => statsOf(gateway).lastHandshake > 0, "a handshake", 20_000);
    assert.equal(statsOf(gateway).transport, "tls");
    await gateway.close();
  }
});

Deno.test("UDP that answers is used, whatever fallbacks there are, and a reload changes them", async () => {
  await using site = await Site.make();
  const endpoint = `127.0.0.1:${site.hub.port}`;
  let loaded = loadConfig(site.config(endpoint));
  const gateway = await site.start(site.config(endpoint));
  await until(() => statsOf(gateway).lastHandshake > 0, "a handshake");
  const [peer] = gateway.engine.device.peers();
  assert.equal(statsOf(gateway).transport, "udp");
  assert.equal(gateway.peers.paths.of(peer!)!.fallbacks[0]!.state, "closed");
  const apply = (hasFallback: boolean) => {
    const next = loadConfig(site.config(endpoint, hasFallback));
    applyConfig(gateway, loaded.config, next);
    loaded = next;
  };
  apply(false);
  assert.equal(gateway.peers.paths.of(peer!), undefined);
  apply(true);
  const fallback = gateway.peers.paths.of(peer!)!.fallbacks[0]!;
  apply(true);
  assert.equal(gateway.peers.paths.of(peer!)!.fallbacks[0], fallback, "the same again");
  fallback.open();
  await until(() => fallback.state === "open", "a connection");
  apply(false);
  assert.equal(fallback.state, "closed");
  assert.equal(statsOf(gateway).transport, "udp");
});

Deno.test("a change of a running peer that is not about its fallbacks leaves them, and the one in use", async () => {
  await using site = await Site.make();
  const gateway = await site.start(site.config(undefined));
  await until(() => statsOf(gateway).lastHandshake > 0, "a handshake", 20_000);
  const [peer] = gateway.engine.device.peers();
  const [fallback] = gateway.peers.paths.of(peer!)!.fallbacks;
  updatePeer(gateway, peer!.publicKey, { name: "hub", rateUp: "8Mbit" });
  assert.equal(statsOf(gateway).name, "hub");
  assert.equal(gateway.peers.paths.of(peer!)?.fallbacks[0], fallback);
  assert.equal(fallback!.state, "open");
  assert.equal(statsOf(gateway).transport, "tls");
});
