import assert from "node:assert/strict";
import { reset } from "npm:@logtape/logtape@2.4.2";
import type { SignalHandlers } from "../../../proxy/cli/signals.ts";
import { StopRequests } from "../../../proxy/cli/signals.ts";
import type { Terminal } from "../../../proxy/cli/terminal.ts";
import { type RunningGateway, type Surroundings, up } from "../../../proxy/cli/up.ts";
import { loadConfig, SettingError } from "../../../proxy/config/config.ts";
import { publicKeyOf } from "../../../proxy/base64.ts";
import type { LogFormat } from "../../../proxy/log/log.ts";
import { within } from "../until.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PUBLIC = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const FILE = `[Interface]\nPrivateKey = ${PRIVATE}\nAddress = 10.9.0.1/24\nListenPort = 51820\n` +
  "DNS = 1.1.1.1\n[Proxy]\nSubnets = 10.50.0.0/16\n";

Deno.test("a gateway says where it listens, runs until a signal, and ends with status 0", async () => {
  const run = startUp({ confinement: "confined: files by Landlock 7" });
  await run.logged("listening");
  assert.deepEqual(run.lines(), [
    "warning config: wg0.conf:5: DNS: has no effect without --tun",
    `info    wirestack: listening on UDP port 51820, public key ${PUBLIC}, address 10.9.0.1/24, peers 0, ` +
    "proxy tcp, udp and icmp on nic2 for 10.50.0.0/16, UDP in batches (FFI)",
    "info    wirestack: confined: files by Landlock 7",
  ]);
  run.signals.stop();
  run.signals.stop();
  assert.equal(await run.status, 0);
  assert.deepEqual(run.closes, [{ graceMs: 5000 }], "the duplicate of npx is no second request");
  assert.deepEqual(run.exits, []);
  assert.deepEqual(run.lines().slice(3), [
    "info    wirestack: stopping, connections have 5 s",
    "info    wirestack: stopped",
  ]);
});

Deno.test("a signal during the start is not lost", async () => {
  const started = Promise.withResolvers<void>();
  const run = startUp({ start: () => started.promise });
  run.signals.stop();
  started.resolve();
  assert.equal(await run.status, 0);
  assert.equal(run.closes.length, 1);
});

Deno.test("the second request to stop counts a second after the first", () => {
  const requests = new StopRequests();
  assert.deepEqual([100, 101, 1100, 1101].map((now) => requests.receive(now)), [
    "stop",
    "ignore",
    "ignore",
    "exit",
  ]);
});

Deno.test("SIGUSR2 logs the counters as one object, SIGHUP reloads", async () => {
  for (const format of ["text", "json"] as const) {
    const run = startUp({ format });
    await run.logged("listening");
    run.signals.report();
    run.signals.reload();
    run.signals.stop();
    assert.equal(await run.status, 0);
    const lines = run.output().trimEnd().split("\n");
    const stats = lines[2];
    assert.equal(run.reloads.length, 1);
    if (format === "json") {
      assert.deepEqual(JSON.parse(stats!).stats, { udp: { sent: 1 }, peers: [] });
      for (const line of lines) assert.equal(typeof JSON.parse(line).message, "string");
    } else {
      assert.match(stats!, / info {4}wirestack: stats stats=\{"udp":\{"sent":1\},"peers":\[\]\}$/);
    }
  }
});

Deno.test("SIGHUP ends a gateway whose terminal is gone", async () => {
  const fake: Fake = {};
  const run = startUp(fake);
  await run.logged("listening");
  run.signals.reload();
  fake.hasHungUp = true;
  run.signals.reload();
  assert.equal(await run.status, 0);
  assert.deepEqual([run.reloads.length, run.closes], [1, [{ graceMs: 5000 }]]);
  assert.ok(run.output().includes("the terminal is gone: stopping, connections have 5 s"));
});

Deno.test("a port in use is an error of the line that names it", async () => {
  const error = new SettingError(
    ["interface", "listenPort"],
    "port 51820 is in use, expected a free UDP port",
  );
  const run = startUp({ start: () => Promise.reject(error) });
  assert.equal(await run.status, 2);
  const last = run.output().trimEnd().split("\n").at(-1);
  assert.equal(
    last,
    "wg0.conf:4: ListenPort: port 51820 is in use, expected a free UDP port",
  );
});

Deno.test("a gateway that fails ends with status 1 and one line", async () => {
  const failure = Promise.withResolvers<void>();
  const late = startUp({ closed: failure.promise });
  await late.logged("listening");
  failure.reject(new Error("the socket broke"));
  assert.equal(await late.status, 1);
  assert.equal(late.lines().at(-1), "error   wirestack: failed: Error: the socket broke");

  const early = startUp({ start: () => Promise.reject(new TypeError("no")) });
  assert.equal(await early.status, 1);
  assert.equal(early.lines().at(-1), "error   wirestack: failed: TypeError: no");
});

Deno.test("a capture that cannot be ended is logged, and what surrounds the gateway is taken down all the same", async () => {
  const done: string[] = [];
  const run = startUp({ record: () => Promise.reject(new Error("the file broke")), done });
  await run.logged("listening");
  run.signals.stop();
  assert.equal(await run.status, 0);
  assert.equal(run.lines().at(-1), "error   wirestack: failed: Error: the file broke");
  assert.deepEqual(done, ["claim", "confine", "interrupt", "beforeDown", "down", "afterDown"]);
});

interface Fake {
  confinement?: string;
  start?: () => Promise<void>;
  closed?: Promise<void>;
  format?: LogFormat;
  /** The section. */
  log?: string;
  hasHungUp?: boolean;
  /** What the capture's end comes to. */
  record?: () => Promise<void>;
  /** What has become of the surroundings, in order. */
  done?: string[];
}

/** `up` in this process with a gateway that does nothing. */
function startUp(fake: Fake = {}) {
  let output = "";
  let handlers: SignalHandlers | undefined;
  const closes: unknown[] = [];
  const reloads: number[] = [];
  const exits: number[] = [];
  let wake = Promise.withResolvers<void>();
  const terminal = {
    watchHangUp: () => () => fake.hasHungUp ?? false,
    error(text: string) {
      output += text;
      wake.resolve();
      wake = Promise.withResolvers();
    },
  } as Terminal;
  const loaded = loadConfig(
    FILE + (fake.log ?? (fake.format ? `[Log]\nFormat = ${fake.format}\n` : "")),
    { file: "wg0.conf" },
  );
  const status = up(loaded, {
    async start(config): Promise<RunningGateway> {
      await fake.start?.();
      return {
        port: config.listenPort!,
        publicKey: publicKeyOf(config.privateKey!),
        closed: fake.closed ?? new Promise(() => {}),
        stats: () => ({ udp: { sent: 1 }, peers: [] }),
        close: (options) => Promise.resolve(void closes.push(options)),
      };
    },
    handlers: () => ({
      get: () => "",
      set: () => undefined,
      stats: () => ({}),
      reload: () => Promise.resolve(reloads.push(1)).then(() => ({ warnings: [], changes: [] })),
      change: () => ({ warnings: [], changes: [] }),
      flows: () => [],
      peers: () => [],
      kill: () => ({}),
      capture: () => assert.fail(),
      enrolment: { invite: () => assert.fail(), invites: () => [], revoke: () => assert.fail() },
    }),
    control: { directory: "off" },
    ...(fake.record && { record: () => ({ begin() {}, close: fake.record! }) }),
    ...(fake.done && { surroundings: surroundings(fake.done) }),
    udp: "UDP in batches (FFI)",
    ...(fake.confinement !== undefined && { confinement: fake.confinement }),
    listen(given) {
      handlers = given;
      return () => handlers = undefined;
    },
    exit: (status) => void exits.push(status),
  }, terminal).finally(reset);
  return {
    status,
    closes,
    reloads,
    exits,
    get signals() {
      return handlers!;
    },
    output: () => output,
    /** Without the time. */
    lines: () => output.trimEnd().split("\n").map((line) => line.replace(/^\S+Z /, "")),
    async logged(text: string) {
      while (!output.includes(text)) {
        await within(wake.promise, `"${text}" is logged, after\n${output}`);
      }
    },
  };
}

function surroundings(done: string[]): Surroundings {
  const note = (what: string) => void done.push(what);
  return {
    claim: () => note("claim"),
    confine() {
      note("confine");
      return "confined";
    },
    interrupt: () => note("interrupt"),
    beforeDown: () => Promise.resolve(note("beforeDown")),
    down: () => note("down"),
    afterDown: () => Promise.resolve(note("afterDown")),
  };
}
