/**
 * A server whose clients have their default routes through it: what they reach, what they do not, and
 * that the host is as before, however the server ends.
 *
 * @module
 */

import assert from "node:assert/strict";
import { eventually, labTest } from "./lab.ts";
import { GATE, INSIDE, SECOND, ServerSite } from "./server_site.ts";
import { fileHash, hashOf } from "./tunnel_services.ts";
import { PUBLIC, SERVER } from "./tunnel_site.ts";

const PROGRAMS = ["curl", "ping", "bash"];

for (const kind of ["rootless", "masquerade"] as const) {
  labTest(
    `two clients get out by a ${kind} server, to the public host alone, and it is as before`,
    async (t) => {
      await using site = await ServerSite.start();
      const [client, other] = site.clients as [typeof site.server, typeof site.server];
      const before = await site.state();
      const process = await site.up(kind);
      await site.isUp();
      await t.step("connections, both families, as the server", async () => {
        for (const from of site.clients) {
          assert.equal(await site.seenAs(from, PUBLIC[0]), SERVER[0]);
          assert.equal(await site.seenAs(from, PUBLIC[1]), SERVER[1]);
        }
      });
      await t.step("pings, both families, and of the server's own address inside", async () => {
        for (const from of site.clients) {
          for (const address of [...PUBLIC, ...GATE]) {
            await from.output(["ping", "-c", "2", "-i", "0.2", "-W", "30", address]);
          }
        }
      });
      await t.step("names", async () => {
        await client.etc("resolv.conf", `nameserver ${PUBLIC[0]}\n`);
        const found = await client.output(["getent", "ahosts", "public.test"]);
        assert.ok(found.includes(PUBLIC[0]), found);
      });
      await t.step("100 MB, to the byte", async () => {
        const file = `${site.lab.directory}/file`;
        await other.output(
          ["curl", "--silent", "--fail", "--output", file, `http://${PUBLIC[0]}:8000/file`],
          { timeoutMs: 300_000 },
        );
        assert.equal(hashOf(await Deno.readFile(file)), fileHash());
        await Deno.remove(file);
      });
      await t.step("no service of the server, at any of its addresses", async () => {
        for (const address of [...GATE, SECOND, SERVER[1]]) {
          assert.equal(await site.seenAs(client, address, 3), undefined, address);
        }
        assert.equal(await site.seenAs(site.public, SERVER[0], 3), "192.0.2.2", "which are there");
      });
      await t.step("not each other, without PeerToPeer", async () => {
        for (const address of INSIDE[1]) {
          const ping = await client.run(["ping", "-c", "1", "-W", "2", address]);
          assert.notEqual(ping.code, 0, address);
        }
      });
      process.signal("SIGTERM");
      assert.equal((await process.exit()).code, 0, `${process}`);
      assert.deepEqual(await site.state(), before);
    },
    PROGRAMS,
  );
}

labTest(
  "a server that was killed is taken back by down and by the next start, other chains stay named or opened",
  async () => {
    await using site = await ServerSite.start();
    const { server } = site;
    const [client] = site.clients as [typeof site.server];
    const before = await site.state();
    const first = await site.up("masquerade");
    await site.isUp();
    await site.kill(first);
    assert.notDeepEqual(await site.state(), before);
    const ended = await site.wirestack("down", "wg0");
    assert.equal(ended.code, 0, ended.stderr);
    assert.deepEqual(await site.state(), before);

    // As Docker has it.
    await server.output(["nft", "-f", "-"], {
      input: "table ip filter {\n chain FORWARD {\n" +
        "  type filter hook forward priority filter; policy drop;\n }\n}\n",
    });
    const closed = await site.state();
    const second = await site.up("masquerade");
    await second.line(/ip filter FORWARD: drops what is forwarded \(policy drop\)/);
    await second.line(/nft 'insert rule ip filter FORWARD iifname "wg0" oifname "wan" accept/);
    assert.equal(await site.seenAs(client, PUBLIC[0], 3), undefined);
    // A client that sends to a server that was killed tries another handshake after 15 s.
    await eventually("IPv6 goes", () => site.seenAs(client, PUBLIC[1], 3));
    await site.kill(second);

    const third = await site.up("masquerade", "", ["--masquerade-force"]);
    await third.line(/: \d+ steps of an earlier wg0 taken back$/);
    await site.isUp();
    third.signal("SIGTERM");
    assert.equal((await third.exit()).code, 0, `${third}`);
    assert.deepEqual(await site.state(), closed);
  },
  PROGRAMS,
);

labTest(
  "an ordinary user with CAP_NET_ADMIN serves: rules open the server and close what is outside, peers come and go",
  async () => {
    await using site = await ServerSite.start();
    const [client] = site.clients as [typeof site.server];
    const before = await site.state();
    const rules = `[Rule]\nTo = ${GATE[0]}\nPorts = tcp/8000\n` +
      `[Rule]\nTo = ${PUBLIC[1]}\nAction = reject\n`;
    const args = ["--peer-to-peer", "true", "--control-dir", "/run/wireguard"];
    const process = await site.up("masquerade", rules, args, ["net_admin"]);
    await process.line(/user as it was, capabilities CAP_NET_ADMIN alone/);
    for (const each of site.clients) {
      await eventually("the way out", () => site.seenAs(each, PUBLIC[0], 3));
    }
    assert.equal(await site.seenAs(client, GATE[0]), INSIDE[0][0]);
    assert.equal(await site.seenAs(client, GATE[1], 3), undefined);
    assert.equal(await site.seenAs(client, PUBLIC[1], 3), undefined);
    await client.output(["ping", "-c", "1", "-W", "30", INSIDE[1][0]]);

    // A network that a peer gets while the server runs gets out too, and no longer when it is gone.
    await client.ip("address add 10.8.0.2/32 dev lo");
    const key = `wg show wg0 allowed-ips | sed -n '/${INSIDE[0][0]}/s/\\t.*//p'`;
    const allow = async (prefixes: readonly string[]) => {
      const set = `wg set wg0 peer $(${key}) allowed-ips ${prefixes.join(",")}`;
      const { code, stderr } = await site.here(["sh", "-c", set]);
      assert.equal(code, 0, stderr);
    };
    const url = `http://${PUBLIC[0]}:8000/who`;
    const fetched = async (seconds = 30) => {
      const from = ["--interface", "10.8.0.2"];
      const curl = ["curl", "--silent", "--max-time", `${seconds}`, ...from, url];
      return (await client.run(curl)).stdout;
    };
    assert.equal(await fetched(3), "");
    await allow([...INSIDE[0], "10.8.0.2/32"]);
    assert.equal(await fetched(), SERVER[0]);
    assert.match(await site.server.output(["nft", "list", "ruleset"]), /10\.8\.0\.2/);
    await allow(INSIDE[0]);
    assert.doesNotMatch(await site.server.output(["nft", "list", "ruleset"]), /10\.8\.0\.2/);
    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    // Its control socket stays behind: an ordinary user gives up the right to write (docs/control.md).
    assert.deepEqual({ ...await site.state(), sockets: [] }, before);
  },
  PROGRAMS,
);

/** A router advertisement (RFC 4861 §4.2) to a link: a default router for half an hour. */
const ADVERTISE = `
import socket, struct, sys
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as s:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    s.sendto(advertisement, ("ff02::1", 0, 0, socket.if_nametoindex(sys.argv[1])))
`;

labTest(
  "a server whose route came by a router's advertisement keeps it, and hears the next one",
  async () => {
    await using site = await ServerSite.start();
    const { server, router } = site;
    const advertised = async () =>
      JSON.parse(await server.output(["ip", "-6", "-j", "route", "show", "default"]))
        .filter(({ protocol }: { protocol: string }) => protocol === "ra");
    const advertise = () => router.output(["python3", "-c", ADVERTISE, "server"]);
    const setting = async (name: string) =>
      (await server.output(["sysctl", "-n", `net.ipv6.conf.${name}`])).trim();
    await server.ip("route del ::/0");
    await server.sysctl("net.ipv6.conf.wan.accept_ra=1");
    await advertise();
    await eventually("a route by advertisement", async () => (await advertised()).length === 1);

    // Where a device can forward by itself the others are left alone: not so before Linux 6.17.
    site.hide("/proc/sys/net/ipv6/conf/wan/force_forwarding");
    const process = await site.up("masquerade");
    assert.equal(await setting("wan.accept_ra"), "2");
    assert.equal(await setting("all.forwarding"), "1");
    assert.equal((await advertised()).length, 1, "forwarding has not taken it");
    await site.isUp();
    assert.equal(await site.seenAs(site.clients[0]!, PUBLIC[1]), SERVER[1]);
    await server.ip("route del ::/0");
    await advertise();
    await eventually("the next one is heard", async () => (await advertised()).length === 1);

    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    assert.equal(await setting("wan.accept_ra"), "1");
    assert.equal(await setting("all.forwarding"), "0");
    assert.equal((await advertised()).length, 1, "nor has its end");
  },
  [...PROGRAMS, "python3"],
);
