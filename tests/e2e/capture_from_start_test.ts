/**
 * `up --capture` as an ordinary user runs it: confined by the kernel, or in Deno's sandbox.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../mod.ts";
import { readPcapng } from "../proxy/capture/pcapng_reader.ts";
import { installation, startGateway, unprivileged } from "./gateway.ts";
import { eventually, Lab, labTest } from "./lab.ts";
import { output } from "./process.ts";

const PORT = 51_820;
/** Thirty at a time, which the socket holds, and the next when the gateway has read them. */
const SENDER = `text=$(printf '%1000s')
  waits() { awk '$2 ~ /:${PORT.toString(16).toUpperCase()}$/ && $5 !~ /:0+$/ { found = 1 }
    END { exit !found }' /proc/net/udp /proc/net/udp6; }
  for i in {1..10}; do
    for j in {1..30}; do echo -n "$text" >/dev/udp/127.0.0.1/${PORT}; done
    while waits; do sleep 0.01; done
  done`;

for (const subject of ["deno task start", "deno task start:sandbox"] as const) {
  labTest(`${subject} captures from the start, into files that take turns`, async () => {
    await installation();
    await using lab = await Lab.create();
    const host = await lab.host("recorder");
    await host.output(["ip", "link", "set", "lo", "up"]);
    const folder = `${lab.directory}/captures`;
    await Deno.mkdir(folder);
    await Deno.chown(folder, 65534, 65534);
    const text = [
      ...["[Interface]", `PrivateKey = ${encodeKey(generatePrivateKey())}`, `ListenPort = ${PORT}`],
      ...["[Capture]", `Write = ${folder}/a.pcapng`, "At = outer", "Rotate = 64k, 3", ""],
    ].join("\n");
    const gateway = await startGateway(host, lab.directory, text, { subject });
    if (subject === "deno task start") {
      await gateway.process.line(/"message":"confined: files by Landlock/);
    }
    // No WireGuard, which outer shows all the same: 300 datagrams of 1,000 bytes.
    await host.output(["bash", "-c", SENDER]);
    assert.equal(await gateway.stop(), 0);
    const names = Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
    assert.deepEqual(names, ["a_1.pcapng", "a_2.pcapng", "a_3.pcapng"]);
    let last = 0;
    for (const name of names) {
      const { mode, uid, size } = await Deno.stat(`${folder}/${name}`);
      assert.deepEqual([mode! & 0o777, uid], [0o600, 65534]);
      assert.ok(size <= 66_000, `${size}`);
      const { packets, interfaces, statistics } = readPcapng(
        await Deno.readFile(`${folder}/${name}`),
      );
      assert.deepEqual(interfaces.map(({ name }) => name), ["outer"]);
      assert.ok(
        packets.every(({ direction, original }) => direction === "in" && original === 1_000 + 28),
      );
      assert.ok(packets.length > 0);
      last = Math.max(last, statistics.at(-1)!.seen);
    }
    // Without batches the kernel may drop some in front of the gateway.
    const [, captured] =
      (await gateway.process.line(/"message":"captured (\d+) packets, 0 were lost"/)).map(Number);
    assert.ok(captured! > 150, `${captured}`);
    assert.equal(last, captured, "the figures of the whole capture are in the last file");
  });
}

labTest("up --capture writes a file, feeds who connects, and tshark behind a pipe", async (t) => {
  const { root, deno, env } = await installation();
  await using lab = await Lab.create();
  const host = await lab.host("recorder");
  const text = `[Interface]\nPrivateKey = ${
    encodeKey(generatePrivateKey())
  }\nListenPort = ${PORT}\n`;
  const folder = `${lab.directory}/captures`;
  await Deno.mkdir(folder);
  await Deno.chown(folder, 65534, 65534);
  const flags = (to: string) => ["--capture", to, "--capture-at", "outer", "--capture-snap", "64"];
  const start = (to: string) =>
    startGateway(host, lab.directory, text, { subject: "deno task start", args: flags(to) });
  /** What is no WireGuard is shown all the same. */
  const isSent = (bytes: Uint8Array<ArrayBuffer>) => {
    const { interfaces, packets } = readPcapng(bytes);
    assert.deepEqual(interfaces, [{ name: "outer", snapLength: 64 }]);
    assert.ok(packets.length > 0);
    for (const { direction, original } of packets) {
      assert.deepEqual([direction, original], ["in", 1_000 + 28]);
    }
  };
  await t.step("a file", async () => {
    const gateway = await start(`${folder}/a.pcapng`);
    await host.output(["bash", "-c", SENDER]);
    assert.equal(await gateway.stop(), 0);
    isSent(await Deno.readFile(`${folder}/a.pcapng`));
  });
  await t.step("a port", async () => {
    const gateway = await start("tcp:127.0.0.1:8082");
    await gateway.process.line(/"message":"captures at 127\.0\.0\.1 port 8082"/);
    const file = `${folder}/b.pcapng`;
    const reader = host.spawn("reader", ["socat", "-u", "TCP4:127.0.0.1:8082", `CREATE:${file}`]);
    await eventually("a header", () => Deno.stat(file).then(({ size }) => size > 0, () => false));
    await host.output(["bash", "-c", SENDER]);
    assert.equal(await gateway.stop(), 0);
    assert.equal((await reader.exit()).code, 0);
    isSent(await Deno.readFile(file));
  });
  await t.step("tshark, as it comes", async () => {
    const file = `${lab.directory}/piped.conf`;
    await Deno.writeTextFile(file, text, { mode: 0o600 });
    await Deno.chown(file, 65534, 65534);
    const up = ["up", "--control-dir", "off", ...flags("-"), file];
    const both = host.spawn("up | tshark", [
      ...["bash", "-c", 'set -o pipefail; "$@" | tshark -l -n -r -', "bash"],
      ...[...unprivileged(), deno, "task", "start", ...up],
    ], { cwd: `${root}/source`, env });
    await both.line(/listening/);
    await host.output(["bash", "-c", SENDER]);
    await both.line(/127\.0\.0\.1.*51820/);
    const gateway = both.descendants.findLast((pid) =>
      Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes("main.ts\0up")
    );
    Deno.kill(gateway!, "SIGTERM");
    assert.equal((await both.exit()).code, 0, `${both}`);
    assert.ok(!/cut short|appears to be damaged/.test(`${both}`));
  });
}, ["socat", "tshark"]);

labTest("a folder that the gateway may not write to is told before it runs", async () => {
  await installation();
  await using lab = await Lab.create();
  const host = await lab.host("refused");
  const text = [
    ...["[Interface]", `PrivateKey = ${encodeKey(generatePrivateKey())}`],
    ...["[Capture]", "Write = /a.pcapng", ""],
  ].join("\n");
  await assert.rejects(
    startGateway(host, lab.directory, text, { subject: "deno task start" }),
    /Write: \/a\.pcapng: Permission denied/,
  );
  assert.equal((await output(["ls", "/"])).includes("a.pcapng"), false);
});
