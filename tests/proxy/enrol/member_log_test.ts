/**
 * The file of a hub's members, written a line at a time.
 *
 * @module
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { type Member, servedPrefixes } from "../../../proxy/enrol/member.ts";
import { memberToJson } from "../../../proxy/enrol/member_json.ts";
import { MemberLog } from "../../../proxy/enrol/member_log.ts";
import { memberFile, readMembers } from "../../../proxy/enrol/state_file.ts";
import { until } from "../until.ts";
import { keyOf, member } from "./member.ts";

/** A file in a folder of its own, and what is written to it. */
class Site implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  readonly path = memberFile(this.folder, keyOf(0));
  readonly all = new Map<string, Member>();
  readonly problems: string[] = [];
  log: MemberLog;

  constructor(isHeld = false) {
    this.log = MemberLog.open(this.path, isHeld).log;
  }

  put(...changed: Member[]): void {
    const all = new Map(this.all);
    for (const one of changed) all.set(one.tokenKey.toHex(), one);
    this.log.write({ changed, gone: [], all });
    for (const one of changed) this.all.set(one.tokenKey.toHex(), one);
  }

  drop(...gone: Member[]): void {
    for (const { tokenKey } of gone) this.all.delete(tokenKey.toHex());
    this.log.write({ changed: [], gone, all: this.all });
  }

  /** As a start does. */
  again(isHeld = false): Member[] {
    void this.log.close();
    const { log, members } = MemberLog.open(this.path, isHeld, ({ message }) => {
      this.problems.push(message);
    });
    this.log = log;
    return members;
  }

  /** A change that makes most of the file something that is over. */
  waste(number = 1): void {
    this.put(...Array.from({ length: 1_500 }, (_, i) => member(number, { invitedAt: i })));
  }

  /** A file beside it. No disk has answered by then. */
  async begun(): Promise<void> {
    for (let i = 0; i < 10 && this.names.length < 2; i++) await Promise.resolve();
    assert.equal(this.names.length, 2);
  }

  get inode(): number | null {
    return Deno.statSync(this.path).ino;
  }

  get names(): string[] {
    return Array.from(Deno.readDirSync(this.folder), ({ name }) => name);
  }

  get text(): string {
    return Deno.readTextFileSync(this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.log.close();
    Deno.removeSync(this.folder, { recursive: true });
  }
}

const subnet = new Prefix(IpAddress.v4(192, 168, 1, 0), 24);
const used = member(2, {
  state: "used",
  publicKey: keyOf(2),
  joinedAt: 5,
  usedAt: 6,
  subnets: [subnet],
  maps: [{ from: new Prefix(IpAddress.v4(100, 64, 1, 0), 24), to: subnet }],
  certificate: "PEM\n",
  fallbacks: ["tls://hub:443"],
});

Deno.test("a file holds the members as they are, whatever became of them", async () => {
  await using site = new Site();
  assert.deepEqual(readMembers(site.path), []);
  site.put(member(1), used);
  site.put(member(3, { state: "revoked", revokedAt: 7, isClient: true }));
  site.put(member(1, { state: "bound", publicKey: keyOf(1), joinedAt: 9 }));
  assert.deepEqual(site.again(), [...site.all.values()]);
  assert.deepEqual(servedPrefixes(site.again()[1]!).map(String), ["100.64.1.0/24"]);
  site.drop(used);
  assert.deepEqual(site.again().map(({ name }) => name), ["m1", "m3"]);
  assert.equal(Deno.statSync(site.path).mode! & 0o777, 0o600);
  assert.deepEqual([...Deno.readDirSync(site.folder)].length, 1);
});

Deno.test("what a killed process has left beside it, and a link that somebody has put there, are not followed", async () => {
  await using site = new Site();
  const theirs = `${site.folder}/theirs`;
  Deno.writeTextFileSync(theirs, "theirs");
  Deno.symlinkSync(theirs, `${site.path}.new`);
  site.put(member(1));
  assert.deepEqual(site.again(), [member(1)]);
  assert.equal(Deno.readTextFileSync(theirs), "theirs");
});

Deno.test("a change is a line behind the others, and the file is written anew when most of it is over", async () => {
  await using site = new Site();
  site.put(member(1), member(2));
  const { inode } = site;
  const before = site.text;
  site.put(used);
  assert.ok(site.text.startsWith(before));
  let size = 0;
  for (let i = 0; i < 1_100; i++) {
    site.put(member(1, { invitedAt: i }));
    size = Math.max(size, site.text.length);
  }
  assert.equal(site.inode, inode, "nobody has waited for it");
  await until(() => site.inode !== inode, "the file is another", 30_000);
  assert.ok(site.text.length < size / 2);
  assert.deepEqual(site.again(), [...site.all.values()]);
  assert.deepEqual(site.names.length, 1);
});

Deno.test("what changes while the file is written anew is behind the old one, and in the new one", async () => {
  await using site = new Site();
  site.put(...Array.from({ length: 250 }, (_, i) => member(i)));
  const { inode } = site;
  site.waste();
  const long = site.text.length;
  let turns = 0;
  while (site.inode === inode) {
    const number = turns++ % 250;
    site.put(member(number, { state: "bound", publicKey: keyOf(number), joinedAt: turns }));
    if (turns === 2) site.drop(member(0));
    assert.deepEqual(readMembers(site.path), [...site.all.values()], "for who is killed here");
    await new Promise((resolve) => setTimeout(resolve));
  }
  assert.ok(turns > 1);
  assert.ok(site.text.length < long, `${site.text.length} of ${long} bytes`);
  assert.deepEqual(readMembers(site.path), [...site.all.values()]);
  const after = site.inode;
  site.put(used);
  assert.equal(site.inode, after, "one more line is written behind it");
  assert.deepEqual(site.again(), [...site.all.values()]);
  assert.equal(site.names.length, 1);
});

Deno.test("a hub that ends while the file is written anew leaves the old one, and nothing beside it", async () => {
  await using site = new Site();
  site.put(member(1));
  const { inode } = site;
  site.waste();
  await site.begun();
  const closed = site.log.close();
  assert.equal(site.names.length, 1, "at once");
  await closed;
  assert.equal(site.inode, inode);
  assert.deepEqual(site.again(), [...site.all.values()]);
});

Deno.test("a file that is removed while it is written anew is written whole by the next change", async () => {
  await using site = new Site();
  site.put(member(1));
  site.waste();
  await site.begun();
  Deno.removeSync(site.path);
  site.put(member(2));
  const { inode, text } = site;
  assert.equal(site.names.length, 1);
  // What was begun before is over, and has changed nothing.
  await site.log.close();
  assert.deepEqual([site.inode, site.text], [inode, text]);
  assert.deepEqual(site.again(), [member(1, { invitedAt: 1_499 }), member(2)]);
});

Deno.test("a file that cannot be written anew is written behind, and that is tried again later", async () => {
  await using site = new Site();
  site.put(member(1));
  site.again();
  const { inode } = site;
  const inTheWay = `${site.path}.new`;
  Deno.mkdirSync(`${inTheWay}/taken`, { recursive: true });
  site.waste();
  await until(() => site.problems.length === 1, "it is told");
  site.put(member(2));
  Deno.removeSync(inTheWay, { recursive: true });
  site.put(member(3));
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual([site.inode, site.names.length, site.problems.length], [inode, 1, 1]);
  site.waste();
  await until(() => site.inode !== inode, "the file is another", 30_000);
  assert.deepEqual(site.again(), [...site.all.values()]);
});

Deno.test("a line that a crash has torn was never told anybody: the others are there, and what comes behind is read", async () => {
  await using site = new Site();
  site.put(member(1));
  const start = site.text.length;
  site.put(used);
  const whole = site.text;
  for (let end = start; end < whole.length; end++) {
    Deno.writeTextFileSync(site.path, whole.slice(0, end));
    assert.deepEqual(site.again(), [member(1)], `${end}`);
  }
  // Power was lost: there is the room for a line, and not all of it.
  Deno.writeTextFileSync(site.path, `${whole.slice(0, start + 20)}${"\0".repeat(100)}\n`);
  assert.deepEqual(site.again(), [member(1)]);
  site.all.delete(used.tokenKey.toHex());
  site.put(member(3));
  assert.deepEqual(site.again(), [member(1), member(3)]);
  assert.ok(!site.text.includes("\0"));
});

Deno.test("a file of the first version is read, and written as it is now with the next change", async () => {
  await using site = new Site();
  const first = { version: 1, members: [member(1), used].map(memberToJson) };
  const text = `${JSON.stringify(first, undefined, 1)}\n`;
  Deno.writeTextFileSync(site.path, text);
  for (const one of site.again()) site.all.set(one.tokenKey.toHex(), one);
  assert.deepEqual([...site.all.values()], [member(1), used]);
  assert.equal(site.text, text, "it is not touched before");
  site.put(member(3));
  assert.ok(site.text.startsWith(`{"version":2}\n`));
  assert.deepEqual(site.again(), [member(1), used, member(3)]);
});

Deno.test("a file that was removed, or replaced, while the hub runs is written whole again", async () => {
  await using site = new Site();
  site.put(member(1));
  Deno.removeSync(site.path);
  site.put(member(2));
  assert.deepEqual(site.again(), [member(1), member(2)]);
  Deno.writeTextFileSync(site.path, "somebody else's");
  site.put(member(3));
  assert.deepEqual(site.again(), [member(1), member(2), member(3)]);
});

Deno.test("what cannot be written leaves the file as it was, and the next change finds it so", async () => {
  await using site = new Site();
  site.put(member(1));
  const before = site.text;
  Deno.renameSync(site.path, `${site.path}.aside`);
  Deno.mkdirSync(`${site.path}/in-the-way`, { recursive: true });
  assert.throws(() => site.put(member(2)), /directory/);
  Deno.removeSync(site.path, { recursive: true });
  Deno.renameSync(`${site.path}.aside`, site.path);
  assert.equal(site.text, before);
  site.put(member(3));
  assert.deepEqual(site.again(), [member(1), member(3)]);
});

Deno.test("a process that becomes somebody else keeps the file open, and only a start writes it anew", async () => {
  await using site = new Site(true);
  site.put(member(1));
  for (let i = 0; i < 2_000; i++) site.put(member(1, { invitedAt: i }));
  const long = site.text.length;
  // Not by its name any more: that is out of reach.
  Deno.renameSync(site.path, `${site.path}.aside`);
  site.put(used);
  Deno.renameSync(`${site.path}.aside`, site.path);
  assert.deepEqual(site.again(true), [member(1, { invitedAt: 1_999 }), used]);
  assert.ok(site.text.length < long / 2);
  site.put(member(3));
  assert.deepEqual(site.again().length, 3);
});

Deno.test("a file that is not one is refused and left alone, with the field that is wrong", async () => {
  await using site = new Site();
  const { path } = site;
  const first = memberToJson(member(1, { state: "used", publicKey: keyOf(1) }));
  const line = (value: unknown) => `{"version":2}\n${JSON.stringify(value)}\n`;
  const wrong: [string, RegExp][] = [
    ["", /not a file of enrolled machines, expected/],
    ["null", /\(version is wrong\)/],
    [`{"version":3}\n`, /\(version is wrong\)/],
    [`{"version":1,"members":{}}`, /\(members is wrong\)/],
    [line({}), /\(gone is wrong\)/],
    [line(null), /\(gone is wrong\)/],
    [`{"version":2}\nhalf a line\n`, /not a file of enrolled machines, expected/],
    [`{"version":2}\nhalf\n${JSON.stringify({ member: first })}\nto`, /not a file of enrolled/],
    ...Object.keys(first).flatMap((key): [string, RegExp][] => {
      const message = new RegExp(`\\(${key} is wrong\\)`);
      const damaged = { ...first, [key]: {} };
      return [
        [JSON.stringify({ version: 1, members: [damaged] }), message],
        [line({ member: damaged }), message],
      ];
    }),
    [line({ member: { ...first, expiresAt: 9e15 } }), /\(expiresAt is wrong\)/], // no Date holds it
    [line({ member: { ...first, publicKey: undefined } }), /\(publicKey is wrong\)/],
  ];
  for (const [text, message] of wrong) {
    Deno.writeTextFileSync(path, text);
    assert.throws(() => readMembers(path), message, text);
    assert.throws(() => MemberLog.open(path), message);
    assert.equal(Deno.readTextFileSync(path), text);
  }
});

Deno.test("whatever is written, removed, torn and written anew in whatever order, a start finds what was kept", async () => {
  const operation = fc.tuple(
    fc.constantFrom("put", "drop", "tear", "restart", "hold", "waste", "turn"),
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 0, max: 99 }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 30 }), async (operations) => {
      await using site = new Site();
      for (const [what, number, value] of operations) {
        if (what === "put") site.put(member(number, { invitedAt: value }));
        if (what === "waste" && value < 30) site.waste(number);
        if (what === "turn") await new Promise((resolve) => setTimeout(resolve, value % 3));
        if (what === "drop") site.drop(...[...site.all.values()].slice(0, number % 2));
        if (what === "restart" || what === "hold") {
          assert.deepEqual(site.again(what === "hold"), [...site.all.values()]);
        }
        if (what === "tear" && site.all.size > 0) {
          void site.log.close();
          Deno.writeTextFileSync(site.path, "{torn".slice(0, value % 6), { append: true });
          assert.deepEqual(site.again(), [...site.all.values()]);
        }
      }
      assert.deepEqual(site.again(), [...site.all.values()]);
      assert.ok(site.names.length <= 1);
    }),
    { numRuns: 50 },
  );
});
