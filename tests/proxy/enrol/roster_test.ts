import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { LINGER_MS, type Member, servedPrefixes } from "../../../proxy/enrol/member.ts";
import { Roster } from "../../../proxy/enrol/roster.ts";
import { memberFile, readMembers, writeMembers } from "../../../proxy/enrol/state_file.ts";

const HOUR = 3_600_000;

function member(number: number, values: Partial<Member> = {}): Member {
  return {
    tokenKey: new Uint8Array(32).fill(number),
    name: `m${number}`,
    isClient: false,
    state: "invited",
    invitedAt: 0,
    expiresAt: HOUR,
    link: IpAddress.v4(169, 254, 1, number),
    addresses: [IpAddress.v4(10, 9, 0, number)],
    allowedIps: [new Prefix(IpAddress.v4(10, 9, 0, 0), 24)],
    subnets: [],
    maps: [],
    endpoints: ["hub:51820"],
    fallbacks: [],
    ...values,
  };
}

const keyOf = (number: number) => new Uint8Array(32).fill(number + 100);

/** Who is in by this key. */
function holderOf(roster: Roster, key: Uint8Array): Member | undefined {
  return roster.holding.find(({ publicKey }) => publicKey?.toHex() === key.toHex());
}

function roster(members: Member[] = []) {
  const clock = { now: 0 };
  const saved: Member[][] = [];
  const disk = { isFull: false };
  const made = new Roster({
    members,
    now: () => clock.now,
    save(members) {
      if (disk.isFull) throw new Error("no space left");
      saved.push([...members]);
    },
  });
  return { roster: made, clock, saved, disk };
}

Deno.test("a token takes one key: that again, no other, until the key's first handshake", () => {
  const { roster: one } = roster();
  one.add(member(1));
  assert.equal(one.decide(one.byTokenKey(member(1).tokenKey)!, keyOf(1)), "bind");
  const bound = one.bind(member(1), { publicKey: keyOf(1), addresses: member(1).addresses });
  assert.equal(one.decide(bound, keyOf(1)), "again");
  assert.equal(one.decide(bound, keyOf(2)), "bound");
  one.spend(bound);
  const used = holderOf(one, keyOf(1))!;
  assert.equal(one.decide(used, keyOf(1)), "used");
  assert.equal(one.decide(used, keyOf(2)), "used");
  one.revoke(used);
  assert.equal(holderOf(one, keyOf(1)), undefined);
  assert.equal(one.decide(one.byLink(member(1).link)!, keyOf(1)), "revoked");
});

Deno.test("what cannot be saved has not happened", () => {
  const { roster: one, disk, saved } = roster();
  one.add(member(1));
  disk.isFull = true;
  const values = { publicKey: keyOf(1), addresses: [] };
  assert.throws(() => one.add(member(2)), /no space/);
  assert.throws(() => one.bind(member(1), values), /no space/);
  assert.throws(() => one.revoke(member(1)), /no space/);
  assert.deepEqual([...one.all], [member(1)]);
  assert.equal(saved.length, 1);
  disk.isFull = false;
  one.bind(member(1), values);
  assert.deepEqual(saved.at(-1), [...one.all]);
});

Deno.test("an invitation is over at its time; whoever comes late hears so for a while; then it is gone", () => {
  const { roster: one, clock } = roster();
  one.add(member(1));
  one.add(member(2));
  one.bind(member(2), { publicKey: keyOf(2), addresses: member(2).addresses });
  clock.now = HOUR - 1;
  assert.equal(one.decide(member(1), keyOf(1)), "bind");
  clock.now = HOUR;
  assert.equal(one.decide(member(1), keyOf(1)), "expired");
  // Whoever has handed in a key in time is in.
  assert.equal(one.decide(one.byName("M2")!, keyOf(2)), "again");
  assert.equal(one.byName("m1"), undefined, "its name is free");
  assert.deepEqual(one.purge(), []);
  clock.now = HOUR + LINGER_MS;
  assert.deepEqual(one.tokens, []);
  assert.deepEqual(one.purge().map(({ name }) => name), ["m1"]);
  assert.deepEqual([...one.all].map(({ name }) => name), ["m2"]);
});

Deno.test("a file holds the members as they are, whatever became of them", () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = memberFile(directory, keyOf(0));
    assert.deepEqual(readMembers(path), []);
    const subnet = new Prefix(IpAddress.v4(192, 168, 1, 0), 24);
    const members = [
      member(1),
      member(2, {
        state: "used",
        publicKey: keyOf(2),
        joinedAt: 5,
        usedAt: 6,
        subnets: [subnet],
        maps: [{ from: new Prefix(IpAddress.v4(100, 64, 1, 0), 24), to: subnet }],
        certificate: "PEM\n",
        fallbacks: ["tls://hub:443"],
      }),
      member(3, { state: "revoked", revokedAt: 7, isClient: true }),
    ];
    writeMembers(path, members);
    assert.deepEqual(readMembers(path), members);
    assert.deepEqual(servedPrefixes(members[1]!).map(String), ["100.64.1.0/24"]);
    assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
    assert.deepEqual([...Deno.readDirSync(directory)].length, 1);

    // What a killed process has left, and a link that somebody has put there, are not followed.
    const theirs = `${directory}/theirs`;
    Deno.writeTextFileSync(theirs, "theirs");
    Deno.symlinkSync(theirs, `${path}.new`);
    writeMembers(path, []);
    assert.deepEqual(readMembers(path), []);
    assert.equal(Deno.readTextFileSync(theirs), "theirs");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("a file that is not one is refused and left alone, with the field that is wrong", () => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/enrolled.json`;
    writeMembers(path, [member(1, { state: "used", publicKey: keyOf(1) })]);
    const whole = JSON.parse(Deno.readTextFileSync(path));
    const [first] = whole.members;
    const wrong: [string, RegExp][] = [
      ["", /not a file of enrolled machines, expected/],
      ["null", /\(version is wrong\)/],
      [`{"version":2,"members":[]}`, /\(version is wrong\)/],
      [`{"version":1,"members":{}}`, /\(members is wrong\)/],
      ...Object.keys(first).filter((key) => key !== "joinedAt").map((key): [string, RegExp] => [
        JSON.stringify({ version: 1, members: [{ ...first, [key]: {} }] }),
        new RegExp(`\\(${key} is wrong\\)`),
      ]),
      [
        JSON.stringify({ version: 1, members: [{ ...first, expiresAt: 9e15 }] }), // no Date holds it
        /\(expiresAt is wrong\)/,
      ],
      [
        JSON.stringify({ version: 1, members: [{ ...first, publicKey: undefined }] }),
        /\(publicKey is wrong\)/,
      ],
    ];
    for (const [text, message] of wrong) {
      Deno.writeTextFileSync(path, text);
      assert.throws(() => readMembers(path), message, text);
      assert.equal(Deno.readTextFileSync(path), text);
    }
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("whatever is done in whatever order, a restart finds what was saved, and no key is in twice", () => {
  const operation = fc.tuple(
    fc.constantFrom("add", "bind", "spend", "revoke", "purge", "wait", "restart"),
    fc.integer({ min: 1, max: 5 }),
    fc.integer({ min: 1, max: 5 }),
  );
  fc.assert(fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
    let lab = roster();
    for (const [what, number, key] of operations) {
      const { roster: one, clock } = lab;
      const found = one.byTokenKey(member(number).tokenKey);
      if (what === "wait") clock.now += HOUR / 4 * key;
      if (what === "add" && found === undefined && one.byName(`m${number}`) === undefined) {
        one.add(member(number, { expiresAt: clock.now + HOUR }));
      }
      if (what === "bind" && found !== undefined && holderOf(one, keyOf(key)) === undefined) {
        if (one.decide(found, keyOf(key)) === "bind") {
          one.bind(found, { publicKey: keyOf(key), addresses: found.addresses });
        }
      }
      if (what === "spend" && found?.state === "bound") one.spend(found);
      if (what === "revoke" && one.byName(`m${number}`) !== undefined) {
        one.revoke(one.byName(`m${number}`)!);
      }
      if (what === "purge") one.purge();
      if (what === "restart" && lab.saved.length > 0) {
        const saved = lab.saved.at(-1)!;
        assert.deepEqual(saved, [...one.all]);
        const next = roster(saved);
        next.clock.now = clock.now;
        lab = next;
      }
    }
    const keys = [...lab.roster.holding].flatMap(({ publicKey }) => publicKey?.toHex() ?? []);
    assert.equal(new Set(keys).size, keys.length);
  }));
});
