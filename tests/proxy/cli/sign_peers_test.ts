import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { parsePeerList } from "../../../proxy/gateway/peer_list/content.ts";
import { verifyPeerList } from "../../../proxy/gateway/peer_list/text.ts";
import { until } from "../pair.ts";
import { startGateway } from "../start.ts";
import { runHere } from "./run_here.ts";

const newKey = () => encodeKey(publicKeyOf(generatePrivateKey()));
const PEERS = `[Peer]\nName = laptop\nPublicKey = ${newKey()}\nAllowedIPs = 10.9.0.2/32\n\n` +
  `[Peer] # office\nPublicKey = ${newKey()}\nAllowedIPs = 10.9.0.3/32, 192.168.1.0/24\n` +
  "Endpoint = a.example:1, b.example:2\nPersistentKeepalive = 10\n";

/** Files of a folder that is gone at the end. */
async function folderOf() {
  const folder = await Deno.makeTempDir();
  const secret = await runHere(["gensignkey"]);
  assert.deepEqual([secret.status, secret.error], [0, ""]);
  const pub = await runHere(["pubsignkey"], secret.out);
  assert.deepEqual([pub.status, pub.error], [0, ""]);
  await Deno.writeTextFile(`${folder}/sign.key`, secret.out, { mode: 0o600 });
  await Deno.writeTextFile(`${folder}/peers.conf`, PEERS);
  const sign = (...args: string[]) =>
    runHere(["sign-peers", `${folder}/peers.conf`, "--key", `${folder}/sign.key`, ...args]);
  return {
    folder,
    key: pub.out.trim(),
    secret: secret.out.trim(),
    sign,
    read: async (text: string) =>
      parsePeerList(
        await verifyPeerList(new TextEncoder().encode(text), Uint8Array.fromBase64(pub.out.trim())),
      ),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

Deno.test("sign-peers makes of [Peer] sections what a gateway reads, in any form", async () => {
  await using files = await folderOf();
  const before = Math.floor(Date.now() / 1000);
  const signed = await files.sign("--days", "2");
  assert.equal(signed.status, 0, signed.error);
  assert.match(signed.error, /signed 2 peers, serial \d+/);
  const { serial, notAfter, peers } = await files.read(signed.out);
  assert.ok(serial >= before && serial <= Date.now() / 1000);
  assert.ok(Math.abs(notAfter - Date.now() - 2 * 86_400_000) < 60_000);
  assert.deepEqual(
    peers,
    loadConfig(`[Interface]\nPrivateKey = ${files.secret}\n${PEERS}`).config.peers,
  );
  const yaml = `peers:\n- publicKey: ${newKey()}\n  allowedIps: [10.9.0.2/32]\n`;
  await Deno.writeTextFile(`${files.folder}/peers.yaml`, yaml);
  const other = await runHere([
    ...["sign-peers", `${files.folder}/peers.yaml`, "--key", `${files.folder}/sign.key`],
  ]);
  assert.equal((await files.read(other.out)).peers.length, 1, other.error);
});

Deno.test("--out is replaced whole, with a serial above the one it had", async () => {
  await using files = await folderOf();
  const out = `${files.folder}/peers.list`;
  const serial = async () => (await files.read(await Deno.readTextFile(out))).serial;
  assert.equal((await files.sign("--out", out, "--serial", "9999999999")).status, 0);
  assert.equal(await serial(), 9_999_999_999);
  assert.equal((await files.sign("--out", out)).status, 0);
  assert.equal(await serial(), 10_000_000_000);
  const lower = await files.sign("--out", out, "--serial", "5");
  assert.equal(lower.status, 2);
  assert.match(lower.error, /--serial: .* has 10000000000, expected a higher one/);
  await Deno.writeTextFile(out, "mine");
  const foreign = await files.sign("--out", out);
  assert.equal(foreign.status, 2);
  assert.match(foreign.error, /--out: .*is no signed list of peers/);
  assert.equal(await Deno.readTextFile(out), "mine");
});

Deno.test("what is wrong is told with status 2, and no key with it", async () => {
  await using files = await folderOf();
  const refused = async (peers: string, message: RegExp, ...args: string[]) => {
    await Deno.writeTextFile(`${files.folder}/peers.conf`, peers);
    const { status, out, error } = await files.sign(...args);
    assert.deepEqual([status, out], [2, ""], error);
    assert.match(error, message);
    assert.doesNotMatch(error, /[A-Za-z0-9+/]{43}=/);
  };
  await refused(`${PEERS}AllowedIPs = 1.2.3.4/33\n`, /peers\.conf:11: AllowedIPs: /);
  await refused(
    `${PEERS}PresharedKey = ${newKey()}\n`,
    /peers\.conf:11: PresharedKey: whoever reads/,
  );
  await refused(`${PEERS}Cert = a.pem\n`, /Cert|cert/);
  await refused(PEERS, /--serial: .*expected 1 or more/, "--serial", "0");
  await refused(PEERS, /--days: /, "--days", "0");
  await Deno.writeTextFile(`${files.folder}/sign.key`, "nothing");
  await refused(PEERS, /sign\.key: is no key, expected one by gensignkey/);
  const missing = await runHere(["sign-peers", `${files.folder}/peers.conf`]);
  assert.equal(missing.status, 2);
  assert.match(missing.error, /--key/);
  const none = await runHere(["pubsignkey"], "nothing");
  assert.deepEqual([none.status, none.out], [1, ""]);
});

Deno.test("a gateway has the peers of its file and of its list, and follows the list", async () => {
  await using files = await folderOf();
  const out = `${files.folder}/peers.list`;
  await files.sign("--out", out);
  const state = `${files.folder}/state`;
  const text =
    `[Interface]\nPrivateKey = ${encodeKey(generatePrivateKey())}\nPeersFrom = ${out}\n` +
    `PeersKey = ${files.key}\n[Peer]\nName = own\nPublicKey = ${newKey()}\n`;
  const options = { stateDirectories: [state] };
  const names = (peers: readonly { name: string | null; origin: string }[]) =>
    peers.map(({ name, origin }) => `${name} ${origin}`).sort();
  {
    await using gateway = await startGateway(loadConfig(text).config, options);
    assert.deepEqual(names(gateway.stats().peers), ["laptop list", "office list", "own file"]);
    await Deno.writeTextFile(
      `${files.folder}/peers.conf`,
      PEERS.replace("laptop", "desktop").replace("# office", "# branch"),
    );
    await files.sign("--out", out);
    await until(
      () => names(gateway.stats().peers).join() === "branch list,desktop list,own file",
      "the new list is used",
      20_000,
    );
    assert.equal(gateway.stats().peerList!.refused.signature, 0);
  }
  // Without its place the next start has what this one had.
  await Deno.remove(out);
  await using gateway = await startGateway(loadConfig(text).config, options);
  assert.deepEqual(names(gateway.stats().peers), ["branch list", "desktop list", "own file"]);
  assert.equal(gateway.stats().peerList!.refused.unreachable, 1);
});

Deno.test("PeersFrom without PeersKey is refused, and what is without effect is said", () => {
  const load = (lines: string) =>
    loadConfig(`[Interface]\nPrivateKey = ${encodeKey(generatePrivateKey())}\n${lines}`);
  assert.throws(() => load("PeersFrom = https://a.test/"), /PeersFrom: who signs .* PeersKey/);
  assert.throws(() => load("PeersFrom = http://a.test/"), /PeersFrom: .*can be read on the way/);
  assert.match(load(`PeersKey = ${newKey()}`).warnings.join(), /PeersKey: has no effect/);
  const { config, warnings } = load(
    `PeersFrom = peers.list\nPeersKey = ${newKey()}\nPeersInterval = 5\n`,
  );
  assert.match(warnings.join(), /PeersInterval: has no effect: the list is a file/);
  assert.deepEqual(config.peerList?.place, { path: "peers.list" });
});
