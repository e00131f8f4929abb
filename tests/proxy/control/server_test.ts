import assert from "node:assert/strict";
import fc from "fast-check";
import type { ControlHandlers } from "../../../proxy/control/operations.ts";
import { ControlServer, MAX_CONNECTIONS, NameInUseError } from "../../../proxy/control/server.ts";
import { isInterfaceName, socketNames } from "../../../proxy/control/socket_path.ts";
import { eventually } from "../../e2e/lab.ts";
import { ControlLab, exchange, hexKey } from "./lab.ts";
import { TempFolder } from "../../temp_folder.ts";

/** Of what is asked again until it is so. */
const LIMIT_MS = 60_000;

const HANDLERS: ControlHandlers = {
  get: () => "",
  set: () => undefined,
  stats: () => ({}),
  reload: () => Promise.resolve({ warnings: [], changes: [] }),
  change: () => ({ warnings: [], changes: [] }),
  flows: () => [],
  peers: () => [],
  kill: () => ({}),
  stop: () => {},
  capture: () => assert.fail(),
  enrolment: { invite: () => assert.fail(), invites: () => [], revoke: () => assert.fail() },
};

Deno.test("the socket has mode 0700 from the moment it has its name, and is gone when closed", async () => {
  using folder = new TempFolder();
  const directory = folder.path;
  // Whatever else is seen in the folder meanwhile, nobody but the owner can enter.
  const seen = new Map<string, number>();
  const watcher = Deno.watchFs(directory, { recursive: false });
  const look = (async () => {
    for await (const { paths } of watcher) {
      for (const path of paths) {
        try {
          seen.set(path, Deno.lstatSync(path).mode! & 0o777);
        } catch { /* gone again */ }
      }
    }
  })();
  const server = await ControlServer.open(directory, "wg0", HANDLERS);
  assert.equal(Deno.lstatSync(server.path).mode! & 0o777, 0o700);
  assert.deepEqual(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["wg0.sock"]);
  watcher.close();
  await look;
  for (const [path, mode] of seen) assert.equal(mode & 0o077, 0, path);
  server.close();
  server.close();
  assert.deepEqual([...Deno.readDirSync(directory)], []);
  await Deno.remove(directory);
});

Deno.test({
  name: "a gateway that has no descriptor left still answers, one after the other",
  ignore: Deno.build.os !== "linux",
  async fn() {
    using folder = new TempFolder();
    const server = JSON.stringify(import.meta.resolve("../../../proxy/control/server.ts"));
    const program = `
      import { ControlServer } from ${server};
      const [directory] = Deno.args;
      Deno.addSignalListener("SIGTERM", () => Deno.exit(0)); // as \`up\` does: it takes descriptors
      await ControlServer.open(directory, "wg0", { get: () => "" });
      const taken = [];
      try {
        for (;;) taken.push(Deno.openSync(directory));
      } catch { /* that was the last */ }
      console.log(taken.length > 0);`;
    const file = `${folder.path}/full.ts`;
    await Deno.writeTextFile(file, program);
    const flags = ["--no-check", "--quiet", "--no-prompt", "--no-config", "--allow-all"];
    const child = new Deno.Command("sh", {
      args: [
        ...["-c", 'ulimit -n 100 && exec "$@"', "sh"],
        ...[Deno.execPath(), "run", ...flags, file, folder.path],
      ],
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const out = child.stdout.getReader();
    try {
      assert.equal(new TextDecoder().decode((await out.read()).value), "true\n");
      for (let i = 0; i < 5; i++) {
        const path = `${folder.path}/wg0.sock`;
        const conn = await Deno.connect({ transport: "unix", path });
        const timer = setTimeout(() => conn.close(), LIMIT_MS);
        assert.equal(await exchange(conn, new TextEncoder().encode("get=1\n\n")), "errno=0\n\n");
        clearTimeout(timer);
      }
    } finally {
      child.kill("SIGTERM");
      await out.cancel();
      await child.status;
    }
  },
});

Deno.test("a dead process's socket is replaced, a live one's refused, what is no socket left alone", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/wg0.sock`;
    const dead = Deno.listen({ transport: "unix", path: `${directory}/x` });
    await Deno.link(`${directory}/x`, path);
    dead.close();
    const first = await ControlServer.open(directory, "wg0", HANDLERS);
    await assert.rejects(ControlServer.open(directory, "wg0", HANDLERS), NameInUseError);
    assert.deepEqual(socketNames(directory), ["wg0"]);
    const conn = await Deno.connect({ transport: "unix", path });
    assert.equal(await exchange(conn, new TextEncoder().encode("get=1\n\n")), "errno=0\n\n");
    // Somebody else has put a socket of his own in its place: that one stays.
    await Deno.remove(path);
    const second = await ControlServer.open(directory, "wg0", HANDLERS);
    first.close();
    assert.equal(Deno.lstatSync(path).isSocket, true);
    second.close();
    await Deno.writeTextFile(path, "precious");
    await assert.rejects(ControlServer.open(directory, "wg0", HANDLERS), /is no socket/);
    assert.equal(await Deno.readTextFile(path), "precious");
    assert.deepEqual(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["wg0.sock"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("names are those that wg-quick takes", () => {
  for (const name of ["wg0", "a", "A_=+.-9", "123456789012345"]) assert.ok(isInterfaceName(name));
  for (const name of ["", ".", "..", "1234567890123456", "a/b", "a b", "ä", "a\n"]) {
    assert.ok(!isInterfaceName(name), name);
  }
});

Deno.test("several requests on one connection, in pieces of any size, are answered in order", async () => {
  await using lab = await ControlLab.start();
  const text = `get=1\n\nset=1\npublic_key=${hexKey(2)}\n\nset=1\nbad\n\nget=1\n\n`;
  const whole = await lab.ask(text);
  assert.match(
    whole,
    /^private_key=.*errno=0\n\nerrno=0\n\nerrno=-71\n\nprivate_key=.*errno=0\n\n$/s,
  );
  for (const size of [1, 2, 3, 7]) {
    const conn = await lab.connect();
    const writes = (async () => {
      for (let at = 0; at < text.length; at += size) {
        await conn.write(new TextEncoder().encode(text.slice(at, at + size)));
      }
      await conn.closeWrite();
    })();
    const answer = await new Response(conn.readable).text();
    await writes;
    // Since the first time the peer is there from the start.
    assert.equal(answer.split("errno=").length, 5);
    assert.ok(whole.endsWith(answer.slice(answer.lastIndexOf("private_key="))));
  }
});

Deno.test("an empty connection is no request; an unknown operation is EINVAL and ends the connection", async () => {
  await using lab = await ControlLab.start();
  assert.equal(await lab.ask(""), "");
  const unknown = ["hello\n", "get=2\n\n", "GET / HTTP/1.1\r\n\r\n", "\n", "get=2\n\nget=1\n\n"];
  // What every object has is no operation.
  const inherited = ["toString", "constructor", "__proto__", "hasOwnProperty"];
  for (const text of [...unknown, ...inherited.map((name) => `${name}\n\n`)]) {
    assert.equal(await lab.ask(text), "errno=-22\n\n", text);
  }
  assert.equal(await lab.ask("get=1\nx"), "errno=-22\n\n");
  assert.match(await lab.ask("get=1\n\n"), /errno=0\n\n$/);
});

Deno.test("a line or a request without end is refused with EIO, and changes nothing", async () => {
  await using lab = await ControlLab.start();
  assert.equal(await lab.ask("x".repeat(10_000)), "errno=-5\n\n");
  assert.equal(await lab.ask(`set=1\npublic_key=${"0".repeat(10_000)}`), "errno=-5\n\n");
  const line = `public_key=${hexKey(2)}\n`;
  const endless = `set=1\n${line.repeat(17 * 2 ** 20 / line.length)}\n`;
  // Its sender may find the connection reset before it has read the answer.
  assert.ok(["errno=-5\n\n", ""].includes(await lab.ask(endless)));
  assert.equal([...lab.gateway.engine.device.peers()].length, 0);
  assert.match(await lab.ask("get=1\n\n"), /errno=0\n\n$/);
});

Deno.test("clients that say nothing, stop in the middle or take no answer are cut off; others are served", async () => {
  const timeouts = { idleMs: 150, requestMs: 150, answerMs: 150 };
  await using lab = await ControlLab.start(undefined, timeouts);
  const silent = await lab.connect();
  const stuck = await lab.connect();
  await stuck.write(new TextEncoder().encode("set=1\nlisten_port")).catch(() => {});
  const deaf = await lab.connect();
  // More answers than the socket's buffer holds.
  const asked = deaf.write(new TextEncoder().encode("get=1\n\n".repeat(30_000))).catch(() => {});
  await served(lab);
  const end = async (conn: Deno.Conn) => {
    const buffer = new Uint8Array(65536);
    try {
      while (await conn.read(buffer) !== null);
    } catch { /* reset */ }
    conn.close();
  };
  await Promise.all([end(silent), end(stuck)]);
  await asked;
  await end(deaf);
  await served(lab);
});

Deno.test("connections beyond the limit are refused until one is free", async () => {
  await using lab = await ControlLab.start();
  const idle: Deno.UnixConn[] = [];
  for (let i = 0; i < MAX_CONNECTIONS; i++) {
    const conn = await lab.connect();
    // Answered, so accepted.
    await conn.write(new TextEncoder().encode("set=1\n\n"));
    await conn.read(new Uint8Array(64));
    idle.push(conn);
  }
  assert.equal(await lab.ask("get=1\n\n"), "");
  idle.pop()!.close();
  const answer = await eventually(
    "the place that is free again is given to somebody",
    async () => await lab.ask("get=1\n\n") || undefined,
    { timeoutMs: LIMIT_MS },
  );
  assert.match(answer, /errno=0\n\n$/);
  for (const conn of idle) conn.close();
});

Deno.test("whatever is sent, the gateway answers in the form of the protocol, or not at all", async () => {
  await using lab = await ControlLab.start();
  const keys = [
    ...["private_key", "listen_port", "fwmark", "replace_peers", "public_key", "update_only"],
    ...["remove", "preshared_key", "endpoint", "persistent_keepalive_interval", "allowed_ip"],
    ...["replace_allowed_ips", "protocol_version", "get", "set", "wirestack_stats", "", "é\0"],
    "wirestack_name",
  ];
  const values = [
    ...["1", "0", "true", "false", "", "-", "65536", "10.0.0.0/8", "-10.0.0.0/8", "::/0", "="],
    ...["127.0.0.1:9", "[::1]:9", "%s%n", "\xff\xfe", hexKey(0), hexKey(1), hexKey(2)],
  ];
  const line = fc.oneof(
    fc.tuple(fc.constantFrom(...keys), fc.constantFrom(...values)).map((pair) => pair.join("=")),
    fc.constantFrom("set=1", "get=1", "", "", "\r", "x"),
  );
  const text = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.array(line, { maxLength: 30 }).map((all) => `set=1\n${all.join("\n")}\n\n`),
    },
    { weight: 1, arbitrary: fc.string({ maxLength: 300 }) },
  );
  await fc.assert(
    fc.asyncProperty(text, async (text) => {
      const answer = await lab.ask(text);
      const form = /^(?:(?:[a-z_]+=[^\n]*\n)*errno=-?\d+\n\n)*$/;
      assert.match(answer, form);
      assert.ok(answer.split("\n").every((line) => /^[\x20-\x7e]*$/.test(line)));
    }),
    { numRuns: 500 },
  );
  assert.match(await lab.ask("get=1\n\n"), /errno=0\n\n$/);
  assert.equal(lab.gateway.engine.counters.faults, 0);
});

/** Its limits are those of the silent ones: on a busy machine who asks may be cut off too, and asks again. */
async function served(lab: ControlLab): Promise<void> {
  const isAnswered = async () => /errno=0\n\n$/.test(await lab.ask("get=1\n\n"));
  await eventually("somebody is answered", isAnswered, { timeoutMs: LIMIT_MS });
}

Deno.test("what there is of thousands of peers, in stats and get, is answered some at a time, and whole", async () => {
  await using lab = await ControlLab.start();
  const { gateway } = lab;
  const { device } = gateway.engine;
  const key = new Uint8Array(32);
  for (let i = 0; i < 3_000; i++) {
    new DataView(key.buffer).setUint32(0, i + 1);
    device.addPeer({ publicKey: key.slice() }, gateway.engine.now());
  }
  let turn = 0;
  let looks = new Map<number, number>();
  for (const peer of device.peers()) {
    const { lastHandshake } = peer;
    Object.defineProperty(peer, "lastHandshake", {
      get: () => (looks.set(turn, (looks.get(turn) ?? 0) + 1), lastHandshake),
    });
  }
  let isWatching = true;
  const watch = () => (turn++, isWatching && setTimeout(watch, 0));
  watch();
  const answer = await lab.ask("wirestack_stats=1\n\n");
  const stats = JSON.parse(/^stats=(.*)$/m.exec(answer)![1]!);
  assert.deepEqual(Object.keys(stats).slice(0, 5), [
    ...["uptimeMs", "port", "publicKey", "peers", "peerList"],
  ]);
  const made = looks;
  looks = new Map();
  const { peers } = JSON.parse(JSON.stringify(gateway.stats()));
  assert.deepEqual(
    stats.peers.map(({ publicKey }: { publicKey: string }) => publicKey),
    peers.map(({ publicKey }: { publicKey: string }) => publicKey),
  );
  looks = new Map();
  const text = await lab.ask("get=1\n\n");
  isWatching = false;
  assert.equal(text.match(/^public_key=/gm)!.length, 3_000);
  assert.ok(text.endsWith("\nerrno=0\n\n"));
  for (const [what, seen] of [["stats", made], ["get", looks]] as const) {
    assert.ok(seen.size >= 8, `${what}: in ${seen.size} turns`);
  }
});
