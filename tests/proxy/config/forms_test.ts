import assert from "node:assert/strict";
import { ConfigError, type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";
import { expectedOf } from "../../../proxy/config/describe.ts";
import {
  isRepeated,
  type Key,
  KEYS,
  secretVariableOf,
  SECTION_NAMES,
  variableOf,
  variableOfList,
} from "../../../proxy/config/keys.ts";
import { load, sourceOf, written } from "./forms.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const PSK = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=";
const YAML = `interface:\n  privateKey: ${PRIVATE}\n`;

Deno.test("a wg-quick file, YAML, JSON and variables mean the same", async () => {
  const input: ConfigInput = {
    interface: {
      privateKey: PRIVATE,
      address: ["10.9.0.1/24", "fd09::1/64"],
      listenPort: 51820,
      peerToPeer: true,
      fwMark: "0x10",
    },
    peers: [
      { publicKey: PEER, name: "a laptop", presharedKey: PSK, allowedIps: ["10.9.0.2/32"] },
      { publicKey: PSK, endpoint: "vpn.example.com:51820", persistentKeepalive: "off" },
    ],
    proxy: {
      subnets: "10.50.0.0/16, fd50::/64",
      map: ["10.50.0.1/32 -> 127.0.0.1/32", "10.50.0.2 -> 192.168.1.7"],
      udpIdleTimeout: 1.5,
      maxBufferMemory: "64M",
    },
  };
  const expected = loadConfig(input).config;
  for (const [file, text] of Object.entries(written(input))) {
    assert.deepEqual((await load(text, file)).config, expected, `${file}:\n${text}`);
  }
});

const SECTIONS = Object.keys(SECTION_NAMES).join(", ");

/** A value that no key takes but those that take any text. */
const WRONG = "(wrong)";

for (const key of KEYS) {
  const expected = expectedOf(key);
  const file = key.secret ? undefined : written(inputWith(key, WRONG));
  if (expected === undefined || file === undefined || takes(key, WRONG)) continue;
  Deno.test(`a wrong ${SECTION_NAMES[key.section]}.${key.name} is said in each form, with its place and what was expected`, async () => {
    const path = isRepeated(key.section)
      ? `${key.section}[0].${key.field}`
      : `${key.section}.${key.field}`;
    const variable = variableOf(key) ?? `${variableOfList(key.section)}[0].${key.field}`;
    const element = key.list === undefined ? "" : "(?:\\[0\\])?";
    const names: Record<string, string> = {
      "wg0.conf": key.name,
      "wg0.yaml": escape(path) + element,
      "wg0.json": escape(path) + element,
      "wg0.env": escape(variable) + element,
    };
    for (const [name, text] of Object.entries(file)) {
      if (name === "wg0.env" && variableOf(key) === undefined && !isRepeated(key.section)) {
        continue;
      }
      const problems = await problemsOf(text, name);
      const line = name === "wg0.json" || name === "wg0.yaml" || name === "wg0.conf"
        ? text.slice(0, text.indexOf(WRONG)).split("\n").length
        : text.slice(0, text.search(new RegExp(escape(variable.replace(/\[.*/, ""))))).split("\n")
          .length;
      const pattern = new RegExp(`^${escape(name)}:${line}: ${names[name]}: .*expected `);
      assert.ok(
        problems.some((problem) => pattern.test(problem)),
        `${pattern} in ${problems.join("\n")}`,
      );
    }
  });
}

function inputWith(key: Key, value: string): ConfigInput {
  const base: Record<string, unknown> = { interface: { privateKey: PRIVATE } };
  const others = key.section === "peers" && key.field !== "publicKey"
    ? { publicKey: PEER }
    : key.section === "relay"
    ? { listen: ["tls:127.0.0.1:443"], cert: "c", key: "k", clientCa: "ca" }
    : {};
  const section = { ...others, [key.field]: key.list === undefined ? value : [value] };
  if (isRepeated(key.section)) base[key.section] = [section];
  else base[key.section] = { ...base[key.section] as object, ...section };
  return base as unknown as ConfigInput;
}

function takes(key: Key, value: string): boolean {
  try {
    loadConfig(inputWith(key, value));
    return true;
  } catch {
    return false;
  }
}

/** What is wrong, the text, and every line that must be said about it. */
const CASES: readonly [name: string, file: string, text: string, lines: readonly string[]][] = [
  ["an empty YAML file", "wg0.yaml", "", [
    "wg0.yaml:1: interface.privateKey: missing, expected a key made by wirestack genkey",
  ]],
  [
    "a section without a key",
    "wg0.yaml",
    "# mine\ninterface:\n  mtu: 1420\npeers:\n  - name: a\n",
    [
      "wg0.yaml:2: interface.privateKey: missing, expected a key made by wirestack genkey",
      "wg0.yaml:5: peers[0].publicKey: missing, expected the peer's public key",
    ],
  ],
  ["misspelt names", "wg0.yaml", `${YAML}  listenProt: 1\npeer: []\nproxy:\n  mtu: 1420\n`, [
    "wg0.yaml:3: interface.listenProt: unknown key, did you mean listenPort?",
    "wg0.yaml:4: peer: unknown section, did you mean peers?",
    "wg0.yaml:6: proxy.mtu: does not belong in proxy, expected in interface",
  ]],
  ["names of another program", "wg0.yaml", `${YAML}server_addr: "localhost:8081"\n`, [
    `wg0.yaml:3: server_addr: unknown section, expected ${SECTIONS} or include`,
  ]],
  ["keys twice", "wg0.yaml", `${YAML}  mtu: 1420\n  mtu: 1400\nproxy:\nproxy: {}\n`, [
    "wg0.yaml:4: interface.mtu: given twice, expected it once (the first is on line 3)",
    "wg0.yaml:6: proxy: given twice, expected it once (the first is on line 5)",
  ]],
  [
    "numbers and words as YAML's versions read them",
    "wg0.yaml",
    `${YAML}  listenPort: 1e3\n  mtu: 0o2600\n  peerToPeer: yes\n  saveConfig: no\n  rekeyAfter: .inf\n  fwMark: ~\n  listenAddress:\n`,
    [
      'wg0.yaml:3: interface.listenPort: "1e3" is not a number, expected 0 to 65535',
      'wg0.yaml:4: interface.mtu: "0o2600" is not a number, expected 576 to 65475',
      'wg0.yaml:5: interface.peerToPeer: "yes" is neither, expected true or false',
      'wg0.yaml:6: interface.saveConfig: "no" is neither, expected true or false',
      'wg0.yaml:7: interface.rekeyAfter: ".inf" is not a number, expected 1 to 120 seconds',
      'wg0.yaml:8: interface.fwMark: "~" is not a mark, expected 0 to 0xffffffff, or off',
      "wg0.yaml:9: interface.listenAddress: has no value, expected one",
    ],
  ],
  ["a number for a key", "wg0.yaml", "interface: {privateKey: 12345}\n", [
    "wg0.yaml:1: interface.privateKey: not a key: 5 characters, expected 44 characters of base64, as wg writes them",
  ]],
  [
    "values of other shapes",
    "wg0.yaml",
    `${YAML}  mtu: [1420]\n  address: {a: b}\n  listenPort:\n    - a: b\npeers: {}\nproxy: tcp\n`,
    [
      "wg0.yaml:3: interface.mtu: is a list, expected text or a number",
      "wg0.yaml:4: interface.address: is an object, expected a list",
      "wg0.yaml:5: interface.listenPort: is a list, expected text or a number",
      "wg0.yaml:7: peers: is an object, expected a list of peers",
      "wg0.yaml:8: proxy: is a plain value, expected an object with the keys of the section",
    ],
  ],
  ["a list's element", "wg0.yaml", `${YAML}  address:\n    - 10.9.0.1/24\n    - 10.9.0.1/33\n`, [
    'wg0.yaml:5: interface.address[1]: "10.9.0.1/33" has a bad prefix length, expected 10.9.0.1/0 to 10.9.0.1/32',
  ]],
  ["a tab", "wg0.yaml", "interface:\n\tmtu: 1\n", [
    "wg0.yaml:2: line: is indented with a tab, expected blanks",
  ]],
  ["a list without its end", "wg0.yaml", `${YAML}proxy:\n  subnets: [10.50.0.0/16\n\n`, [
    "wg0.yaml:4: line: has a [ or a { that is not closed, expected the ] or } here at the latest",
  ]],
  ["an object without its end", "wg0.yaml", `${YAML}proxy: {mtu:\n  7\npeers: []\n`, [
    "wg0.yaml:4: line: has a [ or a { that is not closed, expected the ] or } here at the latest",
  ]],
  ["a quote without its end", "wg0.yaml", `\uFEFF${YAML}  mtu: "7\n\n`, [
    "wg0.yaml:3: line: lacks a quote, bracket, comma or colon, expected YAML",
  ]],
  ["neighbours", "wg0.yaml", `interface:\n   mtu: 1\n  address: a\n`, [
    "wg0.yaml:3: line: is indented wrongly, expected it as deep as its neighbours",
  ]],
  ["a second colon", "wg0.yaml", `interface:\n  privateKey: ${PRIVATE}: x\n`, [
    "wg0.yaml:2: line: has a second `: ` on its line, expected quotes around such a value",
  ]],
  ["a second document", "wg0.yaml", `${YAML}---\n${YAML}`, [
    "wg0.yaml:3: line: begins a second document, expected one",
  ]],
  ["a merge", "wg0.yaml", `${YAML}peers:\n  - <<: {name: a}\n`, [
    "wg0.yaml:4: line: `<<` is of YAML 1.1, expected the keys themselves",
  ]],
  ["an alias of nothing", "wg0.yaml", "interface: *a\n", [
    "wg0.yaml:1: line: is an alias without an anchor above it, expected one",
  ]],
  ["a tag", "wg0.yaml", `${YAML}  mtu: !!int 1420\n`, [
    "wg0.yaml:3: line: has a tag, expected a plain value",
  ]],
  [
    "a billion laughs",
    "wg0.yaml",
    "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" +
    Array.from({ length: 7 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i}, `.repeat(9)}]\n`).join(
      "",
    ),
    ["wg0.yaml:6: line: unfolds to more than 100000 values, expected fewer"],
  ],
  ["a deep nest", "wg0.yaml", `a: ${"[".repeat(9)}${"]".repeat(9)}\n`, [
    "wg0.yaml:1: line: is nested too deep, expected at most 8 levels",
  ]],
  ["a list", "wg0.yaml", "- a\n", [
    `wg0.yaml:1: line: is a list, expected ${SECTIONS}`,
    "wg0.yaml:1: interface.privateKey: missing, expected a key made by wirestack genkey",
  ]],
  ["JSON that ends", "wg0.json", `{\n"interface": {\n`, [
    "wg0.json:2: line: ends before its JSON does, expected the rest of it",
  ]],
  ["JSON with a comma too many", "wg0.json", `{\n"interface": {},\n}\n`, [
    "wg0.json:3: line: is not JSON from column 1 on, expected JSON",
  ]],
  ["JSON that is one line", "wg0.json", `{"interface": {"mtu": "1420",}}\n`, [
    "wg0.json:1: line: is not JSON from column 30 on, expected JSON",
  ]],
  ["no JSON at all", "wg0.json", "[Interface]\n", [
    "wg0.json:1: line: is not JSON here, expected JSON",
  ]],
  [
    "JSON's types",
    "wg0.json",
    `{"interface": {"privateKey": "${PRIVATE}",\n"mtu": null, "listenPort": true,\n"listenPort": 1,` +
    `\n"address": [10, "10.9.0.1/24"]}, "__proto__": {}}`,
    [
      "wg0.json:2: interface.mtu: has no value, expected one",
      'wg0.json:2: interface.listenPort: "true" is not a number, expected 0 to 65535',
      "wg0.json:3: interface.listenPort: given twice, expected it once (the first is on line 2)",
      `wg0.json:4: line: unknown section, expected ${SECTIONS} or include`,
      'wg0.json:4: interface.address[0]: "10" is not an address or prefix, expected one such as 10.9.0.1/24 or fd09::1/64',
    ],
  ],
  ["JSON too deep", "wg0.json", `${"[".repeat(100_000)}${"]".repeat(100_000)}`, [
    "wg0.json:1: line: is nested too deep, expected at most 8 levels",
  ]],
  [
    "lines of variables",
    "wg0.env",
    `# mine\nexport WIRESTACK_PRIVATE_KEY='${PRIVATE}' # secret\nWIRESTACK_LISTEN_PROT=1\nWIRESTACK_MTU="1\nWIRESTACK_ADDRESS=10.9.0.1/33\n` +
    `WIRESTACK_ADDRESS=10.9.0.1/24\n${PRIVATE}\n`,
    [
      "wg0.env:3: WIRESTACK_LISTEN_PROT: unknown variable, did you mean WIRESTACK_LISTEN_PORT?",
      'wg0.env:4: WIRESTACK_MTU: has no closing ", expected one',
      'wg0.env:5: WIRESTACK_ADDRESS: "10.9.0.1/33" has a bad prefix length, expected 10.9.0.1/0 to 10.9.0.1/32',
      "wg0.env:6: WIRESTACK_ADDRESS: given twice, expected it once (the first is on line 5)",
      "wg0.env:7: line: not a variable, expected NAME=VALUE",
    ],
  ],
  ["no key among variables", "wg0.env", "WIRESTACK_MTU=1420\n", [
    "wg0.env:1: WIRESTACK_PRIVATE_KEY_FILE: missing, expected a key made by wirestack genkey",
  ]],
  [
    "peers in a variable",
    "wg0.env",
    `WIRESTACK_PRIVATE_KEY=${PRIVATE}\nWIRESTACK_PEERS='[\n{"publicKey": "${PEER}"},\n{"publicKey": "x",\n"nam": "a"}\n]'\n`,
    [
      "wg0.env:4: WIRESTACK_PEERS[1].publicKey: not a key: 1 characters, expected 44 characters of base64, as wg writes them",
      "wg0.env:5: WIRESTACK_PEERS[1].nam: unknown key, did you mean name?",
    ],
  ],
  [
    "a peer twice in a variable",
    "wg0.env",
    `WIRESTACK_PRIVATE_KEY=${PRIVATE}\nWIRESTACK_PEERS='[{"publicKey": "${PEER}"},\n{"publicKey": "${PEER}"}]'\n`,
    [
      "wg0.env:3: WIRESTACK_PEERS[1].publicKey: given twice, expected a peer once (the first is at wg0.env:2)",
    ],
  ],
  [
    "peers that are no JSON",
    "wg0.env",
    `WIRESTACK_PRIVATE_KEY=${PRIVATE}\nWIRESTACK_PEERS={publicKey}\n`,
    ["wg0.env:2: WIRESTACK_PEERS: is not JSON from column 2 on, expected JSON"],
  ],
  ["two keys", "wg0.env", `WIRESTACK_PRIVATE_KEY=${PRIVATE}\nWIRESTACK_PRIVATE_KEY_FILE=a\n`, [
    "wg0.env:2: WIRESTACK_PRIVATE_KEY_FILE: given beside WIRESTACK_PRIVATE_KEY, expected one of them",
  ]],
  [
    "a key and a file",
    "wg0.conf",
    `[Interface]\nPrivateKey = ${PRIVATE}\nPrivateKeyFile = a\nPrivatKeyFile = b\n`,
    [
      "wg0.conf:3: PrivateKeyFile: given beside another key or file, expected one of them (the first is at wg0.conf:2)",
      "wg0.conf:4: PrivatKeyFile: unknown key, did you mean PrivateKeyFile?",
    ],
  ],
];

for (const [name, file, text, lines] of CASES) {
  Deno.test(`an error has its place in every form: ${name}`, async () => {
    assert.deepEqual(await problemsOf(text, file), lines);
  });
}

Deno.test("no message has a key, wherever in YAML, JSON or variables it stands", async () => {
  for (
    const [file, text] of [
      ["a.yaml", `interface:\n  privateKey: ${PRIVATE}: ${PRIVATE}\n`],
      ["a.yaml", `${PRIVATE}: a\n`],
      ["a.yaml", `interface:\n  ${PRIVATE}: a\n  mtu: ${PRIVATE}\n  "\\q${PRIVATE}": 1\n`],
      ["a.yaml", `interface: *${PRIVATE}\n`],
      ["a.yaml", `interface: {mtu: !${PRIVATE} 1}\n`],
      ["a.json", `{"interface": {"privateKey": ${PRIVATE}}}`],
      ["a.json", `{"${PRIVATE}": 1, "interface": {"${PRIVATE}": 1, "mtu": "${PRIVATE}"}}`],
      ["a.env", `${PRIVATE}=a\nWIRESTACK_MTU=${PRIVATE}\nWIRESTACK_${PRIVATE}\nx '${PRIVATE}\n`],
      ["a.env", `WIRESTACK_${PRIVATE.replace(/[^A-Za-z0-9]/g, "")}="x"y\n`], // found by fuzzing
      ["a.env", `WIRESTACK_PEERS=${PRIVATE}\nWIRESTACK_PRIVATE_KEY='${PRIVATE}'x\n`],
    ] as const
  ) {
    const problems = await problemsOf(text, file);
    assert.ok(problems.length > 0);
    for (const line of problems) assert.ok(!line.includes(PRIVATE.slice(0, 25)), line);
  }
});

Deno.test("an anchor stands for what it marks, where it is used", async () => {
  const text = `${YAML}  address: &a [10.9.0.1/24]\npeers:\n` +
    `  - {publicKey: ${PEER}, allowedIps: &b 10.9.0.2/32}\n  - {publicKey: ${PSK}, endpoint: &c h:1}\n` +
    "proxy:\n  subnets: [*b, 10.50.0.0/16]\n";
  const { config } = await load(text, "wg0.yaml");
  assert.deepEqual(config.proxy?.subnets.map(String), ["10.9.0.2/32", "10.50.0.0/16"]);
});

Deno.test("values in a .env file are bare, or in quotes as a shell has them; others' are said to be", async () => {
  const text =
    `\ufeffexport WIRESTACK_PRIVATE_KEY=${PRIVATE}\r\nWIRESTACK_CONTROL_DIR = "a \\"b\\" \\$c #d" # e\r\n` +
    `WIRESTACK_ADDRESS=10.9.0.1/24, fd09::1/64 # f\nPATH=x\nHOME=y\nWIRESTACK_MTU=\n`;
  const { config, warnings } = await load(text, "wg0.env");
  assert.equal(config.controlDir, 'a "b" $c #d');
  assert.equal(config.addresses.length, 2);
  assert.equal(config.mtu, 1420);
  assert.deepEqual(warnings, ["wg0.env:4: a variable of another program, ignored (and 1 more)"]);
});

Deno.test("a text that is no file names none", () => {
  assert.throws(
    () => loadConfig("Include = x\n[Interface]\nPrivateKeyFile = y\n", { file: "wg0.conf" }),
    {
      name: "ConfigError",
      message: "wg0.conf:1: Include: names a file, expected none in a text\n" +
        "wg0.conf:3: PrivateKeyFile: names a file, expected the key itself in a text",
    },
  );
});

Deno.test("every secret has a variable for itself beside that for its file", () => {
  for (const key of KEYS) {
    if (!key.secret || isRepeated(key.section)) continue;
    assert.match(variableOf(key)!, /_FILE$/);
    assert.equal(`${secretVariableOf(key)}_FILE`, variableOf(key));
  }
});

Deno.test("the YAML that the documentation has is a configuration", async () => {
  for (const [name, rules] of [["migrating-newt", 2], ["configuration", 0]] as const) {
    const text = await Deno.readTextFile(
      new URL(`../../../docs/${name}.md`, import.meta.url),
    );
    const block = /```yaml\n([^]*?)```/.exec(text)![1]!;
    const yaml = block.replace(/privateKeyFile: \S+/, `privateKey: ${PRIVATE}`).replace(
      "\u2026",
      PEER,
    );
    const { config } = await load(yaml, "wg0.yaml");
    assert.equal(config.rules.length, rules);
    assert.ok(config.proxy!.subnets.length > 0);
  }
});

Deno.test("a log's level, format and output in YAML are nested and quoted as others have them", async () => {
  const { config } = await load(
    `interface:
  privateKey: "${PRIVATE}"
  address: "10.9.0.1/24"

relay:
  listen: "tls:127.0.0.1:8081"
  cert: "certs/server/cert.pem"
  key: "certs/server/key.pem"
  clientCa: "certs/ca/cert.pem"

log:
  level: "info"
  format: "json"
  output: "stdout"
`,
    "wg0.yaml",
  );
  const { level, format, output } = config.log;
  assert.deepEqual([level, format, output], ["info", "json", "stdout"]);
  const { certPath, keyPath, clientCaPath } = config.relay!;
  assert.deepEqual([certPath, keyPath, clientCaPath], [
    ...["certs/server/cert.pem", "certs/server/key.pem", "certs/ca/cert.pem"],
  ]);
});

async function problemsOf(text: string, file: string): Promise<readonly string[]> {
  const source = await sourceOf(text, file);
  try {
    const { loadSource } = await import("../../../proxy/config/config.ts");
    loadSource(source);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError, `${error}`);
    return error.problems;
  }
}

function escape(text: string): string {
  return text.replace(/[.[\]()]/g, "\\$&");
}
