import assert from "node:assert/strict";
import fc from "fast-check";
import { LINGER_MS, type Member } from "../../../proxy/enrol/member.ts";
import { Roster } from "../../../proxy/enrol/roster.ts";
import { HOUR, keyOf, member } from "./member.ts";

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
    save({ changed, gone, all }) {
      if (disk.isFull) throw new Error("no space left");
      // As a file has it: what was there, and what is said of it.
      const next = new Map(saved.at(-1)?.map((member) => [member.tokenKey.toHex(), member]));
      for (const member of changed) next.set(member.tokenKey.toHex(), member);
      for (const { tokenKey } of gone) next.delete(tokenKey.toHex());
      if (saved.length > 0) assert.deepEqual(next, all);
      saved.push([...all.values()]);
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

Deno.test("a revocation holds at once, and is saved with the next that can be", () => {
  const { roster: one, disk, saved } = roster();
  one.add(member(1));
  one.bind(member(1), { publicKey: keyOf(1), addresses: [] });
  disk.isFull = true;
  assert.match(`${one.revoke(holderOf(one, keyOf(1))!)}`, /no space/);
  assert.equal(holderOf(one, keyOf(1)), undefined);
  assert.equal(one.decide(one.byLink(member(1).link)!, keyOf(1)), "revoked");
  assert.equal(saved.at(-1)![0]!.state, "bound", "a restart would let it back in");
  assert.throws(() => one.retry(), /no space/);
  assert.equal(one.unsaved, 1);
  disk.isFull = false;
  one.add(member(2));
  assert.deepEqual(saved.at(-1), [...one.all]);
  assert.deepEqual([one.unsaved, saved.at(-1)![0]!.state], [0, "revoked"]);
  const before = saved.length;
  one.retry();
  assert.equal(saved.length, before, "there is nothing left to save");
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
