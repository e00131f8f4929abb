/**
 * Whose addresses are not redirected, as names come to stand for others.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress, parsePrefix } from "../../../proxy/address.ts";
import { KEPT_MS } from "../../../proxy/system/host_addresses.ts";
import { ExemptHosts } from "../../../proxy/system/redirect_exempt.ts";

/** Names that stand for addresses, and a clock. */
function site(hosts: string[], everyMs?: number) {
  const names = new Map<string, string[]>();
  const applied: string[][] = [];
  const waiting: (() => void)[] = [];
  const clock = { now: 0 };
  const exempt = new ExemptHosts({
    hosts: () => hosts,
    prefixes: [parsePrefix("10.50.0.0/16")!],
    resolve: (name) => {
      const found = names.get(name);
      if (found === undefined) return Promise.reject(new Error("no such name"));
      return Promise.resolve(found.map((text) => parseIpAddress(text)!) as IpAddress[]);
    },
    now: () => clock.now,
    apply: (prefixes) => {
      applied.push(prefixes.map(String).sort());
      waiting.shift()?.();
    },
    ...(everyMs !== undefined && { everyMs }),
  });
  const next = () => new Promise<void>((resolve) => waiting.push(resolve));
  const list = () => exempt.prefixes.map(String).sort();
  return { names, applied, clock, exempt, next, list };
}

Deno.test("addresses are exempt as they are, names by all that they stand for", async () => {
  const { names, exempt, list } = site([
    ...["203.0.113.2", "203.0.113.2", "2001:db8::2", "hub.test", "fallback.test", "gone.test"],
  ]);
  names.set("hub.test", ["192.0.2.1", "2001:db8::1"]);
  names.set("fallback.test", ["192.0.2.1"]);
  await exempt.look();
  assert.deepEqual(list(), [
    ...["10.50.0.0/16", "192.0.2.1/32", "2001:db8::1/128", "2001:db8::2/128", "203.0.113.2/32"],
  ], "each once");
});

Deno.test("an address that a name has left stays for an hour, for connections that are there", async () => {
  const { names, clock, exempt, list } = site(["hub.test"]);
  names.set("hub.test", ["192.0.2.1"]);
  await exempt.look();
  names.set("hub.test", ["192.0.2.2"]);
  clock.now = KEPT_MS;
  await exempt.look();
  assert.deepEqual(list(), ["10.50.0.0/16", "192.0.2.1/32", "192.0.2.2/32"]);
  clock.now++;
  await exempt.look();
  assert.deepEqual(list(), ["10.50.0.0/16", "192.0.2.2/32"]);
  names.delete("hub.test");
  await exempt.look();
  assert.deepEqual(
    list(),
    ["10.50.0.0/16", "192.0.2.2/32"],
    "a name that is not found is not lost",
  );
});

Deno.test("what has changed is applied, and nothing else", async () => {
  const { names, applied, exempt, next } = site(["hub.test"], 1);
  names.set("hub.test", ["192.0.2.1"]);
  await exempt.look();
  exempt.start();
  try {
    assert.deepEqual(applied, [["10.50.0.0/16", "192.0.2.1/32"]]);
    const changed = next();
    names.set("hub.test", ["192.0.2.2"]);
    await changed;
    assert.deepEqual(applied.slice(1), [["10.50.0.0/16", "192.0.2.1/32", "192.0.2.2/32"]]);
  } finally {
    exempt.close();
  }
});
