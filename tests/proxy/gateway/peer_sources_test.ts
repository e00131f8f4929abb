import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { parseIpAddress } from "../../../proxy/address.ts";
import { encodeKey } from "../../../proxy/base64.ts";
import type { PeerConfig } from "../../../proxy/config/checked.ts";
import type { Gateway } from "../../../proxy/gateway/gateway.ts";
import type { PeerSource } from "../../../proxy/gateway/peer_sources.ts";
import { Prefix } from "../../../netstack/mod.ts";
import { ControlLab, hexKey, newConfig, RELOADED } from "../control/lab.ts";
import { startGateway } from "../start.ts";
import { loadConfig } from "../../../proxy/config/config.ts";

function peer(number: number, host: number, name?: string): PeerConfig {
  return {
    publicKey: Uint8Array.fromHex(hexKey(number)),
    ...(name !== undefined && { name }),
    allowedIps: [new Prefix(parseIpAddress(`10.9.0.${host}`)!, 32)],
    persistentKeepalive: 0,
  };
}

/** `number name origin prefixes`, by number. */
function peersOf(gateway: Gateway): string[] {
  return Array.from(gateway.engine.device.peers(), (peer) =>
    [
      parseInt(peer.publicKey.toHex(), 16),
      peer.name ?? "-",
      gateway.peerSources.origin(peer),
      ...gateway.peers.allowedIps(peer),
    ].join(" ")).sort((a, b) => parseInt(a) - parseInt(b));
}

const start = () => startGateway(loadConfig(newConfig()).config);

Deno.test("many peers that come or go together are one change, and come to the same as one by one", async () => {
  await using gateway = await start();
  await using twin = await start();
  const many = Array.from({ length: 20 }, (_, i) => peer(i + 1, i + 1, `m${i % 15}`));
  let changes = 0;
  gateway.peerSources.onChanged = () => changes++;
  gateway.peerSources.addAll("enrolled", many);
  for (const one of many) twin.peerSources.add("enrolled", one);
  assert.deepEqual(peersOf(gateway), peersOf(twin));
  assert.equal(peersOf(gateway).length, 15);
  const gone = many.slice(0, 12).map(({ publicKey }) => publicKey);
  gateway.peerSources.removeAll("enrolled", gone);
  for (const key of gone) twin.peerSources.remove("enrolled", key);
  assert.deepEqual(peersOf(gateway), peersOf(twin));
  assert.equal(changes, 2);
});

Deno.test("a reload leaves peers of a list and enrolled ones alone, and they leave the file's alone", async () => {
  const section = `[Peer]\nPublicKey = ${encodeKey(Uint8Array.fromHex(hexKey(1)))}\n` +
    "AllowedIPs = 10.9.0.1/32\n";
  const head = `[Interface]\nPrivateKey = ${encodeKey(Uint8Array.fromHex(hexKey(9)))}\n`;
  await using lab = await ControlLab.start(head + section);
  const { gateway } = lab;
  const { peerSources } = gateway;
  assert.deepEqual(peerSources.replace("list", [peer(2, 2, "two"), peer(3, 3)]), {
    added: 2,
    removed: 0,
    changed: 0,
    peers: ["peer two: added", `peer ${encodeKey(Uint8Array.fromHex(hexKey(3)))}: added`],
  });
  peerSources.add("enrolled", peer(4, 4, "four"));
  const key = hexKey(5);
  assert.match(await lab.ask(`set=1\npublic_key=${key}\nallowed_ip=10.9.0.5/32\n\n`), /errno=0/);
  const others = ["2 two list 10.9.0.2/32", "3 - list 10.9.0.3/32", "4 four enrolled 10.9.0.4/32"];
  assert.deepEqual(peersOf(gateway), [
    "1 - file 10.9.0.1/32",
    ...others,
    "5 - control 10.9.0.5/32",
  ]);
  assert.equal(gateway.stats().peers.find(({ name }) => name === "four")?.origin, "enrolled");

  lab.next = head;
  assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  assert.deepEqual(peersOf(gateway), others);
  lab.next = head + section;
  assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  assert.deepEqual(peerSources.remove("enrolled", peer(4, 4).publicKey).peers, [
    "peer four: removed",
  ]);
  assert.deepEqual(peerSources.replace("list", [peer(3, 3, "third")]).peers, [
    "peer two: removed",
    "peer third: changed",
  ]);
  assert.deepEqual(peersOf(gateway), ["1 - file 10.9.0.1/32", "3 third list 10.9.0.3/32"]);
});

Deno.test("a key in two sources is the first one's, and the other's when that gives it up", async () => {
  await using gateway = await start();
  const { peerSources } = gateway;
  peerSources.add("enrolled", peer(1, 1, "enrolled"));
  peerSources.replace("list", [peer(1, 2, "list")]);
  peerSources.replace("file", [peer(1, 3, "file")]);
  assert.deepEqual(peersOf(gateway), ["1 file file 10.9.0.3/32"]);
  assert.deepEqual(peerSources.of("enrolled"), [peer(1, 1, "enrolled")]);
  const { publicKey } = peer(1, 1);
  const before = gateway.engine.device.peer(publicKey);
  peerSources.replace("file", []);
  assert.deepEqual(peersOf(gateway), ["1 list list 10.9.0.2/32"]);
  peerSources.replace("list", []);
  assert.deepEqual(peersOf(gateway), ["1 enrolled enrolled 10.9.0.1/32"]);
  assert.equal(gateway.engine.device.peer(publicKey), before, "its sessions would have ended");
});

Deno.test("a peer that comes with another's name is left out until the name is free", async () => {
  await using gateway = await start();
  const { peerSources } = gateway;
  peerSources.replace("list", [peer(2, 2, "Laptop")]);
  peerSources.add("enrolled", peer(3, 3, "laptop"));
  assert.deepEqual(peersOf(gateway), ["2 Laptop list 10.9.0.2/32"]);
  assert.match(peerSources.reasonLeftOut(peer(3, 3).publicKey)!, /another peer's name/);
  // Who counts more takes it from one that runs.
  peerSources.replace("file", [peer(1, 1, "LAPTOP")]);
  assert.deepEqual(peersOf(gateway), ["1 LAPTOP file 10.9.0.1/32"]);
  peerSources.replace("file", [peer(1, 1, "desktop")]);
  assert.deepEqual(peersOf(gateway), ["1 desktop file 10.9.0.1/32", "2 Laptop list 10.9.0.2/32"]);
  peerSources.replace("list", []);
  assert.deepEqual(peersOf(gateway), [
    "1 desktop file 10.9.0.1/32",
    "3 laptop enrolled 10.9.0.3/32",
  ]);
  assert.equal(peerSources.reasonLeftOut(peer(3, 3).publicKey), undefined);
  const own = { ...peer(4, 4), publicKey: gateway.publicKey };
  peerSources.add("enrolled", own);
  assert.match(peerSources.reasonLeftOut(gateway.publicKey)!, /own/);
  assert.equal(gateway.engine.device.peer(gateway.publicKey), undefined);
});

Deno.test("a shared prefix is held by whom the file has last, then by the next when it goes", async () => {
  await using gateway = await start();
  const { peerSources } = gateway;
  peerSources.add("enrolled", peer(3, 1));
  peerSources.replace("file", [peer(1, 1), peer(2, 1)]);
  assert.deepEqual(peersOf(gateway), ["1 - file", "2 - file 10.9.0.1/32", "3 - enrolled"]);
  peerSources.replace("file", [peer(1, 1), peer(2, 2)]);
  assert.deepEqual(peersOf(gateway), [
    "1 - file 10.9.0.1/32",
    "2 - file 10.9.0.2/32",
    "3 - enrolled",
  ]);
  peerSources.replace("file", []);
  assert.deepEqual(peersOf(gateway), ["3 - enrolled 10.9.0.1/32"]);
  // Another rule: the first holds it.
  peerSources.chooseHolder = (_prefix, [first]) => first!;
  peerSources.add("enrolled", peer(4, 1));
  assert.deepEqual(peersOf(gateway), ["3 - enrolled 10.9.0.1/32", "4 - enrolled"]);
  assert.equal([...peerSources.claims.shared()].length, 1);
  peerSources.chooseHolder = (_prefix, claimants) => claimants.at(-1)!;
  peerSources.reassign(peer(4, 1).allowedIps[0]!);
  assert.deepEqual(peersOf(gateway), ["3 - enrolled", "4 - enrolled 10.9.0.1/32"]);
  gateway.peers.remove([...gateway.engine.device.peers()][1]!);
  peerSources.reassign(peer(4, 1).allowedIps[0]!);
  assert.deepEqual(peersOf(gateway), ["3 - enrolled 10.9.0.1/32"], "a peer that is gone");
});

/** All sources from nothing: what any order of changes has to come to. */
function expected(sources: Record<PeerSource, PeerConfig[]>): string[] {
  const seen = new Set<string>();
  const names = new Set<string>();
  const all: { config: PeerConfig; source: PeerSource }[] = [];
  for (const source of ["file", "list", "enrolled"] as const) {
    for (const config of sources[source]) {
      const key = config.publicKey.toHex();
      if (seen.has(key)) continue;
      seen.add(key);
      if (config.name !== undefined && names.has(config.name)) continue;
      if (config.name !== undefined) names.add(config.name);
      all.push({ config, source });
    }
  }
  return all.map(({ config, source }) => {
    const others = all.filter(({ config: { allowedIps: [one] } }) =>
      `${one}` === `${config.allowedIps[0]}`
    );
    const ranked = others.filter(({ source }) => source === others[0]!.source);
    const holds = ranked.at(-1)!.config === config;
    const number = parseInt(config.publicKey.toHex(), 16);
    return `${number} ${config.name ?? "-"} ${source}${holds ? ` ${config.allowedIps[0]}` : ""}`;
  }).sort((a, b) => parseInt(a) - parseInt(b));
}

Deno.test("whatever the order of changes, the peers are those of the sources from nothing", async () => {
  await using gateway = await start();
  const { peerSources } = gateway;
  const source = fc.constantFrom<PeerSource>("file", "list", "enrolled");
  const config = fc.tuple(
    fc.integer({ min: 1, max: 6 }),
    fc.integer({ min: 1, max: 4 }),
    fc.option(fc.constantFrom("a", "b", "c"), { nil: undefined }),
  ).map(([number, host, name]) => peer(number, host, name));
  const step = fc.oneof(
    fc.record({
      source,
      configs: fc.uniqueArray(config, {
        maxLength: 4,
        selector: ({ publicKey }) => publicKey.toHex(),
      }),
    }),
    fc.record({ source, add: config }),
    fc.record({ source, remove: fc.integer({ min: 1, max: 6 }) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
    const sources: Record<PeerSource, PeerConfig[]> = { file: [], list: [], enrolled: [] };
    for (const source of ["file", "list", "enrolled"] as const) peerSources.replace(source, []);
    for (const step of steps) {
      const { source } = step;
      if ("configs" in step) {
        sources[source] = step.configs;
        peerSources.replace(source, step.configs);
        continue;
      }
      const publicKey = "add" in step ? step.add.publicKey : peer(step.remove, 1).publicKey;
      const key = publicKey.toHex();
      const rest = sources[source].filter((one) => one.publicKey.toHex() !== key);
      if ("add" in step) {
        const at = sources[source].findIndex((one) => one.publicKey.toHex() === key);
        sources[source] = at < 0 ? [...rest, step.add] : sources[source].with(at, step.add);
        peerSources.add(source, step.add);
      } else {
        sources[source] = rest;
        peerSources.remove(source, publicKey);
      }
      assert.deepEqual(peersOf(gateway), expected(sources));
    }
    assert.deepEqual(peersOf(gateway), expected(sources));
  }));
});
