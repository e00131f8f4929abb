import assert from "node:assert/strict";
import fc from "fast-check";
import { AllowedIps, type SharedPrefix } from "../../wireguard/mod.ts";
import { v4 } from "./pair.ts";

/** The plain twin: a list, searched from end to end. */
class NaiveAllowedIps {
  readonly entries: { bits: string; family: number; value: string }[] = [];

  insert(address: Uint8Array, length: number, value: string): string | undefined {
    const previous = this.remove(address, length);
    this.entries.push({ bits: bitsOf(address).slice(0, length), family: address.length, value });
    return previous;
  }

  remove(address: Uint8Array, length: number): string | undefined {
    const bits = bitsOf(address).slice(0, length);
    const i = this.entries.findIndex((e) => e.bits === bits && e.family === address.length);
    return i < 0 ? undefined : this.entries.splice(i, 1)[0]!.value;
  }

  lookup(address: Uint8Array): string | undefined {
    const bits = bitsOf(address);
    return this.entries
      .filter((e) => e.family === address.length && bits.startsWith(e.bits))
      .sort((a, b) => b.bits.length - a.bits.length)[0]?.value;
  }
}

function bitsOf(address: Uint8Array): string {
  return Array.from(address, (byte) => byte.toString(2).padStart(8, "0")).join("");
}

/** Few different bytes, so that prefixes overlap. */
const byte = fc.constantFrom(0, 1, 3, 10, 128, 129, 192, 255);
const prefix = fc.oneof(
  fc.tuple(fc.array(byte, { minLength: 4, maxLength: 4 }), fc.nat(32)),
  fc.tuple(
    fc.tuple(fc.array(byte, { minLength: 2, maxLength: 2 }), fc.nat(7), byte, byte).map(
      ([head, at, one, last]) => {
        const address = new Array(16).fill(0);
        address.splice(0, 2, ...head);
        address[2 + at] = one;
        address[15] = last;
        return address;
      },
    ),
    fc.nat(128),
  ),
).map(([bytes, length]) => ({ address: Uint8Array.from(bytes), length }));

Deno.test("the trie says what a list of prefixes says, after any inserts, removals and replacements", () => {
  const operation = fc.record({
    kind: fc.constantFrom("insert", "insert", "remove"),
    prefix,
    value: fc.constantFrom("a", "b", "c"),
  });
  fc.assert(
    fc.property(
      fc.array(operation, { minLength: 1, maxLength: 60 }),
      fc.array(prefix, { minLength: 10, maxLength: 30 }),
      (operations, probes) => {
        const trie = new AllowedIps<string>();
        const twin = new NaiveAllowedIps();
        for (const { kind, prefix: { address, length }, value } of operations) {
          if (kind === "insert") {
            assert.equal(trie.insert(address, length, value), twin.insert(address, length, value));
          } else {
            assert.equal(trie.remove(address, length), twin.remove(address, length));
          }
          assert.equal(trie.size, twin.entries.length);
        }
        for (const { address } of [...probes, ...operations.map((o) => o.prefix)]) {
          const packet = new Uint8Array(30);
          packet.set(address, 7);
          assert.equal(trie.lookup(packet, 7, address.length === 4 ? 4 : 6), twin.lookup(address));
        }
        // Removing everything leaves nothing behind.
        for (const { prefix: { address, length } } of operations) {
          assert.equal(trie.remove(address, length), twin.remove(address, length));
        }
        assert.equal(trie.size, 0);
        for (const { address } of probes) {
          assert.equal(trie.lookup(address, 0, address.length === 4 ? 4 : 6), undefined);
        }
      },
    ),
    { numRuns: 400 },
  );
});

Deno.test("a more specific prefix takes its addresses from a wider one, and gives them back", () => {
  const trie = new AllowedIps<string>();
  trie.insert(v4("0.0.0.0"), 0, "default");
  trie.insert(v4("10.0.0.0"), 8, "wide");
  trie.insert(v4("10.0.0.2"), 32, "host");
  const at = (address: string) => trie.lookup(v4(address), 0, 4);
  assert.deepEqual(
    ["10.0.0.2", "10.0.0.3", "11.0.0.1"].map(at),
    ["host", "wide", "default"],
  );
  assert.equal(trie.remove(v4("10.0.0.2"), 32), "host");
  assert.equal(at("10.0.0.2"), "wide");
  assert.equal(trie.remove(v4("10.1.2.3"), 8), "wide", "bits behind the length are ignored");
  assert.equal(at("10.0.0.2"), "default");
});

Deno.test("255 x 256 x 2 allowed IPs: each is found", () => {
  const trie = new AllowedIps<number>();
  const v6 = new Uint8Array(16);
  v6.set([0xfd, 0]);
  for (let i = 0; i < 255 * 256; i++) {
    trie.insert(Uint8Array.of(10, 0, i >> 8, i), 32, i);
    v6[14] = i >> 8;
    v6[15] = i;
    trie.insert(v6, 128, i);
  }
  assert.equal(trie.size, 255 * 256 * 2);
  for (let i = 0; i < 255 * 256; i += 17) {
    assert.equal(trie.lookup(Uint8Array.of(10, 0, i >> 8, i), 0, 4), i);
    v6[14] = i >> 8;
    v6[15] = i;
    assert.equal(trie.lookup(v6, 0, 6), i);
  }
});

Deno.test("a prefix is shared whoever holds it, until nobody does; longer ones in it are not", () => {
  const trie = new AllowedIps<string>();
  const shared: SharedPrefix<string> = {
    has: (value) => value === "a" || value === "b",
    choose: (holder) => holder,
    arrived() {},
  };
  const at = (address: string) => trie.sharedAt(v4(address), 0, 4);
  assert.equal(trie.share(v4("10.1.0.0"), 16, shared), false, "nobody holds it");
  trie.insert(v4("10.1.0.0"), 16, "a");
  trie.insert(v4("10.1.2.3"), 32, "a");
  trie.insert(v4("10.0.0.0"), 8, "c");
  assert.equal(trie.share(v4("10.1.0.0"), 17, shared), false, "not this one");
  assert.equal(trie.share(v4("10.1.0.0"), 16, shared), true);
  const all = ["10.1.0.1", "10.1.2.3", "10.2.0.1", "11.0.0.1"];
  assert.deepEqual(all.map(at), [shared, undefined, undefined, undefined]);
  assert.equal(trie.insert(v4("10.1.0.0"), 16, "b"), "a");
  assert.deepEqual(all.map(at), [shared, undefined, undefined, undefined]);
  assert.deepEqual(
    [trie.ownerOf(v4("10.1.0.0"), 16), trie.ownerOf(v4("10.1.0.0"), 17)],
    ["b", undefined],
  );
  trie.remove(v4("10.1.2.3"), 32);
  assert.equal(at("10.1.2.3"), shared);
  trie.remove(v4("10.1.0.0"), 16);
  assert.equal(at("10.1.0.1"), undefined);
  trie.insert(v4("10.1.0.0"), 16, "a");
  assert.equal(at("10.1.0.1"), undefined, "it has to be said again");
});

Deno.test("what is no prefix is refused", () => {
  const trie = new AllowedIps<number>();
  assert.throws(() => trie.insert(new Uint8Array(5), 8, 1), RangeError);
  assert.throws(() => trie.insert(new Uint8Array(4), 33, 1), RangeError);
  assert.throws(() => trie.insert(new Uint8Array(16), 129, 1), RangeError);
  assert.throws(() => trie.insert(new Uint8Array(4), 1.5, 1), RangeError);
  assert.throws(() => trie.remove(new Uint8Array(4), -1), RangeError);
});
