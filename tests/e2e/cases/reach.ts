/** The gateway as a host and as a router: ping and traceroute. */

import assert from "node:assert/strict";
import { allAnswered } from "../all_answered.ts";
import { labTest } from "../lab.ts";
import { GATEWAY, Site, TARGET } from "../site.ts";

labTest("ping reaches the gateway's own tunnel addresses, whole and in fragments", async () => {
  await using site = await Site.start();
  for (const address of Object.values(GATEWAY)) {
    for (const bytes of [56, 1392, 8000]) {
      await allAnswered(site.client, address, 3, "-i", "0.2", "-s", `${bytes}`);
    }
  }
}, ["ping"]);

labTest("traceroute shows the gateway as its first hop", async () => {
  await using site = await Site.start();
  for (const family of [4, 6] as const) {
    const hop = async (number: number, seconds: number) => {
      const limits = ["-q", "1", "-w", `${seconds}`, "-f", `${number}`, "-m", `${number}`];
      const report = await site.client.output(["traceroute", "-n", ...limits, TARGET[family]]);
      return report.trim().split("\n").at(-1)!.trim().split(/\s+/).slice(0, 2);
    };
    assert.deepEqual(await hop(1, 30), ["1", GATEWAY[family]]);
    // One of the target's, if any: the gateway does not answer for it twice.
    assert.notEqual((await hop(2, 1))[1], GATEWAY[family]);
  }
}, ["traceroute"]);
