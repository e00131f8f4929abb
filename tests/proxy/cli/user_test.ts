/**
 * The program as an ordinary user has it, with the permissions of `deno task start`.
 */

import assert from "node:assert/strict";
import { udpUnavailable } from "../../../ffi/mod.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { FlowStats } from "../../../proxy/gateway/flow_stats.ts";
import { SITE } from "../pair.ts";
import { startWirestack } from "../start.ts";
import { until } from "../until.ts";
import { Home, IS_ROOT, TASKS, USER } from "./home.ts";

/** Resolves once a file has `text`. */
async function appears(file: string, text: string): Promise<void> {
  await until(
    () => {
      try {
        return Deno.readTextFileSync(file).includes(text);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        return false;
      }
    },
    `"${text}" in ${file}`,
    60_000,
  );
}

async function mount(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("mount", { args }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

/** Until the disk that it is on has no page left. */
function fill(path: string): void {
  using file = Deno.openSync(path, { write: true, create: true });
  assert.throws(() => {
    for (;;) file.writeSync(new Uint8Array(4_096));
  }, /No space left/);
}

const ignore = Deno.build.os === "windows";

for (
  const [task, flags, kind] of [
    ["start:ffi", [], "UDP in batches (FFI)"],
    ["start", ["--ffi"], "UDP in batches (FFI)"],
    ["start", ["--no-ffi"], "UDP over Deno's sockets (--no-ffi)"],
  ] as const
) {
  Deno.test(
    `${[task, ...flags].join(" ")} is accepted, and the line that it listens says which UDP it is`,
    { ignore: udpUnavailable() !== undefined },
    async () => {
      await using home = await Home.create(task);
      const gateway = await home.up("listening on UDP", ...flags);
      const { status, log } = await gateway.stop();
      assert.equal(status, 0, log);
      const said = log.split("\n").filter((line) => /UDP (?:in batches|over Deno)/.test(line));
      assert.ok(said.length === 1 && said[0]!.includes(kind), log);
    },
  );
}

for (const task of TASKS) {
  Deno.test(
    `an ordinary user's gateway is asked over a socket of its own, and takes it away again: ${task}`,
    { ignore },
    async () => {
      await using home = await Home.create(task);
      await Deno.mkdir(`${home.path}/run`);
      await Deno.chown(`${home.path}/run`, USER, USER);
      const path = `${home.path}/run/status`;
      const access = `${home.path}/run/access.log`;
      const gateway = await home.up(
        "status at",
        "--status",
        `unix:${path}`,
        "--access-log",
        access,
      );
      using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
      const ask = async (what: string) => {
        const response = await fetch(`http://localhost/${what}`, { client });
        return { status: response.status, text: await response.text() };
      };
      assert.equal((await ask("readyz")).status, 200);
      assert.match((await ask("metrics")).text, /^wirestack_peers 0$/m);
      assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
      const { status, log } = await gateway.stop();
      assert.equal(status, 0, log);
      assert.deepEqual([...Deno.readDirSync(`${home.path}/run`)].map(({ name }) => name), [
        "access.log",
      ]);
      assert.doesNotMatch(log, /stays behind|denied|NotCapable/);
    },
  );

  Deno.test(
    `a status listener that others can reach is refused without a token, with status 2: ${task}`,
    { ignore },
    async () => {
      await using home = await Home.create(task);
      const refused = await home.run("up", home.file, "--status", "0.0.0.0:9586");
      assert.deepEqual([refused.status, refused.out], [2, ""]);
      assert.equal(
        refused.error,
        "--status: 0.0.0.0 can be reached from outside, expected --status-token-file beside it, or a loopback address\n",
      );
      const missing = await home.run(
        ...["up", home.file, "--status", "0.0.0.0:0", "--status-token-file", "/no/such"],
      );
      assert.equal(missing.status, 2);
      assert.match(
        missing.error,
        /^--status-token-file: \/no\/such: no such file, expected a file with a token$/m,
      );
    },
  );

  Deno.test(
    `an ordinary user's log file is opened again by SIGHUP when it was rotated: ${task}`,
    { ignore },
    async () => {
      await using home = await Home.create(task);
      await Deno.mkdir(`${home.path}/log`);
      await Deno.chown(`${home.path}/log`, USER, USER);
      const file = `${home.path}/log/wirestack.log`;
      const child = home.start("up", home.file, "--log-file", file);
      await appears(file, "listening");
      await Deno.rename(file, `${file}.1`);
      child.kill("SIGHUP");
      await appears(file, "reloaded");
      child.kill("SIGTERM");
      const { code, stderr } = await child.output();
      assert.equal(code, 0);
      assert.equal(new TextDecoder().decode(stderr), "");
      assert.match(await Deno.readTextFile(file), /wirestack: stopped\n$/);
      assert.ok(!(await Deno.readTextFile(`${file}.1`)).includes("stopped"));
      assert.equal((await Deno.stat(file)).mode! & 0o777, 0o640);
    },
  );

  Deno.test(
    `a full disk ends nothing, and the log goes on when there is room again: ${task}`,
    { ignore: ignore || !IS_ROOT }, // who else may have a disk of a few pages
    async () => {
      await using home = await Home.create(task);
      const disk = `${home.path}/disk`;
      await Deno.mkdir(disk);
      await mount("-t", "tmpfs", "-o", "size=64k,mode=777", "none", disk);
      try {
        const file = `${disk}/wirestack.log`;
        const child = home.start("up", home.file, "--log-file", file);
        await appears(file, "control socket");
        fill(`${disk}/filler`);
        const full = (await Deno.stat(file)).size;
        // Each says kilobytes, more than is left of the log's last page.
        for (let i = 0; i < 3; i++) {
          child.kill("SIGUSR2");
          const { status, out } = await home.run("show", "wg0");
          assert.deepEqual([status, out.split("\n")[0]], [0, "interface: wg0"]);
        }
        const { size } = await Deno.stat(file);
        assert.ok(size - full <= 4_096, `${full} bytes, then ${size}`);
        const { status } = await home.run("set", "wg0", "Proxy.MaxDials=77");
        assert.equal(status, 0, "it goes on working");
        await Deno.remove(`${disk}/filler`);
        await appears(file, "set: Proxy.MaxDials: default -> 77");
        child.kill("SIGHUP");
        await appears(file, "reloaded");
        child.kill("SIGTERM");
        assert.equal((await child.output()).code, 0);
        assert.match(await Deno.readTextFile(file), /wirestack: stopped\n$/);
      } finally {
        await new Deno.Command("umount", { args: ["--lazy", disk] }).output();
      }
    },
  );

  Deno.test(
    `an ordinary user sets, shows flows, and ends one: ${task}`,
    { ignore },
    async () => {
      await using home = await Home.create(task);
      const theirs = generatePrivateKey();
      const config = await Deno.readTextFile(home.file);
      await Deno.writeTextFile(
        home.file,
        `${config}Map = ${SITE} -> 127.0.0.1\n[Peer]\nName = laptop\n` +
          `PublicKey = ${encodeKey(publicKeyOf(theirs))}\nAllowedIPs = 10.9.0.2/32\n`,
      );
      const gateway = await home.up("control socket");
      const [, port] = /listening on UDP port (\d+)/.exec(gateway.log)!;
      const [, publicKey] = /public key: (\S+)/.exec((await home.run("show", "wg0")).out)!;
      await using client = await startWirestack({
        interface: { privateKey: theirs, address: "10.9.0.2/24" },
        peers: [{
          publicKey: publicKey!,
          allowedIps: "10.50.0.0/16",
          endpoint: `127.0.0.1:${port}`,
        }],
      });
      using target = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      using conn = await client.connect({ hostname: SITE, port: target.addr.port });
      using _served = await target.accept();

      const shown = await home.run("show", "flows", "wg0", "--json", "--peer", "laptop");
      assert.deepEqual([shown.status, shown.error], [0, ""]);
      const [flow, ...others] = JSON.parse(shown.out) as FlowStats[];
      assert.equal(others.length, 0);
      assert.equal(flow!.destination, `${SITE}:${target.addr.port}`);

      const set = await home.run("set", "wg0", "Peer.laptop.RateDown=5Mbit", "Proxy.MaxDials=5");
      assert.deepEqual([set.status, set.error], [0, ""]);
      assert.equal(
        set.out,
        "wg0: set\n  Proxy.MaxDials: default -> 5\n  Peer.laptop.RateDown: 5Mbit\n",
      );

      const killed = await home.run("kill", flow!.id.slice(0, 8), "wg0");
      assert.deepEqual([killed.status, killed.error], [0, ""]);
      await assert.rejects(conn.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
      assert.equal((await home.run("show", "flows", "wg0", "--json")).out, "[]\n");
      assert.equal((await gateway.stop()).status, 0);
    },
  );

  Deno.test(
    `an ordinary user makes certificates, renews them, and hears in a line where it may not: ${task}`,
    { ignore },
    async () => {
      await using home = await Home.create(task);
      const made = await home.run("gencerts", "--name", "hub.example.com");
      assert.deepEqual([made.status, made.error], [0, ""]);
      assert.match(made.out, /^certs\/ca: an authority, until /);
      const key = await Deno.stat(`${home.path}/certs/ca/key.pem`);
      assert.deepEqual([key.mode! & 0o777, key.uid], [0o600, USER]);
      const renewed = await home.run("gencerts", "--renew");
      assert.deepEqual([renewed.status, renewed.error], [0, ""]);
      assert.match(renewed.out, /server: the same key, for the server hub\.example\.com, until /);

      await Deno.mkdir(`${home.path}/locked`, { mode: 0o555 });
      const refused = await home.run("gencerts", "--out", `${home.path}/locked`);
      assert.deepEqual([refused.status, refused.out], [2, ""]);
      assert.equal(
        refused.error,
        `--out: ${home.path}/locked: permission denied, expected a folder that this user may write to\n`,
      );
      const below = await home.run("gencerts", "--out", `${home.path}/locked/a/b`);
      assert.match(below.error, /^--out: \S+\/locked\/a\/b: permission denied, expected [^\n]*\n$/);
      assert.deepEqual([...Deno.readDirSync(`${home.path}/locked`)], []);

      // One of three that cannot be replaced: none is.
      const server = `${home.path}/certs/server/cert.pem`;
      const before = await Deno.readTextFile(server);
      await Deno.chmod(`${home.path}/certs/proxy`, 0o500);
      const half = await home.run("gencerts", "--renew");
      await Deno.chmod(`${home.path}/certs/proxy`, 0o700);
      assert.deepEqual([half.status, half.out], [2, ""]);
      assert.match(half.error, /^certs\/proxy\/cert\.pem: its folder is not writable, [^\n]*\n$/);
      assert.equal(await Deno.readTextFile(server), before);
      assert.deepEqual(
        [...Deno.readDirSync(`${home.path}/certs/server`)].map(({ name }) => name).sort(),
        ["cert.pem", "key.pem"],
      );
    },
  );

  Deno.test(
    `an ordinary user's gateway is shown, reloaded and changed without a word about where it is: ${task}`,
    { ignore },
    async () => {
      await using home = await Home.create(task);
      const folder = `${home.session}/wirestack`;
      assert.deepEqual(await home.run("show", "--control-dir", folder), {
        status: 1,
        out: "",
        error: `wirestack: no gateway runs (nobody listens in ${folder})
`,
      });

      const gateway = await home.up("control socket");
      const socket = `${home.session}/wirestack/wg0.sock`;
      assert.ok(gateway.log.includes(`control socket ${socket}\n`), gateway.log);
      assert.doesNotMatch(gateway.log, /warning (?:control|config):/);
      assert.equal(Deno.statSync(`${home.session}/wirestack`).mode! & 0o777, 0o700);
      assert.doesNotMatch(gateway.log, /not remembered/);
      assert.equal(Deno.statSync(`${home.path}/.local/state/wirestack`).mode! & 0o777, 0o700);
      for (const args of [["show"], ["show", "wg0"], ["show", home.file]]) {
        const { status, out, error } = await home.run(...args);
        assert.deepEqual([status, error, out.split("\n")[0]], [0, "", "interface: wg0"]);
      }
      const added = await home.run("add-peer", "laptop", "--endpoint", "a.example:7");
      assert.equal(
        added.error,
        `added laptop, 10.9.0.2, to ${home.file} and to the running gateway wg0\n`,
      );
      assert.match((await home.run("show")).out, /\n {2}name: laptop\n/);
      const reloaded = await home.run("reload");
      assert.deepEqual([reloaded.status, reloaded.out], [
        0,
        "wg0: reloaded, nothing has changed\n",
      ]);

      // A second one of the name does not even listen.
      const second = await home.run("up", home.file);
      assert.deepEqual([second.status, second.out], [1, ""]);
      assert.equal(
        second.error,
        `${socket} is another process's, expected another name (--name)\n`,
      );

      assert.equal((await gateway.stop()).status, 0);
      assert.deepEqual([...Deno.readDirSync(`${home.session}/wirestack`)], []);
    },
  );

  Deno.test(
    `a folder for sockets that others may have prepared is not used, and said to be none: ${task}`,
    {
      ignore,
    },
    async () => {
      await using home = await Home.create(task);
      const folder = `${home.session}/wirestack`;
      await Deno.mkdir(folder);
      await Deno.chown(folder, USER, USER);
      await Deno.chmod(folder, 0o777);
      const gateway = await home.up("listening on");
      assert.match(
        gateway.log,
        /no control socket in \S+: \S+: is open to other users, expected mode 700\n/,
      );
      assert.equal((await gateway.stop()).status, 0);
      assert.deepEqual(await home.run("show"), {
        status: 1,
        out: "",
        error: `wirestack: ${folder}: is open to other users, expected mode 700\n`,
      });
    },
  );
}

Deno.test(
  "a gateway that may not be asked is said to be one, by every command, and nothing is changed",
  {
    ignore,
  },
  async () => {
    await using home = await Home.create("start:sandbox");
    const folder = `${home.path}/others`;
    await Deno.mkdir(folder);
    const others = Deno.listen({ transport: "unix", path: `${folder}/wg0.sock` });
    await Deno.chmod(`${folder}/wg0.sock`, 0);
    const before = await Deno.readTextFile(home.file);
    for (
      const args of [
        ["show"],
        ["show", "wg0"],
        ["reload"],
        ["reload", "wg0"],
        ["add-peer", "x", "--endpoint", "a.example:7"],
        ["add-peer", "x", "--endpoint", "a.example:7", "--config", home.file],
        ["remove-peer", "x", "--config", home.file],
      ]
    ) {
      assert.deepEqual(await home.run(...args, "--control-dir", folder), {
        status: 1,
        out: "",
        error: "wirestack: wg0: permission denied, expected the user who runs it\n",
      }, args.join(" "));
    }
    assert.equal(await Deno.readTextFile(home.file), before);
    others.close();
  },
);

for (const task of TASKS) {
  Deno.test(
    `a socket in a folder of one's choice is removed where the kernel leaves the gateway that right: ${task}`,
    { ignore },
    async () => {
      await using home = await Home.create(task);
      const folder = `${home.path}/sockets`;
      await Deno.mkdir(folder);
      await Deno.chown(folder, USER, USER);
      const gateway = await home.up("control socket", "--control-dir", folder);
      const { status, out } = await home.run("show", "wg0", "--control-dir", folder);
      assert.deepEqual([status, out.split("\n")[0]], [0, "interface: wg0"]);
      const { log } = await gateway.stop();
      const left = Array.from(Deno.readDirSync(folder), ({ name }) => name);
      assert.deepEqual(left, log.includes("files by Landlock") ? [] : ["wg0.sock"]);
      // Whatever stayed behind is nobody's.
      assert.equal((await home.run("show", "--control-dir", folder)).status, 1);
      const again = await home.up("control socket", "--control-dir", folder);
      assert.equal((await again.stop()).status, 0);
    },
  );
}

Deno.test(
  "a file of a group that is not this user's gets its peer where the group has no right, and else says why not",
  { ignore: ignore || !IS_ROOT },
  async () => {
    await using home = await Home.create("start:sandbox");
    await Deno.chown(home.file, USER, 0);
    await Deno.chmod(home.file, 0o640);
    const args = ["add-peer", "x", "--endpoint", "a.example:7", "--config", home.file] as const;
    const before = await Deno.readTextFile(home.file);
    const refused = await home.run(...args);
    assert.equal(refused.status, 2);
    assert.match(refused.error, /owner \d+ and group 0 are not this user's to give, expected /);
    assert.equal(await Deno.readTextFile(home.file), before);
    await Deno.chmod(home.file, 0o600);
    assert.equal((await home.run(...args)).status, 0);
    const { uid, mode } = await Deno.stat(home.file);
    assert.deepEqual([uid, mode! & 0o777], [USER, 0o600]);
    assert.match(await Deno.readTextFile(home.file), /^Name = x$/m);
  },
);
