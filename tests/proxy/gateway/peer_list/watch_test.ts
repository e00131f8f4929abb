/** A list that is watched, in simulated time. */

import assert from "node:assert/strict";
import { encodeKey } from "../../../../proxy/base64.ts";
import { loadConfig } from "../../../../proxy/config/config.ts";
import type { Gateway } from "../../../../proxy/gateway/gateway.ts";
import { formatPeerList } from "../../../../proxy/gateway/peer_list/content.ts";
import type { ListPlace } from "../../../../proxy/gateway/peer_list/place.ts";
import {
  generateSigningKey,
  PeerListError,
  publicSigningKey,
  signPeerList,
} from "../../../../proxy/gateway/peer_list/text.ts";
import { type ListTime, PeerListWatch } from "../../../../proxy/gateway/peer_list/watch.ts";
import { hexKey, newConfig } from "../../control/lab.ts";
import { captureLog } from "../../log/capture.ts";
import { startGateway } from "../../start.ts";

const SEED = generateSigningKey();
const KEY = await publicSigningKey(SEED);
const INTERVAL_MS = 60_000;
const START = Date.UTC(2026, 0, 1);

interface Listed {
  serial: number;
  /** Numbers of peers. */
  peers: number[];
  notAfter?: number;
  /** Who signs, if that is not who should. */
  seed?: Uint8Array;
}

async function listOf({ serial, peers, notAfter, seed = SEED }: Listed): Promise<Uint8Array> {
  const body = formatPeerList({
    serial,
    ...(notAfter !== undefined && { notAfter }),
    peers: peers.map((number) => ({
      publicKey: encodeKey(Uint8Array.fromHex(hexKey(number))),
      allowedIps: [`10.9.0.${number}/32`],
    })),
  });
  return new TextEncoder().encode(await signPeerList(body, seed));
}

/** A place and a clock of a test's. */
class Simulation implements ListPlace, ListTime {
  readonly name = "https://hub.test/peers";
  readonly isRemote: boolean;
  /** What the place has; an error if it has nothing. */
  content: Uint8Array | PeerListError = new PeerListError("unreachable", "no answer");
  /** When it was asked, ms since the start. */
  readonly asked: number[] = [];
  time = START;
  #accepted: Uint8Array | undefined;
  #last: Uint8Array | undefined;
  #waits: { at: number; resolve: () => void }[] = [];
  #isClosed = false;

  constructor(isRemote = true) {
    this.isRemote = isRemote;
  }

  read(): Promise<Uint8Array | undefined> {
    this.asked.push(this.time - START);
    if (this.content instanceof PeerListError) return Promise.reject(this.content);
    if (this.content === this.#accepted) return Promise.resolve(undefined);
    this.#last = this.content;
    return Promise.resolve(this.content);
  }

  accept(): void {
    this.#accepted = this.#last;
  }

  close(): void {
    this.#isClosed = true;
  }

  now(): number {
    return this.time;
  }

  random(): number {
    return 0.5;
  }

  wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const wait = { at: this.time + ms, resolve };
      this.#waits.push(wait);
      signal.addEventListener("abort", () => {
        this.#waits = this.#waits.filter((one) => one !== wait);
        resolve();
      }, { once: true });
    });
  }

  /** Somebody sets the clock: waits go on as they were. */
  set(byMs: number): void {
    this.time += byMs;
    for (const wait of this.#waits) wait.at += byMs;
  }

  /** Until the watch waits again: cryptography takes turns of the event loop. */
  async settle(): Promise<void> {
    do await new Promise((resolve) => setTimeout(resolve)); while (
      this.#waits.length === 0 && !this.#isClosed
    );
  }

  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      await this.settle();
      const next = Math.min(...this.#waits.map(({ at }) => at));
      if (next > end) break;
      this.time = next;
      const due = this.#waits.filter(({ at }) => at <= next);
      this.#waits = this.#waits.filter(({ at }) => at > next);
      for (const { resolve } of due) resolve();
    }
    this.time = end;
    await this.settle();
  }
}

interface Options {
  directory?: string;
  key?: Uint8Array;
}

function watchOf(gateway: Gateway, simulation: Simulation, options: Options = {}): PeerListWatch {
  return new PeerListWatch({
    config: {
      place: { url: simulation.name },
      key: options.key ?? KEY,
      intervalMs: INTERVAL_MS,
    },
    sources: gateway.peerSources,
    publicKey: () => gateway.publicKey,
    stateDirectories: options.directory === undefined ? [] : [options.directory],
    time: simulation,
    place: simulation,
  });
}

const start = () => startGateway(loadConfig(newConfig()).config);
const peersOf = ({ engine }: Gateway) =>
  Array.from(engine.device.peers(), ({ publicKey }) => parseInt(publicKey.toHex(), 16)).sort();

Deno.test("a newer list changes the peers, one that is not good changes nothing and says so once", async () => {
  using log = captureLog();
  await using gateway = await start();
  const simulation = new Simulation();
  simulation.content = await listOf({ serial: 5, peers: [1, 2] });
  const watch = watchOf(gateway, simulation);
  await watch.open();
  await simulation.settle();
  assert.deepEqual(peersOf(gateway), [1, 2]);
  const said = () => log.lines.splice(0).join("");
  assert.match(said(), /serial 5, 2 peers added, 0 removed, 0 changed/);

  const bad: [string, RegExp, Uint8Array | PeerListError][] = [
    [
      "signature",
      /is not signed with PeersKey/,
      await listOf({ serial: 6, peers: [3], seed: generateSigningKey() }),
    ],
    ["format", /is no signed list/, new TextEncoder().encode("<html>\n</html>\n")],
    ["serial", /has the serial 4, expected one above 5/, await listOf({ serial: 4, peers: [3] })],
    ["serial", /has the serial 5 .* is another/, await listOf({ serial: 5, peers: [3] })],
    [
      "expired",
      /counts until 2025-12-31T23:59:59Z, which is over/,
      await listOf({ serial: 6, peers: [3], notAfter: START - 1000 }),
    ],
    [
      "unreachable",
      /answers with status 404/,
      new PeerListError("unreachable", "answers with status 404"),
    ],
  ];
  const counts: Record<string, number> = {};
  for (const [refusal, message, content] of bad) {
    simulation.content = content;
    const asked = simulation.asked.length;
    await simulation.pass(INTERVAL_MS * 3);
    counts[refusal] = (counts[refusal] ?? 0) + simulation.asked.length - asked;
    assert.ok(simulation.asked.length - asked >= 3);
    const lines = said();
    assert.match(lines, message);
    assert.match(lines, /serial 5 stays/);
    assert.equal(lines.trimEnd().split("\n").length, 1, lines);
    assert.deepEqual(peersOf(gateway), [1, 2]);
  }
  assert.deepEqual(watch.stats().refused, { format: 0, content: 0, ...counts });

  simulation.content = await listOf({ serial: 7, peers: [2, 3, 4] });
  await simulation.pass(INTERVAL_MS);
  assert.deepEqual(peersOf(gateway), [2, 3, 4]);
  assert.match(said(), /serial 7, 2 peers added, 1 removed, 0 changed\n.*read again/);
  assert.equal(watch.stats().serial, 7);
  watch.close();
});

Deno.test("the URL is asked once an interval, after a failure sooner, and at once when told to", async () => {
  await using gateway = await start();
  const simulation = new Simulation();
  const watch = watchOf(gateway, simulation);
  await watch.open();
  await simulation.pass(200_000);
  const pauses = simulation.asked.slice(1).map((at, i) => (at - simulation.asked[i]!) / 1000);
  assert.deepEqual(pauses.slice(0, 6), [5, 10, 20, 40, 60, 60]);
  simulation.content = await listOf({ serial: 1, peers: [1] });
  watch.refresh();
  await simulation.settle();
  assert.deepEqual(peersOf(gateway), [1]);
  assert.equal(simulation.asked.at(-1), 200_000);
  await simulation.pass(120_000);
  assert.deepEqual(simulation.asked.slice(-2), [260_000, 320_000]);
  watch.close();
  await simulation.pass(INTERVAL_MS * 10);
  assert.equal(simulation.asked.at(-1), 320_000, "asked after it was closed");
});

Deno.test("peers of a list are gone when its time is over, and come with the next one", async () => {
  using log = captureLog();
  await using gateway = await start();
  const simulation = new Simulation();
  simulation.content = await listOf({ serial: 1, peers: [1, 2], notAfter: START + 90_000 });
  const watch = watchOf(gateway, simulation);
  await watch.open();
  await simulation.pass(89_999);
  assert.deepEqual(peersOf(gateway), [1, 2]);
  log.lines.length = 0;
  await simulation.pass(1);
  assert.deepEqual(peersOf(gateway), []);
  assert.match(log.lines.join(""), /serial 1 counted until 2026-01-01T00:01:30Z, 2 peers removed/);
  assert.deepEqual(
    [watch.stats().peers, watch.stats().serial, watch.stats().notAfter],
    [0, 1, START + 90_000],
  );
  simulation.content = await listOf({ serial: 2, peers: [2] });
  await simulation.pass(INTERVAL_MS);
  assert.deepEqual(peersOf(gateway), [2]);
  watch.close();
});

Deno.test("a clock that was wrong for a while stops nothing and removes nobody for good", async () => {
  using log = captureLog();
  await using gateway = await start();
  const simulation = new Simulation();
  const day = 86_400_000;
  simulation.content = await listOf({ serial: 1, peers: [1, 2], notAfter: START + day });
  const watch = watchOf(gateway, simulation);
  await watch.open();
  await simulation.pass(INTERVAL_MS / 2);
  simulation.set(10 * day);
  await simulation.pass(INTERVAL_MS);
  assert.deepEqual(peersOf(gateway), []);
  simulation.set(-10 * day);
  const asked = simulation.asked.length;
  await simulation.pass(INTERVAL_MS * 3);
  assert.ok(simulation.asked.length - asked >= 2, "not asked since the clock was set back");
  assert.deepEqual(peersOf(gateway), [1, 2]);
  assert.match(log.lines.join(""), /serial 1 counts again, 2 peers added/);
  assert.equal(watch.stats().peers, 2);
  watch.close();
});

Deno.test("after a restart the last good list is there without its place, and no older one is taken", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await using gateway = await start();
    const first = new Simulation();
    first.content = await listOf({ serial: 8, peers: [1, 2] });
    const before = watchOf(gateway, first, { directory });
    await before.open();
    await first.settle();
    before.close();
    const [file] = [...Deno.readDirSync(directory)];
    assert.equal((await Deno.stat(`${directory}/${file!.name}`)).mode! & 0o777, 0o600);
    gateway.peerSources.replace("list", []);

    using log = captureLog();
    const second = new Simulation();
    const watch = watchOf(gateway, second, { directory });
    await watch.open();
    assert.deepEqual(peersOf(gateway), [1, 2]);
    assert.match(log.lines.join(""), /2 peers of serial 8, of an earlier run/);
    second.content = await listOf({ serial: 7, peers: [3] });
    await second.pass(INTERVAL_MS);
    assert.deepEqual(peersOf(gateway), [1, 2]);
    assert.equal(watch.stats().refused.serial > 0, true);
    watch.close();

    // Who could write there could not change it.
    const path = `${directory}/${file!.name}`;
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.replace("10.9.0.1/32", "10.9.0.9/32"));
    gateway.peerSources.replace("list", []);
    const third = watchOf(gateway, new Simulation(), { directory });
    await third.open();
    assert.deepEqual(peersOf(gateway), []);
    third.close();

    // Another key begins anew.
    await Deno.writeTextFile(path, text);
    const seed = generateSigningKey();
    const other = new Simulation();
    other.content = await listOf({ serial: 1, peers: [5], seed });
    const fourth = watchOf(gateway, other, { directory, key: await publicSigningKey(seed) });
    await fourth.open();
    await other.settle();
    assert.deepEqual(peersOf(gateway), [5]);
    fourth.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a list that ran out while the gateway was down gives no peers, and its serial counts", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await using gateway = await start();
    const first = new Simulation();
    first.content = await listOf({ serial: 3, peers: [1], notAfter: START + 1000 });
    const before = watchOf(gateway, first, { directory });
    await before.open();
    await first.settle();
    assert.deepEqual(peersOf(gateway), [1]);
    before.close();
    gateway.peerSources.replace("list", []);

    const second = new Simulation();
    second.time = START + 2000;
    second.content = await listOf({ serial: 2, peers: [1] });
    const watch = watchOf(gateway, second, { directory });
    await watch.open();
    await second.settle();
    assert.deepEqual(peersOf(gateway), []);
    assert.equal(watch.stats().refused.serial, 1);
    watch.close();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a file is looked at every two seconds; the gateway's own key in a list is passed over", async () => {
  using log = captureLog();
  await using gateway = await start();
  const simulation = new Simulation(false);
  const own = formatPeerList({
    serial: 1,
    peers: [{ publicKey: encodeKey(gateway.publicKey), allowedIps: ["10.9.0.1/32"] }],
  });
  simulation.content = new TextEncoder().encode(await signPeerList(own, SEED));
  const watch = watchOf(gateway, simulation);
  await watch.open();
  assert.equal(watch.stats().serial, 1, "read before the gateway has started");
  assert.deepEqual(peersOf(gateway), []);
  assert.doesNotMatch(log.lines.join(""), /left out/);
  await simulation.pass(10_000);
  assert.deepEqual(simulation.asked, [0, 2_000, 4_000, 6_000, 8_000, 10_000]);
  watch.close();
});
