import assert from "node:assert/strict";
import { udpUnavailable } from "../../../ffi/mod.ts";
import { decodeKey, encodeKey, publicKeyOf } from "../../../proxy/base64.ts";
import { VERSION } from "../../../proxy/version.ts";
import { runHere } from "./run_here.ts";
import { TempFolder } from "../../temp_folder.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PUBLIC = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OTHER = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const FILE = `[Interface]\nPrivateKey = ${PRIVATE}\nListenPort = 51820\nAddress = 10.9.0.1/24\n`;

/** Of a file without [Proxy]. */
const NOTHING = (file: string) =>
  `warning: ${file}:1: [Interface]: neither [Proxy] with Subnets nor PeerToPeer: with \`up\` peers reach ` +
  "nothing but this gateway, expected one of them, or another command: up --tun or redirect (which a " +
  "client's file is for, as for wg-quick and the module), hub, agent; check takes --tun, and --as with " +
  "the others\n";

Deno.test("every command is there by its name alone, as it is beside all others", async () => {
  const { out } = await runHere(["--help"]);
  const names = Array.from(
    out.slice(out.indexOf("Commands:")).matchAll(/^ {2}([a-z][a-z-]*)/gm),
    ([, name]) => name!,
  ).filter((name) => name !== "help");
  assert.ok(names.length >= 25, `${names}`);
  for (const name of names) {
    const alone = await runHere([name, "--help"]);
    assert.deepEqual(alone, { ...await runHere(["help", name]), status: alone.status }, name);
    assert.equal(alone.status, 0);
  }
});

Deno.test("usage errors are said in a line and end with status 2", async () => {
  const cases: [string[], RegExp][] = [
    [["genky"], /^error: unknown command 'genky'\n\(Did you mean genkey\?\)\n/],
    [
      ["up", "--listen-prt", "1"],
      /^error: unknown option '--listen-prt'\n\(Did you mean --listen-port\?\)/,
    ],
    [["up", "a", "b"], /^error: too many arguments for 'up'/],
    [["up"], /^CONFIG: missing, expected a file, -, flags or variables \(see --help\)\n$/],
    [
      ["up", "--crypto", "rot13"],
      /^error: option '--crypto <WHICH>' argument 'rot13' is invalid/,
    ],
    [
      ["check", "--private-key-file", "-", "--log-level", "loud"],
      /\n--log-level: "loud" is unknown, expected trace or debug or info or warning or error\n$/,
    ],
    [["up", "--masquerade"], /^--masquerade: is for a device of the system, expected --tun too;/],
    [["up", "--tun", "--masquerade-force"], /^--masquerade-force: expected --masquerade too\n$/],
    [
      ["up", "--tun", "--masquerade=a/b"],
      /argument 'a\/b' is invalid\. Expected the name of a net/,
    ],
    [["check", "--mtu"], /^error: option '--mtu <BYTES>' argument missing/],
    [["check", "/no/such.conf"], /^\/no\/such\.conf: no such file, expected a wg-quick file\n$/],
    [["check", "/"], /^\/: is a directory, expected a wg-quick file\n$/],
    [["check", "/dev/null"], /^\/dev\/null: is not a file, expected a wg-quick file\n$/],
    [[], /^Usage: wirestack /],
  ];
  for (const [args, message] of cases) {
    const { status, out, error } = await runHere(args);
    assert.deepEqual([status, out], [2, ""], args.join(" "));
    assert.match(error, message);
  }
});

Deno.test("a client's file is right for what it is for, and check says for what", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/wg0.conf`;
    await Deno.writeTextFile(
      path,
      `${FILE}[Peer]\nPublicKey = ${PEER}\nEndpoint = 192.0.2.1:51820\nAllowedIPs = 0.0.0.0/0\n`,
      { mode: 0o600 },
    );
    for (
      const [args, error] of [
        [[], NOTHING(path)],
        [["--tun"], ""],
        [["--as", "redirect"], ""],
        [["--as", "hub"], ""],
      ] as const
    ) {
      const checked = await runHere(["check", "--no-ffi", ...args, path]);
      assert.deepEqual([checked.status, checked.error], [0, error], args.join(" "));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("check reads the token of the status listener, and does not show it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/token`, "too-short");
    const file = `[Interface]\nPrivateKey = ${PRIVATE}\n[Status]\nTokenFile = ${folder}/token\n`;
    const short = await runHere(["check", "-"], file);
    assert.equal(short.status, 2);
    assert.equal(
      short.error,
      `-:4: TokenFile: ${folder}/token: the token has 9 characters, expected 16 or more\n`,
    );
    await Deno.writeTextFile(`${folder}/token`, "long-enough-a-token");
    assert.equal((await runHere(["check", "-"], file)).status, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a key among the arguments is not repeated", async () => {
  for (
    const args of [
      ...[["up", `--private-key=${PRIVATE}`], ["up", "a", PRIVATE], [PRIVATE]],
      // Where a file name belongs.
      ...[["check", PRIVATE], ["up", PRIVATE], ["up", "--private-key-file", PRIVATE]],
    ]
  ) {
    const { status, error } = await runHere(args);
    assert.equal(status, 2);
    assert.ok(!error.includes(PRIVATE), error);
    assert.match(error, /withheld/);
  }
});

Deno.test("help and version go to standard output", async () => {
  assert.deepEqual(await runHere(["--version"]), { status: 0, out: `${VERSION}\n`, error: "" });
  const manifest = JSON.parse(
    await Deno.readTextFile(new URL("../../../deno.json", import.meta.url)),
  );
  assert.equal(VERSION, manifest.version);
  for (const args of [["--help"], ["up", "--help"], ["help", "check"]]) {
    const { status, out, error } = await runHere(args);
    assert.deepEqual([status, error], [0, ""]);
    assert.match(out, /^Usage: wirestack /);
  }
});

Deno.test("the permission for foreign calls is given up by all but an up that uses it, check for it, and show", async () => {
  const cases: [string[], boolean][] = [
    [["genkey"], true],
    [["reload", "no-such", "--ffi"], true],
    // It looks whether a tunnel that was killed has left its kill switch.
    [["show", "--ffi"], false],
    // It tries what up would be refused, and has it as long as up would.
    [["check", "-"], true],
    [["check", "--no-ffi", "-"], true],
    [["--no-ffi", "check", "-", "--fw-mark", "0x2a"], true],
    [["check", "-", "--fw-mark", "0x2a"], false],
    [["up", "--no-ffi", "/no/such.conf"], true],
    [["--no-ffi", "up", "/no/such.conf"], true],
    [["up", "/no/such.conf"], udpUnavailable() !== undefined],
    [["up", "--ffi", "/no/such.conf"], false],
    [["--ffi", "up", "/no/such.conf"], false],
    [["--no-ffi", "up", "--ffi", "/no/such.conf"], false],
  ];
  for (const [args, expected] of cases) {
    let isGivenUp = false;
    await runHere(args, FILE, { giveUpFfi: () => isGivenUp = true });
    assert.equal(isGivenUp, expected, args.join(" "));
  }
});

Deno.test("check says what a configuration amounts to", async () => {
  const { status, out, error } = await runHere(["check", "-"], `${FILE}DNS = 1.1.1.1\n`);
  assert.equal(status, 0);
  assert.equal(
    out,
    `-: ok\npublic key ${PUBLIC}; address 10.9.0.1/24; UDP port 51820; 0 peers; no proxy\n`,
  );
  assert.equal(error, `${NOTHING("-")}warning: -:5: DNS: has no effect without --tun\n`);
});

Deno.test("check finds what up would be refused", async () => {
  const cases: [string[], RegExp][] = [
    [
      ["--listen-address", "192.0.2.7"],
      /^--listen-address: 192\.0\.2\.7 is not an address of this host/,
    ],
    [["--fw-mark", "7", "--no-ffi"], /^--fw-mark: /],
  ];
  for (const [args, message] of cases) {
    const { status, out, error } = await runHere(["check", "-", ...args], FILE);
    assert.deepEqual([status, out], [2, ""], args.join(" "));
    assert.match(error, message);
  }
  // The port of the gateway that runs is no mistake of its file.
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const flags = ["--listen-port", `${port}`, "--listen-address", "127.0.0.1"];
  assert.equal((await runHere(["check", "-", ...flags], FILE)).status, 0);
  taken.close();
});

Deno.test("a command line of up is checked by exchanging the word", async () => {
  const flags = [
    ...["--name", "wg7", "--log-level", "debug", "--log-format", "json", "--crypto", "noble"],
    ...["--no-ffi", "--no-confine", "--control-dir", "off", "--proxy-subnet", "10.50.0.0/16"],
  ];
  const { status, error } = await runHere(["check", "-", ...flags], FILE);
  assert.deepEqual([status, error], [0, ""]);
  const { out } = await runHere(["up", "--help"]);
  const known = (text: string) => [...text.matchAll(/(?<= )--[a-z-]+/g)].map(([flag]) => flag);
  assert.deepEqual(
    known((await runHere(["check", "--help"])).out).sort(),
    [...known(out), "--as", "--show-origin"].sort(),
  );
  using folder = new TempFolder();
  const odd = `${folder.path}/a name that is too long.conf`;
  await Deno.writeTextFile(odd, FILE, { mode: 0o600 });
  assert.match(
    (await runHere(["check", odd])).error,
    /: its name is no interface's: no control socket without --name\n$/,
  );
});

Deno.test("check reports every problem and ends with status 2", async () => {
  const { status, out, error } = await runHere(["check", "-"], `${FILE}MTU = 1\nFoo = 2\n`);
  assert.deepEqual([status, out], [2, ""]);
  assert.equal(
    error,
    "-:5: MTU: 1 is out of range, expected 576 to 65475\n" +
      "-:6: Foo: unknown key, expected one that [Interface] has (see docs/configuration.md)\n",
  );
});

Deno.test("flags alone make a configuration; options belong to the peer before them", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/key`, `${PRIVATE}\n`);
    const { status, out, error } = await runHere([
      ...["check", "--private-key-file", `${folder}/key`, "--address", "10.9.0.1/24,fd09::1/64"],
      ...["--listen-port", "51820", "--peer", PEER, "--preshared-key-file", `${folder}/key`],
      ...[
        "--allowed-ips",
        "10.9.0.2/32",
        "--allowed-ips",
        "10.1.0.0/16",
        "--endpoint",
        "a.example:1",
      ],
      ...["--peer", OTHER, "--allowed-ips", "10.9.0.3", "--persistent-keepalive", "25"],
      ...["--proxy-subnet", "10.50.0.0/16", "--protocols", "tcp", "--map", "10.50.0.1=127.0.0.1"],
    ]);
    assert.deepEqual([status, error], [0, ""]);
    assert.equal(
      out,
      `flags: ok\npublic key ${PUBLIC}; address 10.9.0.1/24, fd09::1/64; UDP port 51820; 2 peers; ` +
        "proxy tcp on nic2 for 10.50.0.0/16, 1 mapped\n",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("flags override the file", async () => {
  const file =
    `${FILE}[Peer]\nPublicKey = ${PEER}\nAllowedIPs = 10.9.0.2/32\n[Proxy]\nSubnets = 10.0.0.0/8\n`;
  const flags = ["--listen-port", "7007", "--address", "10.9.0.9/24", "--peer", PEER];
  const more = ["--endpoint", "a.example:1", "--proxy-subnet", "10.50.0.0/16"];
  const { out } = await runHere(["check", "-", ...flags, ...more], file);
  assert.equal(
    out,
    `-: ok\npublic key ${PUBLIC}; address 10.9.0.9/24; UDP port 7007; 1 peer; ` +
      "proxy tcp, udp and icmp on nic2 for 10.50.0.0/16\n",
  );
});

Deno.test("rules by flags take the place of the file's, each with the options behind it", async () => {
  const file = `${FILE}[Proxy]\nSubnets = 10.0.0.0/8\n[Rule]\n[Rule]\n[Rule]\n`;
  const flags = ["--rule", "allow", "--rule-to", "10.1.0.0/16,10.2.0.1", "--rule-ports", "tcp/80"];
  const more = ["--proxy-default", "drop", "--rule", "reject", "--rule-ports", "udp"];
  const { out, error } = await runHere(["check", "-", ...flags, ...more], file);
  assert.equal(error, "");
  assert.match(out, /; 2 rules, else drop\n$/);
  const wrong = ["--rule-ports", "80", "--rule", "deny", "--rule-ports", "80"];
  assert.deepEqual((await runHere(["check", "-", ...wrong], file)).error.trim().split("\n"), [
    "--rule-ports: stands before any --rule, expected behind its rule",
    '--rule-ports: "80" is unknown, expected as tcp/80, udp/5000-5100, tcp or icmp',
    '--rule: "deny" is unknown, expected allow or reject or drop',
  ]);
});

Deno.test("a flag's problem is placed by its name, the file's stay with the file", async () => {
  const args = [
    "check",
    "-",
    "--listen-port",
    "70000",
    "--allowed-ips",
    "10.0.0.0/8",
    "--peer",
    "x",
  ];
  const { status, error } = await runHere(
    [...args, "--endpoint", "nowhere", "--preshared-key-file", "/no/such", "--map", "a"],
    `${FILE}ListenPort = 70000\nMTU = 1\n`,
  );
  assert.equal(status, 2);
  assert.deepEqual(error.trimEnd().split("\n"), [
    "-:5: ListenPort: given twice, expected it once (the first is on line 3)",
    "-:6: MTU: 1 is out of range, expected 576 to 65475",
    "--allowed-ips: stands before any --peer, expected behind its peer",
    "--preshared-key-file: /no/such: no such file, expected a file with a key",
    "--listen-port: 70000 is out of range, expected 0 to 65535",
    "--peer: not a key: 1 characters, expected 44 characters of base64, as wg writes them",
    '--endpoint: "nowhere" is not an endpoint, expected HOST:PORT or [IPV6]:PORT',
    '--map: "a" is not a map, expected FROM/LENGTH -> TO/LENGTH',
  ]);
  const wrongFile = await runHere(["check", "--private-key-file", import.meta.filename!]);
  assert.match(
    wrongFile.error,
    /^--private-key-file: .*program_test\.ts: not a key: \d+ characters, expected 44 /,
  );
  const none = await runHere(["check", "--mtu", "1300"]);
  assert.equal(
    none.error,
    "--private-key-file: missing, expected a key made by wirestack genkey\n",
  );
});

Deno.test("a file that everybody may read gets a warning, by wg-quick's rule", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/wg0.conf`;
  try {
    await Deno.writeTextFile(path, FILE);
    const errors = [];
    for (const [folderMode, mode] of [[0o755, 0o644], [0o755, 0o640], [0o700, 0o644]] as const) {
      await Deno.chmod(folder, folderMode);
      await Deno.chmod(path, mode);
      errors.push((await runHere(["check", path])).error);
    }
    assert.deepEqual(errors, [
      `warning: ${path}: is world accessible, expected mode 600\n${NOTHING(path)}`,
      NOTHING(path),
      NOTHING(path),
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("strip prints what wg takes, and nothing of ours", async () => {
  const text =
    `# the site\n[interface] # x\nprivatekey=${PRIVATE}\nAddress = 10.9.0.1/24\nlistenport= 7\n` +
    "FwMark = 0x2a\nDNS = 1.1.1.1\nMTU = 1300\nPostUp = a, b\nControlDir = off\nPeerToPeer = true\n" +
    `[Peer] # laptop\nPublicKey = ${
      PUBLIC.replace("HI", "HJ")
    }\nName = tv\nAllowedIPs = 10.9.0.2/32\n` +
    `PresharedKey = ${PRIVATE}\nAllowedIPs = fd09::2\nEndpoint = a.example:7\nPersistentKeepalive = off\n` +
    "[Proxy]\nSubnets = 10.50.0.0/16\n";
  const stripped = `[Interface]\nPrivateKey = ${PRIVATE}\nListenPort = 7\nFwMark = 0x2a\n\n` +
    `[Peer]\nPublicKey = ${PUBLIC.replace("HI", "HJ")}\nPresharedKey = ${PRIVATE}\n` +
    "AllowedIPs = 10.9.0.2/32, fd09::2\nEndpoint = a.example:7\nPersistentKeepalive = off\n";
  assert.deepEqual(await runHere(["strip", "-"], text), { status: 0, out: stripped, error: "" });
  assert.deepEqual(await runHere(["strip", "-"], stripped), {
    status: 0,
    out: stripped,
    error: "",
  });
  const wrong = await runHere(["strip", "-"], text.replace("listenport= 7", "listenport= x"));
  assert.deepEqual([wrong.status, wrong.out], [2, ""]);
  assert.equal(
    (await runHere(["strip", "-"], text, { outputIsWorldAccessible: () => true })).error,
    "Warning: writing to world accessible file.\n",
  );
});

Deno.test("strip prints keys that stand in files of their own, which end with a line break", async () => {
  using folder = new TempFolder();
  const secret = { mode: 0o600 };
  await Deno.writeTextFile(`${folder.path}/key`, `${PRIVATE}\n`, secret);
  const expected = `[Interface]\nPrivateKey = ${PRIVATE}\n\n[Peer]\nPublicKey = ${
    PUBLIC.replace("HI", "HJ")
  }\nPresharedKey = ${PRIVATE}\nAllowedIPs = 10.9.0.2/32\n`;
  const files = {
    "a.conf": expected.replace("PrivateKey = " + PRIVATE, "PrivateKeyFile = key")
      .replace("PresharedKey = " + PRIVATE, "PresharedKeyFile = key"),
    "a.yaml": "interface:\n  privateKeyFile: key\npeers:\n" +
      `  - publicKey: ${PUBLIC.replace("HI", "HJ")}\n    presharedKeyFile: key\n` +
      "    allowedIps: 10.9.0.2/32\n",
  };
  for (const [name, text] of Object.entries(files)) {
    const file = `${folder.path}/${name}`;
    await Deno.writeTextFile(file, text, secret);
    assert.deepEqual(await runHere(["strip", file]), { status: 0, out: expected, error: "" });
  }
});

Deno.test("genkey makes clamped keys, genpsk any", async () => {
  const { status, out, error } = await runHere(["genkey"]);
  assert.deepEqual([status, error], [0, ""]);
  const key = decodeKey(out.slice(0, -1))!;
  assert.equal(out, `${encodeKey(key)}\n`);
  assert.equal(key[0]! & 7, 0);
  assert.equal(key[31]! & 0xc0, 0x40);
  assert.notEqual((await runHere(["genkey"])).out, out);
  assert.match((await runHere(["genpsk"])).out, /^[A-Za-z0-9+/]{43}=\n$/);
  assert.equal(
    (await runHere(["genkey"], "", { outputIsWorldAccessible: () => true })).error,
    "Warning: writing to world accessible file.\nConsider setting the umask to 077 and trying again.\n",
  );
});

Deno.test("pubkey takes what wg pubkey takes", async () => {
  for (const input of [PRIVATE, `${PRIVATE}\n`, `${PRIVATE} \r\n\t\0\n`]) {
    assert.deepEqual(await runHere(["pubkey"], input), {
      status: 0,
      out: `${PUBLIC}\n`,
      error: "",
    });
  }
  const wrong = {
    status: 1,
    out: "",
    error: "wirestack: Key is not the correct length or format\n",
  };
  for (
    const input of ["", "abc\n", PRIVATE.slice(1), `${PRIVATE.slice(0, 42)}l=`, "=".repeat(44)]
  ) {
    assert.deepEqual(await runHere(["pubkey"], input), wrong, input);
  }
  const trailing = {
    status: 1,
    out: "",
    error: "wirestack: Trailing characters found after key\n",
  };
  for (const input of [`${PRIVATE}x`, `\n${PRIVATE}`]) {
    assert.deepEqual(await runHere(["pubkey"], input), trailing);
  }
});

Deno.test("a public key is computed from a clamped private one", () => {
  const key = decodeKey(PRIVATE)!;
  const unclamped = key.slice();
  unclamped[0]! |= 7;
  unclamped[31]! |= 0x80;
  assert.equal(encodeKey(publicKeyOf(unclamped)), encodeKey(publicKeyOf(key)));
  assert.throws(() => publicKeyOf(new Uint8Array(31)), RangeError);
});
