import assert from "node:assert/strict";
import { RateLimiter } from "../../wireguard/rate_limiter.ts";
import { v4 } from "./pair.ts";

function v6(...groups: number[]): Uint8Array {
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]));
}

/** How many of `count` requests, `everyMs` apart, are allowed. */
function allowed(limiter: RateLimiter, address: Uint8Array, count: number, everyMs = 0, from = 0) {
  let passed = 0;
  for (let i = 0; i < count; i++) {
    if (limiter.allow(address, from + i * everyMs)) passed++;
  }
  return passed;
}

Deno.test("a source gets a burst of 5 and then 20 per second", () => {
  const limiter = new RateLimiter();
  assert.equal(allowed(limiter, v4("192.0.2.1"), 100), 5);
  assert.equal(allowed(limiter, v4("192.0.2.1"), 1, 0, 49), 0);
  assert.equal(allowed(limiter, v4("192.0.2.1"), 2, 0, 51), 1);
  assert.equal(allowed(limiter, v4("192.0.2.2"), 1000, 1), 5 + 19);
});

Deno.test("one source's flood is not another's: no global limit", () => {
  const limiter = new RateLimiter();
  allowed(limiter, v4("192.0.2.1"), 1000);
  assert.equal(allowed(limiter, v4("192.0.2.2"), 5), 5);
});

Deno.test("IPv6 sources are one per /64", () => {
  const limiter = new RateLimiter();
  assert.equal(allowed(limiter, v6(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1), 5), 5);
  assert.equal(allowed(limiter, v6(0x2001, 0xdb8, 0, 1, 9, 9, 9, 9), 5), 0);
  assert.equal(allowed(limiter, v6(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1), 5), 5);
});

Deno.test("an IPv4-mapped address is the IPv4 address, not one /64 with all others", () => {
  const limiter = new RateLimiter();
  assert.equal(allowed(limiter, v4("192.0.2.1"), 5), 5);
  assert.equal(allowed(limiter, v6(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201), 5), 0);
  assert.equal(allowed(limiter, v6(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0202), 5), 5);
});

Deno.test("entries are collected after a second of silence", () => {
  const limiter = new RateLimiter();
  limiter.allow(v4("192.0.2.1"), 0);
  limiter.allow(v4("192.0.2.2"), 500);
  limiter.allow(v4("192.0.2.1"), 900);
  assert.equal(limiter.pollTimeout(), 1500);
  limiter.collect(1499);
  assert.equal(limiter.size, 2);
  limiter.collect(1500);
  assert.equal(limiter.size, 1);
  limiter.collect(1900);
  assert.equal(limiter.size, 0);
  assert.equal(limiter.pollTimeout(), Infinity);
});

Deno.test("a flood from spoofed sources fills a table of 65,536 and no more", () => {
  const limiter = new RateLimiter();
  for (let i = 0; i < 70_000; i++) {
    limiter.allow(Uint8Array.of(10, i >> 16, i >> 8, i), 0);
  }
  assert.equal(limiter.size, 65_536);
  assert.equal(limiter.allow(v4("192.0.2.1"), 999), false);
  assert.equal(limiter.allow(v4("192.0.2.1"), 1000), true);
  assert.equal(limiter.size, 1);
});
