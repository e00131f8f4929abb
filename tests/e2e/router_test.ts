/** `wirestack router`: a TUN device behind socat, which is not our code, reaches targets. */

import assert from "node:assert/strict";
import { allAnswered } from "./all_answered.ts";
import { startRouter } from "./gateway.ts";
import { eventually, type Host, Lab, labTest } from "./lab.ts";

const SCRIPT = new URL("./packet_link.py", import.meta.url).pathname;
const TARGET = "198.51.100.2";
const SIZE = 20 << 20;
const ASK = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.sendto(b"hello", (sys.argv[1], 7001))
print(s.recv(100).decode(), end="")
`;

/** The phone, whose default route is the TUN; the gateway; a target behind it. */
async function site() {
  const lab = await Lab.create();
  const [phone, gateway, target] = [
    await lab.host("phone"),
    await lab.host("gateway"),
    await lab.host("target"),
  ];
  await lab.connect(
    { host: phone, device: "eth0", addresses: ["192.0.2.1/24"] },
    { host: gateway, device: "eth0", addresses: ["192.0.2.2/24"] },
  );
  await lab.connect(
    { host: gateway, device: "eth1", addresses: ["198.51.100.1/24", "2001:db8::1/64"] },
    { host: target, device: "eth0", addresses: [`${TARGET}/24`, "2001:db8::2/64"] },
  );
  await gateway.sysctl("net.ipv4.ping_group_range=0 2147483647");
  const file = `${lab.directory}/file`;
  await Deno.writeFile(file, pseudoRandom(SIZE));
  target.spawn("tcp", ["socat", "TCP6-LISTEN:7000,ipv6-v6only=0,fork,reuseaddr", `OPEN:${file}`]);
  target.spawn("udp", ["socat", "UDP4-RECVFROM:7001,fork", "EXEC:cat"]);
  await eventually(
    "the target listens",
    async () =>
      (await target.output(["ss", "-Hltn"])).includes(":7000") &&
      (await target.output(["ss", "-Hlun"])).includes(":7001"),
  );
  const [hash] = (await phone.output(["sha256sum", file])).split(" ");
  return { lab, phone, gateway, target, hash };
}

/** Incompressible, and the same each time. */
function pseudoRandom(length: number): Uint8Array {
  const words = new Uint32Array(length / 4);
  let state = 1;
  for (let i = 0; i < words.length; i++) {
    words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  }
  return new Uint8Array(words.buffer);
}

/** A TUN device on `host` behind socat, with all but its neighbours behind it. */
async function tun(host: Host, other: string): Promise<void> {
  host.spawn("socat", ["socat", "TUN:10.0.0.8/24,tun-name=tun0,iff-no-pi,iff-up", other]);
  await eventually(
    "the TUN is up",
    async () => {
      const { stdout } = await host.run(["ip", "address", "show", "tun0"]);
      return /[<,]UP[,>]/.test(stdout) && stdout.includes("10.0.0.8");
    },
  );
  await host.ip("route add default dev tun0", "address add fd00::8/64 dev tun0");
  await host.ip("-6 route add default dev tun0").catch(() => {});
}

for (const kind of ["unix", "tcp", "udp"] as const) {
  labTest(`socat's TUN reaches TCP, UDP and ping targets over ${kind}`, async () => {
    const { lab, phone, gateway, hash } = await site();
    await using _ = lab;
    const folder = `${lab.directory}/link`;
    await Deno.mkdir(folder);
    await Deno.chown(folder, 65534, 65534);
    const place = kind === "unix" ? `unix:${folder}/phone.sock` : `${kind}:192.0.2.2:8081`;
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
    const reached = await phone.output([
      "bash",
      "-c",
      `socat -u TCP4:${TARGET}:7000,connect-timeout=60 - | sha256sum`,
    ]);
    assert.equal(reached.split(" ")[0], hash, "20 MB by hash");
    assert.equal(await phone.output(["python3", "-c", ASK, TARGET]), "hello");
    await allAnswered(phone, TARGET, 3, "-i", "0.2");
    router.signal("SIGTERM");
    assert.equal((await router.exit()).code, 0);
    assert.ok(router.lines.some((line) => /is connected/.test(line)));
  }, ["socat", "python3", "ping", "sha256sum"]);
}
