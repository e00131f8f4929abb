/** netns.sh: pings, flows of TCP and UDP; normal and jumbo MTU, outer IPv4 and IPv6; the padding. */

import assert from "node:assert/strict";
import { type Host, labTest, measuredLabTest } from "../lab.ts";
import { NetnsSite, pingFlood, pingOnce } from "../netns_site.ts";
import { CLIENT, GATEWAY, Site } from "../site.ts";

/** netns.sh: 34816 − 1500 + 1420. */
const BIG_MTU = 34_736;

measuredLabTest("netns.sh: 1, 4, 5 and 50 flows of TCP and UDP over IPv4", async () => {
  await using site = await NetnsSite.start();
  await site.pings();
  for (const flows of [1, 4, 5, 50]) {
    await site.fromN1({ family: 4, flows });
    await site.fromN2({ family: 6, flows });
    await site.fromN2({ family: 4, flows, udp: true });
    await site.fromN1({ family: 6, flows, udp: true });
  }
}, ["iperf3", "ping"]);

for (
  const { outer, ...jumbo } of [
    { outer: 4, mtu: BIG_MTU, outerMtu: 65_535 },
    { outer: 6 },
    { outer: 6, mtu: BIG_MTU, outerMtu: 65_535 },
  ] as const
) {
  const how = "mtu" in jumbo ? "with a jumbo MTU" : "with the usual MTU";
  measuredLabTest(`netns.sh: its tests over IPv${outer} ${how}`, async () => {
    await using site = await NetnsSite.start({ outer, ...jumbo });
    await site.tests();
  }, ["iperf3", "ping"]);
}

measuredLabTest("netns.sh: floods of a hundred pings lose none", async () => {
  await using site = await NetnsSite.start();
  for (const family of [4, 6] as const) {
    await pingFlood(site.n2, GATEWAY[family], 100);
    await pingFlood(site.inside, CLIENT[family], 100);
  }
}, ["ping"]);

labTest("netns.sh: the padding of a packet does not pass an odd MTU", async () => {
  // 1269 + 8 + 20 bytes of a ping padded to 16 would be 1312. The MTU cuts that at 1299, and with
  // WireGuard's 32 and 28 of UDP and IPv4 that makes 1359.
  await using site = await Site.start({ mtu: 1299, isQuiet: true });
  await countLengths(site.client, [1359, 1360]);
  await countLengths(site.gatewayHost, [1359, 1360]);
  await pingOnce(site.client, GATEWAY[4], "-s", "1269");
  assert.deepEqual(await lengths(site.gatewayHost), [1, 0]);
  assert.deepEqual(await lengths(site.client), [1, 0]);
}, ["ping"]);

/** Counts IPv4 packets that arrive, each of `sizes` and more, up to the next. */
async function countLengths(host: Host, sizes: number[]): Promise<void> {
  const rules = sizes.map((size, index) => {
    const end = sizes[index + 1];
    const range = end === undefined ? `>= ${size}` : `${size}-${end - 1}`;
    return `iifname wan ip length ${range} counter`;
  });
  await host.output(["nft", "-f", "-"], {
    input: `table inet lengths { chain input { type filter hook input priority 0;
      ${rules.join("\n")}
    }; }\n`,
  });
}

async function lengths(host: Host): Promise<number[]> {
  const text = await host.output(["nft", "list", "chain", "inet", "lengths", "input"]);
  return [...text.matchAll(/counter packets (\d+)/g)].map(([, count]) => Number(count));
}
