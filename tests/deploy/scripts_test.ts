/**
 * The scripts that install, and the units of systemd: what their tools say of them, and what they
 * leave in a folder.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../proxy/base64.ts";
import { runHere } from "../proxy/cli/run_here.ts";
import { writeExecutable } from "../executable.ts";
import { programTest } from "../with_program.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const SCRIPTS = ["install.sh", "uninstall.sh", "setup-server.sh", "setup-client.sh"];
const UNITS = ["wirestack@.service", "wirestack-tun@.service"];
/** `systemd-analyze security`: the exposure that docs/deployment.md states. */
const EXPOSURE: Readonly<Record<string, number>> = {
  "wirestack@.service": 1.3,
  "wirestack-tun@.service": 2.3,
};

async function run(program: string, args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd: ROOT, env })
    .output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), error: text(stderr) };
}

const script = (name: string, ...args: string[]) => run(`${ROOT}deploy/${name}`, args);

programTest("shellcheck", "shellcheck has nothing to say of the scripts", async () => {
  const scripts = [...SCRIPTS, "launcher.sh"].map((name) => `deploy/${name}`);
  const { code, out } = await run("shellcheck", scripts);
  assert.equal(out, "");
  assert.equal(code, 0);
});

for (const unit of UNITS) {
  const name = `systemd has nothing to say of ${unit}, whose exposure is as documented`;
  programTest("systemd-analyze", name, async () => {
    const path = `deploy/systemd/${unit}`;
    const verified = await run("systemd-analyze", ["verify", path]);
    // What it runs is installed by install.sh.
    const lines = `${verified.out}${verified.error}`.split("\n").filter((line) =>
      line !== "" && !line.includes("/usr/local/bin/wirestack is not executable")
    );
    assert.deepEqual(lines, []);
    const { out } = await run("systemd-analyze", ["security", "--offline=true", path]);
    const [, exposure] = /exposure level for \S+: ([\d.]+)/.exec(out)!;
    assert.ok(Number(exposure) <= EXPOSURE[unit]!, `${exposure}`);
    const page = await Deno.readTextFile(`${ROOT}docs/deployment.md`);
    assert.ok(page.includes(`| ${exposure} `), `docs/deployment.md does not say ${exposure}`);
  });
}

Deno.test("install.sh parts a file from its key, uninstall.sh leaves both until it is told to purge", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const key = encodeKey(generatePrivateKey());
    const binary = `${folder}/program`;
    writeExecutable(binary, "#!/bin/sh\n");
    const config = `${folder}/wg7.conf`;
    await Deno.writeTextFile(
      config,
      `[Interface]\n  privatekey=${key} # mine\nAddress = 10.9.0.1/24\n[Peer]\nPublicKey = x\n`,
    );
    const root = `${folder}/root`;
    const args = ["--root", root, "--binary", binary];
    const { code, error } = await script("install.sh", ...args, "--config", config);
    assert.equal(code, 0, error);
    assert.ok(!error.includes(key));
    const [file, secret] = [`${root}/etc/wirestack/wg7.conf`, `${root}/etc/wirestack/wg7.key`];
    assert.equal((await Deno.readTextFile(secret)).trim(), key);
    assert.equal((await Deno.stat(secret)).mode! & 0o777, 0o600);
    assert.equal(
      await Deno.readTextFile(file),
      "[Interface]\nAddress = 10.9.0.1/24\n[Peer]\nPublicKey = x\n",
    );
    assert.equal((await Deno.stat(`${root}/usr/local/bin/wirestack`)).mode! & 0o777, 0o755);
    for (const unit of UNITS) await Deno.stat(`${root}/etc/systemd/system/${unit}`);

    const again = await script("install.sh", ...args, "--config", config);
    assert.equal(again.code, 0, again.error);
    assert.match(again.error, /wg7\.conf is there already, and the same\n/);
    const other = `${folder}/other.conf`;
    const text = await Deno.readTextFile(config);
    for (
      const [changed, refusal] of [
        [text.replace("10.9.0.1", "10.9.0.7"), /wg7\.conf is there already, and another: change/],
        [
          text.replace(key, encodeKey(generatePrivateKey())),
          /wg7\.key is there already, and another/,
        ],
      ] as const
    ) {
      await Deno.writeTextFile(other, changed);
      const refused = await script("install.sh", ...args, "--config", other, "--name", "wg7");
      assert.equal(refused.code, 1);
      assert.match(refused.error, refusal);
      assert.equal((await Deno.readTextFile(secret)).trim(), key);
    }
    assert.deepEqual(
      Array.from(Deno.readDirSync(`${root}/etc/wirestack`), ({ name }) => name).sort(),
      ["wg7.conf", "wg7.key"],
      "nothing half-made is left",
    );
    assert.equal((await script("install.sh", ...args)).code, 0, "brought up to date");

    assert.equal((await script("uninstall.sh", "--root", root)).code, 0);
    await Deno.stat(secret);
    await assert.rejects(Deno.stat(`${root}/usr/local/bin/wirestack`), Deno.errors.NotFound);
    assert.equal((await script("uninstall.sh", "--root", root, "--purge")).code, 0);
    await assert.rejects(Deno.stat(secret), Deno.errors.NotFound);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** What a configuration's file takes at least. */
const configText = () =>
  `[Interface]\nPrivateKey = ${encodeKey(generatePrivateKey())}\nAddress = 10.9.0.1/24\n`;

Deno.test("install.sh takes the options that a gateway has already, or none, and no other ones", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const [binary, root] = [`${folder}/program`, `${folder}/root`];
    writeExecutable(binary, "#!/bin/sh\n");
    const install = async (name: string, ...args: string[]) => {
      const config = ["--config", `${folder}/${name}.conf`, "--binary", binary];
      const { code, error } = await script("install.sh", "--root", root, ...config, ...args);
      return [code, error.split("\n")[0]!.replaceAll(folder, "")];
    };
    const optionsOf = async (...args: string[]) => {
      const { code, out, error } = await script(
        "install.sh",
        "--root",
        root,
        "--options-of",
        ...args,
      );
      return [code, `${out}${error.replaceAll(folder, "")}`];
    };
    for (const name of ["bare", "wide"]) {
      await Deno.writeTextFile(`${folder}/${name}.conf`, configText());
    }
    assert.equal((await install("wide", "--options", "--masquerade=eth0"))[0], 0);
    assert.equal((await install("bare"))[0], 0);
    assert.deepEqual(await optionsOf("wide"), [0, "--masquerade=eth0\n"]);
    assert.deepEqual(await optionsOf("wide", "--options", "--masquerade=eth0"), [
      0,
      "--masquerade=eth0\n",
    ]);
    assert.deepEqual(await optionsOf("bare", "--options", ""), [0, "\n"]);
    for (
      const [name, other, refusal] of [
        ["wide", "--masquerade", "with --masquerade=eth0, not with --masquerade"],
        ["bare", "--masquerade", "without --masquerade"],
      ] as const
    ) {
      const line =
        `install.sh: /root/etc/wirestack/${name}.conf is set up ${refusal}: change it, or ` +
        "remove it and its .key and .env";
      assert.deepEqual(await optionsOf(name, "--options", other), [1, `${line}\n`]);
      assert.deepEqual(await install(name, "--options", other), [1, line]);
      assert.equal((await install(name))[0], 0, "as it is");
    }
    assert.deepEqual(await optionsOf("none"), [
      1,
      "install.sh: --options-of: there is no /root/etc/wirestack/none.conf\n",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("install.sh that is interrupted takes away what it has begun, and nothing of its caller's", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const [binary, programs] = [`${folder}/program`, `${folder}/bin`];
    writeExecutable(binary, "#!/bin/sh\n");
    await Deno.writeTextFile(`${folder}/wg7.conf`, configText());
    // The one that is told to ends the script that has called it, instead of what it is for.
    await Deno.mkdir(programs);
    writeExecutable(
      `${programs}/mv`,
      `#!/bin/sh
count=$(($(cat "$COUNT" 2>/dev/null || echo 0) + 1))
echo "$count" >"$COUNT"
[ "$count" = "$LAST" ] && kill -TERM "$PPID" && exit 0
PATH=$REST exec mv "$@"
`,
    );
    const theirs = [`${folder}/key.new`, `${folder}/env.new`];
    for (const path of theirs) await Deno.writeTextFile(path, "theirs");
    const args = (root: string) => [
      ...["--root", root, "--binary", binary, "--config", `${folder}/wg7.conf`],
      ...["--options", "--masquerade"],
    ];
    const REST = Deno.env.get("PATH")!;
    // The program, two units, the options, the key, the file.
    for (let last = 1; last <= 6; last++) {
      const root = `${folder}/root${last}`;
      const { code, error } = await run(`${ROOT}deploy/install.sh`, args(root), {
        ...{ key: `${folder}/key`, env: `${folder}/env`, fresh: `${folder}/key` },
        ...{ PATH: `${programs}:${REST}`, REST, COUNT: `${folder}/count${last}`, LAST: `${last}` },
      });
      assert.equal(code, 1, `${last}: ${error}`);
      for (const path of theirs) assert.equal(await Deno.readTextFile(path), "theirs", `${last}`);
      const { out } = await run("find", [root, "-name", "*.new"]);
      assert.equal(out, "", `${last}`);
      await assert.rejects(Deno.stat(`${root}/etc/wirestack/wg7.conf`), Deno.errors.NotFound);
      assert.equal((await script("install.sh", ...args(root))).code, 0, "again, it is all there");
      await Deno.stat(`${root}/etc/wirestack/wg7.conf`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what is wrong with a script's arguments has a line", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/none.conf`, "[Interface]\nAddress = 10.9.0.1/24\n");
    writeExecutable(`${folder}/program`, "#!/bin/sh\n");
    const root = ["--root", `${folder}/root`, "--binary", `${folder}/program`];
    const cases: [string, string[], RegExp][] = [
      ["install.sh", ["--what"], /^install\.sh: --what: unknown, expected /],
      ["install.sh", ["--binary"], /^install\.sh: --binary: expected a value/],
      ["install.sh", ["--name", "x"], /^install\.sh: --name: expected --config FILE with it/],
      ["install.sh", [...root, "--config", "/no/such"], /--config: \/no\/such is not a file/],
      [
        "install.sh",
        [...root, "--config", `${folder}/none.conf`, "--name", "a/b"],
        /--name: a\/b is no name of an interface/,
      ],
      [
        "install.sh",
        [...root, "--config", `${folder}/none.conf`, "--name", "abcdefghijklmnop"],
        /longer than the 15 characters/,
      ],
      [
        "install.sh",
        [...root, "--config", `${folder}/none.conf`],
        /\[Interface\] PrivateKey: missing, and there is no /,
      ],
      [
        "install.sh",
        ["--root", `${folder}/root`, "--binary", "/no/such"],
        /--binary: \/no\/such cannot be run/,
      ],
      ["install.sh", ["--options", "x"], /^install\.sh: --options: expected --config FILE with/],
      ["uninstall.sh", ["--what"], /^uninstall\.sh: --what: unknown, expected /],
      ["setup-server.sh", [], /^setup-server\.sh: --endpoint: missing, expected /],
      ["setup-server.sh", ["--pool"], /^setup-server\.sh: --pool: expected a value/],
      ["setup-client.sh", ["--what"], /^setup-client\.sh: --what: unknown/],
      ["setup-client.sh", ["a", "b"], /^setup-client\.sh: b: one file alone, got a too/],
    ];
    for (const [name, args, expected] of cases) {
      const { code, error } = await script(name, ...args);
      assert.equal(code, 1, `${name} ${args}`);
      assert.match(error, expected);
      assert.equal(error.trimEnd().split("\n").length, 1, error);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the options that setup-client.sh gives the tunnel's unit are up's", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const text = await Deno.readTextFile(`${ROOT}deploy/setup-client.sh`);
    const options = text.matchAll(/^ +options=(-.+)$/gm).map(([, given]) => given!).toArray();
    assert.deepEqual(options.length, 1);
    const file = `${folder}/wg7.conf`;
    const [key, peer] = [encodeKey(generatePrivateKey()), encodeKey(generatePrivateKey())];
    await Deno.writeTextFile(
      file,
      `[Interface]\nPrivateKey = ${key}\nAddress = 10.9.0.2/32\n` +
        `[Peer]\nPublicKey = ${peer}\nAllowedIPs = 0.0.0.0/0\n`,
      { mode: 0o600 },
    );
    const words = options.flatMap((given) => given.split(" "));
    const { status, error } = await runHere(["check", "--tun=wg7", ...words, file]);
    assert.deepEqual([status, error], [0, ""]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what a killed tunnel has left is taken back by its unit, but for a kill switch", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const unit = await Deno.readTextFile(`${ROOT}deploy/systemd/wirestack-tun@.service`);
    const [, line] = /^ExecStopPost=-\/bin\/sh -c '(.*)'$/m.exec(unit)!;
    const command = line!.replaceAll("%i", "wg7").replaceAll("$$", "$")
      .replaceAll("/run/wirestack", folder).replaceAll(
        "/usr/local/bin/wirestack",
        "echo wirestack",
      );
    const after = async (SERVICE_RESULT: string) =>
      (await run("/bin/sh", ["-c", command], { SERVICE_RESULT })).out;
    const state = `${folder}/wg7@1.state`;
    assert.equal(await after("signal"), "", "nothing is left");
    await Deno.writeTextFile(state, '{"undo":{"kind":"nft-table","table":"wirestack-wg7"}}\n');
    assert.equal(await after("signal"), "wirestack down wg7\n");
    await Deno.writeTextFile(state, '{"undo":{"kind":"nft-table","table":"wirestack-kill-wg7"}}\n');
    assert.match(await after("signal"), /^the kill switch stays until the next start, or /);
    assert.equal(await after("success"), "wirestack down wg7\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
