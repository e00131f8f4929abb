/** Gateways whose peers have fallbacks, with real sockets. */

import assert from "node:assert/strict";
import { encodeKey, publicKeyOf } from "../../../../proxy/base64.ts";
import { type ConfigInput, loadConfig } from "../../../../proxy/config/config.ts";
import type { Gateway } from "../../../../proxy/gateway/gateway.ts";
import { applyConfig } from "../../../../proxy/gateway/reload.ts";
import { updatePeer } from "../../../../proxy/gateway/peer_changes.ts";
import { until } from "../../pair.ts";
import { startGateway } from "../../start.ts";
import { StreamSite } from "../stream_site.ts";

async function start(): Promise<StreamSite> {
  const site = await StreamSite.make();
  await site.startHub();
  return site;
}

/** Of a peer, with a keepalive, so that it begins by itself. */
function config(site: StreamSite, endpoint: string | undefined, hasFallback = true): ConfigInput {
  return {
    interface: { privateKey: encodeKey(site.keys[0]!), address: "10.9.0.2/24" },
    peers: [{
      name: "hub",
      publicKey: encodeKey(publicKeyOf(site.hubKey)),
      allowedIps: "10.9.0.1/32",
      persistentKeepalive: 25,
      ...(endpoint !== undefined && { endpoint }),
      ...(hasFallback && site.fallback(0)),
    }],
  };
}

const statsOf = (gateway: Gateway) => gateway.stats().peers[0]!;

Deno.test("nobody answers by UDP: the peer is reached by TLS, and both sides say so", async () => {
  await using site = await start();
  // A socket that nobody reads.
  const silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = silent.addr as Deno.NetAddr;
  const gateway = await site.start(config(site, `127.0.0.1:${port}`));
  assert.equal(statsOf(gateway).transport, "udp");
  await until(() => statsOf(gateway).lastHandshake > 0, "a handshake");
  assert.deepEqual(
    [statsOf(gateway).transport, statsOf(gateway).transportSwitches],
    ["tls", 1],
  );
  assert.match(statsOf(gateway).endpoint!, /^tls:\/\/localhost:\d+$/);
  assert.deepEqual([...gateway.peers.paths.switches], [["tls", 1]]);
  await until(() => statsOf(site.hub).transport === "tls", "the hub's word");
  silent.close();
  // What each side has sent by it, the other has got in the end: nothing else is under way.
  const carrierOf = (gateway: Gateway) => statsOf(gateway).carriers[0]!;
  await until(() => {
    const [here, there] = [carrierOf(gateway), carrierOf(site.hub)];
    return here.sentBytes > 0 && here.sentBytes === there.receivedBytes &&
      there.sentBytes > 0 && there.sentBytes === here.receivedBytes;
  }, "the same figures on both sides");
  const { endpoint, ...dialled } = carrierOf(gateway);
  assert.equal(endpoint, site.fallback(0).fallback);
  const { counters } = [...gateway.streams.binds][0]!;
  assert.deepEqual(dialled, {
    ...{ transport: "tls", state: "open", problem: null, name: "hub" },
    ...{ receivedDatagrams: counters.received, receivedBytes: counters.receivedBytes },
    ...{ sentDatagrams: counters.sent, sentBytes: counters.sentBytes },
  });
  const { state, name, endpoint: from } = carrierOf(site.hub);
  assert.deepEqual([state, name, from], ["open", "first", statsOf(site.hub).endpoint]);
});

Deno.test("a peer without an Endpoint, or with one whose name is not found, begins with its fallback", async () => {
  await using site = await start();
  for (const endpoint of [undefined, "nobody.invalid:51820"]) {
    const gateway = await site.start(config(site, endpoint));
    await until(() => statsOf(gateway).lastHandshake > 0, "a handshake");
    assert.equal(statsOf(gateway).transport, "tls");
    await gateway.close();
  }
});

Deno.test("without an Endpoint the fallbacks are all there is, though it is remembered where the peer was", async () => {
  await using site = await start();
  const stateDirectories = [`${site.folder}/state`];
  const before = await startGateway(
    loadConfig(config(site, `127.0.0.1:${site.hub.port}`)).config,
    { stateDirectories },
  );
  await until(() => statsOf(before).lastHandshake > 0, "a handshake");
  assert.equal(statsOf(before).transport, "udp");
  await before.close();
  assert.match(
    Array.from(Deno.readDirSync(stateDirectories[0]!), ({ name }) => name).join(),
    /^endpoints-/,
  );
  const gateway = await startGateway(loadConfig(config(site, undefined)).config, {
    stateDirectories,
  });
  await until(() => statsOf(gateway).lastHandshake > 0, "a handshake");
  assert.equal(statsOf(gateway).transport, "tls");
  await gateway.close();
});

Deno.test("a reload that takes the Endpoint away leaves the fallbacks, until it is there again", async () => {
  await using site = await start();
  const endpoint = `127.0.0.1:${site.hub.port}`;
  let loaded = loadConfig(config(site, endpoint));
  const gateway = await site.start(config(site, endpoint));
  await until(() => statsOf(gateway).lastHandshake > 0, "a handshake");
  const apply = (endpoint: string | undefined) => {
    const next = loadConfig(config(site, endpoint));
    applyConfig(gateway, loaded.config, next);
    loaded = next;
  };
  apply(undefined);
  assert.equal(statsOf(gateway).transport, "tls");
  const [peer] = gateway.engine.device.peers();
  peer!.initiate(gateway.engine.now());
  gateway.engine.wake();
  await until(() => statsOf(site.hub).transport === "tls", "the hub's word");
  assert.equal(gateway.peers.paths.of(peer!)!.udp, undefined);
  apply(endpoint);
  assert.equal(gateway.peers.paths.of(peer!)!.udp?.toString(), endpoint);
});

Deno.test("UDP that answers is used, whatever fallbacks there are, and a reload changes them", async () => {
  await using site = await start();
  const endpoint = `127.0.0.1:${site.hub.port}`;
  let loaded = loadConfig(config(site, endpoint));
  const gateway = await site.start(config(site, endpoint));
  await until(() => statsOf(gateway).lastHandshake > 0, "a handshake");
  const [peer] = gateway.engine.device.peers();
  assert.equal(statsOf(gateway).transport, "udp");
  // It was begun if UDP took long, and is given up then.
  const { fallbacks } = gateway.peers.paths.of(peer!)!;
  await until(() => fallbacks[0]!.state === "closed", "no connection");
  const apply = (hasFallback: boolean) => {
    const next = loadConfig(config(site, endpoint, hasFallback));
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
  await using site = await start();
  const gateway = await site.start(config(site, undefined));
  await until(() => statsOf(gateway).lastHandshake > 0, "a handshake");
  const [peer] = gateway.engine.device.peers();
  const [fallback] = gateway.peers.paths.of(peer!)!.fallbacks;
  updatePeer(gateway, peer!.publicKey, { name: "hub", rateUp: "8Mbit" });
  assert.equal(statsOf(gateway).name, "hub");
  assert.equal(gateway.peers.paths.of(peer!)?.fallbacks[0], fallback);
  assert.equal(fallback!.state, "open");
  assert.equal(statsOf(gateway).transport, "tls");
});
