import assert from "node:assert/strict";
import { IpAddress, Prefix } from "../../netstack/address.ts";
import { Nic } from "../../netstack/nic.ts";
import { RouteTable } from "../../netstack/route.ts";
import { Sim } from "../sim/network.ts";
import { Random } from "../sim/random.ts";
import { forSeeds } from "../sim/seeds.ts";
import { ip, prefix } from "./packets.ts";

const link = new Sim(1).link().a;
const nics = ["a", "b", "c", "d"].map((name, id) => new Nic(id, { name, mtu: 1500, link }));
const [a, b] = nics as [Nic, Nic];

Deno.test("the longest prefix wins, whatever was inserted first", () => {
  for (const order of [["10.0.0.0/8", "10.1.0.0/16"], ["10.1.0.0/16", "10.0.0.0/8"]]) {
    const routes = new RouteTable();
    for (const text of order) routes.insert(prefix(text), text.endsWith("16") ? b : a);
    assert.equal(routes.lookupAddress(ip("10.1.2.3")), b);
    assert.equal(routes.lookupAddress(ip("10.2.2.3")), a);
    assert.equal(routes.lookupAddress(ip("11.1.2.3")), undefined);
  }
});

Deno.test("the default routes of the two families know nothing of each other", () => {
  const routes = new RouteTable();
  routes.insert(prefix("0.0.0.0/0"), a);
  assert.equal(routes.lookupAddress(ip("255.255.255.255")), a);
  assert.equal(routes.lookupAddress(ip("::")), undefined);
  routes.insert(prefix("::/0"), b);
  assert.equal(routes.lookupAddress(ip("fd00::1")), b);
});

Deno.test("a route belongs to the NIC it leads to: another cannot remove it", () => {
  const routes = new RouteTable();
  routes.insert(prefix("10.0.0.0/8"), a);
  assert.equal(routes.remove(prefix("10.0.0.0/8"), b), false);
  assert.equal(routes.lookupAddress(ip("10.0.0.1")), a);
  assert.equal(routes.remove(prefix("10.0.0.0/8"), a), true);
  assert.equal(routes.remove(prefix("10.0.0.0/8"), a), false);
  assert.equal(routes.lookupAddress(ip("10.0.0.1")), undefined);
});

/** Addresses with few different bits, so that prefixes nest and part often. */
function address(random: Random, version: 4 | 6): IpAddress {
  const bytes = new Uint8Array(version === 4 ? 4 : 16);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.chance(0.7) ? 0 : random.below(256);
  return new IpAddress(bytes);
}

Deno.test("the route table equals its plain twin under random changes", () => {
  forSeeds(100, (seed) => {
    const random = new Random(seed);
    const version = seed % 2 === 0 ? 4 : 6;
    const routes = new RouteTable();
    let plain: { prefix: Prefix; nic: Nic }[] = [];
    for (let step = 0; step < 200; step++) {
      const length = random.between(0, version === 4 ? 32 : 128);
      const nic = nics[random.below(nics.length)]!;
      const choice = random.next();
      if (choice < 0.6) {
        const each = new Prefix(address(random, version), length);
        routes.insert(each, nic);
        plain = plain.filter((route) => !route.prefix.equals(each));
        plain.push({ prefix: each, nic });
      } else if (choice < 0.95) {
        const route = plain[random.below(plain.length)];
        if (route !== undefined) {
          assert.equal(routes.remove(route.prefix, nic), route.nic === nic);
          if (route.nic === nic) plain = plain.filter((other) => other !== route);
        }
      } else {
        routes.removeNic(nic);
        plain = plain.filter((route) => route.nic !== nic);
      }
      for (let i = 0; i < 10; i++) {
        const near = plain[random.below(plain.length)]?.prefix.address;
        const wanted = near !== undefined && random.chance(0.5) ? near : address(random, version);
        const matching = plain.filter((route) => route.prefix.contains(wanted));
        matching.sort((x, y) => y.prefix.length - x.prefix.length);
        assert.equal(routes.lookupAddress(wanted), matching[0]?.nic, `${wanted}`);
        const packet = Uint8Array.of(1, 2, 3, ...wanted.bytes, 4, 5);
        assert.equal(routes.lookup(packet, 3, version), matching[0]?.nic);
      }
    }
  });
});
