/**
 * What becomes of a tunnel's routes as allowed IPs change, without a kernel.
 *
 * @module
 */

import assert from "node:assert/strict";
import { LiveRoutes } from "../../../proxy/system/live_routes.ts";
import { planTunnel, type TunnelSettings } from "../../../proxy/system/plan.ts";
import type { RoutingView } from "../../../proxy/system/routing.ts";
import { HOST, prefixes, SETTINGS } from "./planned.ts";

/** A tunnel that is up, and what is done to the host from then on. */
function live(changed: Partial<TunnelSettings>) {
  const settings = { ...SETTINGS, ...changed };
  const plan = planTunnel(settings, HOST);
  const host = { view: HOST as RoutingView };
  let log: string[] = [];
  const routes = new LiveRoutes({
    settings,
    plan,
    view: () => host.view,
    host: {
      removeRoute: ({ destination, table }) =>
        void log.push(`- ${destination}${table === undefined ? "" : ` table ${table}`}`),
    },
    do: ({ title, undo }) => void log.push(`${undo ? "+ (written down)" : "+"} ${title}`),
    takeBack: ({ title }) => void log.push(`- ${title}`),
    setMark: (mark) => void log.push(`mark ${mark}`),
    goAround: (priorities) => void log.push(`around ${JSON.stringify(priorities)}`),
  });
  return {
    host,
    routes,
    /** @param changes `+PREFIX`, `-PREFIX`, as they come in one change. @returns what that does. */
    async change(...changes: string[]): Promise<string[]> {
      for (const text of changes) {
        routes.change(prefixes(text.slice(1))[0]!, text.startsWith("+"));
      }
      await Promise.resolve();
      const done = log;
      log = [];
      return done;
    },
  };
}

Deno.test("a default route that goes takes its table, rules, protection and mark with it, the last first", async () => {
  const tunnel = live({ allowedIps: prefixes("0.0.0.0/0", "::/0", "10.8.0.0/16") });
  assert.deepEqual(await tunnel.change("-::/0"), [
    'around {"4":32763,"6":32763}',
    "- rule add table main suppress_prefixlength 0 (IPv6)",
    "- rule add not fwmark 51820 table 51820 (IPv6)",
    "- ::/0 table 51820",
    'around {"4":32763}',
  ]);
  assert.deepEqual(await tunnel.change("-0.0.0.0/0", "-10.8.0.0/16", "+10.7.0.0/16"), [
    "- 10.8.0.0/16",
    "+ route add 10.7.0.0/16 dev wg0",
    'around {"4":32763}',
    "- rule add table main suppress_prefixlength 0 (IPv4)",
    "- rule add not fwmark 51820 table 51820 (IPv4)",
    "- 0.0.0.0/0 table 51820",
    "- sysctl net.ipv4.conf.all.src_valid_mark=1",
    "- nft: wg0's addresses from wg0 alone, and the mark of its answers",
    "around {}",
    "mark 0",
  ]);
});

Deno.test("a default route that comes later gets a free table, in front of all rules that there are by then", async () => {
  const tunnel = live({ allowedIps: prefixes("10.8.0.0/16") });
  tunnel.host.view = {
    ...HOST,
    tables: new Set([254, 51820]),
    priorities: { 4: [0, 32764, 32765, 32766], 6: [0, 32766] },
  };
  assert.deepEqual(await tunnel.change("+0.0.0.0/0"), [
    "mark 51821",
    'around {"4":32761}',
    "+ (written down) nft: wg0's addresses from wg0 alone, and the mark of its answers",
    "+ (written down) sysctl net.ipv4.conf.all.src_valid_mark=1",
    "+ route add 0.0.0.0/0 dev wg0 table 51821",
    "+ (written down) rule add not fwmark 51821 table 51821 (IPv4)",
    "+ (written down) rule add table main suppress_prefixlength 0 (IPv4)",
    'around {"4":32761}',
  ]);
});

Deno.test("the mark stays where a kill switch, or the file, has it", async () => {
  const settings = { allowedIps: prefixes("0.0.0.0/0") };
  for (const more of [{ killSwitch: true }, { fwMark: 7 }]) {
    const tunnel = live({ ...settings, ...more });
    assert.ok(!(await tunnel.change("-0.0.0.0/0")).some((line) => line.startsWith("mark")));
    assert.ok(!(await tunnel.change("+0.0.0.0/0")).some((line) => line.startsWith("mark")));
  }
});

Deno.test("what goes from one peer to another keeps its routes, and what is there already is not made again", async () => {
  const tunnel = live({ allowedIps: prefixes("0.0.0.0/0", "10.8.0.0/16") });
  assert.deepEqual(
    await tunnel.change("-0.0.0.0/0", "-10.8.0.0/16", "+10.8.0.0/16", "+0.0.0.0/0"),
    [],
  );
  assert.deepEqual(await tunnel.change("+0.0.0.0/0", "+10.8.0.0/16"), []);
});

Deno.test("a prefix that is like a default route goes where that goes, and alone is looked for as long as it is", async () => {
  const allowedIps = prefixes("0.0.0.0/0", "128.0.0.0/1");
  const tunnel = live({ allowedIps, circular: prefixes("128.0.0.0/1") });
  assert.deepEqual((await tunnel.change("-0.0.0.0/0")).slice(1, -1), [
    "+ (written down) rule add table main suppress_prefixlength 1 (IPv4)",
    "- rule add table main suppress_prefixlength 0 (IPv4)",
    "- 0.0.0.0/0 table 51820",
  ]);
});

Deno.test("in a table of its own choice a default route is like any other, and off is off", async () => {
  const chosen = live({ table: 1000 });
  assert.deepEqual(await chosen.change("+0.0.0.0/0"), [
    "+ route add 0.0.0.0/0 dev wg0 table 1000",
  ]);
  assert.deepEqual(await chosen.change("-0.0.0.0/0"), ["- 0.0.0.0/0 table 1000"]);
  assert.deepEqual(await live({ table: "off" }).change("+0.0.0.0/0", "+10.8.0.0/16"), []);
});

Deno.test("a tunnel that is taken down changes nothing any more", async () => {
  const tunnel = live({ allowedIps: prefixes("0.0.0.0/0") });
  tunnel.routes.close();
  assert.deepEqual(await tunnel.change("-0.0.0.0/0"), []);
});
