/** A list of peers that a reload begins to watch, changes and ends. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../../../proxy/base64.ts";
import { formatPeerList } from "../../../../proxy/gateway/peer_list/content.ts";
import {
  generateSigningKey,
  publicSigningKey,
  signPeerList,
} from "../../../../proxy/gateway/peer_list/text.ts";
import { runHere } from "../../cli/run_here.ts";
import { ControlLab, hexKey } from "../../control/lab.ts";
import { captureLog } from "../../log/capture.ts";
import { until } from "../../until.ts";

const SEED = generateSigningKey();
const KEY = encodeKey(await publicSigningKey(SEED));
const OTHER_SEED = generateSigningKey();
const OTHER_KEY = encodeKey(await publicSigningKey(OTHER_SEED));
const privateKey = encodeKey(generatePrivateKey());

class Site implements AsyncDisposable {
  readonly lab: ControlLab;
  readonly folder: string;

  private constructor(lab: ControlLab, folder: string) {
    this.lab = lab;
    this.folder = folder;
  }

  static async start(...lines: string[]): Promise<Site> {
    const folder = Deno.makeTempDirSync();
    const config = configOf(...lines.map((line) => line.replace("FOLDER", folder)));
    const lab = await ControlLab.start(config, undefined, undefined, undefined, {
      stateDirectories: [`${folder}/state`],
    });
    return new Site(lab, folder);
  }

  /** Has a list of these peers at a place. */
  async write(name: string, serial: number, peers: number[], seed = SEED): Promise<string> {
    const body = formatPeerList({
      serial,
      peers: peers.map((number) => ({
        publicKey: encodeKey(Uint8Array.fromHex(hexKey(number))),
        allowedIps: [`10.9.0.${number}/32`],
      })),
    });
    const path = `${this.folder}/${name}`;
    Deno.writeTextFileSync(`${path}.new`, await signPeerList(body, seed));
    Deno.renameSync(`${path}.new`, path);
    return path;
  }

  async reload(...lines: string[]): Promise<string> {
    this.lab.next = configOf(...lines);
    const { status, out, error } = await runHere(
      ["reload", "lab", "--control-dir", this.lab.directory],
    );
    assert.equal(status, 0, error);
    return out + error;
  }

  get peers() {
    return [...this.lab.gateway.engine.device.peers()];
  }

  get numbers(): number[] {
    return this.peers.map(({ publicKey }) => publicKey[31]!).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
    Deno.removeSync(this.folder, { recursive: true });
  }
}

function configOf(...lines: string[]): string {
  return `[Interface]\nPrivateKey = ${privateKey}\nAddress = 10.9.0.254/24\n${lines.join("\n")}\n` +
    `[Peer]\nPublicKey = ${encodeKey(Uint8Array.fromHex(hexKey(1)))}\nAllowedIPs = 10.9.0.1/32\n`;
}

Deno.test("a reload begins to watch a list, changes its place, and ends it; nobody else is touched", async () => {
  using log = captureLog();
  await using site = await Site.start();
  const [own] = site.peers;
  const first = await site.write("first", 1, [2, 3]);
  assert.doesNotMatch(await site.reload(`PeersFrom = ${first}`, `PeersKey = ${KEY}`), /restart/);
  await until(() => site.numbers.length === 3, "the list's peers are here");
  assert.deepEqual(site.numbers, [1, 2, 3]);
  const [, two] = site.peers;

  // At another place, by the same key: who is in both keeps its session.
  const second = await site.write("second", 2, [2, 4]);
  const said = await site.reload(`PeersFrom = ${second}`, `PeersKey = ${KEY}`);
  assert.ok(said.includes(`PeersFrom: ${first} -> ${second}`), said);
  await until(() => site.numbers.includes(4), "the other list's are");
  assert.deepEqual(site.numbers, [1, 2, 4]);
  assert.equal(site.peers.find(({ publicKey }) => publicKey[31] === 2), two);
  assert.equal(site.lab.gateway.stats().peerList!.serial, 2);

  // Whoever has the first place cannot bring the older list back.
  await site.reload(`PeersFrom = ${first}`, `PeersKey = ${KEY}`);
  await until(
    () => site.lab.gateway.stats().peerList!.refused.serial === 1,
    "the older list is refused",
  );
  assert.deepEqual(site.numbers, [1, 2, 4]);

  await site.reload();
  assert.deepEqual(site.numbers, [1]);
  assert.equal(site.lab.gateway.stats().peerList, null);
  assert.equal(site.peers[0], own);
  assert.ok(log.lines.some((line) => line.includes("watched no more, 2 peers removed")));
  await site.write("first", 9, [5]);
  await site.reload(`PeersFrom = ${second}`, `PeersKey = ${KEY}`);
  await until(() => site.numbers.length === 3, "the last one is here again");
  assert.deepEqual(site.numbers, [1, 2, 4], "the first is not watched any more");
});

Deno.test("with another key the peers of the list go at once, and only its lists are taken", async () => {
  await using site = await Site.start();
  const path = await site.write("list", 7, [2]);
  await site.reload(`PeersFrom = ${path}`, `PeersKey = ${KEY}`);
  await until(() => site.numbers.length === 2, "the list is here");
  await site.reload(`PeersFrom = ${path}`, `PeersKey = ${OTHER_KEY}`);
  await until(
    () => site.lab.gateway.stats().peerList!.refused.signature === 1,
    "the list is not by this key",
  );
  assert.deepEqual(site.numbers, [1]);
  // Its numbers begin anew.
  await site.write("list", 1, [3], OTHER_SEED);
  await site.reload(`PeersFrom = ${path}`, `PeersKey = ${OTHER_KEY}`);
  await until(() => site.numbers.length === 2, "its own is");
  assert.deepEqual(site.numbers, [1, 3]);
});

Deno.test("two reloads at once: the last place counts", async () => {
  await using site = await Site.start();
  const [first, second] = [await site.write("first", 5, [2]), await site.write("second", 6, [3])];
  for (const path of [first, second]) {
    await site.reload(`PeersFrom = ${path}`, `PeersKey = ${KEY}`);
  }
  await until(() => site.numbers.includes(3), "the second is here");
  await site.write("first", 8, [4]);
  await site.reload(`PeersFrom = ${second}`, `PeersKey = ${KEY}`);
  assert.deepEqual(site.numbers, [1, 3]);
});
