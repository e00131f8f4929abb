/**
 * `wirestack up --tun` as a whole system's tunnel: what it carries, what it keeps outside, and that it
 * leaves a host as it found it, however it ends.
 *
 * @module
 */

import assert from "node:assert/strict";
import { writeExecutable } from "../executable.ts";
import { Recording } from "./capture.ts";
import { eventually, labTest } from "./lab.ts";
import { fileHash, hashOf } from "./tunnel_services.ts";
import { CLIENT, LINKS, PUBLIC, SERVER, SERVER_PORT, TunnelSite } from "./tunnel_site.ts";

const PROGRAMS = ["curl", "ping", "bash", "iperf3"];

for (const kind of ["wireguard-go", "wirestack"] as const) {
  labTest(
    `everything goes through ${kind}, the endpoint stays outside though the uplink changes, and all is as before`,
    async (t) => {
      await using site = await TunnelSite.start(kind);
      const before = await site.state();
      assert.equal(await site.seenAs(PUBLIC[0]), CLIENT[0], "without a tunnel");
      const process = await site.up([`DNS = ${PUBLIC[0]}, corp.test`]);
      await site.isUp();
      await t.step("connections, both families", async () => {
        assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0]);
        assert.equal(await site.seenAs(PUBLIC[1]), SERVER[1]);
      });
      await t.step("pings, both families", async () => {
        for (const address of PUBLIC) {
          await site.client.output(["ping", "-c", "2", "-W", "30", address]);
        }
      });
      await t.step("names, by the tunnel's name server", async () => {
        const found = await site.client.output(["getent", "ahosts", "public.test"]);
        assert.ok(found.includes(PUBLIC[0]), found);
      });
      await t.step("100 MB, to the byte", async () => {
        const file = `${site.lab.directory}/file`;
        await site.client.output(
          ["curl", "--silent", "--fail", "--output", file, `http://${PUBLIC[0]}:8000/file`],
          { timeoutMs: 300_000 },
        );
        assert.equal(hashOf(await Deno.readFile(file)), fileHash());
        await Deno.remove(file);
      });
      await t.step("iperf3, both ways", async () => {
        const server = site.public.spawn("iperf3", ["iperf3", "--server", "--forceflush"]);
        await server.line(/Server listening/);
        for (const reverse of [[], ["--reverse"]]) {
          const end = JSON.parse(
            await site.client.output(
              ["iperf3", "--json", "--bytes", "2M", "--client", PUBLIC[0], ...reverse],
            ),
          ).end;
          assert.ok(end.sum_received.bytes > 100_000, JSON.stringify(end.sum_received));
        }
        server.signal("SIGTERM");
        await server.exit();
      });
      await t.step("another uplink: address and gateway", async () => {
        await site.elsewhere(async () => {
          await site.carries("the tunnel goes on");
          assert.equal(await site.seenAs(PUBLIC[1]), SERVER[1]);
        });
      });
      process.signal("SIGTERM");
      assert.equal((await process.exit()).code, 0, `${process}`);
      assert.deepEqual(await site.state(), before);
    },
    PROGRAMS,
  );
}

labTest("a tunnel that was killed is taken back by the next start, and by down", async () => {
  await using site = await TunnelSite.start("wireguard-go");
  const before = await site.state();
  const lines = [`DNS = ${PUBLIC[0]}`];

  const first = await site.up(lines);
  await site.isUp();
  await site.kill(first);
  const left = await site.state();
  assert.notDeepEqual(left.rule, before.rule);
  assert.notDeepEqual(left.nft, before.nft);
  assert.notEqual(left.resolvConf, before.resolvConf);
  assert.deepEqual(left.link, before.link, "the device went with the process");

  const second = await site.up(lines);
  await second.line(/: \d+ steps of an earlier wg0 taken back$/);
  await site.isUp();
  assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0]);
  const again = await site.wirestack("up", "--tun", site.file);
  assert.equal(again.code, 1);
  assert.match(
    again.stderr,
    /^wg0: runs already \(process \d+\), expected wirestack down wg0 first$/m,
  );
  assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0], "which has not disturbed it");

  const ended = await site.wirestack("down", "wg0");
  assert.equal(ended.code, 0, ended.stderr);
  assert.equal((await second.exit()).code, 0);
  assert.deepEqual(await site.state(), before);

  const third = await site.up(lines);
  await site.isUp();
  await site.kill(third);
  const killed = await site.wirestack("down", site.file);
  assert.match(killed.stdout, /^wg0: down, \d+ steps of a process that had ended taken back$/m);
  assert.deepEqual(await site.state(), before);

  const nobody = await site.wirestack("down", "wg0");
  assert.equal(nobody.code, 1);
  assert.match(nobody.stderr, /wg0: not running/);
}, PROGRAMS);

labTest(
  "name servers that resolvconf keeps are taken back by root, though the tunnel is nobody's by then",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const log = `${site.lab.directory}/resolvconf.log`;
    writeExecutable(
      `${site.programs}/resolvconf`,
      `#!/bin/sh\necho "$(id -un): $*" >> ${log}\n`,
    );
    const said = async () => (await Deno.readTextFile(log)).trim().split("\n");
    const before = await site.state();
    const first = await site.up([`DNS = ${PUBLIC[0]}`]);
    first.signal("SIGTERM");
    assert.equal((await first.exit()).code, 0, `${first}`);
    assert.deepEqual(await said(), ["root: -a wg0 -m 0 -x", "root: -d wg0 -f"]);
    assert.deepEqual(await site.state(), before);

    await Deno.remove(log);
    await site.kill(await site.up([`DNS = ${PUBLIC[0]}`]));
    assert.deepEqual(await said(), ["root: -a wg0 -m 0 -x"], "killed, it takes nothing back");
    assert.equal((await site.wirestack("down", "wg0")).code, 0);
    assert.deepEqual(await said(), ["root: -a wg0 -m 0 -x", "root: -d wg0 -f"]);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);

labTest(
  "a kill switch holds both families, also after a crash, and lets the link live",
  async () => {
    // By IPv6 outside, so that neighbours must be found while it holds.
    await using site = await TunnelSite.start("wireguard-go", `[${SERVER[1]}]:${SERVER_PORT}`);
    const before = await site.state();
    const process = await site.up(["KillSwitch = true"], { allowedIps: "0.0.0.0/0" });
    await site.carries("the tunnel carries");
    assert.equal(
      await site.seenAs(PUBLIC[1], 3),
      undefined,
      "IPv6 is not in AllowedIPs, and stays in",
    );
    const ping = await site.client.run(["ping", "-c", "1", "-W", "2", `${LINKS.client}.1`]);
    assert.notEqual(ping.code, 0, "not the link's own hosts either");
    await site.client.ip("neigh flush dev wan");
    await site.carries("the tunnel goes on");

    await site.kill(process);
    for (const address of PUBLIC) {
      assert.equal(await site.seenAs(address, 3), undefined, "nothing leaves after a crash");
    }
    const failing = await site.up(["KillSwitch = true"], { allowedIps: "0.0.0.0/0" });
    await failing.line(/control socket/);
    await site.client.ip("link del wg0");
    assert.equal((await failing.exit()).code, 1);
    for (const address of PUBLIC) {
      assert.equal(await site.seenAs(address, 3), undefined, "nor when it has failed");
    }
    assert.equal((await site.wirestack("down", "wg0")).code, 0);
    assert.equal(await site.seenAs(PUBLIC[0]), CLIENT[0]);
    assert.equal(await site.seenAs(PUBLIC[1]), CLIENT[1]);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);

/** Whatever a program may send, and how: by the routes, by the uplink itself, to a group. */
const LEAKS = `
import socket, sys
mac, *targets = sys.argv[1:]
def attempt(family, kind, to, *options):
    with socket.socket(family, kind) as s:
        try:
            s.setblocking(False)
            for option in options: s.setsockopt(*option)
            s.sendto(b"leak", to) if kind == socket.SOCK_DGRAM else s.connect(to)
        except OSError: pass
uplink = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wan")
mark = (socket.SOL_SOCKET, socket.SO_MARK, 7)
for target in targets:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        for options in ([], [uplink], [mark], [mark, uplink]):
            attempt(family, kind, (target, 9), *options)
attempt(socket.AF_INET, socket.SOCK_DGRAM, ("224.0.0.251", 5353), uplink)
attempt(socket.AF_INET6, socket.SOCK_DGRAM, ("ff02::fb", 5353, 0, socket.if_nametoindex("wan")), uplink)
# What asks for an address: a question of DHCP, of both kinds.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(*uplink)
    s.bind(("0.0.0.0", 68))
    s.sendto(b"\\x01\\x01\\x06" + bytes(25) + bytes.fromhex(mac.replace(":", "")) + bytes(202) +
             bytes.fromhex("63825363350101ff"), ("255.255.255.255", 67))
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    s.setsockopt(*uplink)
    s.bind(("::", 546))
    s.sendto(bytes.fromhex("01000001"), ("ff02::1:2", 547, 0, socket.if_nametoindex("wan")))
`;

labTest(
  "with a kill switch nothing is on the wire but the tunnel, DHCP and neighbours, of both families, also after a crash; lo is free",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    // Behind the client, which forwards for it.
    const guest = await site.lab.host("guest");
    await site.lab.connect(
      { host: guest, device: "lan", addresses: ["10.44.0.2/24", "fd44::2/64"] },
      { host: site.client, device: "lan", addresses: ["10.44.0.1/24", "fd44::1/64"] },
    );
    await guest.ip("route add default via 10.44.0.1", "route add default via fd44::1");
    await site.client.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    await site.client.ip(
      `route replace default via ${LINKS.client}.1`,
      "route replace default via 2001:db8:1::1",
    );
    const process = await site.up(["KillSwitch = true"], { allowedIps: "0.0.0.0/0" });
    await site.carries("the tunnel carries");
    const [{ address: mac }] = JSON.parse(
      await site.client.output(["ip", "-j", "link", "show", "wan"]),
    );

    const record = async (title: string) => {
      const recording = await Recording.start(site.router, "client", site.lab.directory);
      await site.client.output(["python3", "-c", LEAKS, mac, ...PUBLIC, `${LINKS.client}.1`]);
      await Promise.all(
        [site.client, guest].flatMap((host) =>
          [...PUBLIC, `${LINKS.client}.1`, "2001:db8:1::1"].map((address) =>
            host.run(["ping", "-n", "-c", "1", "-W", "1", address])
          )
        ),
      );
      for (const address of ["127.0.0.1", "::1", CLIENT[0], CLIENT[1]]) {
        await site.client.output(["ping", "-n", "-c", "1", "-W", "30", address]);
      }
      await recording.stop();
      const count = async (filter: string) =>
        (await recording.matching(`eth.src == ${mac} && (${filter})`)).length;
      const tunnel = `!icmp && !icmpv6 && udp.dstport == ${SERVER_PORT} && ip.dst == ${SERVER[0]}`;
      const dhcp = "udp.srcport == 68 && udp.dstport == 67";
      const dhcp6 = "udp.srcport == 546 && udp.dstport == 547";
      const neighbours = "arp || icmpv6.type in {133, 135, 136}";
      assert.equal(await count(dhcp), 1, `${title}: DHCP`);
      assert.equal(await count(dhcp6), 1, `${title}: DHCPv6`);
      return {
        tunnel: await count(tunnel),
        rest: await recording.matching(
          `eth.src == ${mac} && !(${tunnel}) && !(${dhcp}) && !(${dhcp6}) && !(${neighbours})`,
        ),
      };
    };
    const held = await record("up");
    assert.deepEqual(held.rest, []);
    assert.ok(held.tunnel > 0, "the tunnel goes on");
    await site.kill(process);
    assert.deepEqual((await record("after a crash")).rest, []);
    assert.equal((await site.wirestack("down", "wg0")).code, 0);
    const open = await record("down");
    for (const address of PUBLIC) {
      const seen = open.rest.filter((line) => line.includes(address));
      assert.ok(seen.length >= 8, `what would have been seen: ${open.rest.join("\n")}`);
    }
  },
  [...PROGRAMS, "python3", "tcpdump", "tshark"],
);

for (const [family, lines] of [[0, []], [1, ["KillSwitch = true"]]] as const) {
  const [from, to] = [SERVER[family], SERVER[family].replace(/2$/, "77")];
  labTest(
    `a server that goes from ${from} to ${to} is followed, outside${
      lines.map((line) => `, ${line}`)
    }`,
    async () => {
      const literal = (address: string) => address.includes(":") ? `[${address}]` : address;
      const endpoint = (address: string) => `${literal(address)}:${SERVER_PORT}`;
      // The server has something to say: with that the client hears where it is (whitepaper §6.4).
      const hub = ["PersistentKeepalive = 1"];
      await using site = await TunnelSite.start(
        "wirestack",
        endpoint(from),
        () => Promise.resolve({ hub }),
      );
      // As systemd has it: by the strict one (1) what comes from another server's address is not let in.
      await site.client.sysctl("net.ipv4.conf.all.rp_filter=2", "net.ipv4.conf.wan.rp_filter=2");
      const before = await site.state();
      const process = await site.up([...lines]);
      await site.isUp();
      const length = family === 0 ? 24 : 64;
      const gateway = from.replace(/2$/, "1");
      await site.server.ip(
        `address del ${from}/${length} dev wan`,
        `address add ${to}/${length} dev wan`,
        `route replace default via ${gateway} dev wan`,
      );
      const followed = async () =>
        (await site.here(["wg", "show", "wg0", "endpoints"])).stdout.trim().split("\t")[1];
      await eventually("the client follows", async () => await followed() === endpoint(to));
      for (const [i, address] of PUBLIC.entries()) {
        const seen = i === family ? to : SERVER[i];
        await eventually(
          `the client gets out by ${seen}`,
          async () => await site.seenAs(address, 3) === seen,
        );
      }
      const bytes = async () => {
        const [sent] = JSON.parse(
          await site.client.output(["ip", "-j", "-s", "link", "show", "wan"]),
        );
        return sent.stats64.tx.bytes as number;
      };
      const sent = await bytes();
      await site.client.output(["ping", "-n", "-c", "1", "-W", "30", "-s", "1000", PUBLIC[0]]);
      assert.ok(
        await bytes() - sent < 10_000,
        "what goes to the server does not go round in the tunnel",
      );
      process.signal("SIGTERM");
      assert.equal((await process.exit()).code, 0, `${process}`);
      assert.deepEqual(await site.state(), before);
    },
    PROGRAMS,
  );
}

labTest(
  "a root whose umask is strict gets everything back too, the kill switch first of all",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const process = await site.up(["KillSwitch = true"], { umask: "077" });
    await process.line(/control socket/);
    Deno.kill(await site.pid(), "SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);

labTest(
  "hooks run as root until the tunnel is up, then as the user it has become, who has one capability",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const notes = `${site.lab.directory}/notes`;
    await Deno.writeTextFile(notes, "");
    await Deno.chmod(notes, 0o666);
    const note = (what: string) =>
      `[[ 1 ]] && echo "${what} %i $(id -un) $(ip -o link show %i | wc -l)" >> ${notes}`;
    const hooks = ["PreUp", "PostUp", "PreDown", "PostDown"];
    const process = await site.up(hooks.map((hook) => `${hook} = ${note(hook)} 2>&1`));
    await site.isUp();
    const tasks = `/proc/${await site.pid()}/task`;
    const threads = Array.from(
      Deno.readDirSync(tasks),
      ({ name }) => Deno.readTextFileSync(`${tasks}/${name}/status`),
    );
    assert.ok(threads.length > 1);
    for (const status of threads) {
      assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m);
      assert.match(status, /^Gid:\t65534\t65534\t65534\t65534$/m);
      assert.match(status, /^Groups:\t ?$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);
      assert.match(status, /^Seccomp:\t2$/m);
      assert.match(status, /^Cap(?:Prm|Eff):\t000000000000(?:0|1)000$/m);
    }
    process.signal("SIGINT");
    assert.equal((await process.exit()).code, 0, `${process}`);
    assert.deepEqual((await Deno.readTextFile(notes)).trim().split("\n"), [
      "PreUp wg0 root 0",
      "PostUp wg0 root 1",
      "PreDown wg0 nobody 1",
      "PostDown wg0 nobody 0",
    ]);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);

labTest(
  "SaveConfig writes the peers that it has last, and routes follow what wg and a reload change",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const process = await site.up(["SaveConfig = true", "# a note of mine", "PostUp = true"]);
    await site.isUp();
    const key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
    const set = await site.here(["wg", "set", "wg0", "peer", key, "allowed-ips", "10.77.0.0/16"]);
    assert.equal(set.code, 0, set.stderr);
    const route = () => site.client.output(["ip", "route", "show", "dev", "wg0", "10.77.0.0/16"]);
    assert.match(await route(), /^10\.77\.0\.0\/16 scope link/);

    await site.reload((text) => `${text}[Peer]\nPublicKey = ${key}\nAllowedIPs = 10.78.0.0/16\n`);
    assert.equal(await route(), "");
    assert.match(
      await site.client.output(["ip", "route", "show", "dev", "wg0"]),
      /10\.78\.0\.0\/16/,
    );
    assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0], "what WireGuard sends keeps its mark");

    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    const saved = await Deno.readTextFile(site.file);
    assert.match(
      saved,
      /^\[Interface\]\nPrivateKey = \S{44}\nAddress = .*\n.*\n# a note of mine\n/,
    );
    assert.match(
      saved,
      new RegExp(`^PublicKey = ${key.replace(/[+]/g, "\\+")}\nAllowedIPs = 10.78.0.0/16$`, "m"),
    );
    assert.equal(saved.match(/^\[Peer\]$/gm)!.length, 2);
    assert.equal(Deno.statSync(site.file).mode! & 0o777, 0o600);
    assert.deepEqual(await site.state(), before);
    const again = await site.wirestack("check", "--tun", site.file);
    assert.equal(again.code, 0, again.stderr);
  },
  PROGRAMS,
);

labTest(
  "CAP_NET_ADMIN is enough for an ordinary user, who is told what else is missing",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const refused = async (expected: RegExp, lines: string[], capabilities: string[]) => {
      const process = await site.up(lines, { isReady: false, capabilities });
      assert.equal((await process.exit()).code, 1, `${process}`);
      assert.ok(process.lines.some((line) => expected.test(line)), `${process}`);
      assert.deepEqual(await site.state(), before, `${expected}`);
    };
    await refused(/^--tun: this user may not administer the network, expected root, or/, [], []);
    await refused(/^\/run\/wirestack: cannot be made \(/, [], ["net_admin"]);
    await site.makeRuntimeDirectory();
    await refused(
      /^DNS: \/etc\/resolv\.conf cannot be written \(Permission denied .*, expected root, systemd-resolved, or/,
      [`DNS = ${PUBLIC[0]}`],
      ["net_admin"],
    );
    const process = await site.up([], { capabilities: ["net_admin"] });
    await site.isUp();
    assert.equal(await site.seenAs(PUBLIC[0]), SERVER[0]);
    await site.kill(process);
    const again = await site.up([], { capabilities: ["net_admin"] });
    await again.line(/steps of an earlier wg0 taken back$/);
    await site.isUp();
    again.signal("SIGTERM");
    assert.equal((await again.exit()).code, 0, `${again}`);
    assert.deepEqual({ ...await site.state(), sockets: [] }, before);
  },
  PROGRAMS,
);

labTest(
  "two tunnels stand side by side, a device that is taken away ends its own, and a second signal ends at once",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const first = await site.up([], { args: ["--tun=one", "--name", "one"] });
    await site.isUp();
    const second = await site.up([`DNS = ${PUBLIC[0]}`], {
      args: ["--tun=two", "--name", "two"],
      allowedIps: "0.0.0.0/0",
    });
    const tables = await site.client.output(["ip", "rule"]);
    assert.match(tables, /lookup 51820[^]*lookup 51821|lookup 51821[^]*lookup 51820/);
    first.signal("SIGTERM");
    assert.equal((await first.exit()).code, 0, `${first}`);
    const mark = await site.client.output(["sysctl", "-n", "net.ipv4.conf.all.src_valid_mark"]);
    assert.equal(mark.trim(), "1", "the other tunnel needs it still");
    await eventually(
      "the other goes on",
      async () => await site.seenAs(PUBLIC[0], 3) === SERVER[0],
    );
    await site.client.ip("link delete two");
    assert.equal((await second.exit()).code, 1, `${second}`);
    assert.deepEqual(await site.state(), before);

    const third = await site.up(["PreDown = sleep 15", `DNS = ${PUBLIC[0]}`]);
    const pid = await site.pid();
    Deno.kill(pid, "SIGINT");
    await third.line(/stopping/);
    await new Promise((resolve) => setTimeout(resolve, 1_100)); // what npx sends twice comes sooner
    Deno.kill(pid, "SIGINT");
    assert.equal((await third.exit()).code, 1, `${third}`);
    assert.deepEqual({ ...await site.state(), left: [], sockets: [] }, before);
  },
  PROGRAMS,
);

labTest(
  "what stands in the way is said in a line, and nothing is left of the attempt",
  async () => {
    await using site = await TunnelSite.start("wireguard-go");
    const before = await site.state();
    const refused = async (
      expected: RegExp,
      lines: string[],
      allowedIps?: string,
      args: string[] = [],
    ) => {
      const process = await site.up(lines, {
        isReady: false,
        args,
        ...(allowedIps !== undefined && { allowedIps }),
      });
      assert.notEqual((await process.exit()).code, 0);
      assert.ok(process.lines.some((line) => expected.test(line)), `${process}`);
      assert.deepEqual(await site.state(), before, `${expected}`);
    };
    await refused(/: PostUp.*ended with status 3, expected 0$/, [
      "PostUp = exit 3",
      `DNS = ${PUBLIC[0]}`,
    ]);
    await refused(/^wan: is another device of this host, expected another name/, [], undefined, [
      "--tun=wan",
    ]);
    await refused(
      /this host has a route there already, expected another prefix/,
      [],
      `${LINKS.client}.0/24`,
    );
    await refused(/^--user root: keeps all/, [], undefined, ["--user", "root"]);
    await refused(/there is no such user/, [], undefined, ["--user", "nobody-here"]);
    await refused(/Table: "x" is no table of routes/, ["Table = x"]);
    const text = await Deno.readTextFile(site.file);
    await Deno.writeTextFile(site.file, text.replace("Table = x\n", ""));
    const without = await site.withoutDevice("up", "--tun", site.file);
    assert.equal(without.code, 1);
    assert.match(
      without.stderr,
      /^\/dev\/net\/tun: is not there, expected the kernel's module tun \(modprobe tun\), or in a container that device to be passed on$/m,
    );
    assert.deepEqual(await site.state(), before, "no device");
    await site.client.ip("link set wan mtu 1300");
    await site.router.ip("link set client mtu 1300");
    const narrow = await site.up([], { isReady: false });
    assert.equal((await narrow.exit()).code, 1);
    await narrow.line(
      /^MTU: 1240 bytes are left of the route to 203\.0\.113\.2 \(1300\), too few for IPv6 \(1280\)/,
    );
  },
  PROGRAMS,
);
