import assert from "node:assert/strict";
import { pftk } from "./pftk.ts";
import { DEFAULTS, jain, transfer } from "./transfer.ts";

const decoder = new TextDecoder();

interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

function start(command: string, args: string[]): Output {
  const { code, stdout, stderr } = new Deno.Command(command, {
    args,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).outputSync();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

function task(...args: string[]): Output {
  return start(Deno.execPath(), ["task", "sim", ...args]);
}

function installed(command: string): boolean {
  try {
    return start(command, ["--version"]).code === 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const HARSH = [
  "--bytes=1000000",
  "--rtt-ms=40",
  "--loss=0.03",
  "--reorder=0.05",
  "--duplicate=0.02",
  "--corrupt=0.02",
  "--rate=20e6",
  "--queue=50",
  "--buffer=65536",
  "--flows=3",
  "--seed=7",
];

Deno.test("the task prints one JSON object and nothing else, the same every time", () => {
  const first = task(...HARSH, "--cc", "newreno", "--json");
  assert.equal(first.code, 0, first.stderr);
  const report = JSON.parse(first.stdout);
  assert.equal(first.stdout, `${JSON.stringify(report)}\n`);
  for (
    const key of ["bytes_per_s", "duration_s", "retransmits", "timeouts", "spurious", "jain"]
  ) assert.equal(typeof report[key], "number", key);
  assert.equal(report.bytes, 3_000_000);
  assert.ok(Math.abs(report.bytes_per_s * report.duration_s - 3_000_000) < 100);
  assert.ok(report.retransmits > 50 && report.jain > 0.5 && report.jain <= 1);
  assert.equal(task(...HARSH, "--cc", "newreno", "--json").stdout, first.stdout);
  assert.notEqual(task(...HARSH, "--cc", "newreno", "--json", "--seed=8").stdout, first.stdout);
});

Deno.test("wrong arguments are named in one line, and the exit status is 2", () => {
  const cases: [args: string[], expected: RegExp][] = [
    [["--loss", "2"], /^sim: --loss: expected a probability from 0 to 1, got "2"$/],
    [["--loss", "abc"], /^sim: --loss: expected a probability from 0 to 1, got "abc"$/],
    [["--bytes", "1.5"], /^sim: --bytes: expected a whole number from 1 to .*, got "1.5"$/],
    [["--bytes", "0"], /^sim: --bytes: expected a whole number from 1 to .*, got "0"$/],
    [["--rtt-ms", ""], /^sim: --rtt-ms: expected milliseconds from 0 .*, got ""$/],
    [["--cc", "bbr"], /^sim: --cc: expected none, newreno or cubic, got "bbr"$/],
    [["--flows", "0"], /^sim: --flows: expected a whole number from 1 .*, got "0"$/],
    [["--rate=0x10"], /^sim: --rate: expected bits per second from 1, got "0x10"$/],
    [["--mtu", "575"], /^sim: --mtu: expected a whole number from 576 .*, got "575"$/],
    [["--speed", "1"], /^sim: .*--speed/],
    [["--seed"], /^sim: .*--seed/],
    [["fast"], /^sim: .*fast/],
    [["--json=1"], /^sim: .*--json/],
    [["--pcap", "/nowhere/at/all.pcap"], /^sim: --pcap: .*nowhere/],
  ];
  for (const [args, expected] of cases) {
    const { code, stdout, stderr } = start(Deno.execPath(), [
      "run",
      "--no-prompt",
      "--allow-write",
      new URL("tool.ts", import.meta.url).pathname,
      ...args,
    ]);
    assert.equal(code, 2, `${args}: ${stderr}`);
    assert.equal(stdout, "");
    assert.match(stderr.trimEnd(), expected);
    assert.doesNotMatch(stderr.trimEnd(), /\n/);
  }
});

Deno.test({
  name: "a capture of a harsh run has nothing malformed in it for tshark",
  ignore: !installed("tshark"),
  fn() {
    const file = Deno.makeTempFileSync({ suffix: ".pcap" });
    try {
      const { code, stdout, stderr } = task(...HARSH, "--mtu=1280", "--json", "--pcap", file);
      assert.equal(code, 0, stderr);
      const read = (filter: string) =>
        start("tshark", [
          "-r",
          file,
          "-o",
          "ip.check_checksum:TRUE",
          "-o",
          "tcp.check_checksum:TRUE",
          "-Y",
          filter,
        ]).stdout.split("\n").filter((line) => line !== "");
      assert.deepEqual(
        read("_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0"),
        [],
      );
      // Not by ip.src: a flipped bit makes an IPv6 packet of one, and that gets an ICMPv6 answer.
      const fromClient = read("!(ip.src == 10.0.0.2)").length;
      assert.equal(fromClient, JSON.parse(stdout).packets);
      assert.ok(fromClient > 2000);
    } finally {
      Deno.removeSync(file);
    }
  },
});

Deno.test("without loss the limit is the buffer per round trip, and nothing is sent twice", () => {
  const result = transfer({ ...DEFAULTS, congestion: "none", buffer: 32_768 });
  assert.ok(result.bytesPerSecond >= 0.98 * 322_945, `${result.bytesPerSecond} bytes/s`);
  const { retransmits, timeouts, spurious, undone, jain, failed } = result;
  assert.deepEqual(
    { retransmits, timeouts, spurious, undone, jain, failed },
    { retransmits: 0, timeouts: 0, spurious: 0, undone: 0, jain: 1, failed: 0 },
  );
});

Deno.test("without a round trip no time passes, and nobody is ahead", () => {
  const { seconds, jain, bytes } = transfer({ ...DEFAULTS, rttMs: 0, bytes: 100_000, flows: 3 });
  assert.deepEqual({ seconds, jain, bytes }, { seconds: 0, jain: 1, bytes: 300_000 });
});

Deno.test("a rate is kept to, and shared", () => {
  const result = transfer({
    ...DEFAULTS,
    congestion: "newreno",
    bytes: Infinity,
    durationMs: 5000,
    rate: 10e6,
    queue: 83,
    flows: 2,
  });
  const bits = 8 * result.bytesPerSecond;
  assert.ok(bits < 10e6 && bits > 8e6, `${bits} bit/s`);
  assert.equal(result.seconds, 5);
  assert.ok(result.overflowed > 0);
});

Deno.test("one packet can be lost at a given time", () => {
  const options = { ...DEFAULTS, bytes: 3_000_000, congestion: "newreno" } as const;
  assert.equal(transfer(options).retransmits, 0);
  const { retransmits, timeouts, spurious } = transfer({ ...options, loseAtMs: 450 });
  assert.deepEqual({ retransmits, timeouts, spurious }, {
    retransmits: 1,
    timeouts: 0,
    spurious: 0,
  });
});

Deno.test("the index of fairness is 1 for equals and 1/n if one has everything", () => {
  assert.equal(jain([3, 3, 3, 3]), 1);
  assert.equal(jain([5, 0, 0, 0]), 0.25);
  assert.equal(jain([1, 2, 3]), 36 / 42);
});

Deno.test("the model of Padhye et al. is near 1/RTT · sqrt(3/2bp) for rare losses", () => {
  for (const loss of [1e-6, 1e-5, 1e-4]) {
    const rate = pftk({ loss, roundTrip: 0.1, timeout: 0.2, perAck: 2, window: Infinity });
    const simple = Math.sqrt(3 / (2 * 2 * loss)) / 0.1;
    assert.ok(rate / simple > 0.96 && rate / simple < 1.04, `${loss}: ${rate}, ${simple}`);
  }
  // The window limits: one window per round trip.
  const rate = pftk({ loss: 1e-9, roundTrip: 0.1, timeout: 0.2, perAck: 2, window: 20 });
  assert.ok(rate > 199 && rate < 201, `${rate}`);
});
