/** `ping` and `traceroute` to targets behind the gateway. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { eventually, type Host, Lab, labTest } from "../lab.ts";
import { NetnsSite } from "../netns_site.ts";
import { ABSENT, GATEWAY, INSIDE, SILENT, Site, TARGET } from "../site.ts";

/** Everybody may ping, also the gateway's user; a namespace begins with nobody. */
const EVERYBODY = "0 2147483647";
const SUBJECT = "deno task start";
/** Behind the target, which is a router here, on a network that the gateway's host has a route to. */
const FAR = { 4: "10.50.9.2", 6: "fd50:0:0:9::2" } as const;
const FAMILIES = [4, 6] as const;
/** Of the target, to pings of an address of its own: neighbours find it still. */
const SILENCE = ["ip6", "daddr", SILENT[6], "icmpv6", "type", "echo-request", "drop"];

interface Pinged {
  readonly text: string;
  readonly received: number;
  readonly errors: number;
}

async function ping(host: Host, target: string, ...options: (string | number)[]): Promise<Pinged> {
  const command = ["ping", "-n", ...options.map(String), target];
  const { stdout, stderr } = await host.run(command);
  const text = stdout + stderr;
  const summary = text.match(/transmitted, (\d+) received(?:, \+(\d+) errors)?/);
  assert.ok(summary, text);
  return { text, received: Number(summary[1]), errors: Number(summary[2] ?? 0) };
}

async function icmpCounters(site: Site): Promise<Record<string, number>> {
  const { counters } = await site.gateway.stats();
  return (counters as Record<string, Record<string, number>>).icmpForwarder!;
}

labTest("a target is pinged through the gateway of an ordinary user, of any size", async () => {
  await using site = await Site.start({ subject: SUBJECT, pingGroups: EVERYBODY });
  for (const family of FAMILIES) {
    const small = await ping(site.client, TARGET[family], "-c", 3, "-i", 0.2, "-w", 60);
    assert.ok(small.received >= 3, small.text);
    // The target's 64, less one for the gateway.
    assert.match(small.text, /ttl=63/);
    assert.equal((await ping(site.client, TARGET[family], "-c", 1, "-w", 60, "-t", 2)).received, 1);
    // Every byte comes back: ping compares them.
    for (const size of [0, 1392, 1393, 9000, 65_000]) {
      const sized = await ping(
        site.client,
        TARGET[family],
        "-c",
        2,
        "-i",
        0.3,
        "-s",
        size,
        "-w",
        60,
      );
      assert.ok(sized.received >= 2, sized.text);
      assert.doesNotMatch(sized.text, /wrong data|truncated/);
    }
  }
  const { sendErrors, noBuffer, noRoom, filtered } = await icmpCounters(site);
  assert.deepEqual([sendErrors, noBuffer, noRoom, filtered], [0, 0, 0, 0]);
});

labTest("two clients with the same identifier do not get each other's replies", async () => {
  await using site = await NetnsSite.start({ subject: SUBJECT, pingGroups: EVERYBODY });
  const options = ["-e", 4711, "-c", 20, "-i", 0.1, "-w", 60];
  for (const family of FAMILIES) {
    const [one, two] = await Promise.all([
      ping(site.n2, TARGET[family], ...options, "-p", "11", "-s", 100),
      ping(site.inside, TARGET[family], ...options, "-p", "22", "-s", 300),
    ]);
    for (const { received, text } of [one!, two!]) {
      assert.ok(received >= 20, text);
      assert.doesNotMatch(text, /wrong data|DUP|truncated/);
    }
    assert.doesNotMatch(one!.text, /308 bytes/);
    assert.doesNotMatch(two!.text, /108 bytes/);
  }
});

labTest(
  "what does not answer is silent, what cannot be reached is said so, by the gateway",
  async () => {
    await using site = await Site.start({ subject: SUBJECT, pingGroups: EVERYBODY });
    // Of IPv6 it answers pings where it says nothing else.
    await site.target.output(["nft", "add", "rule", "inet", "silent", "input", ...SILENCE]);
    for (const family of FAMILIES) {
      const before = await icmpCounters(site);
      const dead = await ping(site.client, SILENT[family], "-c", 2, "-W", 1);
      assert.deepEqual([dead.received, dead.errors], [0, 0], dead.text);
      const { requests } = await icmpCounters(site);
      assert.equal(requests! - before.requests!, 2, "they have gone to the target");
      const absent = await ping(site.client, ABSENT[family], "-c", 1, "-W", 30);
      assert.equal(absent.received, 0, absent.text);
      assert.match(
        absent.text,
        new RegExp(
          `From ${GATEWAY[family]} icmp_seq=1 Destination ${
            family === 4 ? "Host Unreachable" : "unreachable: Address unreachable"
          }`,
        ),
      );
    }
    // This host's own addresses are not handed out.
    const own = await ping(site.client, INSIDE[4], "-c", 1, "-W", 30);
    assert.match(own.text, /From 10\.9\.0\.1 icmp_seq=1 Packet filtered/);
  },
);

labTest(
  "rules hold for pings: a rule without Ports covers them, one with Ports if it lists icmp",
  async () => {
    await using site = await Site.start({
      subject: SUBJECT,
      pingGroups: EVERYBODY,
      proxy: [
        "Subnets = 10.50.0.0/16, fd50::/64",
        "[Rule]",
        "To = 10.50.0.100/32",
        "Ports = tcp/80",
        "Action = reject",
        "[Rule]",
        "To = 10.50.0.100/32",
        "Ports = icmp",
        `Rewrite = ${TARGET[4]}`,
        "[Rule]",
        `To = ${SILENT[4]}/32`,
        "Action = drop",
        "[Rule]",
        `To = ${TARGET[4]}/32`,
        "Ports = udp/53, icmp",
        "Action = reject",
      ],
    });
    const rewritten = await ping(site.client, "10.50.0.100", "-c", 2, "-i", 0.2, "-w", 60);
    assert.ok(rewritten.received >= 2, rewritten.text);
    assert.match(rewritten.text, /64 bytes from 10\.50\.0\.100: icmp_seq=1/);
    const rejected = await ping(site.client, TARGET[4], "-c", 1, "-W", 30);
    assert.match(rejected.text, /From 10\.9\.0\.1 icmp_seq=1 Packet filtered/);
    const dropped = await ping(site.client, SILENT[4], "-c", 1, "-W", 1);
    assert.deepEqual([dropped.received, dropped.errors], [0, 0], dropped.text);
  },
);

labTest(
  "where the system forbids pings one line says so, and nobody answers in a target's name",
  async () => {
    await using site = await Site.start({ subject: SUBJECT, pingGroups: "1 0" });
    await site.gateway.process.line(/net\.ipv4\.ping_group_range/);
    const lines = site.gateway.process.lines.filter((line) =>
      line.includes("net.ipv4.ping_group_range")
    );
    assert.equal(lines.length, 1, lines.join("\n"));
    for (const family of FAMILIES) {
      const { received, text } = await ping(site.client, TARGET[family], "-c", 1, "-W", 1);
      assert.equal(received, 0, text);
    }
    const { received } = await ping(site.client, GATEWAY[4], "-c", 1, "-w", 60);
    assert.equal(received, 1, "its own address it answers for");
  },
);

labTest("without FFI one line says so, and nobody answers in a target's name", async () => {
  const subject = "deno task start:sandbox";
  await using site = await Site.start({ subject, pingGroups: EVERYBODY });
  await site.gateway.process.line(/pings of targets/);
  const lines = site.gateway.process.lines.filter((line) => /pings of targets/.test(line));
  assert.equal(lines.length, 1, lines.join("\n"));
  const { received, text } = await ping(site.client, TARGET[4], "-c", 1, "-W", 1);
  assert.equal(received, 0, text);
});

labTest("the sockets of pings do what they promise, where the system allows them", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("icmp");
  await host.sysctl(`net.ipv4.ping_group_range=${EVERYBODY}`);
  const file = fileURLToPath(new URL("../../ffi/icmp_test.ts", import.meta.url));
  const command = [Deno.execPath(), "test", "--no-prompt", "--allow-all", "--no-check", file];
  const { stdout } = await host.run(command);
  assert.match(stdout, /[1-9]\d* passed/);
  assert.doesNotMatch(stdout, /[1-9]\d* (?:failed|ignored)/);
});

/** The hops that `traceroute` prints, each the addresses that answered. */
async function traceroute(host: Host, target: string, ...options: string[]): Promise<string[][]> {
  const command = ["traceroute", "-n", "-q", "2", "-w", "30", "-m", "6", ...options, target];
  const text = await host.output(command);
  const isAddress = (word: string) => /^(?:\d+\.){3}\d+$|^[0-9a-f]*:[0-9a-f:]*$/.test(word);
  return text.trimEnd().split("\n").slice(1)
    .map((line) => [...new Set(line.split(/ +/).filter(isAddress))]);
}

labTest(
  "traceroute shows the gateway, the router behind it and the target; by TCP without the router",
  async () => {
    await using site = await Site.start({
      subject: SUBJECT,
      pingGroups: EVERYBODY,
      proxy: ["Subnets = 10.50.0.0/16, fd50::/48"],
      routes: ["fd50:0:0:9::/64"],
    });
    const { lab, gatewayHost, target: router } = site;
    const far = await lab.host("far");
    await lab.connect(
      { host: router, device: "far", addresses: ["10.50.9.1/24", "fd50:0:0:9::1/64"] },
      { host: far, device: "lan", addresses: [`${FAR[4]}/24`, `${FAR[6]}/64`] },
    );
    await router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    // One run after another would find the kernel silent: it reports once a second to an address.
    for (const host of [router, far]) {
      await host.sysctl("net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0");
    }
    await gatewayHost.ip(
      `route add 10.50.9.0/24 via ${TARGET[4]}`,
      `route add fd50:0:0:9::/64 via ${TARGET[6]}`,
    );
    await far.ip("route add default via 10.50.9.1", "route add default via fd50:0:0:9::1");
    const to = async (options: string[], family: 4 | 6) =>
      await traceroute(site.client, FAR[family], `-${family}`, ...options);
    for (const family of FAMILIES) {
      // The router may answer from the other one of its addresses there.
      const router = family === 4 ? TARGET[4] : SILENT[6];
      const all = [[GATEWAY[family]], [router], [FAR[family]]];
      assert.deepEqual(await to(["-I"], family), all, `ICMP ${family}`);
      assert.deepEqual(await to(["-U"], family), all, `UDP to port 53, ${family}`);
      assert.deepEqual(await to([], family), all, `UDP ${family}`);
      const tcp = [[GATEWAY[family]], [FAR[family]]];
      assert.deepEqual(await to(["-T", "-p", "9"], family), tcp, `TCP ${family}`);
    }
  },
  ["traceroute"],
);

for (const family of FAMILIES) {
  labTest(
    `a flood of one peer's IPv${family} pings is cut at its rate, and another's go through`,
    async () => {
      await using site = await NetnsSite.start({
        subject: SUBJECT,
        pingGroups: EVERYBODY,
        proxy: ["Subnets = 10.50.0.0/16, fd50::/64", "MaxPingRate = 50"],
      });
      const start = performance.now();
      const flood = site.n2.spawn("flood", ["ping", "-q", "-f", "-i", "0.001", TARGET[family]]);
      const calm = await ping(site.inside, TARGET[family], "-c", 10, "-i", 0.3, "-w", 60);
      assert.ok(calm.received >= 10, calm.text);
      // Without replies ping sends a hundred per second.
      await eventually("many are dropped", async () => {
        return (await icmpCounters(site.site)).flooded! > 100;
      });
      const { requests } = await icmpCounters(site.site);
      flood.signal("SIGINT");
      await flood.exit();
      const seconds = (performance.now() - start) / 1000;
      assert.ok(requests! < 50 * Math.max(10, seconds + 3), `${requests} sent on in ${seconds} s`);
    },
  );
}
