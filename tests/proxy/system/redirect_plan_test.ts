/**
 * What a redirect makes of a host, without a kernel.
 *
 * @module
 */

import assert from "node:assert/strict";
import { SystemTunnelError } from "../../../proxy/system/error.ts";
import { planRedirect, type RedirectSettings } from "../../../proxy/system/redirect_plan.ts";
import { exemptScript } from "../../../proxy/system/redirect_script.ts";
import { parseUndo } from "../../../proxy/system/step.ts";
import { prefixes } from "./planned.ts";

const HOST = {
  tables: new Set([253, 254, 255]),
  priorities: { 4: [0, 32766, 32767], 6: [0, 32766] },
  hasIpv6: true,
} as const;

function plan(settings: Partial<RedirectSettings> = {}, host: Partial<typeof HOST> = {}) {
  return planRedirect(
    { name: "wg0", cidrs: prefixes("100.64.0.0/10"), exempt: [], port: 9999, ...settings },
    { ...HOST, ...host },
  );
}

function script(settings?: Partial<RedirectSettings>): string {
  const { action } = plan(settings).steps.at(-1)!;
  assert.equal(action.kind, "nft");
  return (action as { script: string }).script;
}

Deno.test("what comes back in is routed before anything is handed over, for the families that are asked for", () => {
  assert.deepEqual(plan().steps.map(({ title }) => title), [
    "route add local default dev lo table 51820 (IPv4)",
    "rule add fwmark 51820 table 51820 (IPv4)",
    "nft: TCP and UDP to 100.64.0.0/10 go to port 9999",
  ]);
  const both = plan({ cidrs: prefixes("fd64::/16", "100.64.0.0/10") });
  assert.deepEqual(both.steps.map(({ action }) => action.kind), [
    ...["local-route", "rule", "local-route", "rule", "nft"],
  ]);
});

Deno.test("each step can be taken back by what is written down of it", () => {
  const { steps } = plan({ cidrs: prefixes("fd64::/16", "100.64.0.0/10") });
  for (const { undo } of steps) {
    assert.ok(undo !== undefined);
    assert.deepEqual(parseUndo(JSON.parse(JSON.stringify(undo))), undo);
  }
  // The file can be written by who is nobody: nothing of the system's is to be had by it.
  for (const table of [254, 255, 51819, -1, "51820", undefined]) {
    assert.equal(parseUndo({ kind: "local-route", family: 4, table }), undefined, `${table}`);
  }
  assert.equal(parseUndo({ kind: "local-route", family: 5, table: 51820 }), undefined);
});

Deno.test("a table and a mark are chosen that nobody else has, and the rule comes before all others", () => {
  const { mark, captured, steps } = plan({}, {
    tables: new Set([254, 51820, 51821]) as never,
    priorities: { 4: [0, 5210, 32766], 6: [0] } as never,
  });
  assert.deepEqual({ mark, captured }, { mark: 0x10000 + 51822, captured: 51822 });
  const rule = steps.find(({ action }) => action.kind === "rule")!.action;
  assert.equal((rule as { priority: number }).priority, 5209);
  const configured = plan({ fwMark: 51820 });
  assert.deepEqual([configured.mark, configured.captured], [51820, 51821]);
});

Deno.test("what bears our mark, is this host's, or is exempt comes before what is handed over, in every chain", () => {
  const lines = script({ exempt: prefixes("203.0.113.2/32", "2001:db8::2/128") }).split("\n");
  assert.ok(lines.some((line) => line.endsWith("exempt4 { 203.0.113.2/32 }")));
  assert.ok(lines.some((line) => line.endsWith("exempt6 { 2001:db8::2/128 }")));
  for (const chain of ["nat_output", "nat_prerouting", "route_output", "filter_prerouting"]) {
    const rules = lines.filter((line) =>
      line.startsWith("add rule") && line.includes(` ${chain} `)
    );
    const taken = rules.findIndex((rule) => rule.includes("@cidr"));
    const passed = rules.slice(0, taken).join("\n");
    for (const what of ["meta mark 0x1ca6c return", "fib daddr type {", "@exempt4", "@exempt6"]) {
      assert.ok(passed.includes(what), `${chain}: ${what}`);
    }
    assert.ok(rules.slice(taken).every((rule) => rule.includes("@cidr")), chain);
    // Of TCP the kernel translates the first packet alone.
    assert.equal(passed.includes("ct direction reply"), !chain.startsWith("nat"), chain);
  }
});

Deno.test("a script begins with a table that is empty, whatever was left, and takes no prefix twice", () => {
  const lines = script({ cidrs: prefixes("100.64.0.0/10", "100.64.0.0/10") }).split("\n");
  assert.deepEqual(lines.slice(0, 3), [
    "add table inet wirestack-redirect-wg0",
    "delete table inet wirestack-redirect-wg0",
    "add table inet wirestack-redirect-wg0",
  ]);
  assert.ok(lines.some((line) => line.endsWith("cidr4 { 100.64.0.0/10 }")));
  assert.ok(!lines.some((line) => line.includes("element") && line.includes("cidr6")));
  assert.deepEqual(exemptScript("wg0", prefixes("203.0.113.2/32")).split("\n"), [
    "flush set inet wirestack-redirect-wg0 exempt4",
    "flush set inet wirestack-redirect-wg0 exempt6",
    "add element inet wirestack-redirect-wg0 exempt4 { 203.0.113.2/32 }",
    "",
  ]);
});

Deno.test("a prefix of IPv6 on a host without it is refused", () => {
  assert.throws(
    () => plan({ cidrs: prefixes("fd64::/16") }, { hasIpv6: false as never }),
    (error) =>
      error instanceof SystemTunnelError && /^--cidr fd64::\/16: .*expected/.test(error.message),
  );
});
