/**
 * The tests that depend on the clock or on sockets, again and again, with busy loops beside them:
 *
 *     deno task test:busy [--times 20] [--loops 12] [--minutes 120] [PATH…]
 *
 * Without paths these are the test files that have to do with time, sockets or other processes, but for
 * those that need the lab of tests/e2e, those that live in virtual time, and the compiler's; a round of
 * them takes some four minutes on two cores. Ends early after so many minutes, and says so. Exit status 1
 * when a test failed, or fewer rounds than asked for were run.
 *
 * @module
 */

import { parseArgs } from "node:util";

/** Whose time is virtual though they say so, who only compute, and who take minutes and need root. */
const OTHERS = [
  /^tests\/(netstack|wireguard|sim|fuzz|soak|deploy|e2e|architecture|proto)\b/,
  /^tests\/proxy\/(arena|config|flow|splice|address|certificates|version)\b/,
  // Messages, plans and tables; how much memory many clients take, and who scans 65,535 ports.
  /^tests\/ffi\/(kernels|netlink|confine\/filter|nftables|tun\/(coalescer|cutter|device|example))/,
  /^tests\/proxy\/(bind\/stream\/(free|send_queue)|capture\/pcapng|embed\/documentation)_test/,
  /^tests\/proxy\/(enrol\/(gate|message|token)|forward\/held_bytes|log\/events)_test/,
  /^tests\/proxy\/gateway\/(advice|buffer_memory|changes|free_address|proxy_environment)_test/,
  /^tests\/proxy\/(link\/(framing|tap|tun|wireguard)|system\/(\w*plan|look|masquerade_kernel))_test/,
  /^tests\/proxy\/(inbound\/redirect\/reply_sockets|target\/own_address)_test/,
  /^tests\/proxy\/cli\/join\/scan_test/,
  /^tests\/proxy\/watch\/metrics\/(busiest|catalogue|exposition)_test/,
];

/** What a test says that has to do with time, sockets, other processes, or what starts such. */
const IS_REAL = new RegExp(
  [
    ...["setTimeout", "setInterval", "setImmediate", "performance\\.now", "AbortSignal"],
    ...["(?:every|retry)Ms", "until\\(", "within\\(", "eventually\\(", "tries\\(", "alone\\("],
    ...["Deno\\.(?:listen|connect|serve|Command)", "fetch\\(", "node:(?:net|http2)", "http2\\."],
    ...["start(?:Gateway|Hub|Other|Pair|Site|Wirestack)", "(?:Lab|Site|Hub)\\.start", "HubLab"],
    ...["runHere", "new Process", "writeExecutable", "openUdp", "TunDevice", "labTest"],
  ].join("|"),
);

/** Test files at once: what they wait for is waited for side by side, and they too take time away. */
const JOBS = "12";

const root = new URL("..", import.meta.url);

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      times: { type: "string", default: "20" },
      loops: { type: "string", default: "12" },
      minutes: { type: "string", default: "120" },
    },
  });
  const [times, loops, minutes] = [values.times, values.loops, values.minutes].map(positive);
  // Deno runs files of folders with long names first, and of one folder in this order: proxy/cli is
  // among the last, and user_test.ts takes longest there.
  const paths = positionals.length > 0 ? positionals : [...testFiles("tests")].sort().reverse();
  Deno.exit(await repeat(paths, times!, loops!, minutes!) ? 0 : 1);
}

async function repeat(paths: string[], times: number, loops: number, minutes: number) {
  console.log(`${paths.length} paths, ${times} times, ${loops} busy loops`);
  const workers = Array.from({ length: loops }, busyLoop);
  const end = performance.now() + minutes * 60_000;
  const failures = new Map<string, number>();
  let rounds = 0;
  while (rounds < times && performance.now() < end) {
    const since = performance.now();
    const failed = await run(paths);
    rounds++;
    for (const name of failed) failures.set(name, (failures.get(name) ?? 0) + 1);
    const seconds = ((performance.now() - since) / 1000).toFixed(0);
    console.log([`round ${rounds}: ${failed.length} failed, ${seconds} s`, ...failed].join("\n  "));
  }
  for (const worker of workers) worker.terminate();
  console.log(`${rounds} of ${times} rounds, ${failures.size} tests failed`);
  for (const [name, count] of failures) console.log(`  ${count} of ${rounds}: ${name}`);
  return rounds === times && failures.size === 0;
}

/** A thread that never rests. It ends with this process, however that ends. */
function busyLoop(): Worker {
  const code = new Blob(["for (;;);"], { type: "text/javascript" });
  const url = URL.createObjectURL(code);
  return new Worker(url, { type: "module" });
}

/** @returns The tests that failed; what the run said last, where it did not get as far as tests. */
async function run(paths: string[]): Promise<string[]> {
  const report = await Deno.makeTempFile({ suffix: ".xml" });
  try {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "test",
        "--no-prompt",
        "--allow-all",
        "--no-check",
        "--parallel",
        `--junit-path=${report}`,
        ...paths,
      ],
      cwd: root,
      env: { NO_COLOR: "1", DENO_JOBS: JOBS },
    }).output();
    const xml = await Deno.readTextFile(report);
    const failed = [...xml.matchAll(/<testcase ([^>]*)>\s*<(?:failure|error)\b[^>]*>/g)].map(
      ([, attributes]) => /name="([^"]*)"/.exec(attributes!)![1]!,
    );
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trimEnd().split("\n");
    if (failed.length > 0 || !success) console.log(text(stdout).slice(-200).join("\n"));
    return success || failed.length > 0 ? failed : [`no test: ${text(stderr).at(-1)}`];
  } finally {
    await Deno.remove(report);
  }
}

function* testFiles(directory: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(directory, root))) {
    const path = `${directory}/${name}`;
    if (OTHERS.some((other) => other.test(path))) continue;
    if (isDirectory) yield* testFiles(path);
    else if (name.endsWith("_test.ts") && isReal(path)) yield path;
  }
}

function isReal(path: string): boolean {
  return IS_REAL.test(Deno.readTextFileSync(new URL(path, root)));
}

function positive(text: string): number {
  const value = Number(text);
  if (!(Number.isInteger(value) && value > 0)) {
    console.error(`${text} is not a whole number above 0`);
    Deno.exit(2);
  }
  return value;
}
