import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { tries } from "../tries.ts";
import { promptLabTest } from "./lab.ts";
import { PORTS } from "./ports.ts";
import { GATEWAY, Site, TARGET } from "./site.ts";

const REFUSALS = fileURLToPath(new URL("./refusals.py", import.meta.url));
/** More than a round trip takes on a busy machine, less than a SYN that is sent again. */
const PROMPT_MS = 800;

promptLabTest(
  "what a rule rejects is refused in one round trip: connections, datagrams and pings, of both families",
  async () => {
    await using site = await Site.start({
      subject: "deno task start",
      pingGroups: "0 2147483647",
      proxy: ["Subnets = 10.50.0.0/16, fd50::/64", "[Rule]", "Action = reject"],
    });
    await site.client.sysctl("net.ipv4.ping_group_range=0 2147483647");
    await site.client.output(["ping", "-c", "1", "-w", "60", GATEWAY[4]]);
    // RFC 1812 §5.2.7.1 and RFC 4443 §3.1, as Linux has them.
    const byIcmp = { 4: "EHOSTUNREACH", 6: "EACCES" } as const;
    const expected: Record<string, string> = {};
    for (const family of [4, 6] as const) {
      expected[`tcp ${TARGET[family]} ${PORTS.http}`] = "ECONNREFUSED";
      expected[`udp ${TARGET[family]} ${PORTS.echo}`] = byIcmp[family];
      expected[`ping ${TARGET[family]}`] = byIcmp[family];
    }
    await tries(5, async () => {
      const stdout = await site.client.output(["python3", REFUSALS, ...Object.keys(expected)]);
      const found = Object.entries(JSON.parse(stdout) as Record<string, [string, number]>);
      assert.deepEqual(Object.fromEntries(found.map(([what, [error]]) => [what, error])), expected);
      for (const [what, [, ms]] of found) assert.ok(ms < PROMPT_MS, `${what}: ${ms} ms`);
    });
  },
  ["ping", "python3"],
);
