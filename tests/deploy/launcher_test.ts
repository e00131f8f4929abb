/**
 * The self-contained executable's script, with a few lines of shell in place of deno: what it verifies, where it
 * unpacks, and that nothing it has not verified is ever run.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { pack, USER_FOLDERS } from "../../deploy/pack.ts";
import { writeExecutable } from "../executable.ts";

const launcher = await Deno.readTextFile(new URL("../../deploy/launcher.sh", import.meta.url));
const bytes = (text: string) => new TextEncoder().encode(text);

/** Prints what it was given, then does what its first argument says. */
const standIn = `#!/bin/sh
[ "$1" != --version ] || exit 0
while [ "\${1%.js}" = "$1" ]; do shift; done
program=$1; shift
case \${1-} in
  exit) exit "$2" ;;
  wait) trap 'exit 43' TERM; echo ready; while :; do sleep 0.02; done ;;
  where) pwd; exit ;;
  program) cat "$program"; exit ;;
esac
for argument; do echo "[$argument]"; done
`;

/** Above 64 KiB, so that block arithmetic counts, and recognisable. */
const runtime = bytes(standIn + "exit\n" + "#".repeat(70_000));
const program = bytes("the program\n" + "/".repeat(40_000));

const rest = bytes("the rest\n" + "/".repeat(40_000));

/** Prints its arguments from the first: those of deno too. */
const bare = bytes(standIn.replace(/^while .*$/m, "") + "exit\n" + "#".repeat(70_000));

async function build(
  directory: string,
  flags = ["--no-prompt", "--allow-net"],
  deno = runtime,
): Promise<string> {
  const path = join(directory, "wirestack");
  const pieces = pack({ program: () => program, rest, runtime: deno, flags, launcher });
  writeExecutable(path, new Uint8Array(await new Blob(pieces as BlobPart[]).arrayBuffer()));
  return path;
}

interface Run {
  args?: string[];
  env?: Record<string, string>;
  cwd?: string;
  shell?: string[];
  uid?: number;
}

async function run(path: string, { args = [], env = {}, cwd, shell = [], uid }: Run = {}) {
  const [command, ...rest] = [...shell, path, ...args];
  const { code, stdout, stderr } = await new Deno.Command(command!, {
    args: rest,
    // No second place, unless a test names one: nothing is left outside of its own directory.
    env: { PATH: Deno.env.get("PATH")!, TMPDIR: "/dev/null", ...env },
    clearEnv: true,
    cwd,
    ...(uid === undefined ? {} : { uid, gid: uid }),
  }).output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), err: text.decode(stderr) };
}

/** A directory with the executable, and what is needed to clean it up. */
async function fixture() {
  const directory = await Deno.makeTempDir();
  const path = await build(directory);
  const cache = join(directory, "cache");
  return {
    directory,
    path,
    cache,
    env: { XDG_CACHE_HOME: cache },
    async files() {
      const names: string[] = [];
      for await (const entry of Deno.readDir(join(cache, "wirestack"))) names.push(entry.name);
      const name = (kind: RegExp) => names.find((name) => kind.test(name))!;
      return {
        all: names,
        program: join(cache, "wirestack", name(/^[^.]*\.js$/)),
        rest: join(cache, "wirestack", name(/\.rest\.js$/)),
        runtime: join(cache, "wirestack", name(/^[^.]*$/)),
      };
    },
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

const root = Deno.build.os !== "windows" && Deno.uid() === 0;
const linux = Deno.build.os === "linux";
const NOBODY = 65534;

Deno.test("arguments, directory and exit status pass through", async () => {
  await using box = await fixture();
  const words = ["a b", "*", "", "$HOME", "'\"", "-x"];
  const { out, err, code } = await run(box.path, { args: words, env: box.env });
  assert.deepEqual({ out, err, code }, {
    out: words.map((w) => `[${w}]\n`).join(""),
    err: "",
    code: 0,
  });
  assert.equal((await run(box.path, { args: ["exit", "37"], env: box.env })).code, 37);
  const cwd = await Deno.realPath("/");
  assert.equal((await run(box.path, { args: ["where"], env: box.env, cwd })).out, `${cwd}\n`);
  assert.equal(
    (await run(box.path, { args: ["program"], env: box.env })).out.trimEnd(),
    new TextDecoder().decode(program),
  );
});

Deno.test("it runs from any place: by symlink, by PATH, with spaces in every path", async () => {
  await using box = await fixture();
  const place = join(box.directory, "a directory with spaces");
  await Deno.mkdir(place);
  await Deno.symlink(box.path, join(place, "link to it"));
  const env = { XDG_CACHE_HOME: join(place, "the cache") };
  assert.equal((await run(join(place, "link to it"), { args: ["1"], env })).out, "[1]\n");
  assert.equal((await run("./link to it", { args: ["2"], env, cwd: place })).out, "[2]\n");
  const PATH = `${box.directory}:${Deno.env.get("PATH")}`;
  assert.equal(
    (await run("wirestack", {
      args: ["3"],
      env: { ...env, PATH },
      shell: ["sh", "-c", '"$@"', "sh"],
    })).out,
    "[3]\n",
  );
  assert.equal(
    (await run("wirestack", { args: ["4"], env, cwd: box.directory, shell: ["sh"] })).out,
    "[4]\n",
  );
});

Deno.test("a signal reaches the program, whose status is the executable's", async () => {
  await using box = await fixture();
  const child = new Deno.Command(box.path, { args: ["wait"], env: box.env, stdout: "piped" })
    .spawn();
  const reader = child.stdout.getReader();
  await reader.read(); // "ready"
  child.kill("SIGTERM");
  assert.equal((await child.status).code, 43);
  await reader.cancel();
});

Deno.test("what is unpacked is closed to everybody else, and unpacked once", async () => {
  await using box = await fixture();
  await run(box.path, { env: box.env });
  const { all, program, rest, runtime } = await box.files();
  assert.equal(all.length, 3);
  const mode = async (path: string) => ((await Deno.lstat(path)).mode! & 0o7777).toString(8);
  assert.equal(await mode(join(box.cache, "wirestack")), "700");
  assert.equal(await mode(program), "400");
  assert.equal(await mode(rest), "400");
  assert.equal(await mode(runtime), "500");
  const before = (await Deno.lstat(runtime)).ino;
  await run(box.path, { env: box.env });
  assert.equal((await Deno.lstat(runtime)).ino, before);
});

for (const which of ["program", "rest", "runtime"] as const) {
  Deno.test(`a ${which} changed in place, same size and time, is not run but replaced`, async () => {
    await using box = await fixture();
    await run(box.path, { env: box.env });
    const path = (await box.files())[which];
    const { mtime, mode } = await Deno.lstat(path);
    await Deno.chmod(path, 0o700);
    const content = await Deno.readTextFile(path);
    // Were it run, it would show: the runtime prints its arguments otherwise, the program is printed.
    await Deno.writeTextFile(
      path,
      content.replace("[$argument]", "<$argument>").replace(/the (?:program|rest)/, "THE OTHER"),
    );
    await Deno.utime(path, mtime!, mtime!);
    await Deno.chmod(path, mode! & 0o7777);

    const { out, err, code } = await run(box.path, {
      args: which === "program" ? ["program"] : ["x"],
      env: box.env,
    });
    assert.equal(code, 0);
    assert.match(out, which === "program" ? /^the program\n/ : /^\[x\]\n$/);
    assert.match(
      err,
      /^wirestack: .* is not as it was unpacked \(wrong digest\): unpacking it again\n$/,
    );
    assert.ok(!(await Deno.readTextFile(path)).includes("THE OTHER"));
    assert.equal((await run(box.path, { args: ["x"], env: box.env })).err, "");
  });
}

Deno.test("a link in place of the unpacked file is not followed", async () => {
  await using box = await fixture();
  await run(box.path, { env: box.env });
  const { runtime } = await box.files();
  const elsewhere = join(box.directory, "elsewhere");
  await Deno.rename(runtime, elsewhere);
  await Deno.symlink(elsewhere, runtime);
  const { out, err } = await run(box.path, { args: ["x"], env: box.env });
  assert.equal(out, "[x]\n");
  assert.match(err, /is not as it was unpacked \(mode l/);
  assert.ok((await Deno.lstat(runtime)).isFile);
});

Deno.test("two first starts at once both run, and leave one copy", async () => {
  await using box = await fixture();
  const runs = await Promise.all(
    Array.from({ length: 6 }, () => run(box.path, { args: ["x"], env: box.env })),
  );
  for (const { out, err, code } of runs) {
    assert.deepEqual({ out, err, code }, { out: "[x]\n", err: "", code: 0 });
  }
  assert.equal((await box.files()).all.length, 3);
});

Deno.test("a truncated or changed executable unpacks nothing", async () => {
  await using box = await fixture();
  const whole = await Deno.readFile(box.path);
  const changed = whole.slice();
  changed[whole.length - 5]! ^= 1;
  for (const content of [whole.subarray(0, whole.length - 9), changed]) {
    writeExecutable(box.path, content);
    const { out, err, code } = await run(box.path, { args: ["x"], env: box.env });
    assert.equal(out, "");
    assert.equal(code, 126);
    assert.match(err, /wrong digest: .*wirestack is damaged/);
  }
});

Deno.test("a place that is not private is passed over, with the reason", async () => {
  await using box = await fixture();
  const place = join(box.cache, "wirestack");
  const refused = async (reason: RegExp) => {
    const { out, err, code } = await run(box.path, {
      env: box.env,
      args: ["x"],
    });
    assert.equal(out, "");
    assert.equal(code, 126);
    assert.match(err, /^wirestack: found no private place to unpack to:\n/);
    assert.match(err, reason);
    assert.match(err, /\/dev\/null\/wirestack-\d+: is not there and cannot be created\n/);
    assert.match(err, /\nwirestack: set XDG_CACHE_HOME to .*\n$/);
  };
  await Deno.mkdir(place, { recursive: true });
  await Deno.chmod(place, 0o755);
  await refused(/cache\/wirestack: is open to other users \(drwxr-xr-x.*\): chmod 700 it\n/);
  await Deno.remove(place);

  const elsewhere = join(box.directory, "elsewhere");
  await Deno.mkdir(elsewhere, { mode: 0o700 });
  await Deno.symlink(elsewhere, place);
  await refused(/cache\/wirestack: is a symbolic link\n/);
  await Deno.remove(place);

  await Deno.mkdir(place, { mode: 0o700 });
  await Deno.chmod(box.cache, 0o777);
  await refused(/cache\/wirestack: its parent .*cache can be changed by other users \(drwxrwxrwx/);
  await Deno.chmod(box.cache, 0o1777); // as /tmp
  assert.equal((await run(box.path, { env: box.env, args: ["x"] })).code, 0);
});

Deno.test("without HOME and XDG_CACHE_HOME it uses TMPDIR", async () => {
  await using box = await fixture();
  const { out } = await run(box.path, { env: { TMPDIR: box.directory }, args: ["x"] });
  assert.equal(out, "[x]\n");
  assert.ok((await Deno.stat(join(box.directory, `wirestack-${Deno.uid()}`))).isDirectory);
});

for (const tool of ["openssl", "b2sum", "sha256sum", "shasum"]) {
  Deno.test({
    name: `the base system and ${tool} are all it needs`,
    ignore: !linux || !(await exists(tool)),
    async fn() {
      await using box = await fixture();
      const bin = join(box.directory, "bin");
      await Deno.mkdir(bin);
      const base = ["cat", "chmod", "dd", "id", "ls", "mkdir", "mv", "rm", "sleep", "sh"];
      for (const name of [...base, tool, ...(tool === "shasum" ? ["perl"] : [])]) {
        await Deno.symlink((await which(name))!, join(bin, name));
      }
      const env = { ...box.env, PATH: bin };
      assert.deepEqual(await run(box.path, { env, args: ["x"] }), {
        code: 0,
        out: "[x]\n",
        err: "",
      });
      await Deno.remove(join(bin, tool));
      const { code, err } = await run(box.path, { env, args: ["x"] });
      assert.equal(code, 126);
      assert.match(err, /needs one of openssl, b2sum, sha256sum, shasum/);
    },
  });
}

for (const shell of [["dash"], ["bash", "--posix"], ["busybox", "sh"]]) {
  Deno.test({
    name: `${shell.join(" ")} runs it`,
    ignore: !(await exists(shell[0]!)),
    async fn() {
      await using box = await fixture();
      assert.deepEqual(await run(box.path, { shell, args: ["a b"], env: box.env }), {
        code: 0,
        out: "[a b]\n",
        err: "",
      });
      assert.deepEqual(await run(box.path, { shell, args: ["a b"], env: box.env }), {
        code: 0,
        out: "[a b]\n",
        err: "",
      });
    },
  });
}

Deno.test({
  name: "a user without a home gets a place of its own, and not one that another user prepared",
  ignore: !root,
  async fn() {
    await using box = await fixture();
    await Deno.chmod(box.directory, 0o755);
    const tmp = join(box.directory, "tmp");
    await Deno.mkdir(tmp);
    await Deno.chmod(tmp, 0o1777);
    const env = { HOME: "/nonexistent", TMPDIR: tmp };
    assert.equal((await run(box.path, { uid: NOBODY, env, args: ["x"] })).out, "[x]\n");
    const place = join(tmp, `wirestack-${NOBODY}`);
    assert.equal((await Deno.stat(place)).uid, NOBODY);

    await Deno.chown(place, 12345, 12345);
    const { out, err, code } = await run(box.path, { uid: NOBODY, env, args: ["x"] });
    assert.equal(out, "");
    assert.equal(code, 126);
    assert.match(err, /wirestack-65534: cannot be entered \(drwx------.*, user 12345\)\n/);
    await Deno.chmod(place, 0o777);
    const open = await run(box.path, { uid: NOBODY, env, args: ["x"] });
    assert.equal(open.out, "");
    assert.match(open.err, /wirestack-65534: belongs to user 12345, not to user 65534\n/);
  },
});

Deno.test("a place that is passed over for another is named, with the reason; one that is not there is not", async () => {
  await using box = await fixture();
  const place = join(box.cache, "wirestack");
  await Deno.mkdir(place, { recursive: true });
  await Deno.chmod(place, 0o777);
  const env = { ...box.env, TMPDIR: box.directory };
  const { out, err } = await run(box.path, { env, args: ["x"] });
  assert.equal(out, "[x]\n");
  assert.equal(
    err,
    `wirestack: passed over:\n  ${place}: is open to other users (drwxrwxrwx): chmod 700 it\n`,
  );
  const none = await run(box.path, {
    env: { HOME: "/dev/null", TMPDIR: box.directory },
    args: ["x"],
  });
  assert.deepEqual(none, { code: 0, out: "[x]\n", err: "" });
});

Deno.test("what may be written is the folders of the user's session and state too, if they have plain names", async () => {
  await using box = await fixture();
  const flags = [`--allow-write=/a${USER_FOLDERS}`, "--allow-sys=uid"];
  const path = await build(box.directory, flags, bare);
  for (
    const [folder, written] of [
      ["/run/user/1000", "/a,/run/user/1000/wirestack"],
      ["/run/a b", "/a"],
      ["/run/a,/etc", "/a"],
      ["run", "/a"],
      [undefined, "/a"],
    ]
  ) {
    const env = { ...box.env, ...(folder && { XDG_RUNTIME_DIR: folder }) };
    const { out } = await run(path, { env, args: ["x"] });
    assert.match(
      out,
      new RegExp(`^\\[--allow-write=${written}\\]\n\\[--allow-sys=uid\\]\n`),
    );
  }
  const env = {
    ...box.env,
    XDG_RUNTIME_DIR: "/run/user/1000",
    XDG_STATE_HOME: "/home/u/state",
    STATE_DIRECTORY: "/var/lib/wirestack",
  };
  const { out } = await run(path, { env, args: ["x"] });
  const written = "/run/user/1000/wirestack,/home/u/state/wirestack,/var/lib/wirestack";
  assert.match(out, new RegExp(`^\\[--allow-write=/a,${written}\\]\n`));
  for (const state of [undefined, "state"]) {
    const { out } = await run(path, {
      env: { ...box.env, HOME: "/home/u", ...(state && { XDG_STATE_HOME: state }) },
      args: ["x"],
    });
    assert.match(out, /^\[--allow-write=\/a,\/home\/u\/.local\/state\/wirestack\]\n/);
  }
});

Deno.test({
  name: "a read-only home is passed over; one that was filled before serves",
  ignore: !root,
  async fn() {
    await using box = await fixture();
    await Deno.chmod(box.directory, 0o755);
    const [home, tmp] = [join(box.directory, "home"), join(box.directory, "tmp")];
    for (const path of [home, tmp]) {
      await Deno.mkdir(path);
      await Deno.chown(path, NOBODY, NOBODY);
    }
    await Deno.chmod(home, 0o555);
    const env = { HOME: home, TMPDIR: tmp };
    assert.equal((await run(box.path, { uid: NOBODY, env, args: ["x"] })).out, "[x]\n");
    assert.ok((await Deno.stat(join(tmp, `wirestack-${NOBODY}`))).isDirectory);

    await Deno.remove(tmp, { recursive: true });
    await Deno.chmod(home, 0o755);
    assert.equal((await run(box.path, { uid: NOBODY, env, args: ["x"] })).out, "[x]\n");
    await Deno.chmod(join(home, ".cache", "wirestack"), 0o500);
    await Deno.chmod(join(home, ".cache"), 0o500);
    await Deno.chmod(home, 0o555);
    const again = await run(box.path, {
      uid: NOBODY,
      env: { HOME: home },
      args: ["x"],
    });
    assert.deepEqual(again, { code: 0, out: "[x]\n", err: "" });
  },
});

Deno.test({
  name: "a file system mounted noexec is passed over, with the reason",
  ignore: !root || !linux || !(await exists("unshare")),
  async fn() {
    await using box = await fixture();
    await Deno.mkdir(box.cache);
    const script = `mount -t tmpfs -o noexec,mode=755 none "${box.cache}" && exec "$@"`;
    const shell = ["unshare", "--mount", "sh", "-c", script, "sh"];
    const { out, err, code } = await run(box.path, {
      shell,
      env: box.env,
      args: ["x"],
    });
    assert.deepEqual({ out, code }, { out: "", code: 126 });
    assert.match(err, /cache\/wirestack: is mounted noexec\n/);
    const { out: second } = await run(box.path, {
      shell,
      env: { ...box.env, TMPDIR: box.directory },
      args: ["x"],
    });
    assert.equal(second, "[x]\n");
  },
});

async function which(name: string): Promise<string | undefined> {
  for (const directory of Deno.env.get("PATH")!.split(":")) {
    const path = join(directory, name);
    if (await Deno.stat(path).then((info) => info.isFile, () => false)) return path;
  }
  return undefined;
}

async function exists(name: string): Promise<boolean> {
  return await which(name) !== undefined;
}
