import assert from "node:assert/strict";
import type { Gateway } from "../../../../proxy/gateway/gateway.ts";
import { loadConfig } from "../../../../proxy/config/config.ts";
import type { PeerConfig } from "../../../../proxy/config/checked.ts";
import { parsePrefix } from "../../../../proxy/address.ts";
import { generatePrivateKey } from "../../../../proxy/base64.ts";
import { startGateway } from "../../start.ts";
import { hexKey } from "../../control/lab.ts";

const SHARED = "100.64.1.0/24";

function site(number: number, ...prefixes: string[]): PeerConfig {
  return {
    publicKey: Uint8Array.fromHex(hexKey(number)),
    name: `site-${number}`,
    allowedIps: [`10.9.0.${number}/32`, ...prefixes].map((text) => parsePrefix(text)!),
    persistentKeepalive: 0,
  };
}

function start(peerToPeer = true) {
  const privateKey = generatePrivateKey();
  const source = { interface: { privateKey, address: "10.9.0.100/24", peerToPeer } };
  return startGateway(loadConfig(source).config);
}

/** Who holds the prefix, and who else speaks for it. */
function sharing(gateway: Gateway): Record<string, boolean> {
  return Object.fromEntries(
    gateway.stats().peers.flatMap(({ name, sharedPrefixes }) =>
      sharedPrefixes.map(({ prefix, isHeld }) => [`${name} ${prefix}`, isHeld])
    ),
  );
}

/** As the allowed IPs have it. */
function holders(gateway: Gateway): string[] {
  return gateway.stats().peers
    .filter(({ allowedIps }) => allowedIps.includes(SHARED)).map(({ name }) => name!);
}

Deno.test("the first of the file holds a prefix, and who is enrolled comes behind", async () => {
  await using gateway = await start();
  const { peerSources } = gateway;
  peerSources.add("enrolled", site(3, SHARED));
  assert.deepEqual(sharing(gateway), {}, "one alone shares nothing");
  peerSources.replace("file", [site(1, SHARED), site(2, SHARED)]);
  assert.deepEqual(sharing(gateway), {
    [`site-3 ${SHARED}`]: true,
    [`site-1 ${SHARED}`]: false,
    [`site-2 ${SHARED}`]: false,
  }, "who has it keeps it, until one that is preferred is there to stay");
  assert.deepEqual(holders(gateway), ["site-3"]);
  peerSources.remove("enrolled", site(3).publicKey);
  assert.deepEqual(holders(gateway), ["site-1"]);
  assert.deepEqual(sharing(gateway), { [`site-1 ${SHARED}`]: true, [`site-2 ${SHARED}`]: false });
});

Deno.test("a reload may change who speaks for a prefix, and in which order", async () => {
  await using gateway = await start();
  const { peerSources } = gateway;
  peerSources.replace("file", [site(1, SHARED), site(2, SHARED)]);
  assert.deepEqual(holders(gateway), ["site-1"]);
  peerSources.replace("file", [site(2, SHARED), site(1, SHARED)]);
  assert.deepEqual(holders(gateway), ["site-1"], "it stays, since nobody is heard");
  peerSources.replace("file", [site(2, SHARED), site(1)]);
  assert.deepEqual([holders(gateway), sharing(gateway)], [["site-2"], {}]);
  peerSources.replace("file", [site(1, SHARED), site(2)]);
  assert.deepEqual([holders(gateway), sharing(gateway)], [["site-1"], {}]);
  peerSources.replace("file", [site(1), site(2)]);
  assert.deepEqual(holders(gateway), []);
});

Deno.test("what the control socket gives to somebody is that one's", async () => {
  await using gateway = await start();
  gateway.peerSources.replace("file", [site(1, SHARED), site(2, SHARED), site(3)]);
  const three = gateway.engine.device.peer(site(3).publicKey)!;
  gateway.peers.addAllowedIp(three, parsePrefix(SHARED)!);
  assert.deepEqual(holders(gateway), ["site-3"]);
  const { device } = gateway.engine;
  const [one, two] = [1, 2].map((number) => device.peer(site(number).publicKey)!);
  const address = Uint8Array.of(100, 64, 1, 5);
  assert.deepEqual(
    [one!, two!, three].map((peer) => device.speaksFor(peer, address, 0, 4)),
    [false, false, true],
  );
});

Deno.test("where peers do not reach each other, the last of a file has a prefix", async () => {
  await using gateway = await start(false);
  gateway.peerSources.replace("file", [site(1, SHARED), site(2, SHARED)]);
  assert.deepEqual([holders(gateway), sharing(gateway)], [["site-2"], {}]);
});
