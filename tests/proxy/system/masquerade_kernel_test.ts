/**
 * What the rules of a masquerade let through, by a kernel; the tunnel's device is a cable here.
 *
 * @module
 */

import assert from "node:assert/strict";
import { LinuxSystem, Nftables } from "../../../ffi/mod.ts";
import { Netlink } from "../../../ffi/netlink/mod.ts";
import { parsePrefix } from "../../../proxy/address.ts";
import { planMasquerade } from "../../../proxy/system/masquerade.ts";
import { networksScript } from "../../../proxy/system/masquerade_script.ts";
import { masqueradeView } from "../../../proxy/system/masquerade_view.ts";
import { sysctlPath } from "../../../proxy/system/step.ts";
import { aloneLabTest, type Host, Lab } from "../../e2e/lab.ts";
import { within } from "../../e2e/network_namespace.ts";

/** client ── wg0, server, eth0 ── public; and eth1 ── inside. */
async function site(lab: Lab) {
  const [client, server, open, inside] = await Promise.all(
    ["client", "server", "public", "inside"].map((name) => lab.host(name)),
  ) as [Host, Host, Host, Host];
  await lab.connect(
    { host: client, device: "eth0", addresses: ["10.0.0.2/24", "fd09::2/64"] },
    { host: server, device: "wg0", addresses: ["10.0.0.1/24", "fd09::1/64"] },
  );
  await lab.connect(
    { host: server, device: "eth0", addresses: ["192.0.2.1/24", "2001:db8::1/64"] },
    { host: open, device: "eth0", addresses: ["192.0.2.9/24", "2001:db8::9/64"] },
  );
  await lab.connect(
    { host: server, device: "eth1", addresses: ["172.16.0.1/24", "fd16::1/64"] },
    { host: inside, device: "eth0", addresses: ["172.16.0.9/24", "fd16::9/64"] },
  );
  await client.ip("route add default via 10.0.0.1", "route add default via fd09::1");
  await server.ip("route add default via 192.0.2.9", "route add default via 2001:db8::9");
  // They would answer a client if its packets came as they are.
  await inside.ip("route add default via 172.16.0.1", "route add default via fd16::1");
  return { client, server, open, inside };
}

async function pings(from: Host, to: string): Promise<boolean> {
  const { code } = await from.run(["ping", "-c", "1", "-W", "1", to]);
  return code === 0;
}

const NETWORKS = ["10.0.0.0/24", "fd09::/64"].map((text) => parsePrefix(text)!);

function plan(server: Host, nftables: Nftables, force: boolean) {
  return within(server, () => {
    using netlink = new Netlink();
    using system = new LinuxSystem();
    const view = masqueradeView("wg0", { netlink, nftables, system });
    const settings = { device: "wg0", mtu: 1280, networks: NETWORKS, force };
    const planned = planMasquerade(settings, view);
    for (const { action } of planned.steps) {
      if (action.kind === "nft") nftables.run(action.script);
      else if (action.kind === "sysctl") system.writeText(sysctlPath(action.key), action.value);
      else assert.fail(action.kind);
    }
    return planned;
  });
}

aloneLabTest(
  "clients get out by the device of the default route alone, and nobody gets in",
  async () => {
    await using lab = await Lab.create();
    const { client, server, open, inside } = await site(lab);
    assert.equal(await pings(client, "192.0.2.9"), false, "nothing is forwarded before");
    using nftables = new Nftables();
    const { masquerade, warnings } = plan(server, nftables, false);
    assert.deepEqual(masquerade.outlets, { 4: "eth0", 6: "eth0" });
    assert.deepEqual(warnings, []);
    for (const target of ["192.0.2.9", "2001:db8::9"]) {
      assert.ok(await pings(client, target), `${target} is reached, from the server's address`);
    }
    for (const target of ["172.16.0.9", "fd16::9"]) {
      const { stdout } = await client.run(["ping", "-c", "1", "-W", "1", target]);
      assert.match(stdout, /Packet filtered|prohibited/i, target);
    }
    await open.ip("route add 10.0.0.0/24 via 192.0.2.1", "route add fd09::/64 via 2001:db8::1");
    await open.ip("route add 172.16.0.0/24 via 192.0.2.1", "route add fd16::/64 via 2001:db8::1");
    for (const target of ["10.0.0.2", "fd09::2", "fd16::9"]) {
      assert.equal(await pings(open, target), false, `${target} from outside`);
    }
    assert.equal(await pings(inside, "10.0.0.2"), false);
    assert.equal(await pings(inside, "192.0.2.9"), false, "others are forwarded nowhere");

    // A client of a network that is added.
    await client.ip("address add 10.7.0.2/24 dev eth0");
    await server.ip("route add 10.7.0.0/24 dev wg0");
    const from7 = ["ping", "-c", "1", "-W", "1", "-I", "10.7.0.2", "192.0.2.9"];
    assert.notEqual((await client.run(from7)).code, 0);
    const networks = [...NETWORKS, parsePrefix("10.7.0.0/24")!];
    within(server, () => nftables.run(networksScript({ ...masquerade, networks })));
    assert.equal((await client.run(from7)).code, 0);
  },
);

aloneLabTest("a segment's largest size becomes what fits into the tunnel, both ways", async () => {
  await using lab = await Lab.create();
  const { client, server, open } = await site(lab);
  using nftables = new Nftables();
  plan(server, nftables, false);
  const serve = "import socket,sys\n" +
    "s=socket.create_server(('::',80),family=socket.AF_INET6,dualstack_ipv6=True)\n" +
    "print('listening',flush=True)\n" +
    "while True:\n" +
    "  c,_=s.accept()\n" +
    "  print(c.getsockopt(socket.IPPROTO_TCP,socket.TCP_MAXSEG),flush=True)\n";
  const listener = open.spawn("listener", ["python3", "-c", serve]);
  await listener.line(/listening/);
  const dial = (target: string) =>
    client.output([
      "python3",
      "-c",
      `import socket
c=socket.create_connection(("${target}",80))
print(c.getsockopt(socket.IPPROTO_TCP,socket.TCP_MAXSEG))`,
    ]);
  // Less the timestamp option, which the kernel counts in.
  for (const [target, most] of [["192.0.2.9", 1240 - 12], ["2001:db8::9", 1220 - 12]] as const) {
    const from = listener.lines.length;
    assert.equal(Number(await dial(target)), most, `the client's, ${target}`);
    const line = await listener.line(/^\d+$/, { from });
    assert.equal(Number(line[0]), most, `the target's, ${target}`);
  }
}, ["python3"]);

/** As Docker and firewalld have them, and two that are not in the way. */
const FOREIGN = `
table ip filter {
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
  }
  chain INPUT {
    type filter hook input priority filter; policy drop;
    accept
  }
}
table inet other {
  chain last {
    type filter hook forward priority 10; policy accept;
    ip protocol esp accept
    counter reject with icmpx type admin-prohibited
  }
  chain harmless {
    type filter hook forward priority 20; policy accept;
    ip protocol esp drop
  }
}
`;

aloneLabTest(
  "a foreign chain that drops is found and named, or opened",
  async () => {
    await using lab = await Lab.create();
    const { client, server } = await site(lab);
    using nftables = new Nftables();
    within(server, () => nftables.run(FOREIGN));
    const first = plan(server, nftables, false);
    const named = first.warnings.map((line) => line.split(":")[0]);
    assert.deepEqual(named, ["ip filter FORWARD", "inet other last"]);
    assert.equal(await pings(client, "192.0.2.9"), false);
    // By hand, as told.
    for (const line of first.warnings) {
      await server.output(["sh", "-c", line.slice(line.indexOf("or by: ") + "or by: ".length)]);
    }
    assert.ok(await pings(client, "192.0.2.9"));
    assert.ok(await pings(client, "2001:db8::9"));
    assert.deepEqual(plan(server, nftables, false).warnings, []);

    within(server, () => nftables.run(`flush ruleset\n${FOREIGN}`));
    const forced = plan(server, nftables, true);
    assert.deepEqual(forced.warnings, []);
    assert.ok(await pings(client, "192.0.2.9"));
    assert.equal(forced.steps.filter(({ undo }) => undo?.kind === "nft-rule").length, 2);
  },
);
