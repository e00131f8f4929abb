/** `wirestack capture` of a gateway that runs, and what reads it. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Captures } from "../../../proxy/capture/captures.ts";
import { rotatedName } from "../../../proxy/capture/file.ts";
import { ControlLab } from "../control/lab.ts";
import { runHere } from "../cli/run_here.ts";
import { SITE, until } from "../pair.ts";
import { LiveLab } from "./live_lab.ts";
import { readPcapng } from "./pcapng_reader.ts";
import { hasTshark, tshark } from "./tshark.ts";
import { tries } from "../../tries.ts";

const MAIN = fileURLToPath(new URL("../../../main.ts", import.meta.url));

function command(lab: LiveLab, ...args: string[]) {
  return runHere(["capture", "--control-dir", lab.control.directory, ...args]);
}

/** Runs `traffic` while a command captures, which ends when the gateway's capture is stopped. */
async function during(
  lab: LiveLab,
  traffic: () => Promise<void>,
  ...args: string[]
): Promise<Awaited<ReturnType<typeof command>>> {
  const captures = Captures.of(lab.control.gateway);
  const { size } = captures;
  const running = command(lab, ...args);
  await until(() => captures.size > size, "a capture has begun");
  await traffic();
  await captures.close(); // as the gateway does when it ends
  return await running;
}

Deno.test("a capture into a file is its owner's, has all packets, and ends well with the gateway", async () => {
  await using lab = await LiveLab.start();
  const folder = lab.control.directory;
  const file = `${folder}/a.pcapng`;
  await Deno.writeTextFile(file, "what was there before", { mode: 0o644 });
  const result = await during(lab, () => lab.transfer(300_000), "--write", file, "--name", "lab");
  assert.equal(result.status, 0);
  assert.match(
    result.error,
    /^capturing at nic1 of lab, Ctrl-C ends it\n(\d+) packets, 0 were lost\n$/,
  );
  assert.equal(result.out, "");
  const { mode } = await Deno.stat(file);
  if (Deno.build.os !== "windows") assert.equal(mode! & 0o777, 0o600);
  const { packets, statistics } = readPcapng(await Deno.readFile(file));
  assert.equal(packets.length, Number(/(\d+) packets/.exec(result.error)![1]));
  assert.equal(statistics.at(-1)!.accepted, packets.length);
  const inside = packets.reduce((sum, { original }) => sum + original, 0);
  assert.ok(inside > 600_000);
  assert.ok(packets.some(({ comment }) => /^peer laptop, flow [0-9a-f]{8}$/.test(comment ?? "")));
});

Deno.test({
  name: "files take turns: tshark reads each by itself, and together they have every packet",
  ignore: !hasTshark(),
  async fn() {
    await using lab = await LiveLab.start();
    const path = `${lab.control.directory}/turns.pcapng`;
    const result = await during(
      lab,
      () => lab.transfer(2_000_000),
      ...["--write", path, "--rotate", "1M,9", "--snap", "400"],
    );
    assert.match(result.error, /, 0 were lost\n$/);
    let packets = 0;
    let files = 0;
    for (let number = 1; number <= 9; number++) {
      const bytes = await Deno.readFile(rotatedName(path, number, 9)).catch(() => undefined);
      if (bytes === undefined) continue;
      files++;
      assert.ok(bytes.length <= (1 << 20) + 1_000, `${bytes.length}`);
      const read = readPcapng(bytes);
      assert.equal((await tshark(bytes)).length, read.packets.length);
      packets += read.packets.length;
    }
    assert.ok(files >= 2, `${files}`);
    assert.equal(`${packets}`, /(\d+) packets/.exec(result.error)![1]);
  },
});

Deno.test("of files that take turns the oldest is replaced", () =>
  // The last may have been begun with the last packet: what is sent again changes how many there are.
  tries(5, async () => {
    await using lab = await LiveLab.start();
    const path = `${lab.control.directory}/turns.pcapng`;
    await during(lab, () => lab.transfer(1_000_000), "--write", path, "--rotate", "256k,2");
    const names = Array.from(Deno.readDirSync(lab.control.directory), ({ name }) => name)
      .filter((name) => name.endsWith(".pcapng")).sort();
    assert.deepEqual(names, ["turns_1.pcapng", "turns_2.pcapng"]);
    const last = names.map((name) =>
      readPcapng(Deno.readFileSync(`${lab.control.directory}/${name}`))
    );
    for (const { packets, statistics } of last) {
      assert.ok(packets.length > 0 && statistics.length > 0);
    }
  }));

Deno.test({
  name: "wirestack capture --write - | tshark -r -",
  ignore: !hasTshark() || Deno.build.os === "windows",
  async fn() {
    await using lab = await LiveLab.start();
    const program = `"${Deno.execPath()}" run --quiet --no-prompt --no-check --allow-read ` +
      `--allow-write --allow-net --allow-env --allow-sys=uid ${MAIN}`;
    const child = new Deno.Command("bash", {
      args: [
        "-c",
        `${program} capture --control-dir ${lab.control.directory} --filter 'tcp and host ${SITE}' ` +
        "--write - | tshark -n -r - -T fields -e frame.interface_name -e ip.dst -e frame.comment",
      ],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const captures = Captures.of(lab.control.gateway);
    await until(() => captures.size > 0, "a capture has begun");
    await lab.transfer(50_000);
    await captures.close();
    const { stdout, stderr } = await child.output();
    const [out, error] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    const lines = out!.trimEnd().split("\n");
    assert.match(error!, new RegExp(`\n${lines.length} packets, 0 were lost\n`));
    const rows = lines.map((line) => line.split("\t"));
    assert.ok(rows.every(([at]) => at === "nic1"));
    assert.deepEqual([...new Set(rows.map(([, to]) => to))].sort(), ["10.50.0.1", "10.9.0.2"]);
    assert.ok(rows.some(([, , comment]) => /^peer laptop, flow /.test(comment!)));
  },
});

Deno.test("who connects gets a file of its own, one after the other, and no peer gets there", async () => {
  await using lab = await LiveLab.start();
  const { gateway } = lab.control;
  const captures = Captures.of(gateway);
  const errors: string[] = [];
  const running = runHere(
    ["capture", "--control-dir", lab.control.directory, "--listen", "tcp:127.0.0.1:0"],
    "",
    { error: (text) => errors.push(text) },
  );
  await until(() => errors.length > 0, "it listens");
  const [, port] = /^wireshark -k -i TCP@127\.0\.0\.1:(\d+)\n$/.exec(errors[0]!) ?? [];
  const place = { hostname: "127.0.0.1", port: Number(port) };
  for (let i = 0; i < 2; i++) {
    const conn = await Deno.connect(place);
    await until(() => captures.size === 1, "the reader is there");
    // Another is told so at once.
    using refused = await Deno.connect(place);
    assert.equal(await refused.read(new Uint8Array(1)).catch(() => null), null);
    await lab.transfer(10_000);
    const { bytes, read } = collect(conn);
    await until(() => bytes().length > 20_000, "packets arrive");
    conn.close();
    await read;
    await until(() => captures.size === 0, "the reader has gone");
    const whole = bytes();
    const cut = whole.subarray(0, wholeBlocks(whole));
    assert.ok(readPcapng(cut.slice()).packets.length > 10);
  }
  await assert.rejects(
    lab.client.connect({ hostname: SITE, port: place.port, timeoutMs: 5_000 }),
    Deno.errors.ConnectionRefused,
  );
  await gateway.close();
  assert.equal((await running).status, 0);
  const [, packets] = /^(\d+) packets, 0 were lost\n$/.exec(errors.at(-1)!) ?? [];
  assert.ok(Number(packets) > 20, errors.at(-1));
  await assert.rejects(Deno.connect(place));
});

Deno.test("a reader that stops costs its own packets alone, and who reads beside it loses none", async () => {
  await using lab = await LiveLab.start();
  const captures = Captures.of(lab.control.gateway);
  const idle = await lab.control.connect();
  await idle.write(new TextEncoder().encode("wirestack_capture=1\n\n"));
  await until(() => captures.size === 1, "it has begun");
  const small = captures.open({ bufferBytes: 100_000 });
  const file = `${lab.control.directory}/beside.pcapng`;
  // As much as the reader's buffer holds: here all share one thread, and it may come late.
  const result = await during(
    lab,
    async () => {
      for (let i = 0; i < 5; i++) await lab.transfer(1_000_000);
    },
    "--write",
    file,
  );
  assert.match(result.error, /\n(\d+) packets, 0 were lost\n$/);
  assert.ok((await Deno.stat(file)).size > 10_000_000);
  const { accepted, dropped } = small.counts;
  assert.ok(dropped > 5_000 && accepted > dropped, `${dropped} of ${accepted}`);
  assert.equal(captures.size, 0, "it was ended with the gateway, unread as it is");
  idle.close();
});

Deno.test("wrong flags and filters each have their line, and nothing is written", async () => {
  await using lab = await LiveLab.start();
  const file = `${lab.control.directory}/wrong.pcapng`;
  const cases: [string[], RegExp][] = [
    [[], /^--write: expected --write FILE, --write - or --listen tcp:ADDRESS:PORT, one of them\n$/],
    [["--write", file, "--listen", "tcp:127.0.0.1:0"], /^--write: expected .* one of them\n$/],
    [["--write", "folder/"], /^--write: "folder\/" is no file, expected a path\n$/],
    [["--write", "-", "--rotate", "1M,2"], /^--rotate: has no use without a file/],
    [
      ["--write", "-", "--filter", "tcp or ".repeat(1_000) + "udp"],
      /^--filter: is 7003 characters long, expected at most 1000\n$/,
    ],
    [
      ["--write", file, "--rotate", "1M"],
      /^--rotate: "1M" is not two numbers, expected SIZE,COUNT/,
    ],
    [["--write", file, "--rotate", "1k,2"], /^--rotate: 1k is out of range, expected 65536 to /],
    [
      ["--write", file, "--rotate", "1M,1"],
      /^--rotate: 1 is out of range, expected 2 to 1000 files/,
    ],
    [["--write", file, "--duration", "0"], /^--duration: 0 is out of range, expected 0\.1 to /],
    [
      ["--write", file, "--snap", "70000"],
      /^--snap: 70000 is out of range, expected 0 to 65535\n$/,
    ],
    [["--write", file, "--at", "nic3"], /^--at: "nic3": there is none, expected nic1, nic2, outer/],
    [["--write", file, "--at", "link:phone"], /^--at: "link:phone": there is none, /],
    [["--write", file, "--keys"], /^--keys: has no use without outer, expected --at outer/],
    [["--keys", "--listen", "tcp:127.0.0.1:0"], /^--keys: whoever connects would get them/],
    [
      ["--listen", "tcp:0.0.0.0:8082"],
      /^--listen: 0\.0\.0\.0 can be reached from outside, expected a/,
    ],
    [
      ["--listen", "127.0.0.1:8082"],
      /^--listen: "127\.0\.0\.1:8082" is no place to listen, expected/,
    ],
    [["--listen", `tcp:127.0.0.1:${lab.echoPort}`], /^--listen: tcp:127\.0\.0\.1:\d+: .*in use/],
    [
      ["--write", file, "--filter", "host 10.0.0.1 port 80"],
      /^--filter: "port" is out of place, expected and, or, or the end\n {2}host .*80\n {16}\^\n$/,
    ],
    [["--write", file, "--filter", "peer nobody"], /^--filter: peer "nobody": unknown, expected/],
  ];
  for (const [args, message] of cases) {
    const { status, error } = await command(lab, ...args);
    assert.match(error, message, `${args}: ${error}`);
    assert.equal(status, 2, `${args}`);
  }
  const other = await runHere([
    ...["capture", "--control-dir", lab.control.directory, "--name", "other", "--write", file],
  ]);
  assert.match(other.error, /^wirestack: other: not running/);
  assert.equal(other.status, 1);
  await assert.rejects(Deno.stat(file), Deno.errors.NotFound);
  const folder = `${lab.control.directory}/missing/a.pcapng`;
  const missing = await command(lab, "--write", folder);
  assert.match(missing.error, /^wirestack: --write: .*missing\/a\.pcapng: No such file/);
  assert.equal(missing.status, 1);
  if (Deno.build.os === "linux") {
    const full = await command(lab, "--write", "/dev/full"); // ends with the header
    assert.match(full.error, /\nwirestack: the capture has ended: No space left on device/);
    assert.equal(full.status, 1);
  }
  await until(() => Captures.of(lab.control.gateway).size === 0, "none is left");
});

Deno.test("a capture with a duration ends by itself; keys are warned of", async () => {
  await using lab = await LiveLab.start();
  const file = `${lab.control.directory}/a.pcapng`;
  const running = command(
    lab,
    ...["--write", file, "--at", "outer,nic2", "--keys", "--duration", "0.5"],
  );
  await until(() => Captures.of(lab.control.gateway).size > 0, "a capture has begun");
  await lab.transfer(1_000);
  const { status, error } = await running;
  assert.equal(status, 0, error);
  assert.match(
    error,
    /^warning: --keys writes the gateway's private key .*\ncapturing at outer, nic2 /,
  );
  const { interfaces, secrets } = readPcapng(await Deno.readFile(file));
  assert.deepEqual(interfaces.map(({ name }) => name), ["outer", "nic2"]);
  assert.match(secrets, /^LOCAL_STATIC_PRIVATE_KEY = /);
  await until(() => Captures.of(lab.control.gateway).size === 0, "the gateway's side has ended");

  const listening = await command(lab, "--listen", "tcp:127.0.0.1:0", "--duration", "0.1");
  assert.equal(listening.status, 0);
  assert.match(listening.error, /^wireshark -k -i .*\n0 packets, 0 were lost\n$/);
});

Deno.test("without WireGuard a capture is at the links, and says so", async () => {
  const links = ["phone", "car"].map((name) => ({ name, listen: "udp:127.0.0.1:0" }));
  await using control = await ControlLab.start({ links, proxy: { subnets: "10.50.0.0/16" } });
  const file = `${control.directory}/a.pcapng`;
  const args = ["--control-dir", control.directory, "--write", file, "--duration", "0.1"];
  const { status, error } = await runHere(["capture", ...args]);
  assert.equal(status, 0, error);
  assert.match(error, /^capturing at link:phone, link:car of lab, Ctrl-C ends it\n/);
});

/** Reads on until the connection is closed. */
function collect(conn: Deno.Conn) {
  const pieces: Uint8Array[] = [];
  const read = (async () => {
    const buffer = new Uint8Array(65_536);
    try {
      for (let length; (length = await conn.read(buffer)) !== null;) {
        pieces.push(buffer.slice(0, length));
      }
    } catch { /* closed */ }
  })();
  return { read, bytes: () => Uint8Array.from(pieces.flatMap((piece) => [...piece])) };
}

/** Bytes of the whole blocks at the beginning. */
function wholeBlocks(bytes: Uint8Array<ArrayBuffer>): number {
  const view = new DataView(bytes.buffer);
  let at = 0;
  while (at + 8 <= bytes.length && at + view.getUint32(at + 4, true) <= bytes.length) {
    at += view.getUint32(at + 4, true);
  }
  return at;
}
