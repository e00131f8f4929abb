/**
 * Against what `ip` says of the same kernel.
 *
 * @module
 */

import assert from "node:assert/strict";
import { MAIN_TABLE, Netlink, NetlinkError } from "../../../ffi/netlink/mod.ts";
import { type Host, Lab, labTest } from "../../e2e/lab.ts";
import { within } from "../../e2e/network_namespace.ts";

// deno-lint-ignore no-explicit-any
async function told(host: Host, ...what: string[]): Promise<any[]> {
  return JSON.parse(await host.output(["ip", "-j", ...what]));
}

/** A host with two interfaces, one of them with addresses and a default route. */
async function site(lab: Lab): Promise<Host> {
  const host = await lab.host("host");
  const other = await lab.host("other");
  await lab.connect(
    { host, device: "up0", addresses: ["192.0.2.2/24", "2001:db8::2/64"] },
    { host: other, device: "up1", addresses: ["192.0.2.1/24", "2001:db8::1/64"] },
  );
  await host.ip("link add dummy0 type veth peer name dummy1", "route add default via 192.0.2.1");
  return host;
}

labTest("what netlink lists is what ip lists", async () => {
  await using lab = await Lab.create();
  const host = await site(lab);
  using netlink = within(host, () => new Netlink());
  await host.ip(
    "route add 198.51.100.0/24 nexthop via 192.0.2.7 nexthop via 192.0.2.8",
    "route add 203.0.113.0/24 via 192.0.2.9 mtu 1300 table 51820 metric 7",
    "route add unreachable 10.0.0.0/8",
    "route add 2001:db8:7::/48 via 2001:db8::7 dev up0 src 2001:db8::2",
    "rule add not fwmark 51820 table 51820",
  );
  const rule = "from 2001:db8::/32 iif up0 table main suppress_prefixlength 0";
  await host.output(["ip", "-6", "rule", "add", ...rule.split(" ")]);
  const links = await told(host, "-d", "link");
  assert.deepEqual(
    netlink.links().map((link) => [link.index, link.name, link.mtu, link.up, link.kind]),
    links.map((link) => [
      ...[link.ifindex, link.ifname, link.mtu],
      ...[link.flags.includes("UP"), link.linkinfo?.info_kind],
    ]),
  );
  const addresses = (await told(host, "address")).flatMap(({ ifindex, addr_info }) =>
    addr_info.map((info: { local: string; prefixlen: number }) =>
      `${ifindex} ${info.local}/${info.prefixlen}`
    )
  );
  const listed = netlink.addresses().map((one) =>
    `${one.index} ${one.address}/${one.prefixLength}`
  );
  assert.deepEqual(listed.sort(), addresses.sort());
  const names = new Map(links.map((link) => [link.ifname, link.ifindex]));
  for (const version of [4, 6] as const) {
    const routes = await told(host, `-${version}`, "-N", "route", "show", "table", "all");
    const any = version === 4 ? "0.0.0.0" : "::";
    const whole = version === 4 ? "/32" : "/128";
    const expected = routes.map((route) => ({
      destination: route.dst === "default"
        ? `${any}/0`
        : route.dst.includes("/")
        ? route.dst
        : `${route.dst}${whole}`,
      table: Number(route.table ?? MAIN_TABLE),
      device: names.get(route.dev),
      gateway: route.gateway,
      source: route.prefsrc,
      metric: route.metric ?? 0,
      mtu: route.metrics?.[0]?.mtu,
      protocol: Number(route.protocol ?? 3),
      hops: (route.nexthops ?? []).map((hop: { dev: string; gateway: string }) =>
        `${names.get(hop.dev)} ${hop.gateway}`
      ),
    }));
    const actual = netlink.routes().filter((route) => route.version === version).map((route) => ({
      destination: route.destination,
      table: route.table,
      // An unreachable one of IPv6 leads to loopback, which ip does not say.
      device: route.device,
      gateway: route.gateway,
      source: route.source,
      metric: route.metric,
      mtu: route.mtu,
      protocol: route.protocol,
      hops: route.nextHops.map(({ device, gateway }) => `${device} ${gateway}`),
    }));
    assert.deepEqual(actual, expected);
    const rules = await told(host, `-${version}`, "-N", "rule");
    assert.deepEqual(
      netlink.rules(version).map((rule) => [
        ...[rule.priority, String(rule.table), rule.not, rule.mark],
        ...[rule.source ?? "all", rule.inputDevice, rule.suppressPrefixLength],
      ]),
      rules.map((rule) => [
        ...[rule.priority, rule.table, "not" in rule],
        ...[rule.fwmark === undefined ? undefined : Number(rule.fwmark)],
        ...[rule.srclen === undefined ? rule.src : `${rule.src}/${rule.srclen}`],
        ...[rule.iif, rule.suppress_prefixlen],
      ]),
    );
  }
  assert.deepEqual(
    netlink.routes({ table: 51820 }).map(({ destination }) => destination),
    ["203.0.113.0/24"],
  );
  assert.deepEqual(netlink.routes({ table: 4711 }), []);
});

labTest("what netlink changes is there, and gone again, as ip sees it", async () => {
  await using lab = await Lab.create();
  const host = await site(lab);
  using netlink = within(host, () => new Netlink());
  const state = async () =>
    JSON.stringify([
      await told(host, "link"),
      await told(host, "address"),
      await told(host, "route", "show", "table", "all"),
      await told(host, "-6", "route", "show", "table", "all"),
      await told(host, "rule"),
      await told(host, "-6", "rule"),
    ], (key, value) =>
      key.endsWith("life_time") || key === "expires" || key === "qdisc" ? undefined : value);
  const before = await state();
  const { index } = netlink.link("dummy0")!;
  assert.equal(netlink.link(index)!.name, "dummy0");
  netlink.setLink(index, { mtu: 1420, withoutLinkLocal: true });
  netlink.setLink(index, { up: true });
  const routes = [
    { destination: "0.0.0.0/0", device: index, table: 51820 },
    { destination: "203.0.113.0/24", device: index, source: "10.7.0.1", mtu: 1300, metric: 9 },
    { destination: "2001:db8:9::/48", device: index, gateway: "fd07::2" },
    { destination: "198.51.100.0/24", type: "blackhole" },
    { destination: "2001:db8:8::/48", type: "unreachable" },
  ] as const;
  const rules = [
    { family: 4, not: true, mark: 51820, table: 51820, priority: 9 },
    { family: 4, table: MAIN_TABLE, suppressPrefixLength: 0, priority: 8 },
    { family: 6, source: "fd07::/64", mark: 1, mask: 1, table: 51820, priority: 7 },
  ] as const;
  for (const address of ["10.7.0.1/24", "fd07::1/64"]) netlink.addAddress(index, address);
  for (const route of routes) netlink.addRoute(route);
  for (const rule of rules) netlink.addRule(rule);
  const [link] = await told(host, "address", "show", "dummy0");
  assert.equal(link.mtu, 1420);
  assert.ok(link.flags.includes("UP"));
  const has = link.addr_info.map((info: { local: string }) => info.local);
  assert.deepEqual(has, ["10.7.0.1", "fd07::1"]);
  const [route] = await told(host, "route", "show", "203.0.113.0/24");
  assert.deepEqual([route.prefsrc, route.metric, route.metrics[0].mtu], ["10.7.0.1", 9, 1300]);
  assert.equal((await told(host, "rule")).length, 5);
  // A packet with the mark goes around.
  assert.equal(netlink.lookup("8.8.8.8").device, index);
  assert.equal(netlink.lookup("8.8.8.8", { mark: 51820 }).gateway, "192.0.2.1");
  assert.deepEqual(netlink.lookup("203.0.113.5"), {
    ...{ device: index, gateway: undefined, source: "10.7.0.1", table: MAIN_TABLE, mtu: 1300 },
  });
  assert.equal(netlink.lookup("2001:db8:9::5").mtu, 1420);
  for (const rule of rules) netlink.removeRule(rule);
  for (const route of routes) netlink.removeRoute(route);
  for (const address of ["10.7.0.1/24", "fd07::1/64"]) netlink.removeAddress(index, address);
  netlink.setLink(index, { up: false });
  netlink.setLink(index, { mtu: 1500 });
  await host.ip("link set dummy0 addrgenmode eui64");
  assert.equal(await state(), before);
  netlink.removeLink(index);
  assert.equal(netlink.link("dummy0"), undefined);
});

labTest("a refusal names what was tried, with the kernel's own reason", async () => {
  await using lab = await Lab.create();
  const host = await site(lab);
  using netlink = within(host, () => new Netlink());
  const { index } = netlink.link("up0")!;
  const cases: [() => void, RegExp][] = [
    [
      () => netlink.addAddress(index, "192.0.2.2/24"),
      /^cannot add 192\.0\.2\.2\/24 to interface \d+: (?:.+ \()?EEXIST\)?$/,
    ],
    [
      () => netlink.addRoute({ destination: "1.2.3.0/24", gateway: "9.9.9.9" }),
      /^cannot add the route 1\.2\.3\.0\/24 via 9\.9\.9\.9: .+ \(ENETUNREACH\)$/,
    ],
    [
      () => netlink.removeRoute({ destination: "7.0.0.0/8", table: 9 }),
      /^cannot remove the route 7\.0\.0\.0\/8 in table 9: .*ESRCH/,
    ],
    [
      () => netlink.removeRule({ family: 6, table: 9 }),
      /^cannot remove the rule of IPv6 for table 9: ENOENT$/,
    ],
    [
      () => netlink.setLink(4711, { up: true }),
      /^cannot change interface 4711 \(up: true\): ENODEV/,
    ],
    [
      () => netlink.setLink(index, { mtu: 1e6 }),
      /^cannot change interface \d+ \(mtu: 1000000\): .*EINVAL/,
    ],
  ];
  for (const [call, message] of cases) {
    assert.throws(call, (error) => error instanceof NetlinkError && message.test(error.message));
  }
  // The socket is in order after that.
  assert.equal(netlink.lookup("192.0.2.9").device, index);
});

labTest("a thousand routes are listed, each once", async () => {
  await using lab = await Lab.create();
  const host = await site(lab);
  using netlink = within(host, () => new Netlink());
  const device = netlink.link("up0")!.index;
  const wanted = Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  for (const destination of wanted) netlink.addRoute({ destination, device, table: 77 });
  assert.deepEqual(netlink.routes({ table: 77 }).map(({ destination }) => destination), wanted);
});

labTest("CAP_NET_ADMIN on the calling thread alone is enough, root is not needed", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  const probe = new URL("./capability_probe.ts", import.meta.url).pathname;
  const said = await host.output([
    ...[Deno.execPath(), "run", "--no-prompt", "--allow-all", probe],
  ], { timeoutMs: 60_000 });
  const { uid, threads } = JSON.parse(said);
  assert.equal(uid, 12345);
  const able = threads.filter((effective: string) => Number.parseInt(effective, 16) !== 0);
  assert.deepEqual(able, ["0000000000001000"]);
  assert.match(await host.output(["nft", "list", "tables"]), /wirestack-test/);
  assert.match(await host.output(["ip", "rule"]), /fwmark 0x7 lookup 7/);
});
