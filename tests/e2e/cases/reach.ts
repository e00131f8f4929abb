/** The gateway as a host and as a router: ping and traceroute. */

import assert from "node:assert/strict";
import { labTest } from "../lab.ts";
import { GATEWAY, Site, TARGET } from "../site.ts";

labTest("ping reaches the gateway's own tunnel addresses, whole and in fragments", async () => {
  await using site = await Site.start();
  for (const address of Object.values(GATEWAY)) {
    for (const bytes of [56, 1392, 8000]) {
      const report = await site.client.output(
        ["ping", "-n", "-c", "3", "-i", "0.2", "-w", "5", "-s", `${bytes}`, address],
      );
      assert.match(report, / 0% packet loss/);
    }
  }
}, ["ping"]);

labTest("traceroute shows the gateway as its first hop", async () => {
  await using site = await Site.start();
  for (const family of [4, 6] as const) {
    const report = await site.client.output(
      ["traceroute", "-n", "-q", "1", "-w", "1", "-m", "2", TARGET[family]],
    );
    const hops = report.trim().split("\n").slice(1).map((line) => line.trim().split(/\s+/));
    assert.deepEqual(hops[0]!.slice(0, 2), ["1", GATEWAY[family]], report);
    // One of the target's, if any: the gateway does not answer for it twice.
    assert.notEqual(hops[1]?.[1], GATEWAY[family], report);
  }
}, ["traceroute"]);
