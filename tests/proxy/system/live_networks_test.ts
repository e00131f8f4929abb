/**
 * Who gets out by a masquerade as allowed IPs change, without a kernel.
 *
 * @module
 */

import assert from "node:assert/strict";
import { LiveNetworks } from "../../../proxy/system/live_networks.ts";
import { prefixes } from "./planned.ts";

/** A masquerade that is there, and what nft is told from then on. */
function live() {
  const host = { refuses: false };
  let scripts: string[] = [];
  const networks = new LiveNetworks({
    masquerade: {
      device: "wg0",
      mtu: 1420,
      outlets: { 4: "eth0" },
      networks: prefixes("10.0.0.0/24"),
      closesIpv6: false,
    },
    run: (script) => {
      scripts.push(script);
      if (host.refuses) throw new Error("refused");
    },
  });
  return {
    host,
    networks,
    /** @param changes `+PREFIX`, `-PREFIX`, in one turn. @returns the networks of each script that was run. */
    async change(...changes: readonly string[]): Promise<string[]> {
      for (const text of changes) {
        networks.change(prefixes(text.slice(1))[0]!, text.startsWith("+"));
      }
      await Promise.resolve();
      const run = scripts;
      scripts = [];
      return run.map((script) => script.match(/\{ (.*) \}/)?.[1] ?? "");
    },
  };
}

Deno.test("a list of a thousand peers lets their networks out by one script", async () => {
  const masquerade = live();
  const list = Array.from({ length: 1_000 }, (_, i) => `10.${1 + (i >> 8)}.${i & 0xff}.0/24`);
  const scripts = await masquerade.change(...list.map((network) => `+${network}`));
  assert.deepEqual(scripts, [["10.0.0.0/24", ...list].join(", ")]);
  assert.deepEqual(await masquerade.change(...list.map((network) => `-${network}`)), [
    "10.0.0.0/24",
  ]);
});

Deno.test("what goes from one peer to another, or gets out already, is no script at all", async () => {
  const masquerade = live();
  await masquerade.change("+10.7.0.0/24");
  assert.deepEqual(
    await masquerade.change("-10.7.0.0/24", "+10.7.0.0/24", "+10.8.0.0/24", "-10.8.0.0/24"),
    [],
  );
  assert.deepEqual(await masquerade.change("+10.7.0.0/24", "+10.0.0.5/32", "+0.0.0.0/0"), []);
  // Whoever had it: the configuration's own stays.
  assert.deepEqual(await masquerade.change("-10.0.0.5/32", "-10.0.0.0/24"), []);
});

Deno.test("what nft has refused is in the script of the next change", async () => {
  const masquerade = live();
  masquerade.host.refuses = true;
  await masquerade.change("+10.7.0.0/24");
  masquerade.host.refuses = false;
  assert.deepEqual(await masquerade.change("+10.8.0.0/24"), [
    "10.0.0.0/24, 10.7.0.0/24, 10.8.0.0/24",
  ]);
});

Deno.test("a tunnel that is taken down tells nft nothing any more, of what came in the same turn neither", async () => {
  const masquerade = live();
  masquerade.networks.change(prefixes("10.7.0.0/24")[0]!, true);
  masquerade.networks.close();
  assert.deepEqual(await masquerade.change("+10.8.0.0/24"), []);
});
