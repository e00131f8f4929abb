/**
 * Other people's chains that come when a masquerade is there already.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { ForeignChain } from "../../../proxy/system/foreign_chains.ts";
import { LaterChains } from "../../../proxy/system/later_chains.ts";
import { lookAgain } from "../../../proxy/system/masquerade_steps.ts";
import type { Step } from "../../../proxy/system/step.ts";
import { captureLog } from "../log/capture.ts";

/** What nft lists, as chains come and go. */
class Ruleset {
  readonly chains: { family: string; table: string; name: string; policy: "accept" | "drop" }[] =
    [];
  /** By the chain's name. */
  readonly rules: { chain: string; expr: unknown[] }[] = [];
  readonly asked: string[] = [];
  readonly list = (what: "chains" | "ruleset"): string => {
    this.asked.push(what);
    const chains = this.chains.map((chain) => ({
      chain: { ...chain, type: "filter", hook: "forward" },
    }));
    const rules = what === "chains" ? [] : this.rules.map(({ chain, expr }) => {
      const { family, table } = this.chains.find(({ name }) => name === chain)!;
      return { rule: { family, table, chain, expr } };
    });
    return JSON.stringify({ nftables: [...chains, ...rules] });
  };

  add(name: string, policy: "accept" | "drop", ...rules: unknown[][]): void {
    this.chains.push({ family: "ip", table: "filter", name, policy });
    for (const expr of rules) this.rules.push({ chain: name, expr });
  }

  remove(name: string): void {
    this.chains.splice(this.chains.findIndex((chain) => chain.name === name), 1);
  }
}

const through = (key: "iifname" | "oifname") => [
  { match: { op: "==", left: { meta: { key } }, right: "wg0" } },
  { accept: null },
];
const DROP = [{ drop: null }];

Deno.test("a chain that comes later is found once, one that is open or was known is not, and all rules are listed for a new one alone", () => {
  const ruleset = new Ruleset();
  ruleset.add("EARLY", "drop");
  ruleset.add("OPENED", "drop", through("iifname"), through("oifname"));
  ruleset.add("ENDED", "accept", DROP);
  const known: ForeignChain[] = [
    { family: "ip", table: "filter", chain: "EARLY", why: "policy drop", isOwned: false },
    { family: "ip", table: "filter", chain: "ENDED", why: "its last rule", isOwned: false },
  ];
  const later = new LaterChains({ device: "wg0", known, list: ruleset.list });
  const look = () => later.look().map(({ chain, why }) => `${chain}: ${why}`);
  assert.deepEqual(look(), []);
  ruleset.add("HARMLESS", "accept");
  assert.deepEqual(look(), []);
  assert.ok(!ruleset.asked.includes("ruleset"));

  ruleset.add("DOCKER", "drop");
  ruleset.add("ALSO", "accept", DROP);
  assert.deepEqual(look(), ["DOCKER: policy drop", "ALSO: its last rule"]);
  assert.deepEqual(look(), []);
  ruleset.add("POLITE", "drop", through("iifname"), through("oifname"));
  assert.deepEqual(look(), []);

  ruleset.remove("DOCKER");
  assert.deepEqual(look(), []);
  ruleset.add("DOCKER", "drop");
  assert.deepEqual(look(), ["DOCKER: policy drop"], "made again it is as new");
});

Deno.test("what has come since is named, or opened and written down once", () => {
  const chain = (name: string, isOwned = false, family: "ip" | "ip6" = "ip"): ForeignChain => ({
    ...{ family, table: "filter", chain: name, why: "policy drop", isOwned },
  });
  const done = new Set<string>();
  const [opened, again]: [Step[], string[]] = [[], []];
  using log = captureLog();
  const run = (force: boolean, look: () => ForeignChain[]) => {
    lookAgain(
      { look },
      { device: "wg0", force },
      { 4: "eth0" },
      done,
      { perform: (title) => void again.push(title) },
      (step) => void opened.push(step),
    );
    return log.lines.splice(0);
  };
  const named = run(false, () => [chain("DOCKER"), chain("SIX", false, "ip6")]);
  assert.equal(named.length, 1, "nothing of IPv6 gets out here");
  assert.match(
    named[0]!,
    /ip filter DOCKER: drops what is forwarded .* --masquerade-force, or by: /,
  );
  assert.deepEqual([opened, again], [[], []]);

  const [first, owned] = run(true, () => [chain("DOCKER"), chain("OWNED", true)]);
  assert.match(first!, /ip filter DOCKER lets wg0 through: it has come since/);
  assert.match(owned!, /ip filter OWNED: drops what is forwarded/);
  assert.deepEqual(opened.map(({ undo }) => undo), [{
    ...{ kind: "nft-rule", family: "ip", table: "filter", chain: "DOCKER" },
    comment: "wirestack-wg0",
  }]);
  run(true, () => [chain("DOCKER")]);
  assert.deepEqual([opened.length, again], [1, [opened[0]!.title]]);

  const broken = run(true, () => {
    throw new Error("nft is gone");
  });
  assert.match(broken.join(), /--masquerade: nft is gone/);
});
