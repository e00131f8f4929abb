import assert from "node:assert/strict";
import { Nic } from "../../netstack/nic.ts";
import { TokenBucket } from "../../netstack/token_bucket.ts";
import { Sim } from "../sim/network.ts";
import { ip } from "./packets.ts";

const link = new Sim(1).link().a;

function nic(...addresses: [string, number][]): Nic {
  return new Nic(1, {
    name: "wg",
    mtu: 1420,
    link,
    addresses: addresses.map(([address, length]) => ({ address: ip(address), length })),
  });
}

Deno.test("an MTU that IPv4 or IPv6 cannot live with is refused", () => {
  const make = (mtu: number, address: string) => () =>
    new Nic(1, { name: "wg", mtu, link, addresses: [{ address: ip(address), length: 24 }] });
  assert.throws(make(575, "10.0.0.1"), {
    name: "RangeError",
    message: "the MTU of wg must be 576 to 65535, got 575",
  });
  assert.throws(make(1279, "fd00::1"), {
    name: "RangeError",
    message: "the MTU of wg must be 1280 to 65535, got 1279",
  });
  assert.throws(make(65_536, "10.0.0.1"), RangeError);
  assert.throws(make(1420.5, "10.0.0.1"), RangeError);
  make(576, "10.0.0.1")();
  make(1280, "fd00::1")();
});

Deno.test("the source for a destination is the address in its network, else the first", () => {
  const each = nic(["10.1.0.1", 24], ["10.2.0.1", 24], ["fd00::1", 64]);
  assert.equal(String(each.sourceFor(ip("10.2.0.9"))), "10.2.0.1");
  assert.equal(String(each.sourceFor(ip("192.168.0.1"))), "10.1.0.1");
  assert.equal(String(each.sourceFor(ip("2001:db8::1"))), "fd00::1");
  assert.equal(nic(["10.1.0.1", 24]).sourceFor(ip("fd00::1")), undefined);
});

Deno.test("a network has a broadcast address, a pair of hosts and a single one have none", () => {
  const isBroadcast = (address: string, length: number, asked: string) =>
    nic([address, length]).isBroadcast(ip(asked).bytes, 0);
  assert.equal(isBroadcast("10.1.2.3", 24, "10.1.2.255"), true);
  assert.equal(isBroadcast("10.1.2.3", 20, "10.1.15.255"), true);
  assert.equal(isBroadcast("10.1.2.3", 24, "10.1.3.255"), false);
  assert.equal(isBroadcast("10.1.2.2", 31, "10.1.2.3"), false);
  assert.equal(isBroadcast("10.1.2.3", 32, "10.1.2.3"), false);
});

Deno.test("a token bucket lets a burst through, then its rate", () => {
  const bucket = new TokenBucket(1000, 50);
  const taken = (now: number, tries: number) => {
    let count = 0;
    for (let i = 0; i < tries; i++) if (bucket.take(now, 1)) count++;
    return count;
  };
  assert.equal(taken(0, 100), 50);
  assert.equal(taken(10, 100), 10);
  assert.equal(taken(10, 100), 0);
  assert.equal(taken(5, 100), 0, "a clock that went back gives nothing");
  assert.equal(taken(60_000, 100), 50);
});
