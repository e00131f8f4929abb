/** Targets that cannot be had, and targets that must not be had. */

import assert from "node:assert/strict";
import { SUBJECTS } from "../gateway.ts";
import { eventually, type Host, labTest } from "../lab.ts";
import { PORTS } from "../ports.ts";
import { ABSENT, type Family, INSIDE, LISTEN_PORT, SILENT, Site, TARGET } from "../site.ts";
import { Defect, tries } from "../../tries.ts";

/** The gateway's default, in ms, and what the test's own processes may take beside it. */
const DIAL_LIMIT = 5000;
const MARGIN = 1500;

/** When a kernel sends a SYN again that nobody answers, ms (RFC 6298 §2.1). */
const SYN_AGAIN = 1000;

/** Where a client's kernel may report what the gateway says: by RST or by an ICMP unreachable. */
const REFUSED = /^(?:ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EACCES)$/;

for (const subject of SUBJECTS) {
  labTest(`${subject}: a closed port is refused in one round trip`, async () => {
    await using site = await Site.start({ subject });
    for (const target of Object.values(TARGET)) {
      await tries(10, async () => {
        await countSyns(site.client);
        const { error, ms } = await site.ask("connect", target, PORTS.closed);
        assert.equal(error, "ECONNREFUSED");
        // RFC 6298 §2.1: a second SYN would have left after one second.
        assert.ok(ms < 1000, `${ms} ms`);
        assert.equal(await syns(site.client), 1);
      });
    }
  });

  labTest(`${subject}: an unreachable target is answered within the dial limit`, async () => {
    await using site = await Site.start({ subject });
    await Promise.all(
      Object.values(ABSENT).map(async (target) => {
        await tries(5, async () => {
          const { error, ms } = await site.ask("connect", target, PORTS.echo);
          assert.match(error, REFUSED);
          assert.ok(ms < DIAL_LIMIT + MARGIN, `${ms} ms`);
        });
      }),
    );
  });

  labTest(`${subject}: a silent target is answered at the dial limit`, async () => {
    await using site = await Site.start({ subject });
    await Promise.all(
      Object.values(SILENT).map(async (target) => {
        await tries(5, async () => {
          const { error, ms } = await site.ask("connect", target, PORTS.echo);
          assert.match(error, REFUSED);
          assert.ok(ms > DIAL_LIMIT - MARGIN && ms < DIAL_LIMIT + MARGIN, `${ms} ms`);
        });
      }),
    );
  });

  labTest(`${subject}: a target in a refused range is refused, whatever Subnets says`, async () => {
    const refused = [
      ...["169.254.169.254", "fd00:ec2::254", "64:ff9b::127.0.0.1"],
      ...Object.values(INSIDE),
    ];
    // RFC 1122 §3.2.1.3, RFC 4291 §2.5.3: a router drops these, whoever may ask.
    const dropped = ["127.0.0.1", "127.1.2.3", "::1"];
    await using site = await Site.start({
      subject,
      proxy: ["Subnets = 0.0.0.0/0, ::/0"],
      routes: ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"],
    });
    // What a careless gateway would reach: services of its own host, and a metadata service.
    await site.gatewayHost.addAddresses("lo", ["169.254.169.254/32", "fd00:ec2::254/128"]);
    const inside = serve(site.gatewayHost, site);
    await inside.line(/ready/);
    // The client's kernel sends these out only when told that they are not its own.
    await site.client.sysctl("net.ipv4.conf.all.route_localnet=1");
    const { device } = site.wireguard;
    await site.client.ip(
      "route del local 127.0.0.0/8 dev lo table local",
      "route del local 127.0.0.1 dev lo table local",
      "route del local ::1 dev lo table local",
      `route add 127.0.0.0/8 dev ${device} src 10.9.0.2`,
      `route add ::1/128 dev ${device} src fd09::2`,
    );
    for (const target of refused) {
      await tries(10, async () => {
        const { error, ms } = await site.ask("connect", target, PORTS.echo);
        if (error === null) throw new Defect(`connected to ${target}`);
        assert.match(String(error), REFUSED, target);
        assert.ok(ms < 1000, `${target}: ${ms} ms`);
      });
    }
    for (const target of dropped) {
      const { error } = await site.ask("connect", target, PORTS.echo, 1500);
      assert.equal(error, "TimeoutError", target);
    }
    await eventually("they did reach the gateway", async () => {
      const { ip } = (await site.gateway.stats()).counters as { ip: Record<string, number> };
      return ip.badDestination! >= dropped.length;
    });
    assert.equal(inside.lines.filter((line) => /accepted/.test(line)).length, 0);
    // And the exit node works for the rest.
    for (const target of Object.values(TARGET)) {
      assert.equal((await site.ask("connect", target, PORTS.echo)).error, null);
    }
  });
}

labTest(
  "2,200 dials into a network that swallows them leave the same peer's others alone",
  async () => {
    await using site = await Site.start();
    // The target's host forwards nothing, and says nothing about it.
    await site.gatewayHost.ip(`route add 10.50.99.0/24 via ${TARGET[4]}`);
    await tries(5, async () => {
      const { connected, ms } = await site.ask(
        ...["swamp", TARGET[4], PORTS.echo] as const,
        ...["10.50.99.0", 2200] as const,
      );
      assert.equal(connected, 5);
      const all = ms as number[];
      assert.ok(all.every((took) => took < SYN_AGAIN), `at once, none by a second SYN: ${all}`);
    });
  },
);

labTest(
  "200 dials at once to nobody: none is refused, which would say that a port is closed",
  async () => {
    await using site = await Site.start();
    const { connected, failures } = await site.ask("many", ABSENT[4], PORTS.echo, 200, 1);
    assert.equal(connected, 0);
    const reasons = Object.entries(failures as Record<string, number>);
    assert.equal(reasons.reduce((sum, [, count]) => sum + count, 0), 200);
    const { counters } = await site.gateway.stats();
    const { tcpForwarder } = counters as { tcpForwarder: Record<string, number> };
    assert.equal(tcpForwarder.connected, 0, "and none is taken for one that answers");
    for (const [reason] of reasons) assert.match(reason, /No route to host|timed out/i);
    const unreachable = reasons.filter(([reason]) => /No route/i.test(reason));
    assert.ok(unreachable.length > 0, "and those that get an answer are told why");
  },
);

labTest("a Map reaches the gateway's own host on purpose", async () => {
  await using site = await Site.start({
    proxy: ["Subnets = 10.50.0.0/16, fd50::/64", "Map = 10.50.9.9/32 -> 127.0.0.1/32"],
  });
  const inside = serve(site.gatewayHost, site);
  await inside.line(/ready/);
  assert.equal((await site.ask("connect", "10.50.9.9", PORTS.echo)).error, null);
  await inside.line(/accepted/);
});

labTest(
  "a Map to an own address reaches the host only if it names it alone, and no listener of the gateway",
  async () => {
    await using site = await Site.start({
      proxy: [
        "Subnets = 10.50.0.0/16, 10.60.0.0/16",
        `Map = 10.50.9.9/32 -> ${INSIDE[4]}/32, 10.60.0.0/24 -> 10.50.0.0/24`,
        "Map = 10.50.9.8/32 -> 0.0.0.0/32",
      ],
      routes: ["10.60.0.0/16"],
    });
    const inside = serve(site.gatewayHost, site);
    await inside.line(/ready/);
    for (const hostname of ["10.50.9.9", "10.50.9.8"]) {
      assert.equal((await site.ask("connect", hostname, PORTS.echo)).error, null, hostname);
    }
    assert.match(String((await site.ask("connect", "10.60.0.1", PORTS.echo)).error), REFUSED);
    assert.equal((await site.ask("connect", "10.60.0.2", PORTS.echo)).error, null);
    const { answers } = await site.ask("udp-ask", "10.50.9.9", LISTEN_PORT, 0, "x", 0, 300);
    assert.deepEqual(answers, []);
    const udpForwarder = await eventually("what became of it", async () => {
      const { counters } = await site.gateway.stats();
      const { udpForwarder } = counters as { udpForwarder: Record<string, number> };
      return udpForwarder.forbidden !== 0 && udpForwarder;
    });
    assert.deepEqual([udpForwarder.forbidden, udpForwarder.sessions], [1, 0]);
  },
);

labTest("an address outside Subnets is never dialled", async () => {
  await using site = await Site.start({ proxy: ["Subnets = 10.50.9.0/24, fd50:0:0:9::/64"] });
  await countSyns(site.target);
  for (const family of [4, 6] as Family[]) {
    await tries(10, async () => {
      const { error, ms } = await site.ask("connect", TARGET[family], PORTS.echo);
      if (error === null) throw new Defect(`connected to ${TARGET[family]}`);
      assert.match(String(error), REFUSED);
      assert.ok(ms < 1000, `${ms} ms`);
    });
  }
  assert.equal(await syns(site.target, "input"), 0);
});

/** Something that listens on every address of the gateway's own host. */
function serve(host: Host, site: Site) {
  const program = `
    const serve = async (hostname) => {
      for await (const conn of Deno.listen({ hostname, port: ${PORTS.echo} })) {
        console.log("accepted");
        conn.close();
      }
    };
    serve("::"); // and IPv4 with it
    console.log("ready");`;
  return host.spawn("inside", [Deno.execPath(), "eval", program], { cwd: site.lab.directory });
}

/** Counts TCP connection requests, from now on. */
async function countSyns(host: Host): Promise<void> {
  const chain = (hook: string) =>
    `chain ${hook} { type filter hook ${hook} priority 0; tcp flags & (syn | ack) == syn counter; }`;
  const table = `table inet syns {\n${chain("input")}\n${chain("output")}\n}\n`;
  await host.output(["nft", "-f", "-"], {
    input: `table inet syns\ndelete table inet syns\n${table}`,
  });
}

async function syns(host: Host, hook: "input" | "output" = "output"): Promise<number> {
  const text = await host.output(["nft", "list", "chain", "inet", "syns", hook]);
  return Number(text.match(/counter packets (\d+)/)![1]);
}
