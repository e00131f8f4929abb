/**
 * What a file's rules let through: each file is one reload of the same gateway, and what is tried is
 * tried from another host's kernel, through a real tunnel.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { eventually, labTest } from "./lab.ts";
import type { Process } from "./process.ts";
import { PORTS } from "./ports.ts";
import { SILENT, Site, TARGET } from "./site.ts";
import { keyPair } from "./wireguard_go.ts";
import { Defect, tries } from "../tries.ts";

const PROBE = fileURLToPath(new URL("./rule_probe.ts", import.meta.url));

/** Answers; by a RST or ICMP administratively prohibited, at once; nothing comes. */
type Outcome = "passed" | "rejected" | "silent";

interface Case {
  readonly name: string;
  /** What stands behind `Subnets` of `[Proxy]`. */
  readonly file: string;
  /** By `tcp ADDRESS PORT`, `udp ADDRESS PORT` or `ping ADDRESS`. */
  readonly expected: Readonly<Record<string, Outcome>>;
  /** What passes once a name is resolved, which is done in the background. */
  readonly passesLater?: string;
}

const T = TARGET[4], T6 = TARGET[6];
const HTTP = `tcp ${T} ${PORTS.http}`, HTTP6 = `tcp ${T6} ${PORTS.http}`;
const ECHO = `tcp ${T} ${PORTS.echo}`;
const UDP = `udp ${T} ${PORTS.echo}`, UDP6 = `udp ${T6} ${PORTS.echo}`;
const PING = `ping ${T}`, PING6 = `ping ${T6}`;
const all = (outcome: Outcome) => ({
  [HTTP]: outcome,
  [HTTP6]: outcome,
  [UDP]: outcome,
  [UDP6]: outcome,
  [PING]: outcome,
  [PING6]: outcome,
});

const CASES: readonly Case[] = [
  {
    name: "no rules",
    file: "",
    expected: { ...all("passed"), [`tcp ${T} ${PORTS.closed}`]: "rejected" },
  },
  { name: "everything is rejected", file: "Default = reject", expected: all("rejected") },
  { name: "everything is dropped", file: "Default = drop", expected: all("silent") },
  { name: "a rule for everything", file: "Default = drop\n[Rule]", expected: all("passed") },
  {
    name: "one host, and nothing else",
    file: `Default = reject\n[Rule]\nTo = ${T}`,
    expected: {
      ...all("passed"),
      [HTTP6]: "rejected",
      [UDP6]: "rejected",
      [PING6]: "rejected",
      [`tcp ${SILENT[4]} 80`]: "rejected",
    },
  },
  {
    name: "one port, and silence",
    file: `Default = drop\n[Rule]\nTo = ${T}\nPorts = tcp/${PORTS.http}`,
    expected: { [HTTP]: "passed", [ECHO]: "silent", [UDP]: "silent", [PING]: "silent" },
  },
  {
    name: "one port is rejected",
    file: `[Rule]\nPorts = tcp/${PORTS.http}\nAction = reject`,
    expected: { ...all("passed"), [HTTP]: "rejected", [HTTP6]: "rejected", [ECHO]: "passed" },
  },
  {
    name: "a protocol is dropped",
    file: "[Rule]\nPorts = udp\nAction = drop",
    expected: { ...all("passed"), [UDP]: "silent", [UDP6]: "silent" },
  },
  {
    name: "a range of ports",
    file: "[Rule]\nPorts = tcp/1-79\nAction = drop",
    expected: { [HTTP]: "passed", [ECHO]: "silent", [UDP]: "passed" },
  },
  {
    name: "the first rule that matches decides",
    file: `[Rule]\nPorts = tcp/${PORTS.http}\n[Rule]\nPorts = tcp\nAction = reject`,
    expected: { [HTTP]: "passed", [ECHO]: "rejected", [UDP]: "passed" },
  },
  {
    name: "a peer by its name",
    file: "[Rule]\nFrom = laptop\nAction = reject",
    expected: all("rejected"),
  },
  {
    name: "another peer",
    file: "[Rule]\nFrom = my guest\nAction = reject",
    expected: all("passed"),
  },
  {
    name: "a peer by one of its addresses",
    file: "[Rule]\nFrom = 10.9.0.0/29\nAction = reject",
    expected: { [HTTP]: "rejected", [UDP]: "rejected", [PING]: "rejected", [HTTP6]: "passed" },
  },
  {
    name: "a network of IPv6",
    file: "[Rule]\nTo = fd50::/64\nAction = reject",
    expected: {
      ...all("passed"),
      [HTTP6]: "rejected",
      [UDP6]: "rejected",
      [PING6]: "rejected",
    },
  },
  {
    name: "only pings",
    file: "Default = reject\n[Rule]\nPorts = icmp",
    expected: { ...all("rejected"), [PING]: "passed", [PING6]: "passed" },
  },
  {
    name: "a rule with ports is not about pings",
    file: "Default = drop\n[Rule]\nPorts = tcp, udp",
    expected: { ...all("passed"), [PING]: "silent", [PING6]: "silent" },
  },
  {
    name: "another address",
    file: `[Rule]\nTo = 10.50.0.77, fd50::77\nRewrite = ${T}`,
    expected: {
      [`tcp 10.50.0.77 ${PORTS.http}`]: "passed",
      [`udp 10.50.0.77 ${PORTS.echo}`]: "passed",
      "ping 10.50.0.77": "passed",
      [`tcp fd50::77 ${PORTS.http}`]: "passed",
      [`udp fd50::77 ${PORTS.echo}`]: "passed",
    },
  },
  {
    name: "another address and port",
    file:
      `Default = reject\n[Rule]\nTo = 10.50.0.77\nPorts = tcp/8443\nRewrite = ${T}:${PORTS.http}\n` +
      `[Rule]\nTo = 10.50.0.77\nPorts = udp/5000\nRewrite = ${T}:${PORTS.echo}`,
    expected: {
      "tcp 10.50.0.77 8443": "passed",
      "tcp 10.50.0.77 8444": "rejected",
      "udp 10.50.0.77 5000": "passed",
      "udp 10.50.0.77 5001": "rejected",
      [HTTP]: "rejected",
    },
  },
  {
    name: "an address of IPv6 for both families, and its port",
    file:
      `Default = reject\n[Rule]\nTo = 10.50.0.77, fd50::77\nPorts = tcp/8443\nRewrite = [${T6}]:${PORTS.http}\n` +
      `[Rule]\nTo = 10.50.0.78, fd50::78\nRewrite = ${T6}`,
    expected: {
      "tcp 10.50.0.77 8443": "passed",
      "tcp fd50::77 8443": "passed",
      "tcp fd50::77 8444": "rejected",
      [`tcp 10.50.0.78 ${PORTS.http}`]: "passed",
      [`tcp fd50::78 ${PORTS.closed}`]: "rejected",
      [`udp 10.50.0.78 ${PORTS.echo}`]: "passed",
      [`udp fd50::78 ${PORTS.echo}`]: "passed",
      "ping 10.50.0.78": "passed",
      "ping fd50::78": "passed",
      [HTTP6]: "rejected",
    },
  },
  {
    name: "another port alone",
    file: `[Rule]\nPorts = tcp/8080\nRewrite = :${PORTS.http}`,
    expected: {
      [`tcp ${T} 8080`]: "passed",
      [`tcp ${T6} 8080`]: "passed",
      [`tcp ${T} ${PORTS.closed}`]: "rejected",
    },
  },
  {
    name: "another network, the host's place kept",
    file: "[Rule]\nTo = 10.50.7.0/24\nRewrite = 10.50.0.0/24",
    expected: {
      [`tcp 10.50.7.2 ${PORTS.http}`]: "passed",
      [`udp 10.50.7.2 ${PORTS.echo}`]: "passed",
      "ping 10.50.7.2": "passed",
      [`tcp 10.50.7.3 ${PORTS.http}`]: "silent",
    },
  },
  {
    name: "another network of IPv6, the host's place kept",
    file: "[Rule]\nTo = fd50::7:0/112\nRewrite = fd50::/112",
    expected: {
      [`tcp fd50::7:2 ${PORTS.http}`]: "passed",
      [`udp fd50::7:2 ${PORTS.echo}`]: "passed",
      "ping fd50::7:2": "passed",
      [`tcp fd50::7:2 ${PORTS.closed}`]: "rejected",
      [`tcp fd50::7:3 ${PORTS.http}`]: "silent",
    },
  },
  {
    name: "a peer by its network of IPv6",
    file: "[Rule]\nFrom = fd09::/125\nAction = drop",
    expected: { ...all("passed"), [HTTP6]: "silent", [UDP6]: "silent", [PING6]: "silent" },
  },
  {
    name: "a map, and rules about what is asked for",
    file:
      `Default = reject\nMap = 10.50.7.2 -> ${T}\n[Rule]\nTo = 10.50.7.2\nPorts = tcp/${PORTS.http}`,
    expected: {
      [`tcp 10.50.7.2 ${PORTS.http}`]: "passed",
      [`tcp 10.50.7.2 ${PORTS.echo}`]: "rejected",
      [HTTP]: "rejected",
    },
  },
  {
    name: "a host by its name",
    file: "[Rule]\nTo = 10.50.0.77\nRewrite = db.corp.test",
    expected: { [`tcp 10.50.0.77 ${PORTS.http}`]: "passed" },
  },
  {
    name: "a host by a name that has IPv6 alone",
    file: "[Rule]\nTo = 10.50.0.77, fd50::77\nRewrite = six.corp.test",
    expected: {
      [`tcp 10.50.0.77 ${PORTS.http}`]: "passed",
      [`tcp fd50::77 ${PORTS.http}`]: "passed",
      [`udp 10.50.0.77 ${PORTS.echo}`]: "passed",
      [`udp fd50::77 ${PORTS.echo}`]: "passed",
      "ping fd50::77": "passed",
    },
  },
  {
    name: "one host by a name that has IPv6 alone, and nothing else",
    file: "Default = reject\n[Rule]\nTo = six.corp.test",
    expected: {
      ...all("rejected"),
      [HTTP6]: "passed",
      [UDP6]: "passed",
      [PING6]: "passed",
    },
    passesLater: HTTP6,
  },
  {
    name: "one host by its name, and nothing else",
    file: "Default = reject\n[Rule]\nTo = db.corp.test",
    expected: {
      [HTTP]: "passed",
      [UDP]: "passed",
      [PING]: "passed",
      [HTTP6]: "rejected",
      [UDP6]: "rejected",
      [`tcp ${SILENT[4]} 80`]: "rejected",
    },
    passesLater: HTTP,
  },
  {
    name: "this host's loopback of IPv6, by a prefix",
    file: "[Rule]\nTo = fd50::/64\nRewrite = ::/64",
    expected: {
      "tcp fd50::1 22": "rejected",
      "udp fd50::1 53": "rejected",
      [HTTP6]: "rejected",
      [HTTP]: "passed",
    },
  },
  {
    name: "this host's loopback, by a name", // TCP has ICMP too, which is counted
    file: "[Rule]\nPorts = udp\nRewrite = lo.corp.test",
    expected: { [UDP]: "rejected", [UDP6]: "rejected", [HTTP]: "passed", [HTTP6]: "passed" },
  },
  {
    name: "this host's loopback, by a prefix",
    file: "[Rule]\nTo = 10.50.0.0/24\nRewrite = 127.0.0.0/24",
    expected: { [HTTP]: "rejected", [UDP]: "rejected", [HTTP6]: "passed" },
  },
];

labTest("rules: what each of some files lets through, rejects at once, and drops", async (t) => {
  const guest = await keyPair();
  await using site = await Site.start({
    subject: "deno task start",
    gatewaySidePeer: { lines: ["Name = laptop"] },
    furtherPeers: [{
      publicKey: guest.publicKey,
      allowedIps: ["10.9.0.9/32"],
      lines: ["Name = my guest"],
    }],
    pingGroups: "0 65534",
    hosts: `127.0.0.1 localhost\n${T} db.corp.test\n${T6} six.corp.test\n::1 lo.corp.test\n`,
  });
  await countProhibited(site);
  const file = `${site.lab.directory}/${site.gatewayHost.namespace}.conf`;
  const config = await Deno.readTextFile(file);
  const probe = site.client.spawn("probe", [
    ...[Deno.execPath(), "run", "--no-lock", "--allow-net", "--unstable-net", PROBE],
  ]);
  await probe.line(/^probing$/);
  await site.client.output(["ping", "-c", "1", "-w", "60", "10.9.0.1"]);
  for (const { name, file: rules, expected, passesLater } of CASES) {
    await t.step(name, async () => {
      const from = site.gateway.process.lines.length;
      await Deno.writeTextFile(file, `${config}${rules}\n`);
      Deno.kill(site.gateway.process.worker, "SIGHUP");
      await site.gateway.process.line(/configuration reloaded|reloaded/, { from });
      if (passesLater !== undefined) {
        await eventually("the name is resolved", async () => {
          const { [passesLater]: outcome } = await attempt(site, probe, {
            [passesLater]: "passed",
          });
          return outcome === "passed" ? true : undefined;
        });
      }
      await tries(10, async () => {
        const before = await prohibited(site);
        const outcomes = await attempt(site, probe, expected);
        for (const [what, outcome] of Object.entries(outcomes)) {
          if (outcome === "passed" && expected[what] !== "passed") {
            throw new Defect(`${what} passed`);
          }
        }
        const byIcmp = Object.entries(expected).filter(([what, outcome]) =>
          outcome === "rejected" && !what.startsWith("tcp")
        );
        // A kernel does not tell a socket that is not connected: UDP's rejections are counted.
        for (const [what] of byIcmp) if (outcomes[what] === "silent") outcomes[what] = "rejected";
        assert.deepEqual(outcomes, expected);
        assert.equal(await prohibited(site) - before, byIcmp.length);
      });
    });
  }
}, ["ping"]);

/** Tries all at once. What should be silent, as what is rejected by ICMP, is not waited for long. */
async function attempt(
  site: Site,
  probe: Process,
  expected: Readonly<Record<string, Outcome>>,
): Promise<Record<string, string>> {
  const outcomes: Record<string, string> = {};
  const whats = Object.keys(expected);
  const isQuiet = (what: string) =>
    expected[what] === "silent" || expected[what] === "rejected" && what.startsWith("udp");
  const pings = whats.filter((what) => what.startsWith("ping"));
  const others = whats.filter((what) => !what.startsWith("ping"));
  const from = probe.lines.length;
  const probes = others.map((what) =>
    isQuiet(what) ? `${what}?` : expected[what] === "rejected" ? `${what}!` : what
  );
  await probe.send(`${JSON.stringify(probes)}\n`);
  await Promise.all(pings.map(async (what) => {
    const { stdout } = await site.client.run([
      ...["ping", "-n", "-c", "1", "-W", isQuiet(what) ? "0.2" : "30", what.slice(5)],
    ]);
    outcomes[what] = / 1 received/.test(stdout)
      ? "passed"
      : /filtered|prohibited/.test(stdout)
      ? "rejected"
      : /From/.test(stdout)
      ? stdout
      : "silent";
  }));
  const [, found] = await probe.line(/^probed (.*)$/, { from });
  (JSON.parse(found!) as string[]).forEach((outcome, i) => outcomes[others[i]!] = outcome);
  return outcomes;
}

/** RFC 1812 §5.2.7.1, RFC 4443 §3.1. */
async function countProhibited({ client }: Site): Promise<void> {
  await client.output(["nft", "-f", "-"], {
    input: `table inet prohibited { chain input { type filter hook input priority 0;
      icmp type destination-unreachable icmp code 13 counter;
      icmpv6 type destination-unreachable icmpv6 code 1 counter;
    }; }`,
  });
}

async function prohibited({ client }: Site): Promise<number> {
  const table = await client.output(["nft", "list", "table", "inet", "prohibited"]);
  return Array.from(table.matchAll(/packets (\d+)/g), ([, count]) => Number(count))
    .reduce((sum, count) => sum + count);
}
