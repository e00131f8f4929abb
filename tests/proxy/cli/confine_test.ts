import assert from "node:assert/strict";
import type { FileRule, ProcessView } from "../../../ffi/confine/mod.ts";
import { confineCommand, describeConfinement, isToBeConfined } from "../../../proxy/cli/confine.ts";
import { ConfigError } from "../../../proxy/config/error.ts";
import { loadConfined } from "../../../proxy/cli/confine/reload.ts";
import { fileRules } from "../../../proxy/cli/confine/file_rules.ts";
import { configuredFiles } from "../../../proxy/cli/confine/settings.ts";

Deno.test("only a gateway over FFI is confined, and not if it asks not to be", async () => {
  const cases: [string[], boolean][] = [
    [["up", "wg0.conf"], true],
    [["hub", "wg0.conf"], true],
    [["--ffi", "up", "wg0.conf"], true],
    [["up", "--name", "x", "-"], true],
    [["up", "--no-confine", "wg0.conf"], false],
    [["--no-ffi", "up", "wg0.conf"], false],
    [["up", "wg0.conf", "--no-ffi"], false],
    [["up", "--help"], false],
    // Those confine themselves when the device is there.
    [["up", "--tun", "wg0.conf"], false],
    [["up", "wg0.conf", "--tun=home"], false],
    [["up", "--tunnel", "wg0.conf"], true],
    [["demo"], false],
    [["check", "up"], false],
    [[], false],
  ];
  for (const [args, expected] of cases) {
    assert.equal(isToBeConfined(args), expected, args.join(" "));
  }
  // This process, which the module is loaded into, stays as it is.
  assert.equal(await confineCommand(["check", "wg0.conf"], undefined), undefined);
});

Deno.test("what was given up is said in one line, with what could not be", () => {
  const all = { landlock: 7, seccomp: true, problems: [] };
  assert.equal(
    describeConfinement(all),
    "confined: files by Landlock 7, system calls by seccomp",
  );
  assert.equal(
    describeConfinement({ ...all, landlock: 0, problems: ["no Landlock: the kernel has none"] }),
    "confined: system calls by seccomp; no Landlock: the kernel has none",
  );
  assert.equal(
    describeConfinement({ landlock: 0, seccomp: false, problems: ["no Landlock", "no seccomp"] }),
    "not confined; no Landlock; no seccomp",
  );
  assert.equal(describeConfinement(undefined, false), "not confined (--no-confine)");
});

Deno.test("a reload that the kernel has refused a file says why", async () => {
  const problems = async (problem: string, landlock: number, user?: string) => {
    try {
      const confinement = { landlock, seccomp: true, problems: [] };
      await loadConfined(() => Promise.reject(new ConfigError([problem])), confinement, user);
      return [];
    } catch (error) {
      return (error as ConfigError).problems;
    }
  };
  const refused = [
    "wg0.conf:1: Include: /x: permission denied, expected a file to include",
    'wg0.conf:1: Include: "/x/" may not be read, expected a folder that may be read',
  ];
  for (const problem of refused) {
    const [first, hint] = await problems(problem, 7);
    assert.equal(first, problem);
    assert.match(hint!, /^this gateway is confined to .*: expected .* a restart, or --no-confine$/);
    assert.deepEqual(await problems(problem, 0), [problem]);
    const [, whose] = await problems(problem, 0, "nobody");
    assert.match(whose!, /^this gateway is the user nobody by now: expected .*, wg syncconf, or/);
  }
  const other = "wg0.conf:1: MTU: missing";
  assert.deepEqual(await problems(other, 0, "nobody"), [other]);
  assert.deepEqual(await problems(other, 7), [other]);
});

Deno.test("files named by arguments are readable with their folders; nothing but sockets' and state's is writable", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    for (const name of ["conf", "links", "keys"]) await Deno.mkdir(`${folder}/${name}`);
    await Deno.writeTextFile(
      `${folder}/conf/wg0.conf`,
      `[Interface]\ncontroldir=${folder}/control # here\n`,
    );
    await Deno.symlink(`${folder}/conf/wg0.conf`, `${folder}/links/wg0.conf`);
    await Deno.writeTextFile(`${folder}/keys/key`, "");
    const args = ["up", `${folder}/links/wg0.conf`, `--private-key=${folder}/keys/key`];
    const rules = await rulesOf([...args, "--name", "x"], "/program");
    const having = (access: string) =>
      rules.filter((rule) => rule.access === access).map(({ path }) => path);
    const read = having("read");
    for (
      const path of [
        ...["conf/", "links/", "links/wg0.conf", "keys/", "keys/key"].map((x) => `${folder}/${x}`),
        ...["/program", "/cache", "/lib/libc.so.6", "/etc/resolv.conf"],
      ]
    ) assert.ok(read.includes(path), `${path} of ${read}`);
    assert.deepEqual(having("write"), [
      `${folder}/control`,
      "/state/a",
    ]);
    assert.ok((await Deno.stat(`${folder}/control`)).isDirectory, "no rule without a folder");
    assert.deepEqual(having("execute"), ["/proc/self/exe", "/lib64/ld-linux-x86-64.so.2"]);
    for (const path of ["/", "/etc", "/home", "/home/x", folder, "/tmp", "/root"]) {
      assert.ok(!rules.some((rule) => rule.path === path), path);
    }

    const flags = ["--control-dir", `${folder}/flag`];
    const written = async (...more: string[]) =>
      (await rulesOf([...args, ...more], undefined))
        .filter((rule: FileRule) => rule.access === "write").map(({ path }) => path);
    assert.equal((await written(...flags))[0], `${folder}/flag`, "the flag before the file");
    assert.equal((await written("--control-dir=off"))[0], "/state/a");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a log is appended to in its folder, a status socket is made in its own, a token is read", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    const file = `${folder}/wg0.conf`;
    await Deno.writeTextFile(
      file,
      "[Log]\nOutput = /var/log/wirestack/log # rotated\naccess=stderr\n" +
        "[Status]\nListen = unix:/run/ws/status\nTokenFile = /etc/ws/token\n",
    );
    const paths = async (access: string, ...more: string[]) =>
      (await rulesOf(["up", "--control-dir=off", ...more, file], undefined, {}))
        .filter((rule) => rule.access === access).map(({ path }) => path);
    assert.deepEqual([...new Set(await paths("append"))], [
      "/var/log/wirestack/log",
      "/var/log/wirestack/",
    ]);
    assert.ok((await paths("append", "--access-log", "/logs/access")).includes("/logs/"));
    assert.ok(
      !(await paths("append", "--access-log", "/dev/null")).includes("/dev/"),
      "a device alone",
    );
    assert.ok((await paths("write")).includes("/run/ws/"));
    assert.ok(!(await paths("write")).includes("/var/log/wirestack/"));
    assert.ok((await paths("read")).includes("/etc/ws/"));
    // Beside the file, as the configuration has them.
    await Deno.writeTextFile(
      file,
      "[Interface]\nControlDir = run\n[Log]\nOutput = logs/own\n[Status]\nListen=unix:s/sock\nTokenFile = t/own\n",
    );
    assert.ok((await paths("append")).includes(`${folder}/logs/`));
    assert.ok((await paths("write")).includes(`${folder}/s/`));
    assert.ok((await paths("read")).includes(`${folder}/t/`));
    const { values } = await configuredFiles(view([]), ["up", file]);
    assert.equal(values["interface.controlDir"], `${folder}/run`);
    for (
      const [section, access, found] of [
        ["[Capture]\nWrite = c/all.pcapng", "replace", ["c/"]],
        ["[Capture]\nWrite = -", "replace", []],
        ["[Capture]\nWrite = tcp:127.0.0.1:0", "replace", []],
        ["[Link]\nListen = unix:l/a\n[Link]\nConnect = unixgram:m/b", "write", ["l/", "m/"]],
        ["[Link]\nListen = tcp:127.0.0.1:1", "write", []],
      ] as const
    ) {
      await Deno.writeTextFile(file, `${section}\n`);
      assert.deepEqual(
        [...new Set((await paths(access)).filter((path) => path.startsWith(folder)))],
        found.map((path) => `${folder}/${path}`),
        section,
      );
    }
    for (
      const line of [
        '  output: "/logs/yaml"',
        '{ "log": 1,\n  "output": "/logs/yaml",',
        "WIRESTACK_LOG_FILE=/logs/yaml",
      ]
    ) {
      await Deno.writeTextFile(file, `${line}\n`);
      assert.ok((await paths("append")).includes("/logs/yaml"), line);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what a configuration names in any of its forms is readable: secrets, included files, credentials", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    for (const name of ["keys", "peers", "env", "logs"]) await Deno.mkdir(`${folder}/${name}`);
    const files = {
      "wg0.yaml":
        `include: peers/*.conf\ninterface: {privateKeyFile: keys/own, controlDir: ${folder}/c}\n`,
      "wg0.conf":
        `Include = peers/*.conf\n[Interface]\nPrivateKeyFile = keys/own\nControlDir = ${folder}/c\n`,
      "wg0.json":
        `{"interface": {"privateKeyFile": "keys/own", "controlDir": "${folder}/c"}, "include": ["peers/*.conf"],` +
        `"log": {"output": "${folder}/logs/log"}, "status": {"listen": "unix:${folder}/env/s"}}`,
      "peers/a.conf": "[Peer]\nPresharedKeyFile = ../keys/psk\n",
      "keys/own": "",
      "keys/psk": "",
      "env/key": "",
    };
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${name}`, text);
    }
    const json = await rulesOf(["up", `${folder}/wg0.json`], undefined, {});
    assert.ok(json.some(({ path, access }) => path === `${folder}/logs/` && access === "append"));
    assert.ok(json.some(({ path, access }) => path === `${folder}/env/` && access === "write"));
    const variables = {
      WIRESTACK_PRIVATE_KEY_FILE: `${folder}/env/key`,
      CREDENTIALS_DIRECTORY: "/run/credentials/x",
    };
    for (const name of ["wg0.yaml", "wg0.conf", "wg0.json"]) {
      const rules = await rulesOf(["up", `${folder}/${name}`], undefined, {});
      const read = rules.filter(({ access }) => access === "read").map(({ path }) => path);
      for (const path of ["keys/own", "peers/", "peers/a.conf", "keys/"]) {
        assert.ok(read.includes(`${folder}/${path}`), `${path} of ${name}: ${read}`);
      }
      assert.ok(read.includes(`${folder}/peers/../keys/psk`), `${read}`);
      const writable = rules.filter(({ access }) => access === "write").map(({ path }) => path);
      assert.equal(writable[0], `${folder}/c`, name);
      assert.ok(!read.includes(`${folder}/env/key`));
      const more = await rulesOf(["up", `${folder}/${name}`], undefined, variables);
      for (const path of [`${folder}/env/key`, "/run/credentials/x"]) {
        assert.ok(more.some((rule) => rule.path === path && rule.access === "read"), path);
      }
    }
    const [control] = (await rulesOf(["up", `${folder}/wg0.yaml`], undefined, {
      WIRESTACK_CONTROL_DIR: `${folder}/e`,
    })).filter(({ access }) => access === "write");
    assert.equal(control!.path, `${folder}/e`, "the environment before the file");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

async function rulesOf(
  args: readonly string[],
  folder: string | undefined,
  variables: Record<string, string> = {},
): Promise<FileRule[]> {
  const process = view(args, variables);
  return fileRules(process, args, folder, await configuredFiles(process, args));
}

/** A root's process, for which /etc is not readable as a whole. */
function view(args: readonly string[], variables: Record<string, string> = {}): ProcessView {
  const environment = new Map([
    ["HOME", "/home/x"],
    ["DENO_DIR", "/cache"],
    ["STATE_DIRECTORY", "/state/a:/state/b"],
    ...Object.entries(variables),
  ]);
  const maps = "7f-80 r-xp 0 0:1 2   /lib/libc.so.6\n7f-80 rw-p 0 0:0 0 \n" +
    "7f-80 r-xp 0 0:1 3   /lib64/ld-linux-x86-64.so.2\n7f-80 r-xp 0 0:0 0   [vdso]\n";
  return {
    environment: (name) => environment.get(name),
    user: 0,
    arguments: ["deno", "run", "main.ts", ...args],
    isWritable: () => false,
    isAgain: false,
    readText: (path) => path === "/proc/self/maps" ? maps : "",
  };
}
