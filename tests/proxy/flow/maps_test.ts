import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import { AddressMaps, mapAddress, namesOwnHost } from "../../../proxy/flow/maps.ts";
import { map } from "../forward/lab.ts";

const ip = (text: string) => parseIpAddress(text)!;

Deno.test("a map keeps the host bits, at any prefix length and between the families, and back", () => {
  const maps = new AddressMaps([
    map("100.64.4.0/22", "192.168.8.0/22"),
    map("fd50::/121", "10.1.1.128/25"),
    map("100.64.0.0/16", "fd00:1::/112"),
  ]);
  const pairs = [
    ["100.64.6.77", "192.168.10.77"],
    ["fd50::15", "10.1.1.149"],
    ["100.64.1.2", "fd00:1::102"],
  ] as const;
  for (const [from, to] of pairs) {
    assert.equal(`${mapAddress(ip(from), maps.find(ip(from))!)}`, to);
    assert.deepEqual([...maps.sources(ip(to))].map(String), [from, to]);
  }
  assert.equal(maps.find(ip("10.1.1.149")), undefined);
});

Deno.test("the unspecified address as the far side of a map is loopback", () => {
  const mapped = (to: string) => `${mapAddress(ip("10.50.0.9"), map("10.50.0.9", to))}`;
  assert.equal(mapped("0.0.0.0"), "127.0.0.1");
  assert.equal(mapped("::"), "::1");
  assert.equal(mapped("::ffff:0.0.0.0"), "127.0.0.1");
  assert.equal(mapped("::ffff:10.1.1.1"), "10.1.1.1");
});

Deno.test("a map names this host with a single address, or with nothing but loopback", () => {
  const isNamed = (from: string, to: string) => namesOwnHost(map(from, to));
  assert.equal(isNamed("10.50.0.1/32", "192.0.2.7/32"), true);
  assert.equal(isNamed("fd50::1/128", "2001:db8::7/128"), true);
  assert.equal(isNamed("10.50.0.0/24", "127.0.0.0/24"), true);
  assert.equal(isNamed("10.0.0.0/8", "127.0.0.0/8"), true);
  assert.equal(isNamed("10.50.0.0/31", "192.0.2.6/31"), false);
  assert.equal(isNamed("10.0.0.0/7", "126.0.0.0/7"), false);
  assert.equal(isNamed("fd50::/64", "::/64"), false);
});
