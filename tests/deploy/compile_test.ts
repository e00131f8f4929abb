/**
 * `deno task compile`, with the real program: both routes, what they refuse, and that the executable may do what
 * `deno task start` may do and no more.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { permissions } from "../../deploy/compile.ts";
import { Process } from "../e2e/process.ts";
import config from "../../deno.json" with { type: "json" };

const root = new URL("../../", import.meta.url);
const text = new TextDecoder();

async function compile(directory: string, args: string[], env: Record<string, string> = {}) {
  // The entry point in a process of its own, writing where the test says.
  const code = `const { main } = await import(${
    JSON.stringify(new URL("deploy/compile.ts", root).href)
  });
    Deno.exitCode = await main(JSON.parse(Deno.args[0]), Deno.args[1]);`;
  const output = join(directory, "wirestack");
  const { code: status, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", code, JSON.stringify(args), output],
    cwd: root,
    env: { NO_COLOR: "1", ...env },
  }).output();
  return { status, out: text.decode(stdout), err: text.decode(stderr), output };
}

async function temporary() {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("the executable's permissions are named, those of the start task", () => {
  const start = config.tasks.start.command.split(" ").filter((word) => word.startsWith("--"))
    .map((word) => word.replace(/,\$.*/, ""));
  const late = "--unstable-lazy-dynamic-imports"; // it would be made without what comes late
  assert.ok(start.includes(late));
  assert.deepEqual(permissions(), [...start.filter((word) => word !== late), "--unstable-net"]);
  for (const flag of ["-A", "--allow-all", "--allow-run", "--allow-write", "--ffi"]) {
    assert.ok(!permissions().includes(flag), flag);
  }
  // For add-peer. `up` gives up the first before it opens a socket, and keeps the second.
  assert.deepEqual(permissions().filter((flag) => flag.startsWith("--allow-write")), [
    "--allow-write=/,/var/run/wireguard,/var/lib/wirestack",
  ]);
  assert.ok(permissions().includes("--no-prompt"));
});

for (
  const [args, message] of [
    [["--runtime=node"], /--runtime: node: expected denort or deno/],
    [["--runtime=deno", "--target=aarch64-apple-darwin"], /--target: needs --runtime=denort/],
    [["--frobnicate"], /--frobnicate/],
  ] as const
) {
  Deno.test(`compile ${args.join(" ")} is refused with status 2`, async () => {
    await using directory = await temporary();
    const { status, out, err } = await compile(directory.path, [...args]);
    assert.equal(status, 2);
    assert.equal(out, "");
    assert.match(err, message);
    assert.doesNotMatch(err, /^\s+at /m);
  });
}

Deno.test("a DENORT_BIN that is not there is an error, not a reason for the other kind", async () => {
  await using directory = await temporary();
  const { status, err } = await compile(directory.path, [], { DENORT_BIN: "/nonexistent/denort" });
  assert.equal(status, 1);
  assert.match(err, /\/nonexistent\/denort/);
  assert.deepEqual([...Deno.readDirSync(directory.path)], []);
});

Deno.test("with a DENORT_BIN the executable is deno compile's", async () => {
  await using directory = await temporary();
  // Any executable serves: deno compile appends the program to a copy of it.
  const { status, out, err, output } = await compile(directory.path, [], { DENORT_BIN: "/bin/sh" });
  assert.equal(status, 0, err);
  assert.match(out, /^wrote .*wirestack \(denort\)\n$/);
  assert.ok((await Deno.stat(output)).size > (await Deno.stat("/bin/sh")).size);
  assert.deepEqual([...Deno.readDirSync(directory.path)].map(({ name }) => name), ["wirestack"]);
});

Deno.test("an executable takes the place of the one before, of either kind", async () => {
  await using directory = await temporary();
  for (const before of ["#!/bin/sh\n", undefined]) {
    const output = join(directory.path, "wirestack");
    if (before !== undefined) await Deno.writeTextFile(output, before);
    const { status, err } = await compile(directory.path, [], { DENORT_BIN: "/bin/sh" });
    assert.equal(status, 0, err);
    assert.ok((await Deno.stat(output)).size > (await Deno.stat("/bin/sh")).size);
  }
});

Deno.test("the self-contained executable runs without a home and without deno on the machine", async () => {
  await using directory = await temporary();
  const { status, out, err, output } = await compile(directory.path, ["--runtime=deno"]);
  assert.equal(status, 0, err);
  assert.match(out, /^wrote .*wirestack \(deno \d+\.\d+\.\d+, \d+\.\d MB\)\n$/);

  const run = (...args: string[]) =>
    new Deno.Command(output, {
      args,
      cwd: directory.path,
      clearEnv: true,
      env: { PATH: "/usr/bin:/bin", TMPDIR: directory.path },
    }).output();
  const version = await run("--version");
  assert.equal(version.code, 0, text.decode(version.stderr));
  assert.equal(text.decode(version.stdout).trim(), config.version);
  // On a terminal deno speaks of more than in a pipe.
  if (Deno.build.os === "linux") {
    const script = new Deno.Command("script", {
      args: ["--quiet", "--return", "--command", `'${output}' --version`, "/dev/null"],
      env: { TMPDIR: directory.path, XDG_CACHE_HOME: "" },
    });
    assert.equal(text.decode((await script.output()).stdout), `${config.version}\r\n`);
  }
  const key = await run("genkey");
  assert.match(text.decode(key.stdout), /^[A-Za-z0-9+/]{43}=\n$/);
  assert.equal((await run("up", "/nonexistent.conf")).code, 2);
  // The library of gencerts is in it, as text until then.
  const certificates = await run("gencerts", "--out", join(directory.path, "certs"));
  assert.equal(text.decode(certificates.stderr), "");
  assert.match(text.decode(certificates.stdout), /\/certs\/ca: an authority, until /);
  // That of gRPC too.
  const file = join(directory.path, "hub.conf");
  const lines = [
    ...["[Interface]", `PrivateKey = ${text.decode(key.stdout).trim()}`, "Address = 10.9.0.1/24"],
    ...["ListenAddress = 127.0.0.1", "[Relay]", "Listen = grpc:127.0.0.1:0"],
    ...["Cert = certs/server/cert.pem", "Key = certs/server/key.pem"],
    ...["ClientCa = certs/ca/cert.pem", ""],
  ];
  await Deno.writeTextFile(file, lines.join("\n"), { mode: 0o600 });
  await using hub = new Process("hub", [output, "up", "--control-dir", directory.path, file], {
    env: { PATH: "/usr/bin:/bin", TMPDIR: directory.path },
  });
  await hub.line(/listening for WireGuard in grpc/);
});
