import assert from "node:assert/strict";
import { ConfigError, type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const HEAD = `[Interface]
PrivateKey = ${PRIVATE}
[Peer]
PublicKey = ${PEER}
Name = My Laptop
AllowedIPs = 10.9.0.2/32
[Proxy]
Subnets = 10.50.0.0/16, fd50::/64
[Rule]
`;

function problems(source: string | ConfigInput): readonly string[] {
  try {
    loadConfig(source, { file: "wg0.conf" });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  }
  assert.fail("the configuration was accepted");
}

Deno.test("rules are read in their order, with every key", () => {
  const { config, warnings } = loadConfig(`${HEAD}
From = my laptop, 10.9.0.64/26
From = fd09::/64
To = 10.50.3.0/24 10.50.4.1
Ports = tcp/80, TCP/8000-8100, udp/53, udp, icmp
Action = Allow
Rewrite = 192.168.1.7:8443
Rate = 20Mbit
FlowRate = 1.5mbit
MaxConnections = 100
SendProxyProtocol = v2
[rule]
action = drop
`);
  assert.deepEqual(warnings, []);
  const [first, second] = config.rules;
  assert.equal(config.rules.length, 2);
  assert.deepEqual(first!.from.map(String), ["my laptop", "10.9.0.64/26", "fd09::/64"]);
  assert.deepEqual(first!.to.map(String), ["10.50.3.0/24", "10.50.4.1/32"]);
  assert.deepEqual(first!.ports, [
    { protocol: "tcp", first: 80, last: 80 },
    { protocol: "tcp", first: 8000, last: 8100 },
    { protocol: "udp", first: 53, last: 53 },
    { protocol: "udp", first: 0, last: 65535 },
    { protocol: "icmp", first: 0, last: 65535 },
  ]);
  assert.equal(first!.action, "allow");
  assert.equal(`${first!.rewrite!.to}`, "192.168.1.7/32");
  assert.equal(first!.rewrite!.port, 8443);
  assert.equal(first!.rate, 20_000_000);
  assert.equal(first!.flowRate, 1_500_000);
  assert.equal(first!.maxConnections, 100);
  assert.equal(first!.sendProxyProtocol, "v2");
  assert.equal(first!.warmConnections, 0);
  assert.deepEqual(second, { from: [], to: [], ports: [], action: "drop", warmConnections: 0 });
});

Deno.test("an embedder's rules are the file's", () => {
  const base = {
    interface: { privateKey: PRIVATE },
    peers: [{ publicKey: PEER, name: "My Laptop", allowedIps: "10.9.0.2/32" }],
    proxy: { subnets: "10.50.0.0/16", default: "reject" as const },
  };
  const { config } = loadConfig({
    ...base,
    rules: [{ from: "My Laptop", to: ["10.50.0.1"], ports: "tcp/80", rewrite: ":8080" }, {}],
  });
  assert.deepEqual(config.rules[0]!.from, ["My Laptop"]);
  assert.deepEqual(config.rules[0]!.rewrite, { port: 8080 });
  assert.equal(config.rules[1]!.action, "allow");
  assert.equal(config.proxy!.defaultAction, "reject");
  const wrong = { ...base, rules: [null, { form: "x" }, { from: 5, action: "alow" }] };
  assert.deepEqual(problems(wrong as unknown as ConfigInput), [
    "rules[0]: is not an object, expected one with the keys of the section",
    "rules[1].form: unknown key, did you mean from?",
    "rules[2].from: is number, expected a list",
    'rules[2].action: "alow" is unknown, expected allow or reject or drop',
  ]);
  assert.deepEqual(problems({ ...base, rules: {} } as unknown as ConfigInput), [
    "rules: is not a list, expected an array of rules",
  ]);
});

Deno.test("a rule knows a peer in which something else is wrong, whatever its name looks like", () => {
  for (const name of ["laptop", true]) {
    const input = {
      interface: { privateKey: PRIVATE },
      peers: [{ publicKey: PEER, name, allowedIps: "10.9.0.2/33" }],
      proxy: { subnets: "10.50.0.0/16" },
      rules: [{ from: [`${name}`] }],
    } as unknown as ConfigInput;
    assert.deepEqual(problems(input).map((line) => line.split(":")[0]), [
      "peers[0].allowedIps[0]",
    ]);
  }
});

Deno.test("a rewrite is an address, a prefix, or a port, or two of them", () => {
  for (
    const [text, to, port] of [
      ["192.168.1.7", "192.168.1.7/32", undefined],
      ["192.168.1.7:8443", "192.168.1.7/32", 8443],
      ["192.168.1.0/24", "192.168.1.0/24", undefined],
      ["192.168.1.0/24:8443", "192.168.1.0/24", 8443],
      ["fd00::7", "fd00::7/128", undefined],
      ["[fd00::7]", "fd00::7/128", undefined],
      ["[fd00::7]:1", "fd00::7/128", 1],
      ["[fd00::/64]:65535", "fd00::/64", 65535],
      [":443", "undefined", 443],
    ] as const
  ) {
    const { config } = loadConfig(`${HEAD}Rewrite = ${text}\n`);
    const { rewrite } = config.rules[0]!;
    assert.deepEqual([`${rewrite!.to}`, rewrite!.port], [to, port], text);
  }
});

const EXPECTED_TARGET =
  "expected ADDRESS, PREFIX or HOST, and :PORT behind it for another port (IPv6 as [ADDRESS]:PORT)";
const EXPECTED_RATE = "expected one from 1kbit to 1000Gbit, such as 500kbit, 20Mbit or 2.5Gbit";
const REFUSING = "lets nothing through, expected Action = allow, or no";

const WRONG: readonly (readonly [lines: string, ...problems: string[]])[] = [
  [
    "From = desktop",
    'From: no peer is called "desktop", expected the Name of a peer or link, or a prefix',
  ],
  ["From = My Labtop", 'From: no peer is called "My Labtop", did you mean My Laptop?'],
  [
    "From = 10.9.0.256",
    'From: "10.9.0.256" is not an address or prefix, expected one such as 10.9.0.0/24 or fd09::/64',
  ],
  [
    "From = 10.9.0.0/33",
    'From: "10.9.0.0/33" has a bad prefix length, expected 10.9.0.0/0 to 10.9.0.0/32',
  ],
  ["From = !x", 'From: "!x" is neither, expected the Name of a peer or link, or a prefix'],
  [
    `From = ${PRIVATE}`,
    "From: the value (withheld: it looks like a key) is neither, expected the Name of a peer or link, or a prefix",
  ],
  [
    "To = 10.50.0.0/33",
    'To: "10.50.0.0/33" has a bad prefix length, expected 10.50.0.0/0 to 10.50.0.0/32',
  ],
  [
    "To = 10.50.0",
    'To: "10.50.0" is not an address or prefix, expected one such as 10.50.0.0/24 or fd50::/64',
  ],
  ["To = a..b", 'To: "a..b" is neither, expected a prefix, or a host'],
  ...["reject", "drop"].map((action) =>
    [
      `To = db.corp.test\nAction = ${action}`,
      `To: "db.corp.test" is a name, and a rule with Action = ${action} would let everything through ` +
      "while it cannot be resolved, expected an address or a prefix",
    ] as const
  ),
  ["Ports = 80", 'Ports: "80" is unknown, expected as tcp/80, udp/5000-5100, tcp or icmp'],
  ["Ports = 80/tcp", 'Ports: "80/tcp" is unknown, expected as tcp/80, udp/5000-5100, tcp or icmp'],
  ["Ports = sctp/1", 'Ports: "sctp/1" is unknown, expected as tcp/80, udp/5000-5100, tcp or icmp'],
  ["Ports = tcp/http", 'Ports: "tcp/http" has no port, expected tcp/80, tcp/8000-8100 or tcp'],
  ["Ports = udp/", 'Ports: "udp/" has no port, expected udp/80, udp/8000-8100 or udp'],
  ["Ports = tcp/*", 'Ports: "tcp/*" has no port, expected tcp/80, tcp/8000-8100 or tcp'],
  ["Ports = tcp/0", 'Ports: port 0 of "tcp/0" is out of range, expected 1 to 65535'],
  [
    "Ports = tcp/1-65536",
    'Ports: port 65536 of "tcp/1-65536" is out of range, expected 1 to 65535',
  ],
  ["Ports = tcp/9-8", 'Ports: "tcp/9-8" ends before it begins, expected tcp/8-9'],
  [
    "Ports = icmp/8",
    'Ports: "icmp/8" is unknown, expected icmp alone, which is of both families',
  ],
  ["Ports = icmpv6", 'Ports: "icmpv6" is unknown, expected icmp alone, which is of both families'],
  ["Action = deny", 'Action: "deny" is unknown, expected allow or reject or drop'],
  ["Rewrite = 192.168.1.7:0", "Rewrite: port 0 is out of range, expected 1 to 65535"],
  [
    "Rewrite = 192.168.1.7:http",
    `Rewrite: "192.168.1.7:http" is no target, ${EXPECTED_TARGET}`,
  ],
  ["Rewrite = [192.168.1.7]:80", `Rewrite: "[192.168.1.7]:80" is no target, ${EXPECTED_TARGET}`],
  ["Rewrite = ", `Rewrite: "" is no target, ${EXPECTED_TARGET}`],
  [
    "Rewrite = 192.168.1.0/40",
    'Rewrite: "192.168.1.0/40" has a bad prefix length, expected 192.168.1.0/0 to 192.168.1.0/32',
  ],
  [
    "To = 10.50.0.0/24, fd50::/120\nRewrite = 192.168.1.0/24",
    "To: fd50::/120 and the Rewrite to 192.168.1.0/24 differ in family, expected the same (only a " +
    "single address may differ)",
  ],
  [
    "Ports = icmp\nRewrite = 192.168.1.7:80",
    "Rewrite: has a port, and Ports = icmp none, expected none",
  ],
  ["Rate = 20", `Rate: "20" is not a rate, ${EXPECTED_RATE}`],
  ["Rate = 20Mb", `Rate: "20Mb" is not a rate, ${EXPECTED_RATE}`],
  ["Rate = 0Mbit", `Rate: 0Mbit is out of range, ${EXPECTED_RATE}`],
  ["FlowRate = 1001Gbit", `FlowRate: 1001Gbit is out of range, ${EXPECTED_RATE}`],
  ["FlowRate = fast", `FlowRate: "fast" is not a rate, ${EXPECTED_RATE}`],
  ["MaxConnections = 0", "MaxConnections: 0 is out of range, expected 1 to 1000000"],
  ["MaxConnections = many", 'MaxConnections: "many" is not a number, expected 1 to 1000000'],
  ["SendProxyProtocol = 2", 'SendProxyProtocol: "2" is unknown, expected v1 or v2'],
  [
    "Ports = udp/53\nSendProxyProtocol = v1",
    "SendProxyProtocol: v1 is for TCP alone, expected tcp in Ports, or v2 for udp",
  ],
  [
    "Ports = icmp\nSendProxyProtocol = v2",
    "SendProxyProtocol: a ping has no place for it, expected tcp or udp in Ports",
  ],
  ["WarmConnections = 1001", "WarmConnections: 1001 is out of range, expected 0 to 1000"],
  [
    "WarmConnections = 4",
    "WarmConnections: no single target to be connected with, expected a Rewrite to one address or " +
    "name, or one such in To, and one port in it or in Ports, as tcp/443",
  ],
  ...["Rewrite = 192.168.1.7", "Rate = 1Mbit", "FlowRate = 1Mbit", "MaxConnections = 1"].map(
    (line): [string, string] => {
      const key = line.split(" ")[0]!;
      return [
        `${line}\nAction = drop`,
        `${key}: a rule with Action = drop ${REFUSING} ${key}`,
      ];
    },
  ),
  [
    "Action = reject\nSendProxyProtocol = v1",
    `SendProxyProtocol: a rule with Action = reject ${REFUSING} SendProxyProtocol`,
  ],
  ["From = 10.9.0.2 ; me", "From: a ; begins no comment here, expected # in its place"],
  ["Form = 10.9.0.2", "Form: unknown key, did you mean From?"],
  ["Subnets = 10.9.0.2", "Subnets: does not belong in [Rule], expected in [Proxy]"],
  [
    "Action = drop\nAction = drop",
    "Action: given twice, expected it once (the first is on line 10)",
  ],
];

for (const [lines, ...expected] of WRONG) {
  Deno.test(`a rule's error is one line with its place: ${lines.replace("\n", ", ")}`, () => {
    const found = problems(`${HEAD}${lines}\n`);
    assert.deepEqual(found.map((line) => line.replace(/^wg0\.conf:(10|11): /, "")), expected);
  });
}

Deno.test("a peer in which something else is wrong is there for the rules", () => {
  const text = HEAD.replace("AllowedIPs = 10.9.0.2/32", "RateUp = fast");
  assert.deepEqual(problems(`${text}From = my laptop\n`), [
    `wg0.conf:6: RateUp: "fast" is not a rate, ${EXPECTED_RATE}`,
  ]);
});

Deno.test("a Default that is none is an error", () => {
  const text = HEAD.replace("[Rule]", "Default = deny");
  assert.deepEqual(problems(text), [
    'wg0.conf:9: Default: "deny" is unknown, expected allow or reject or drop',
  ]);
});

Deno.test("version 1 of the PROXY protocol under a rule that covers UDP is a warning, a name in To is none", () => {
  const { warnings } = loadConfig(
    `${HEAD}\nTo = db.corp.test\nSendProxyProtocol = v1\n[Rule]\nPorts = tcp/80\nSendProxyProtocol = v1\n`,
    { file: "wg0.conf" },
  );
  assert.equal(warnings.filter((line) => line.includes("v1 has no form for UDP")).length, 1);
  assert.match(
    warnings.find((line) => line.includes("v1"))!,
    /^wg0\.conf:\d+: SendProxyProtocol: /,
  );
});
