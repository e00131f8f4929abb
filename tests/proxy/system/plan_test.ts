/**
 * What a configuration makes of a host, without a kernel: which steps, in which order, and how each
 * is taken back.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parseInterfaceAddress, parseIpAddress } from "../../../proxy/address.ts";
import { type MtuQuestion, tunnelMtu } from "../../../proxy/system/mtu.ts";
import { type HostView, planTunnel, type TunnelSettings } from "../../../proxy/system/plan.ts";
import { routeSteps } from "../../../proxy/system/routing.ts";
import { parseUndo } from "../../../proxy/system/step.ts";
import { HOST, prefixes, SETTINGS } from "./planned.ts";

const titles = (settings: Partial<TunnelSettings>, host: Partial<HostView> = {}) =>
  planTunnel({ ...SETTINGS, ...settings }, { ...HOST, ...host }).steps.map(({ title }) => title);

Deno.test("a tunnel to one network has its address, its MTU and a route, and needs no rule and no mark", () => {
  const plan = planTunnel({ ...SETTINGS, allowedIps: prefixes("10.8.0.0/16") }, HOST);
  assert.deepEqual(plan.steps.map(({ title }) => title), [
    "address add 10.9.0.2/24 dev wg0",
    "link set wg0 mtu 1420 up",
    "route add 10.8.0.0/16 dev wg0",
  ]);
  assert.equal(plan.mark, undefined);
  assert.ok(plan.steps.every(({ undo }) => undo === undefined), "all of it goes with the device");
});

Deno.test("a default route goes by a table of its own, which everything takes that has no mark", () => {
  const plan = planTunnel({ ...SETTINGS, allowedIps: prefixes("0.0.0.0/0", "::/0") }, HOST);
  assert.equal(plan.mark, 51820);
  assert.deepEqual(plan.steps.map(({ title }) => title), [
    "address add 10.9.0.2/24 dev wg0",
    "link set wg0 mtu 1420 up",
    "nft: wg0's addresses from wg0 alone, and the mark of its answers",
    "sysctl net.ipv4.conf.all.src_valid_mark=1",
    "route add 0.0.0.0/0 dev wg0 table 51820",
    "rule add not fwmark 51820 table 51820 (IPv4)",
    "rule add table main suppress_prefixlength 0 (IPv4)",
    "route add ::/0 dev wg0 table 51820",
    "rule add not fwmark 51820 table 51820 (IPv6)",
    "rule add table main suppress_prefixlength 0 (IPv6)",
  ]);
  // The rule that looks into the main table comes first.
  const rules = plan.steps.flatMap(({ action }) => action.kind === "rule" ? [action] : []);
  assert.deepEqual(rules.map(({ priority }) => priority), [32765, 32764, 32765, 32764]);
  const undos = plan.steps.flatMap(({ undo }) => undo === undefined ? [] : [undo.kind]);
  assert.deepEqual(undos, ["nft-table", "sysctl", "rule", "rule", "rule", "rule"]);
});

Deno.test("the kill switch comes before everything, in both families, though AllowedIPs has one", () => {
  const plan = planTunnel(
    { ...SETTINGS, killSwitch: true, allowedIps: prefixes("0.0.0.0/0") },
    HOST,
  );
  const [first] = plan.steps;
  assert.deepEqual(first!.undo, {
    kind: "nft-table",
    family: "inet",
    table: "wirestack-kill-wg0",
  });
  assert.ok(
    first!.action.kind === "nft" && first!.action.script.includes("meta mark 0xca6c accept"),
  );
  assert.match(titles({ killSwitch: true })[0]!, /KillSwitch/);
  // Without a default route it needs a mark all the same.
  assert.equal(planTunnel({ ...SETTINGS, killSwitch: true }, HOST).mark, 51820);
});

Deno.test("a table that has routes is another's: the next free one is taken", () => {
  const settings = { ...SETTINGS, allowedIps: prefixes("0.0.0.0/0") };
  const host = {
    ...HOST,
    tables: new Set([254, 51820, 51821]),
    priorities: { 4: [0, 32764, 32765, 32766, 32767], 6: [0, 32766] },
  };
  const plan = planTunnel(settings, host);
  assert.equal(plan.mark, 51822);
  const rules = plan.steps.flatMap(({ action }) => action.kind === "rule" ? [action.priority] : []);
  assert.deepEqual(rules, [32763, 32762], "before the other tunnel's");
});

Deno.test("a configured mark is the table too, as with wg-quick", () => {
  const plan = planTunnel({ ...SETTINGS, fwMark: 7, allowedIps: prefixes("::/0") }, HOST);
  assert.equal(plan.mark, 7);
  const titles = plan.steps.map(({ title }) => title);
  assert.ok(titles.includes("rule add not fwmark 7 table 7 (IPv6)"));
  assert.ok(!titles.some((title) => title.includes("src_valid_mark")), "which is IPv4's");
});

Deno.test("Table = off makes no route, and a number puts all of them there, the default ones too", () => {
  const allowedIps = prefixes("0.0.0.0/0", "10.8.0.0/16", "10.9.0.7/32");
  const routes = (table: TunnelSettings["table"]) =>
    titles({ table, allowedIps }).filter((title) => /route|rule|nft/.test(title));
  assert.deepEqual(routes("off"), []);
  assert.deepEqual(routes(1000), [
    "route add 10.9.0.7/32 dev wg0 table 1000",
    "route add 10.8.0.0/16 dev wg0 table 1000",
    "route add 0.0.0.0/0 dev wg0 table 1000",
  ]);
});

Deno.test("prefixes in the network of an own address have its route, others come the longest first and once", () => {
  const allowedIps = prefixes(
    "10.9.0.7/32",
    "10.0.0.0/8",
    "10.8.0.0/16",
    "10.8.0.0/16",
    "fd09::/64",
  );
  assert.deepEqual(routeSteps({ ...SETTINGS, allowedIps }).map(({ title }) => title), [
    "route add fd09::/64 dev wg0",
    "route add 10.8.0.0/16 dev wg0",
    "route add 10.0.0.0/8 dev wg0",
  ]);
  // A single own address has no network.
  const addresses = [parseInterfaceAddress("10.9.0.2/32")!];
  assert.equal(
    routeSteps({ ...SETTINGS, addresses, allowedIps: prefixes("10.9.0.7/32") }).length,
    1,
  );
});

Deno.test("name servers come before the routes, as with wg-quick", () => {
  const dns = { servers: ["10.9.0.1"], domains: ["corp.test"] };
  const found = titles({ dns, allowedIps: prefixes("10.8.0.0/16") }, { dnsMethod: "resolvectl" });
  assert.deepEqual(found.slice(2), [
    "name servers 10.9.0.1 corp.test by resolvectl",
    "route add 10.8.0.0/16 dev wg0",
  ]);
});

Deno.test("a host without IPv6 says so before anything is done", () => {
  assert.throws(() => titles({ allowedIps: prefixes("::/0") }, { hasIpv6: false }), {
    message: "::/0: this host has no IPv6, expected addresses of IPv4 alone",
  });
});

Deno.test("every way back can be read from what was written", () => {
  const settings = {
    ...SETTINGS,
    killSwitch: true,
    allowedIps: prefixes("0.0.0.0/0", "::/0"),
    dns: { servers: ["10.9.0.1"], domains: [] },
  };
  for (const { undo } of planTunnel(settings, HOST).steps) {
    if (undo !== undefined) assert.deepEqual(parseUndo(JSON.parse(JSON.stringify(undo))), undo);
  }
});

Deno.test("the MTU is what the narrowest way to an endpoint leaves: 60 bytes less, or 80 with IPv6", () => {
  const mtu = (question: Partial<MtuQuestion>) => tunnelMtu({ ...QUESTION, ...question });
  assert.equal(mtu({}), 1420, "no route at all");
  assert.equal(mtu({ defaultMtu: () => 1400 }), 1320);
  assert.equal(mtu({ endpoints: ips("192.0.2.1") }), 1440);
  assert.equal(mtu({ endpoints: ips("2001:db8::1") }), 1420);
  assert.equal(mtu({ endpoints: ips("192.0.2.1", "2001:db8::1") }), 1420);
  assert.equal(mtu({ endpoints: ips("192.0.2.1"), routeMtu: () => 9000 }), 8940);
  assert.equal(mtu({ endpoints: ips("192.0.2.1"), mtu: 1300 }), 1300);
  assert.equal(mtu({ endpoints: ips("192.0.2.1"), routeMtu: () => 1340, hasIpv6: true }), 1280);
  assert.throws(() => mtu({ endpoints: ips("192.0.2.1"), routeMtu: () => 1339, hasIpv6: true }), {
    name: "SystemTunnelError",
    message:
      "MTU: 1279 bytes are left of the route to 192.0.2.1 (1339), too few for IPv6 (1280), " +
      "expected addresses of IPv4 alone in Address and AllowedIPs, or an MTU to be set",
  });
  assert.equal(mtu({ endpoints: ips("192.0.2.1"), routeMtu: () => 636 }), 576);
  assert.throws(() => mtu({ endpoints: ips("192.0.2.1"), routeMtu: () => 635 }), /expected 576/);
});

const QUESTION: MtuQuestion = {
  endpoints: [],
  hasIpv6: false,
  routeMtu: () => 1500,
  defaultMtu: () => undefined,
};

function ips(...texts: string[]) {
  return texts.map((text) => parseIpAddress(text)!);
}
