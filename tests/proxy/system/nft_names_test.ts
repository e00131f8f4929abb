/**
 * Tables of nftables for devices whose names have signs that nft's own language has another use for.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Nftables } from "../../../ffi/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { openingRules, openingUndo } from "../../../proxy/system/foreign_chains.ts";
import { killSwitchScript, killSwitchTable } from "../../../proxy/system/kill_switch_script.ts";
import { masqueradeScript, masqueradeTable } from "../../../proxy/system/masquerade_script.ts";
import { removeTable } from "../../../proxy/system/nft_script.ts";
import { protectScript, protectTable } from "../../../proxy/system/protect_script.ts";
import { redirectScript, redirectTable } from "../../../proxy/system/redirect_script.ts";
import { parseUndo } from "../../../proxy/system/step.ts";
import { aloneLabTest, Lab } from "../../e2e/lab.ts";
import { within } from "../../e2e/network_namespace.ts";
import { prefixes } from "./planned.ts";

const NAMES = ["wg0", "a=b+c.d_e-f", "=", "+.+", "=".repeat(15), "kill-wg0", "nat-wg0", "9"];
const FOREIGN = { family: "ip", table: "filter", chain: "FORWARD" } as const;

Deno.test("every device has tables of its own, which are known again", () => {
  const undos = NAMES.flatMap((name) => [
    ...[protectTable(name), killSwitchTable(name), masqueradeTable(name), redirectTable(name)],
  ]);
  assert.equal(new Set(undos.map(({ table }) => table)).size, undos.length);
  for (const undo of undos) assert.deepEqual(parseUndo(undo), undo);
  assert.equal(protectTable("wg0").table, "wirestack-wg0");
  assert.equal(killSwitchTable("wg0").table, "wirestack-kill-wg0");
});

aloneLabTest("what nft lists of them can be loaded again, and all of it removed", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  using nftables = new Nftables();
  const run = (script: string) => within(host, () => nftables.run(script));
  run("add table ip filter\nadd chain ip filter FORWARD { type filter hook forward priority 0; }");
  const before = run("list ruleset");
  for (const device of NAMES) {
    const networks = prefixes("10.9.0.0/24", "fd09::/64");
    run(protectScript(device, 51820, [parseIpAddress("10.9.0.2")!]));
    run(killSwitchScript(device, 51820));
    const outlets = { 4: "eth=0", 6: "eth+0" };
    run(masqueradeScript({ device, mtu: 1420, outlets, networks, closesIpv6: true }));
    run(redirectScript({
      ...{ name: device, cidrs: networks, exempt: [], port: 4000, mark: 1, captured: 2 },
    }));
    run(
      openingRules({ ...FOREIGN, why: "policy drop", isOwned: false }, device, outlets).join("\n"),
    );
  }
  const listed = await host.output(["nft", "list", "ruleset"]);
  run("flush ruleset");
  await host.output(["nft", "-f", "-"], { input: listed });
  assert.equal(await host.output(["nft", "list", "ruleset"]), listed);

  for (const device of NAMES) {
    for (const table of [protectTable, killSwitchTable, masqueradeTable, redirectTable]) {
      run(removeTable(table(device)));
    }
    assert.ok(listed.includes(`comment "${openingUndo(FOREIGN, device).comment}"`));
  }
  run("flush chain ip filter FORWARD");
  assert.equal(run("list ruleset"), before);
});
