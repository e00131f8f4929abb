/** When a certificate is renewed, and what becomes of answers, in simulated time. */

import assert from "node:assert/strict";
import { readCertificates } from "../../../../proxy/bind/certificates/certificate.ts";
import type { ClientIdentity } from "../../../../proxy/bind/stream/tls/mod.ts";
import { dueAt, Renewals } from "../../../../proxy/gateway/renewal/renewals.ts";
import { IpAddress } from "../../../../netstack/mod.ts";
import { type Leaf, MadeAuthority } from "../../bind/certificates/made.ts";
import { captureLog } from "../../log/capture.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.parse("2030-01-01T00:00:00Z");
const PLACES = [1, 2].map((last) => ({ address: IpAddress.v4(10, 9, 0, last), port: 51820 }));

class World {
  now = 0;
  /** When it was asked, and where. */
  readonly asked: { readonly at: number; readonly place: string }[] = [];
  readonly written: string[] = [];
  writeError: Error | undefined;
  inUse: ClientIdentity;
  answer: () => Promise<string> = () => Promise.reject(new Error("nobody is there"));
  readonly renewals: Renewals;
  #pending: Promise<unknown> = Promise.resolve();

  constructor(leaf: Leaf) {
    this.inUse = identityOf(leaf);
    const renewable = {
      certPath: "a.cert.pem",
      places: PLACES,
      reader: {
        read: () => this.inUse,
        renew: (cert: string) => {
          this.inUse = { ...this.inUse, cert, certificate: readCertificates(cert)[0]! };
        },
      },
    };
    this.renewals = new Renewals({
      certificates: () => [renewable],
      ask: ({ address }) => {
        this.asked.push({ at: this.now, place: `${address}` });
        const answer = this.answer();
        this.#pending = answer.catch(() => {});
        return answer;
      },
      write: (_path, text) => {
        if (this.writeError !== undefined) throw this.writeError;
        this.written.push(text);
      },
      now: () => this.now,
      wallClock: () => START + this.now,
      wake() {},
      random: () => 0.5,
    });
    this.renewals.changed();
  }

  async passTo(end: number): Promise<void> {
    for (;;) {
      const at = this.renewals.pollTimeout();
      if (at > end) break;
      assert.ok(at > this.now || this.now === 0, "it looks once at a time");
      this.now = at;
      this.renewals.handleTimeout(at);
      await this.#pending;
      await new Promise((resolve) => setTimeout(resolve)); // what it does with the answer
    }
    this.now = end;
  }
}

function identityOf({ cert, key }: Leaf): ClientIdentity {
  return { cert, key, certificate: readCertificates(cert)[0]! };
}

/** For 30 days, of which 20 are over on the 20th. */
async function thirtyDays(authority: MadeAuthority, from = START, keys?: CryptoKeyPair) {
  return await authority.leaf({
    notBefore: new Date(from),
    notAfter: new Date(from + 30 * DAY),
    ...(keys && { keys }),
  });
}

Deno.test("it is asked for when two thirds are over, is in use and on the disk then, and again in time", async () => {
  using logged = captureLog();
  const authority = await MadeAuthority.make();
  const first = await thirtyDays(authority);
  const world = new World(first);
  assert.equal(dueAt(world.inUse.certificate), START + 20 * DAY);
  await world.passTo(20 * DAY - 1);
  assert.deepEqual(world.asked, []);
  const second = await thirtyDays(authority, START + 20 * DAY, first.keys);
  world.answer = () => Promise.resolve(second.cert);
  await world.passTo(20 * DAY + HOUR);
  assert.deepEqual(world.asked, [{ at: 20 * DAY, place: "10.9.0.1" }]);
  assert.deepEqual(world.written, [second.cert]);
  assert.equal(world.inUse.cert, second.cert);
  const third = await thirtyDays(authority, START + 40 * DAY, first.keys);
  world.answer = () => Promise.resolve(third.cert);
  await world.passTo(41 * DAY);
  assert.deepEqual(world.asked.map(({ at }) => at / DAY), [20, 40]);
  const lines = logged.lines.filter((line) => /a\.cert\.pem/.test(line));
  assert.equal(lines.length, 2);
  assert.match(lines[0]!, /a\.cert\.pem is renewed, until 2030-02-20T00:00:00Z/);
});

Deno.test("while nobody answers it is asked for later and later, at each place in turn, for ever", async () => {
  using logged = captureLog();
  const authority = await MadeAuthority.make();
  const world = new World(await thirtyDays(authority));
  await world.passTo(60 * DAY); // it is over by then
  const pauses = world.asked.map(({ at }, i) => at - (world.asked[i - 1]?.at ?? at)).slice(1);
  assert.ok(pauses[0]! >= 30_000 && pauses[0]! <= 60_000, `${pauses[0]}`);
  for (const [i, pause] of pauses.entries()) {
    assert.ok(pause <= 6 * HOUR && (i === 0 || pause >= pauses[i - 1]!), `${pause}`);
  }
  assert.ok(pauses.at(-1)! >= 3 * HOUR);
  assert.ok(world.asked.length < 300, `${world.asked.length} in forty days`);
  assert.deepEqual(world.asked.slice(0, 3).map(({ place }) => place), [
    ...["10.9.0.1", "10.9.0.2", "10.9.0.1"],
  ]);
  const lines = logged.lines.filter((line) => /cannot be renewed: nobody is there/.test(line));
  assert.ok(lines.length > 3 && lines.length < 10, `${lines.length} lines`);
});

Deno.test("an answer that is no certificate, another key's, a server's, or over as early, changes nothing", async () => {
  using logged = captureLog();
  const authority = await MadeAuthority.make();
  const first = await thirtyDays(authority);
  const world = new World(first);
  const till = { notBefore: new Date(START), notAfter: new Date(START + 90 * DAY) };
  const answers = [
    "nonsense",
    (await authority.leaf(till)).cert,
    (await authority.leaf({ ...till, keys: first.keys, usage: "serverAuth" })).cert,
    first.cert,
  ];
  for (const answer of answers) {
    const before = world.asked.length;
    world.answer = () => Promise.resolve(answer);
    for (let at = Math.max(world.now, 20 * DAY); world.asked.length === before; at += HOUR) {
      await world.passTo(at);
    }
    assert.equal(world.inUse.cert, first.cert);
    world.answer = () => Promise.reject(new Error("nobody is there"));
  }
  assert.deepEqual(world.written, []);
  assert.ok(logged.lines.some((line) => /is no certificate for this machine's key/.test(line)));
});

Deno.test("what cannot be written is in use all the same, and said; the end calls all off", async () => {
  using logged = captureLog();
  const authority = await MadeAuthority.make();
  const first = await thirtyDays(authority);
  const world = new World(first);
  const second = await thirtyDays(authority, START + 20 * DAY, first.keys);
  world.answer = () => Promise.resolve(second.cert);
  world.writeError = new Error("permission denied");
  await world.passTo(21 * DAY);
  assert.equal(world.asked.length, 1);
  assert.equal(world.inUse.cert, second.cert);
  assert.ok(logged.lines.some((line) => /and cannot be written: permission denied/.test(line)));
  world.renewals.close();
  assert.equal(world.renewals.pollTimeout(), Infinity);
});
