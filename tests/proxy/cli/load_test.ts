/** Where a configuration comes from: files that name files, the environment, flags. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { ConfigReader } from "../../../proxy/cli/load.ts";
import type { FlagValue } from "../../../proxy/cli/flags.ts";
import { type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";
import { encodeKey } from "../../../proxy/base64.ts";
import { expectedOf } from "../../../proxy/config/describe.ts";
import { KEYS, variableOf } from "../../../proxy/config/keys.ts";
import { VARIABLE_NAMES } from "../../../proxy/config/variables.ts";
import { processTerminal } from "../../../proxy/cli/terminal.ts";
import { variables, written } from "../config/forms.ts";
import { runHere } from "./run_here.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OTHER = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const PSK = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=";
/** No more than a file must have. */
const BARE = `[Interface]\nPrivateKey = ${PRIVATE}\nPeerToPeer = true\n`;
const MAIN = fileURLToPath(new URL("../../../main.ts", import.meta.url));

class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async create(files: Record<string, string>): Promise<Folder> {
    const folder = new Folder(await Deno.realPath(await Deno.makeTempDir()));
    for (const [name, text] of Object.entries(files)) await folder.write(name, text);
    return folder;
  }

  async write(name: string, text: string, mode = 0o600): Promise<string> {
    const path = `${this.path}/${name}`;
    await Deno.mkdir(path.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(path, text, { mode });
    return path;
  }

  async check(...args: string[]) {
    return await runHere(["check", "--no-ffi", ...args]);
  }

  async [Symbol.asyncDispose]() {
    await Deno.remove(this.path, { recursive: true });
  }
}

const INPUT: ConfigInput = {
  interface: {
    privateKey: PRIVATE,
    address: ["10.9.0.1/24", "fd09::1/64"],
    listenPort: 51820,
    peerToPeer: true,
  },
  peers: [
    { publicKey: PEER, name: "a laptop", presharedKey: PSK, allowedIps: ["10.9.0.2/32"] },
    { publicKey: OTHER, endpoint: "vpn.example.com:51820", persistentKeepalive: 25 },
  ],
  proxy: { subnets: ["10.50.0.0/16"], map: ["10.50.0.1 -> 127.0.0.1"], udpIdleTimeout: 1.5 },
};

Deno.test("files of every form, the environment and flags alone make the same configuration", async () => {
  const { privateKey: _, ...others } = INPUT.interface!;
  await using folder = await Folder.create({ key: PRIVATE, psk: PSK, ...written(INPUT) });
  const expected = loadConfig(INPUT).config;
  for (const name of Object.keys(written(INPUT))) {
    const reader = new ConfigReader({ file: `${folder.path}/${name}` }, processTerminal);
    assert.deepEqual((await reader.load()).config, expected, name);
  }
  const ofEnvironment = variables(INPUT).map(([name, value]) => ({
    name,
    value,
    origin: { variable: name },
  }));
  for (const { name } of ofEnvironment) assert.ok(VARIABLE_NAMES.includes(name), name);
  const byVariables = new ConfigReader({ variables: ofEnvironment }, processTerminal);
  assert.deepEqual((await byVariables.load()).config, expected);

  const flags: FlagValue[] = [];
  const flag = (section: string, field: string, value: unknown) =>
    flags.push({
      key: KEYS.find((key) => key.section === section && key.field === field)!,
      value: String(value),
    });
  flag("interface", "privateKey", `${folder.path}/key`);
  for (const [field, value] of Object.entries(others)) flag("interface", field, value);
  for (const { presharedKey, ...peer } of INPUT.peers!) {
    for (const [field, value] of Object.entries(peer)) flag("peers", field, value);
    if (presharedKey) flag("peers", "presharedKey", `${folder.path}/psk`);
  }
  for (const [field, value] of Object.entries(INPUT.proxy!)) flag("proxy", field, value);
  const byFlags = new ConfigReader({ flags }, processTerminal);
  assert.deepEqual((await byFlags.load()).config, expected);
});

Deno.test("a flag stands over a variable, that over a file, and --show-origin says which is from where", async () => {
  await using folder = await Folder.create({
    "wg0.yaml": `interface:\n  privateKeyFile: keys/own\n  listenPort: 51820\n  mtu: 1400\n` +
      `  address: [10.9.0.1/24]\npeers:\n  - name: laptop\n    publicKey: ${PEER}\n    presharedKey: ${PSK}\n` +
      `    allowedIps: 10.9.0.2/32\n    persistentKeepalive: 25\nproxy:\n  subnets:\n    - 10.50.0.0/16\n    - 10.51.0.0/16\n`,
    "keys/own": `${PRIVATE}\n`,
  });
  const { status, out, error } = await main(folder.path, {
    WIRESTACK_LISTEN_PORT: "51821",
    WIRESTACK_MTU: "1401",
    WIRESTACK_PEERS: JSON.stringify([{ publicKey: PEER, persistentKeepalive: 20 }]),
  }, ["check", "wg0.yaml", "--mtu", "1402", "--show-origin", "--no-ffi"]);
  assert.deepEqual([status, error], [0, ""]);
  assert.ok(!out.includes(PRIVATE) && !out.includes(PSK));
  for (
    const line of [
      "default\tProxy.Protocols = tcp, udp, icmp",
      "default\tLog.Level = info",
      "wg0.yaml:2\tInterface.PrivateKey = (hidden)",
      "environment WIRESTACK_LISTEN_PORT\tInterface.ListenPort = 51821",
      "flag --mtu\tInterface.MTU = 1402",
      "wg0.yaml:5\tInterface.Address = 10.9.0.1/24",
      "default\tInterface.PeerToPeer = false",
      "wg0.yaml:7\tPeer.laptop.Name = laptop",
      "wg0.yaml:9\tPeer.laptop.PresharedKey = (hidden)",
      "environment WIRESTACK_PEERS\tPeer.laptop.PersistentKeepalive = 20",
      "wg0.yaml:14\tProxy.Subnets = 10.50.0.0/16",
      "wg0.yaml:15\tProxy.Subnets = 10.51.0.0/16",
      "default\tProxy.TcpDialTimeout = 5",
      "default\tProxy.UdpFiltering = address",
    ]
  ) assert.ok(out.split("\n").includes(line), `${line} in\n${out}`);
});

Deno.test("every wrong value of a flag or a variable is said with its name, and what was expected", async () => {
  const wrong = "(wrong)";
  const peer: FlagValue[] = [
    {
      key: KEYS.find(({ section, field }) => section === "peers" && field === "publicKey")!,
      value: PEER,
    },
  ];
  let tried = 0;
  for (const key of KEYS) {
    if (key.flag === undefined || key.secret || expectedOf(key) === undefined) continue;
    const rule = { key: KEYS.find(({ flag }) => flag === "rule")!, value: "allow" };
    // What [Relay] must have beside it: nothing else is to be wrong.
    const required = key.section !== "relay" ? [] : KEYS
      .filter(({ section, field, flag }) =>
        section === "relay" && flag !== key.flag &&
        ["listen", "cert", "key", "clientCa"].includes(field)
      )
      .map((key) => ({ key, value: key.field === "listen" ? "tls:127.0.0.1:443" : "file" }));
    const before = key.section === "peers" ? peer : key.section === "rules" ? [rule] : required;
    const name = variableOf(key);
    const variables = name === undefined
      ? []
      : [{ name, value: wrong, origin: { variable: name } }];
    const said = [
      { request: { flags: [...before, { key, value: wrong }] }, name: `--${key.flag}` },
      ...name === undefined ? [] : [{ request: { variables, flags: required }, name }],
    ];
    for (const { request, name } of said) {
      const problems = await new ConfigReader(request, processTerminal).load().then(
        () => [],
        (error) => error.problems as string[],
      );
      const others = problems.filter((line) =>
        !/^(?:--private-key-file|WIRESTACK_PRIVATE_KEY_FILE): missing/.test(line)
      );
      if (others.length === 0) continue; // any text will do
      assert.match(others[0]!, new RegExp(`^${name}: .*expected `));
      tried++;
    }
  }
  assert.ok(tried > 60, `${tried}`);
});

Deno.test("a wrong variable is called by its name, and the environment alone is enough", async () => {
  await using folder = await Folder.create({});
  const environment = { WIRESTACK_PRIVATE_KEY: PRIVATE, WIRESTACK_PEER_TO_PEER: "true" };
  assert.deepEqual(
    await main(folder.path, { ...environment, WIRESTACK_LISTEN_PORT: "70000" }, ["check"]),
    {
      status: 2,
      out: "",
      error: "WIRESTACK_LISTEN_PORT: 70000 is out of range, expected 0 to 65535\n",
    },
  );
  const peers = JSON.stringify([{ publicKey: PEER }, { publicKey: PRIVATE, allowedIps: 1 }]);
  const wrong = await main(folder.path, { ...environment, WIRESTACK_PEERS: peers }, ["check"]);
  assert.equal(wrong.status, 2);
  assert.match(
    wrong.error,
    /^WIRESTACK_PEERS\[1\]\.allowedIps: "1" is not an address or prefix, /m,
  );
  const { status, out } = await main(folder.path, environment, ["check", "--no-ffi"]);
  assert.equal(status, 0);
  assert.match(out, /^environment: ok\npublic key HIgo9xNz/);
  const both = await main(folder.path, environment, ["check", "--no-ffi", "--mtu", "1400"]);
  assert.match(both.out, /^flags and environment: ok\n/);
  const nothing = await main(folder.path, { WIRESTACK_PEER_TO_PEER: "true" }, ["check"]);
  assert.deepEqual(nothing, {
    status: 2,
    out: "",
    error: "WIRESTACK_PRIVATE_KEY_FILE: missing, expected a key made by wirestack genkey\n",
  });
});

Deno.test("commands look for a gateway where the environment has its control socket", async () => {
  await using folder = await Folder.create({});
  const environment = { WIRESTACK_CONTROL_DIR: folder.path };
  const { status, error } = await main(folder.path, environment, ["reload"]);
  assert.equal(status, 1);
  assert.ok(error.includes(`no gateway runs in ${folder.path}`), error);
});

Deno.test("systemd's credentials: the private key by its name, other files by theirs", async () => {
  await using folder = await Folder.create({
    "run/wirestack.private-key": PRIVATE,
    "run/laptop.psk": `${PSK}\n`,
    "etc/wg0.conf":
      `[Interface]\nAddress = 10.9.0.1/24\nPeerToPeer = true\n[Peer]\nPublicKey = ${PEER}\n` +
      `PresharedKeyFile = laptop.psk\nAllowedIPs = 10.9.0.2/32\n`,
  });
  const environment = { CREDENTIALS_DIRECTORY: `${folder.path}/run` };
  const args = ["check", "--no-ffi", "--show-origin", "etc/wg0.conf"];
  const { status, out, error } = await main(folder.path, environment, args);
  assert.deepEqual([status, error], [0, ""]);
  assert.ok(out.includes(`${folder.path}/run/wirestack.private-key:1\tInterface.PrivateKey`), out);
  const without = await main(folder.path, {}, args);
  assert.deepEqual(without, {
    status: 2,
    out: "",
    error: "etc/wg0.conf:1: PrivateKey: missing, expected a key made by wirestack genkey\n" +
      "etc/wg0.conf:6: PresharedKeyFile: etc/laptop.psk: no such file, expected a file with a key\n",
  });
});

Deno.test("secrets are read from files beside the configuration, and what is wrong with them is said", async () => {
  await using folder = await Folder.create({
    "wg0.conf": `[Interface]\nprivatekeyfile = own # comment\nPeerToPeer = true\n[Peer]\n` +
      `PublicKey = ${PEER}\nPresharedKeyFile = keys/psk\nAllowedIPs = 10.9.0.2/32\n`,
    own: `${PRIVATE}\n`,
    "keys/psk": PSK,
  });
  const file = `${folder.path}/wg0.conf`;
  const { config } = await new ConfigReader({ file }, processTerminal).load();
  assert.equal(encodeKey(config.privateKey!), PRIVATE);
  assert.equal(encodeKey(config.peers[0]!.presharedKey!), PSK);

  await folder.write("keys/psk", PSK.slice(1));
  await Deno.remove(`${folder.path}/own`);
  assert.deepEqual(await folder.check(file), {
    status: 2,
    out: "",
    error:
      `${file}:2: PrivateKeyFile: ${folder.path}/own: no such file, expected a file with a key\n` +
      `${file}:6: PresharedKeyFile: ${folder.path}/keys/psk: not a key: 43 characters, expected 44 ` +
      "characters of base64, as wg writes them\n",
  });
});

Deno.test("a secret from standard input is read once, and kept for a reload", async () => {
  await using folder = await Folder.create({
    "wg0.conf": "[Interface]\nPrivateKeyFile = -\nPeerToPeer = true\n",
  });
  let reads = 0;
  const terminal = {
    ...processTerminal,
    readInput: () => Promise.resolve(new TextEncoder().encode(reads++ === 0 ? PRIVATE : "")),
  };
  const reader = new ConfigReader({ file: `${folder.path}/wg0.conf` }, terminal);
  for (let i = 0; i < 2; i++) {
    assert.equal(encodeKey((await reader.load()).config.privateKey!), PRIVATE);
  }
  const both = await runHere(["check", "-"], "[Interface]\nPrivateKeyFile = -\n");
  assert.deepEqual(both, {
    status: 2,
    out: "",
    error: "-:2: PrivateKeyFile: -: is the configuration already, expected a file with a key\n",
  });
});

Deno.test("standard input has the form that --format says", async () => {
  const { "wg0.json": json, "wg0.yaml": yaml, "wg0.env": env } = written(INPUT);
  for (const [form, text] of Object.entries({ json, yaml, env })) {
    const { status, out } = await runHere(["check", "--no-ffi", "-", "--format", form], text);
    assert.deepEqual([status, out.startsWith("-: ok\n")], [0, true], form);
  }
  const { status, error } = await runHere(["check", "-", "--format", "toml"], "");
  assert.equal(status, 2);
  assert.match(error, /Allowed choices are conf, yaml, json, env/);
});

Deno.test("Include adds other files, in the order of their names, and a reload sees what has come and gone", async () => {
  const peer = (key: string, n: number) =>
    `[Peer]\nPublicKey = ${key}\nAllowedIPs = 10.9.0.${n}/32\n`;
  await using folder = await Folder.create({
    "wg0.conf": `Include = peers/*.conf\n[Interface]\nPrivateKey = ${PRIVATE}\n` +
      "Include = proxy.yaml, more\n",
    "peers/b.conf": peer(PEER, 3),
    "peers/a.conf": peer(OTHER, 2),
    "peers/.hidden.conf": "x",
    "peers/c.conf.bak": "x",
    "proxy.yaml, more": "[Proxy]\nSubnets = 10.50.0.0/16\n",
  });
  const file = `${folder.path}/wg0.conf`;
  const reader = new ConfigReader({ file }, processTerminal);
  const keys = async () => (await reader.load()).config.peers.map((p) => encodeKey(p.publicKey));
  assert.deepEqual(await keys(), [OTHER, PEER]);
  assert.equal((await reader.load()).config.proxy?.subnets.length, 1);
  await Deno.remove(`${folder.path}/peers/a.conf`);
  await folder.write("peers/c.conf", peer(PSK, 4));
  assert.deepEqual(await keys(), [PEER, PSK]);

  await folder.write("peers/c.conf", `Include = x\n${peer(PEER, 5)}MTU = 1\n[Interface]\n`);
  await folder.write(
    "wg0.conf",
    `Include = peers/*.conf\nInclude = none\nInclude = */x\n` +
      `Include = a.env\n[Interface]\nPrivateKey = ${PRIVATE}\nInclude = peers/*.conf, x/*.conf\n`,
  );
  await folder.write("a.env", "");
  const at = (name: string) => `${folder.path}/${name}`;
  assert.deepEqual((await folder.check(file)).error.trimEnd().split("\n"), [
    `${
      at("peers/c.conf")
    }:1: Include: stands in an included file, expected it in the first one alone`,
    `${file}:2: Include: ${at("none")}: no such file, expected a file to include`,
    `${file}:3: Include: "*/x" has a * in a folder's name, expected it in the file's`,
    `${at("peers/c.conf")}:3: PublicKey: given twice, expected a peer once (the first is at ${
      at("peers/b.conf")
    }:2)`,
    `${file}:4: Include: ${at("a.env")} holds variables, expected a .conf, .yaml or .json file`,
    `${at("peers/c.conf")}:5: MTU: does not belong in [Peer], expected in [Interface]`,
    `${
      at("peers/c.conf")
    }:6: [Interface]: second section of this name, expected one (the first is at ${file}:5)`,
    `${file}:7: Include: "peers/*.conf, x/*.conf" has a * in a folder's name, expected one pattern for each Include`,
  ]);
  await folder.write(
    "wg0.conf",
    `Include = none/*.conf\n[Interface]\nPrivateKey = ${PRIVATE}\nPeerToPeer = true\n`,
  );
  const { warnings } = await reader.load();
  assert.ok(warnings.includes(`${file}:1: Include: "none/*.conf" matches no file`), `${warnings}`);
});

Deno.test("other users' access is warned of for each file that was read", {
  ignore: Deno.build.os === "windows",
}, async () => {
  await using folder = await Folder.create({
    "wg0.conf": "[Interface]\nPrivateKeyFile = key\nInclude = peers.conf\nPeerToPeer = true\n",
    "peers.conf": `[Peer]\nPublicKey = ${PEER}\nAllowedIPs = 10.9.0.2/32\n`,
    key: PRIVATE,
  });
  await Deno.chmod(folder.path, 0o755);
  for (const name of ["key", "peers.conf"]) await Deno.chmod(`${folder.path}/${name}`, 0o644);
  const { warnings } = await new ConfigReader({ file: `${folder.path}/wg0.conf` }, processTerminal)
    .load();
  assert.deepEqual(warnings, [
    `${folder.path}/peers.conf: is world accessible, expected mode 600`,
    `${folder.path}/key: is world accessible, expected mode 600`,
  ]);
});

Deno.test(
  "a pipe is waited for at the start alone, and neither it nor a device holds up a reload",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    await using folder = await Folder.create({ "wg0.conf": BARE, "peers/x": "" });
    const at = (name: string) => `${folder.path}/${name}`;
    const pipe = async (name: string) => {
      const { success } = await new Deno.Command("mkfifo", { args: [at(name)] }).output();
      assert.ok(success);
      return at(name);
    };
    const file = at("wg0.conf");
    const reader = new ConfigReader({ file }, processTerminal);
    await reader.load();
    const problem = async () => {
      try {
        await reader.load();
        return "none";
      } catch (error) {
        return (error as Error).message;
      }
    };
    await Deno.remove(file);
    await pipe("wg0.conf");
    assert.equal(
      await problem(),
      `${file}: is a pipe, which is read at the start alone, expected a wg-quick file`,
    );
    await Deno.remove(file);
    await Deno.symlink("/dev/zero", file);
    assert.equal(await problem(), `${file}: is not a file, expected a wg-quick file`);
    await Deno.remove(file);
    await Deno.mkdir(file);
    assert.equal(await problem(), `${file}: is a directory, expected a wg-quick file`);
    await Deno.remove(file);
    await Deno.symlink(file, file);
    assert.equal(
      await problem(),
      `${file}: is a link that leads to itself, expected a wg-quick file`,
    );

    // Included, at the start too: nobody names it on purpose.
    await Deno.remove(file);
    await pipe("peers/a");
    await Deno.symlink("/dev/zero", at("peers/b"));
    await folder.write("wg0.conf", `Include = peers/?\n${BARE}`);
    assert.deepEqual((await folder.check(file)).error.trimEnd().split("\n"), [
      `${file}:1: Include: ${
        at("peers/a")
      }: is a pipe, which is read at the start alone, expected a file to include`,
      `${file}:1: Include: ${at("peers/b")}: is not a file, expected a file to include`,
    ]);

    // A key that comes by a pipe is kept for a reload, as from standard input.
    await Deno.remove(at("peers"), { recursive: true });
    await folder.write("wg0.conf", BARE.replace(/PrivateKey = .*/, "PrivateKeyFile = key"));
    await pipe("key");
    const again = new ConfigReader({ file }, processTerminal);
    const [{ config }] = await Promise.all([again.load(), Deno.writeTextFile(at("key"), PRIVATE)]);
    assert.equal(encodeKey(config.privateKey!), PRIVATE);
    assert.equal(encodeKey((await again.load()).config.privateKey!), PRIVATE);
  },
);

Deno.test("a path in a file is relative to that file's folder, one of a flag to the working directory", async () => {
  await using folder = await Folder.create({
    "etc/wg0.conf": `Include = more/log.yaml\n${BARE}ControlDir = run\n[Status]\n` +
      "Listen = unix:status.sock\nTokenFile = token\n[Capture]\nWrite = all.pcapng\n" +
      "[Link]\nName = a\nListen = unix:a.sock\nFraming = length16\n" +
      "[Link]\nName = b\nConnect = unixgram:b/b.sock\n[Link]\nName = c\nListen = tcp:127.0.0.1:9\n" +
      "Framing = length16\n",
    "etc/token": "x".repeat(16),
    "etc/more/log.yaml": "log:\n  output: wg.log\n  access: stderr\n",
    "wg.log": "", // where it was before
  });
  const args = ["check", "--no-ffi", "--show-origin", "etc/wg0.conf"];
  const { status, out, error } = await main(folder.path, {}, args);
  assert.equal(status, 0, error);
  const values = (text: string) =>
    text.split("\n").flatMap((line) =>
      /\t(?:Interface\.ControlDir|Status\.[LT]|Log\.[OA]|Capture\.W|Link\.\w+\.[LC]).*/.exec(
        line,
      ) ?? []
    )
      .map((line) => line.trim());
  assert.deepEqual(values(out), [
    "Interface.ControlDir = etc/run",
    "Link.a.Listen = unix:etc/a.sock",
    "Link.b.Connect = unixgram:etc/b/b.sock",
    "Link.c.Listen = tcp:127.0.0.1:9",
    "Status.Listen = unix:etc/status.sock",
    "Status.TokenFile = etc/token",
    "Capture.Write = etc/all.pcapng",
    "Log.Output = etc/more/wg.log",
    "Log.Access = stderr",
    "Log.AccessProtocols = tcp, udp, icmp",
  ]);
  assert.deepEqual(error.split("\n").filter((line) => line.includes("working directory")), [
    'warning: etc/more/log.yaml:2: Output: "wg.log" is beside this file, no longer in the working ' +
    "directory, where there is one: expected its whole path, or the file moved",
  ]);
  const flagged = await main(folder.path, {}, [...args, "--log-file", "wg.log"]);
  assert.ok(values(flagged.out).includes("Log.Output = wg.log"), flagged.out);
  const captured = await main(folder.path, {}, [...args, "--capture", "mine.pcapng"]);
  assert.ok(values(captured.out).includes("Capture.Write = mine.pcapng"), captured.out);
  for (const elsewhere of ["-", "tcp:127.0.0.1:0"]) {
    await folder.write("etc/wg0.conf", `${BARE}[Capture]\nWrite = ${elsewhere}\n`);
    const { out } = await main(folder.path, {}, args);
    assert.ok(values(out).includes(`Capture.Write = ${elsewhere}`), out);
  }
});

Deno.test("all files of a configuration together are bounded, and so is standard input", async () => {
  const comment = `# ${"x".repeat(1 << 20)}\n`.repeat(9);
  await using folder = await Folder.create({
    "wg0.conf": `Include = peers/*\n${BARE}`,
    ...Object.fromEntries([1, 2, 3, 4, 5, 6].map((n) => [`peers/${n}`, comment])),
  });
  const file = `${folder.path}/wg0.conf`;
  const { status, error } = await folder.check(file);
  assert.equal(status, 2);
  assert.deepEqual(
    error.trimEnd().split("\n"),
    [4, 5, 6].map((n) =>
      `${file}:1: Include: ${folder.path}/peers/${n}: has ${comment.length} bytes, expected a file ` +
      "to include, and all files together of 32 MB at most"
    ),
  );
  const endless = await main(folder.path, {}, ["check", "-"], { input: "/dev/zero" });
  assert.deepEqual(endless, {
    status: 2,
    out: "",
    error: "-: has more than that, expected a wg-quick file, of 32 MB at most\n",
  });
});

Deno.test("a key that stands in a file's name is not shown", async () => {
  await using folder = await Folder.create({
    "wg0.conf": `Include = ${PRIVATE}\nInclude = x/${OTHER.replace("=", "")}.conf\n` +
      `[Interface]\nPrivateKeyFile = keys/${PSK}\n`,
  });
  const { status, error } = await folder.check(`${folder.path}/wg0.conf`);
  assert.equal(status, 2);
  for (const key of [PRIVATE, OTHER, PSK]) assert.ok(!error.includes(key.slice(0, 20)), error);
  // Other long names are.
  const long =
    "a-name-of-a-file/that_is_as_long_as_keys/0123456789abcdef0123456789abcdef0123456789";
  assert.match((await folder.check(long)).error, new RegExp(`^${long}: no such file`));
});

Deno.test("a variable that is called like ours and is none is warned of, with the one that is meant", async () => {
  await using folder = await Folder.create({ "wg0.conf": BARE });
  const environment = { WIRESTACK_LISTEN_PROT: "51820", WIRESTACK_mtu: "1280" };
  const args = ["check", "wg0.conf"];
  for (const permission of ["--allow-env", "--allow-ffi"]) {
    if (permission === "--allow-ffi" && Deno.build.os !== "linux") continue;
    const { status, error } = await main(folder.path, environment, args, { permission });
    assert.equal(status, 0);
    assert.deepEqual(error.split("\n").filter((line) => line.includes("environment")), [
      "warning: environment: WIRESTACK_LISTEN_PROT: unknown variable, did you mean WIRESTACK_LISTEN_PORT?",
      "warning: environment: a name that begins with WIRESTACK_: unknown variable, did you mean WIRESTACK_MTU?",
    ]);
  }
});

/** The program in a process of its own, with nothing but these variables of ours. */
async function main(
  cwd: string,
  environment: Record<string, string>,
  args: string[],
  { input = "/dev/null", permission = "--allow-read" } = {},
) {
  const names = permission === "--allow-env" ? [] : ["CREDENTIALS_DIRECTORY", ...VARIABLE_NAMES];
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: [
      ...["-c", `exec "$0" "$@" <${input}`, Deno.execPath()],
      ...["run", "--quiet", "--no-prompt", "--no-check", "--allow-read", permission],
      ...names.length > 0 ? [`--allow-env=${names.join(",")}`] : [],
      MAIN,
      ...args,
    ],
    cwd,
    env: environment,
  }).output();
  const text = new TextDecoder();
  return { status: code, out: text.decode(stdout), error: text.decode(stderr) };
}
