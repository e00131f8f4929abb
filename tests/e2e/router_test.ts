/** `wirestack router`: a TUN device behind socat, which is not our code, reaches targets. */

import assert from "node:assert/strict";
import { readPcapng } from "../proxy/capture/pcapng_reader.ts";
import { allAnswered } from "./all_answered.ts";
import { startRouter } from "./gateway.ts";
import { eventually, type Host, labTest } from "./lab.ts";
import { output } from "./process.ts";
import { linkFolder, SCRIPT, site, TARGET, TARGET6, tun } from "./router_site.ts";

const ASK = `
import socket, sys
where = socket.getaddrinfo(sys.argv[1], 7001, type=socket.SOCK_DGRAM)[0]
s = socket.socket(where[0], socket.SOCK_DGRAM)
s.settimeout(60)
s.sendto(b"hello", where[4])
print(s.recv(100).decode(), end="")
`;

for (const kind of ["unix", "tcp", "udp"] as const) {
  labTest(`socat's TUN reaches TCP, UDP and ping targets over ${kind}, both families`, async () => {
    const { lab, phone, gateway, hash } = await site();
    await using _ = lab;
    const place = kind === "unix"
      ? `unix:${await linkFolder(lab)}/phone.sock`
      : `${kind}:192.0.2.2:8081`;
    const router = await startRouter(
      gateway,
      lab.directory,
      ["--listen", place],
      "deno task start",
    );
    await tun(
      phone,
      kind === "udp" ? "UDP4:192.0.2.2:8081" : `EXEC:"python3 ${SCRIPT} ${place}",socktype=2`,
    );
    for (const [address, connect] of [[TARGET, "TCP4:"], [TARGET6, "TCP6:"]] as const) {
      const host = address.includes(":") ? `[${address}]` : address;
      const reached = await phone.output([
        "bash",
        "-c",
        `socat -u ${connect}${host}:7000,connect-timeout=60 - | sha256sum`,
      ]);
      assert.equal(reached.split(" ")[0], hash, `20 MB of ${address} by hash`);
      assert.equal(await phone.output(["python3", "-c", ASK, address]), "hello");
      await allAnswered(phone, address, 3, "-i", "0.2");
    }
    router.signal("SIGTERM");
    assert.equal((await router.exit()).code, 0);
    assert.ok(router.lines.some((line) => /is connected/.test(line)));
  }, ["socat", "python3", "ping", "sha256sum"]);
}

/** An echo of every connection to a port, of both families. */
function echo(host: Host, port: number): void {
  const listen = `TCP6-LISTEN:${port},ipv6-v6only=0,fork,reuseaddr`;
  host.spawn(`echo ${port}`, ["socat", listen, "EXEC:cat"]);
}

/** Whether something there answers; `seconds` are for what says nothing. */
async function answers(from: Host, address: string, port: number, seconds = 5): Promise<boolean> {
  const ask = `exec 3<>/dev/tcp/${address}/${port} && echo hello >&3 && read -r line <&3 &&
    test "$line" = hello`;
  return (await from.run(["timeout", `${seconds}`, "bash", "-c", ask])).code === 0;
}

labTest(
  "router by its options: subnets, rules, limits and safe targets hold, a capture is written, a second program is refused with a line",
  async (t) => {
    const { lab, phone, gateway, target } = await site();
    await using _ = lab;
    // Beside what is in --subnet; and what no subnet makes a target.
    await gateway.addAddresses("eth1", ["203.0.113.1/24", "169.254.7.1/24"]);
    await target.addAddresses("eth0", ["203.0.113.2/24", "169.254.7.2/24"]);
    for (const port of [7002, 7003, 7004]) echo(target, port);
    echo(gateway, 7005);
    const there = [[TARGET, 7002], [TARGET6, 7002], ["203.0.113.2", 7002], ["169.254.7.2", 7002]];
    for (const [address, port] of [...there, [TARGET, 7003], [TARGET6, 7003], [TARGET, 7004]]) {
      const question = `${address} answers the gateway at ${port}`;
      await eventually(question, () => answers(gateway, `${address}`, Number(port)));
    }
    const own = ["198.51.100.1", "2001:db8::1"];
    for (const address of own) {
      await eventually("the gateway's own service", () => answers(target, address, 7005));
    }

    const file = `${await linkFolder(lab)}/router.pcapng`;
    const place = "tcp:192.0.2.2:8081";
    const router = await startRouter(gateway, lab.directory, [
      ...["--listen", place],
      ...["--subnet", "198.51.100.0/24,2001:db8::/64,169.254.0.0/16"],
      ...["--rule", "reject", "--rule-to", `${TARGET},${TARGET6}`, "--rule-ports", "tcp/7003"],
      ...["--rule", "allow", "--rule-to", TARGET, "--rule-ports", "tcp/7004"],
      ...["--rule-max-connections", "1"],
      ...["--capture", file, "--capture-at", "link:router,nic2", "--capture-snap", "256"],
    ], "deno task start");
    await tun(phone, `EXEC:"python3 ${SCRIPT} ${place}",socktype=2`);
    await eventually("the way out", () => answers(phone, TARGET, 7002));
    assert.ok(await answers(phone, TARGET6, 7002, 60));

    await t.step("what is not in --subnet", async () => {
      assert.equal(await answers(phone, "203.0.113.2", 7002), false);
    });
    await t.step("what a rule rejects, both families", async () => {
      for (const address of [TARGET, TARGET6]) {
        assert.equal(await answers(phone, address, 7003), false, address);
      }
    });
    await t.step("one connection at a time, where a rule says so", async () => {
      const hold = `exec 3<>/dev/tcp/${TARGET}/7004 && echo held && cat`;
      const held = phone.spawn("held", ["bash", "-c", hold]);
      await held.line(/^held$/);
      assert.equal(await answers(phone, TARGET, 7004), false);
      held.endInput();
      await held.exit();
      await eventually("the next one", () => answers(phone, TARGET, 7004));
    });
    await t.step("no link-local address, and none of the gateway's own", async () => {
      assert.equal(await answers(phone, "169.254.7.2", 7002), false);
      for (const address of own) assert.equal(await answers(phone, address, 7005), false, address);
    });
    await t.step("a second program is closed at once, and the log says why", async () => {
      const second = await phone.run(
        ["timeout", "60", "bash", "-c", "cat < /dev/tcp/192.0.2.2/8081"],
      );
      assert.notEqual(second.code, 124, "not closed");
      const line = /"link router: 192\.0\.2\.1:\d+ is refused, 192\.0\.2\.1:\d+ is connected"/;
      await router.line(line);
      assert.ok(await answers(phone, TARGET, 7002, 60), "the first has not been disturbed");
    });

    router.signal("SIGTERM");
    assert.equal((await router.exit()).code, 0);
    const { interfaces, packets, statistics } = readPcapng(await Deno.readFile(file));
    assert.deepEqual(interfaces.map(({ name }) => name), ["link:router", "nic2"]);
    for (const { name } of interfaces) {
      const { accepted, dropped } = statistics.findLast(({ at }) => at === name)!;
      assert.equal(packets.filter(({ at }) => at === name).length, accepted - dropped, name);
    }
    // Not our reader: as it came in, and what answered it.
    const read = async (filter: string) => {
      const lines = await output(["tshark", "-n", "-r", file, "-Y", filter]);
      return lines.split("\n").filter((line) => line !== "").length;
    };
    assert.equal(await read("frame"), packets.length);
    for (const at of ["link:router", "nic2"]) {
      const here = `frame.interface_name == "${at}"`;
      assert.ok(await read(`${here} && tcp.dstport == 7002 && ip.dst == ${TARGET}`) > 0, at);
      assert.ok(await read(`${here} && tcp.srcport == 7002 && ipv6.src == ${TARGET6}`) > 0, at);
    }
  },
  ["socat", "python3", "bash", "tshark"],
);
