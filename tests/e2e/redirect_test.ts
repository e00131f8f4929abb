/**
 * The walk-through of seed 3: two networks with the same addresses behind agents, reached by way of a hub,
 * from programs that know nothing of it; by a device, and by a redirect.
 *
 * @module
 */

import assert from "node:assert/strict";
import { HUB } from "./internet.ts";
import { eventually, type Host, Lab, labTest } from "./lab.ts";
import { CIDRS, FIRST, RedirectSite, SECOND } from "./redirect_site.ts";
import { TunnelHost } from "./tunnel_host.ts";
import { fileHash, hashOf } from "./tunnel_services.ts";
import { keyPair } from "./wireguard_go.ts";

const PROGRAMS = ["curl", "ping", "bash", "python3"];
const REDIRECT = ["redirect", ...CIDRS.flatMap((cidr) => ["--cidr", cidr])];
/** Of an ordinary user without a folder of its own. */
const CONTROL_DIR = "/tmp/wirestack-65534";
const CLEANUP = ["redirect", "--cleanup"];

labTest("two networks with the same addresses: by a device", async (t) => {
  await using site = await RedirectSite.start();
  await site.write();
  const process = await site.tunnel.up();
  await carries(t, site);
  await t.step("pings, each to its own", async () => {
    for (const address of [...FIRST, ...SECOND]) {
      await site.client.output(["ping", "-c", "1", "-W", "30", address]);
    }
  });
  process.signal("SIGTERM");
  assert.equal((await process.exit()).code, 0, `${process}`);
}, PROGRAMS);

labTest(
  "two networks with the same addresses: by a redirect, which leaves the host as it found it",
  async (t) => {
    await using site = await RedirectSite.start();
    const { client, tunnel } = site;
    await client.output(["nft", "-f", "-"], { input: FOREIGN });
    const before = await site.state();
    let process = await site.redirect();
    await carries(t, site);
    await t.step("it is nobody, and its flows are shown", async () => {
      const pid = await tunnel.pid();
      const status = await Deno.readTextFile(`/proc/${pid}/status`);
      assert.match(status, /^Uid:\s+65534\s+65534\s+65534\s+65534$/m);
      const { stdout } = await tunnel.wirestack("show", "flows", "wg0");
      assert.match(stdout, /redirect/, stdout);
    });
    await t.step("another idle time reaches a session that is under way", async () => {
      const flows = async () => (await tunnel.wirestack("show", "flows", "wg0")).stdout;
      await client.output(["python3", "-c", ASK, FIRST[0], "7", "x"]);
      assert.match(await flows(), / udp .*:7 /);
      assert.equal((await tunnel.wirestack("set", "wg0", "Proxy.UdpIdleTimeout=1")).code, 0);
      await eventually("it has ended", async () => !/ udp .*:7 /.test(await flows()), {
        timeoutMs: 30_000, // half of what it was before
      });
      assert.equal((await tunnel.wirestack("set", "wg0", "Proxy.UdpIdleTimeout=")).code, 0);
    });
    await t.step("a closed port is reset, and so is this end of the tunnel", async () => {
      assert.equal(await outcome(site, FIRST[0], 81), "reset");
      assert.equal(await outcome(site, SECOND[1], 81), "reset");
      // In no peer's AllowedIPs.
      assert.equal(await outcome(site, "100.127.255.1", 80), "reset");
    });
    await t.step("halves are closed one by one, and a reset arrives as one", async () => {
      assert.equal(await client.output(["python3", "-c", HALF_CLOSE, FIRST[0]]), "target 1");
      assert.equal(await client.output(["python3", "-c", RESET, FIRST[0]]), "reset");
    });
    await t.step("nobody gets in by its own port", async () => {
      for (const address of ["198.51.100.2", "127.0.0.1"]) {
        assert.equal(await outcome(site, address, 9999), "refused", address);
      }
      assert.equal(await outcome(site, "198.51.100.2", 9999, site.internet), "refused");
    });
    await t.step(
      "a second start, and a second redirect on its port, are refused in a line",
      async () => {
        const again = await tunnel.wirestack(...REDIRECT, tunnel.file);
        assert.match(
          again.stderr,
          /wg0: runs already \(process \d+\), expected wirestack down wg0/,
        );
        assert.equal(again.code, 1);
        const other = await tunnel.wirestack(...REDIRECT, "--name", "other", tunnel.file);
        assert.match(other.stderr, /^--port 9999: is in use, expected another$/m);
        assert.equal(other.code, 1);
      },
    );
    await t.step(
      "a kill leaves nothing around the tunnel, and --cleanup takes it back",
      async () => {
        await tunnel.kill(process);
        assert.equal(await outcome(site, FIRST[0], 80), "refused");
        const cleaned = await tunnel.wirestack(...CLEANUP, tunnel.file);
        assert.equal(cleaned.stdout, "wg0: 5 steps taken back\n");
        const again = await tunnel.wirestack(...CLEANUP, tunnel.file);
        assert.equal(again.stdout, "wg0: nothing to take back\n");
        assert.deepEqual({ ...await site.state(), sockets: [] }, before);
      },
    );
    await t.step("a kill is taken back by down, and by the next start too", async () => {
      await tunnel.kill(await site.redirect());
      const { stdout } = await tunnel.wirestack("down", "wg0");
      assert.equal(stdout, "wg0: down, 5 steps of a process that had ended taken back\n");
      await tunnel.kill(await site.redirect());
      tunnel.umask = "077"; // as strict as root's may be, also for the end of it
      process = await site.redirect();
      assert.ok(process.lines.some((line) => /5 steps of an earlier wg0 taken back/.test(line)));
      assert.equal(await site.nameAt(FIRST[0]), "target 1");
    });
    await t.step("a host without a default route needs one to the prefix, whichever", async () => {
      const gateway = "198.51.100.1";
      await client.ip(`route add 203.0.113.0/24 via ${gateway}`, "route del default");
      assert.match(await outcome(site, FIRST[0], 80), /unreachable/);
      await client.ip("route add 100.64.0.0/10 dev lo");
      assert.equal(await site.nameAt(FIRST[0]), "target 1");
      assert.equal(await asked(client, FIRST[0], 7, "lo"), "target 1: lo");
      await client.ip(
        ...["route del 100.64.0.0/10 dev lo", `route add default via ${gateway}`],
        "route del 203.0.113.0/24",
      );
    });
    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);

labTest(
  "two redirects at once do not disturb each other, one of everything finds its hub, and others are carried",
  async (t) => {
    await using site = await RedirectSite.start();
    const { client, tunnel, lab } = site;
    // Seen from the client a host of its network, which it forwards for.
    const neighbour = await lab.host("neighbour");
    await lab.connect(
      { host: neighbour, device: "lan", addresses: ["192.168.7.2/24"] },
      { host: client, device: "lan", addresses: ["192.168.7.1/24"] },
    );
    await neighbour.ip("route add default via 192.168.7.1");
    await client.sysctl("net.ipv4.ip_forward=1");
    const before = await site.state();
    const first = await site.redirect(["--cidr", "100.64.1.0/24"]);
    const everything = ["--cidr", "0.0.0.0/0", "--cidr", "::/0"];
    const second = await site.redirect([...everything, "--port", "9998", "--name", "all"], 2);
    await t.step("each carries its own", async () => {
      assert.equal(await site.nameAt(FIRST[0]), "target 1");
      assert.equal(await site.nameAt(SECOND[0]), "target 2");
      assert.equal(await asked(client, SECOND[1], 7, "a"), "target 2: a");
      // The hub is outside, though its address is in 0.0.0.0/0: nobody listens there.
      assert.equal(await outcome(site, HUB, 81), "refused");
      assert.equal(await outcome(site, "10.9.0.3", 80), "reset");
    });
    await t.step("a neighbour's connections and datagrams", async () => {
      assert.equal(await site.nameAt(SECOND[0], 80, neighbour), "target 2");
      assert.equal(await asked(neighbour, FIRST[0], 7, "b"), "target 1: b");
      assert.equal(await asked(neighbour, SECOND[0], 53, "c"), "target 2: c");
    });
    await t.step("the one ends, the other goes on", async () => {
      first.signal("SIGTERM");
      assert.equal((await first.exit()).code, 0, `${first}`);
      assert.equal(await site.nameAt(FIRST[0]), "target 1", "by 0.0.0.0/0 now");
      assert.equal(await asked(client, FIRST[0], 7, "d"), "target 1: d");
    });
    const down = await tunnel.wirestack("down", "all");
    assert.equal(down.stdout, "all: down\n");
    assert.equal((await second.exit()).code, 0, `${second}`);
    assert.deepEqual(await site.state(), before);
  },
  PROGRAMS,
);

labTest("an ordinary user with two capabilities redirects, and takes all back", async () => {
  await using site = await RedirectSite.start();
  const { client, tunnel } = site;
  await tunnel.makeRuntimeDirectory();
  const before = await site.state();
  const process = await site.redirect(undefined, 1, ["net_admin", "net_bind_service"]);
  assert.equal(await site.nameAt(SECOND[0]), "target 2");
  assert.equal(await asked(client, FIRST[1], 53, "low"), "target 1: low");
  const warnings = process.lines.filter((line) => / warning /.test(line));
  assert.deepEqual(warnings, [], "a client's file is as it should be");
  const reloaded = await tunnel.wirestack("reload", "wg0", "--control-dir", CONTROL_DIR);
  assert.equal(reloaded.code, 0, reloaded.stderr);
  assert.equal(await asked(client, FIRST[0], 7, "again"), "target 1: again");
  process.signal("SIGTERM");
  assert.equal((await process.exit()).code, 0, `${process}`);
  assert.deepEqual(await site.state(), before);
}, PROGRAMS);

labTest("what a redirect cannot do is said in a line, before anything has changed", async () => {
  await using lab = await Lab.create();
  const client = await lab.host("client");
  const tunnel = await TunnelHost.create(client, `${lab.directory}/client`);
  const [{ privateKey }, { publicKey }] = [await keyPair(), await keyPair()];
  await Deno.writeTextFile(
    tunnel.file,
    `[Interface]\nPrivateKey = ${privateKey}\nAddress = 10.9.0.2/24\n` +
      `[Peer]\nPublicKey = ${publicKey}\nAllowedIPs = 100.64.0.0/10\n`,
    { mode: 0o644 },
  );
  const before = await tunnel.state("^net.ipv4.ip_forward$");
  const refusals: [args: string[], says: RegExp, code: number, capabilities?: string[]][] = [
    [["--cidr", "100.64.0.0/33"], /option '--cidr <PREFIX>' argument .* Expected a prefix/, 2],
    [["--cidr", "100.64.0.0/10", "--port", "0"], /'--port <PORT>' .* Expected a port/, 2],
    [[], /^--cidr: missing, expected what goes into the tunnel/m, 2],
    [["--cidr", "10.9.0.2/32"], /^--cidr 10.9.0.2\/32: is this end of the tunnel itself/m, 2],
    [["--cidr", "100.64.0.0/10", "--no-ffi"], /^redirect: needs calls of the C library/m, 2],
    [["--cleanup"], /^redirect: this user may not administer the network, expected root/m, 1, []],
    [
      ["--cidr", "100.64.0.0/10"],
      /^redirect: this user may not administer the network, expected root/m,
      1,
      [],
    ],
  ];
  for (const [args, says, code, capabilities] of refusals) {
    const process = await tunnel.start(["redirect", ...args, tunnel.file], { capabilities });
    const { code: ended } = await process.exit();
    const errors = process.lines.filter((line) => !/^Task /.test(line));
    assert.match(errors.join("\n"), says);
    assert.equal(ended, code, errors.join("\n"));
  }
  assert.deepEqual(await tunnel.state("^net.ipv4.ip_forward$"), before);
}, PROGRAMS);

/** Rules of somebody else. */
const FOREIGN = `table inet foreign {
  chain output { type nat hook output priority -100; ip daddr 192.0.2.77 meta l4proto tcp redirect to :77; }
}\n`;

/** That what a walk-through is about arrives, to the byte. */
async function carries(t: Deno.TestContext, site: RedirectSite): Promise<void> {
  const { client, lab } = site;
  await eventually("the first target answers", async () => {
    return await site.nameAt(FIRST[0]) === "target 1";
  });
  await t.step("connections, each to its own", async () => {
    for (const [name, addresses] of [["target 1", FIRST], ["target 2", SECOND]] as const) {
      for (const address of addresses) {
        assert.equal(await site.nameAt(address), name, address);
        assert.equal(await site.nameAt(address, 9999), name, `${address}, the redirect's own port`);
      }
    }
  });
  await t.step("100 MB from the one, 20 MB to the other, by their hash", async () => {
    const file = `${lab.directory}/file`;
    await client.output(
      ["curl", "--silent", "--fail", "--output", file, `http://${FIRST[0]}/file`],
      { timeoutMs: 300_000 },
    );
    const bytes = await Deno.readFile(file);
    assert.equal(hashOf(bytes), fileHash());
    await Deno.writeFile(file, bytes.subarray(0, 20_000_000));
    const uploaded = await client.output(
      ["curl", "--silent", "--fail", "--data-binary", `@${file}`, `http://${SECOND[0]}/upload`],
      { timeoutMs: 300_000 },
    );
    assert.equal(uploaded, hashOf(bytes.subarray(0, 20_000_000)));
    await Deno.remove(file);
  });
  await t.step("datagrams, answered in the name of who was asked", async () => {
    for (const [name, addresses] of [["target 1", FIRST], ["target 2", SECOND]] as const) {
      for (const address of addresses) {
        for (const port of [7, 53]) {
          assert.equal(await asked(client, address, port, "hello"), `${name}: hello`);
          const long = "long ".repeat(1_000);
          assert.equal(
            await asked(client, address, port, long),
            `${name}: ${long}`,
            "in fragments",
          );
        }
      }
    }
  });
}

/** What a connected UDP socket gets for an answer. */
async function asked(
  from: Host,
  address: string,
  port: number,
  text: string,
): Promise<string> {
  return await from.output(["python3", "-c", ASK, address, `${port}`, text]);
}

/** What becomes of a connection: `refused`, `reset` once it is connected, or a line that it is sent. */
async function outcome(
  { client }: RedirectSite,
  address: string,
  port: number,
  from: Host = client,
): Promise<string> {
  return await from.output(["python3", "-c", CONNECT, address, `${port}`]);
}

const ASK = `
import errno, socket, sys
address, port, text = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((address, int(port)))
for attempt in range(5):
    try:
        s.send(text.encode())
        print(s.recv(65536).decode(), end="")
        break
    except TimeoutError:
        pass
    except OSError as error:
        # By a device: the hub's packets are smaller than the device's, which IPv6 tells once.
        if error.errno != errno.EMSGSIZE: raise
`;

const CONNECT = `
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
    print(s.recv(100).decode() or "end", end="")
except ConnectionRefusedError:
    print("refused", end="")
except ConnectionResetError:
    print("reset", end="")
except OSError as error:
    print(error.strerror, end="")
`;

/** Asks, ends its half, and then reads to the end. */
const HALF_CLOSE = `
import socket, sys
s = socket.create_connection((sys.argv[1], 80), 60)
s.send(b"GET /name HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
s.shutdown(socket.SHUT_WR)
got = b""
while part := s.recv(65536):
    got += part
print(got.decode().split("\\r\\n\\r\\n")[1], end="")
`;

/** Breaks off an upload, and asks what became of the connection. */
const RESET = `
import socket, struct, sys, time
s = socket.create_connection((sys.argv[1], 80), 60)
s.send(b"BAD\\r\\n\\r\\n")
got = b""
try:
    while part := s.recv(65536):
        got += part
    for _ in range(1000):
        s.send(b"more")
        time.sleep(0.05)
    print("goes on", end="")
except (ConnectionResetError, BrokenPipeError):
    print("reset", end="")
`;
