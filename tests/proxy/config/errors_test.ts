import assert from "node:assert/strict";
import { ConfigError, type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const OWN_PUBLIC = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const INTERFACE = `[Interface]\nPrivateKey = ${PRIVATE}\n`;
const PEER_SECTION = `[Peer]\nPublicKey = ${PEER}\n`;

const NAME_SERVER = "is no name server, expected an address such as 192.168.1.53 or fd00::53, " +
  "with a port as 192.168.1.53:5353 or [fd00::53]:5353";

/** What is wrong, the file, and every line that must be said about it. */
const CASES: readonly [name: string, text: string, lines: readonly string[]][] = [
  ["an empty file", "", [
    "wg0.conf:1: PrivateKey: missing, expected a key made by wirestack genkey",
  ]],
  ["no private key", "# mine\n[Interface]\nMTU = 1420\n", [
    "wg0.conf:2: PrivateKey: missing, expected a key made by wirestack genkey",
  ]],
  ["a peer without a key", `${INTERFACE}\n[Peer]\nAllowedIPs = 10.9.0.2/32\n`, [
    "wg0.conf:4: PublicKey: missing, expected the peer's public key",
  ]],
  ["a private key that is too short", `[Interface]\nPrivateKey = ${PRIVATE.slice(1)}\n`, [
    "wg0.conf:2: PrivateKey: not a key: 43 characters, expected 44 characters of base64, as wg writes them",
  ]],
  ["a public key that is not base64", `${INTERFACE}[Peer]\nPublicKey = ${"-".repeat(44)}\n`, [
    "wg0.conf:4: PublicKey: not a key: not base64 of 32 bytes, expected 44 characters of base64, as wg writes them",
  ]],
  [
    "a preshared key with unused bits set",
    `${INTERFACE}${PEER_SECTION}PresharedKey = ${PRIVATE.slice(0, 42)}l=\n`,
    [
      "wg0.conf:5: PresharedKey: not a key: not base64 of 32 bytes, expected 44 characters of base64, as wg writes them",
    ],
  ],
  ["an empty key", "[Interface]\nPrivateKey =\n", [
    "wg0.conf:2: PrivateKey: is empty, expected 44 characters of base64, as wg writes them",
  ]],
  [
    "bad addresses and prefixes",
    `${INTERFACE}Address = 10.9.0.1/33, 10.9.1/24\n${PEER_SECTION}AllowedIPs = 010.9.0.2/32, fd09::g/64\nAllowedIPs = fd09::1/129\n`,
    [
      'wg0.conf:3: Address: "10.9.0.1/33" has a bad prefix length, expected 10.9.0.1/0 to 10.9.0.1/32',
      'wg0.conf:3: Address: "10.9.1/24" is not an address or prefix, expected one such as 10.9.0.1/24 or fd09::1/64',
      'wg0.conf:6: AllowedIPs: "010.9.0.2/32" is not an address or prefix, expected one such as 10.9.0.0/24 or fd09::/64',
      'wg0.conf:6: AllowedIPs: "fd09::g/64" is not an address or prefix, expected one such as 10.9.0.0/24 or fd09::/64',
      'wg0.conf:7: AllowedIPs: "fd09::1/129" has a bad prefix length, expected fd09::1/0 to fd09::1/128',
    ],
  ],
  [
    "name servers that are none, and too many",
    `${INTERFACE}[Proxy]\nSubnets = 10.50.0.0/16\nResolver = dns.test, 10.0.0.1:0, fd00::g\n` +
    "Resolver = 10.0.0.1:x, [10.0.0.1]:53, 0.0.0.0\n",
    [
      `wg0.conf:5: Resolver: "dns.test" ${NAME_SERVER}`,
      "wg0.conf:5: Resolver: port 0 is out of range, expected 1 to 65535",
      `wg0.conf:5: Resolver: "fd00::g" ${NAME_SERVER}`,
      `wg0.conf:6: Resolver: "10.0.0.1:x" ${NAME_SERVER}`,
      `wg0.conf:6: Resolver: "[10.0.0.1]:53" ${NAME_SERVER}`,
      "wg0.conf:6: Resolver: 0.0.0.0 is nobody's address, expected that of a name server",
    ],
  ],
  [
    "more name servers than anybody waits for",
    `${INTERFACE}[Proxy]\nSubnets = 10.50.0.0/16\nResolver = 10.0.0.1, 10.0.0.2, 10.0.0.3, fd00::4, [fd00::5]:53\n`,
    ["wg0.conf:5: Resolver: 5 name servers are too many, expected 4 or fewer"],
  ],
  ["an unknown section", `${INTERFACE}[Peeer]\nPublicKey = x\n`, [
    "wg0.conf:3: [Peeer]: unknown section, did you mean [Peer]?",
  ]],
  ["a section nobody knows", `${INTERFACE}[Jumbo]\n`, [
    "wg0.conf:3: [Jumbo]: unknown section, expected [Interface], [Peer], [Rule], [Link], [Proxy], [Relay], [Status], [Capture] or [Log]",
  ]],
  ["a malformed section", `${INTERFACE}[Peer\n`, [
    "wg0.conf:3: section: malformed, expected [Interface], [Peer], [Rule], [Link], [Proxy], [Relay], [Status], [Capture] or [Log]",
  ]],
  ["a section twice", `${INTERFACE}${INTERFACE}`, [
    "wg0.conf:3: [Interface]: second section of this name, expected one (the first is on line 1)",
  ]],
  ["a misspelt key", `${INTERFACE}ListenProt = 51820\n`, [
    "wg0.conf:3: ListenProt: unknown key, did you mean ListenPort?",
  ]],
  ["a key nobody knows", `${INTERFACE}Jumbo = yes\n`, [
    "wg0.conf:3: Jumbo: unknown key, expected one that [Interface] has (see docs/configuration.md)",
  ]],
  [
    "a semicolon for a comment",
    `${INTERFACE}; the laptop\n;MTU = 1380\nMTU = 1380 ; less\nPostUp = a ; b\n${PEER_SECTION};PresharedKey = ${PRIVATE}\n`,
    [
      "wg0.conf:3: line: a ; begins no comment here, expected # in its place",
      "wg0.conf:4: line: a ; begins no comment here, expected # in its place",
      "wg0.conf:5: MTU: a ; begins no comment here, expected # in its place",
      "wg0.conf:9: line: a ; begins no comment here, expected # in its place",
    ],
  ],
  [
    "other programs' files",
    `${INTERFACE}Jc = 4\nh1 = 1\n${PEER_SECTION}Reserved = 1,2,3\n[Socks5]\nBindAddress = a\n[WireGuardPeer]\n`,
    [
      "wg0.conf:3: Jc: is AmneziaWG's, another protocol than WireGuard, expected a file without it, " +
      "and a plain WireGuard at the other end",
      "wg0.conf:4: h1: is AmneziaWG's, another protocol than WireGuard, expected a file without it, " +
      "and a plain WireGuard at the other end",
      "wg0.conf:7: Reserved: is of WARP's clients, which send it in WireGuard's reserved bytes; this " +
      "gateway sends zeros, as WireGuard does, expected a file without it",
      "wg0.conf:8: [Socks5]: is wireproxy's, which this gateway does not have, expected a file without it",
      "wg0.conf:10: [WireGuardPeer]: is systemd-networkd's, expected a wg-quick file",
    ],
  ],
  [
    "a name twice",
    `${INTERFACE}${PEER_SECTION}Name = Laptop\n[Peer]\nName = laptop\nPublicKey = ${OWN_PUBLIC}\n`,
    [
      "wg0.conf:7: Name: laptop is another peer's too, expected each name once (the first is at wg0.conf:5)",
      "wg0.conf:8: PublicKey: is this gateway's own key, expected another one",
    ],
  ],
  [
    "names that are none",
    `${INTERFACE}${PEER_SECTION}Name = 10.9.0.2\n[Peer]\nName = a,b\n`,
    [
      'wg0.conf:5: Name: "10.9.0.2" is no name, expected 1 to 64 of a-z A-Z 0-9 . _ @ - and blanks inside, no address',
      "wg0.conf:6: PublicKey: missing, expected the peer's public key",
      'wg0.conf:7: Name: "a,b" is no name, expected 1 to 64 of a-z A-Z 0-9 . _ @ - and blanks inside, no address',
    ],
  ],
  ["a key of another section", `${INTERFACE}AllowedIPs = 10.0.0.0/8\n`, [
    "wg0.conf:3: AllowedIPs: does not belong in [Interface], expected in [Peer]",
  ]],
  ["a key before any section", `MTU = 1420\n${INTERFACE}`, [
    "wg0.conf:1: MTU: stands before the first section, expected [Interface] above it",
  ]],
  ["a file of another kind, said once", `a = 1\nb: 2\n\nc\n${INTERFACE}`, [
    "wg0.conf:1: a: stands before the first section, expected [Interface] above it",
  ]],
  ["negative numbers", `${INTERFACE}ListenPort = -0\n[Proxy]\nTcpDialTimeout = -1.5\n`, [
    "wg0.conf:5: TcpDialTimeout: -1.5 is out of range, expected 0.1 to 300 seconds",
  ]],
  ["a key without a value", `${INTERFACE}ListenPort\n`, [
    "wg0.conf:3: ListenPort: has no value, expected ListenPort = VALUE",
  ]],
  ["a key on a line by itself", `${INTERFACE}${PRIVATE}\n`, [
    "wg0.conf:3: line: not a setting, expected KEY = VALUE",
  ]],
  ["a key without its equals sign", `[Interface]\nPrivateKey ${PRIVATE}\n`, [
    "wg0.conf:1: PrivateKey: missing, expected a key made by wirestack genkey",
    "wg0.conf:2: line: not a setting, expected PrivateKey = VALUE",
  ]],
  ["an MTU too small for IPv6", `${INTERFACE}Address = fd09::1/64\nMTU = 1200\n`, [
    "wg0.conf:4: MTU: 1200 is too small for IPv6, expected 1280 or more",
  ]],
  ["a single key twice", `${INTERFACE}MTU = 1420\nmtu = 1380\n`, [
    "wg0.conf:4: MTU: given twice, expected it once (the first is on line 3)",
  ]],
  ["a secret twice", `${INTERFACE}PrivateKey = ${PRIVATE}\n`, [
    "wg0.conf:3: PrivateKey: given twice, expected it once (the first is on line 2)",
  ]],
  ["a peer twice", `${INTERFACE}${PEER_SECTION}${PEER_SECTION}`, [
    "wg0.conf:6: PublicKey: given twice, expected a peer once (the first is at wg0.conf:4)",
  ]],
  ["the own key as a peer", `${INTERFACE}[Peer]\nPublicKey = ${OWN_PUBLIC}\n`, [
    "wg0.conf:4: PublicKey: is this gateway's own key, expected another one",
  ]],
  [
    "limits of a peer",
    `${INTERFACE}${PEER_SECTION}RateUp = 20\nRateDown = 20 Mbit\nRateBurst = 61\n` +
    `MaxTcpConnections = -1\nMaxUdpSessions = many\n[Peer]\nPublicKey = ${
      PRIVATE.replace("y", "z")
    }\nRateUp = 0.5kbit\n`,
    [
      'wg0.conf:5: RateUp: "20" is not a rate, expected one from 1kbit to 1000Gbit, such as 500kbit, 20Mbit or 2.5Gbit',
      'wg0.conf:6: RateDown: "20 Mbit" is not a rate, expected one from 1kbit to 1000Gbit, such as 500kbit, 20Mbit or 2.5Gbit',
      "wg0.conf:7: RateBurst: 61 is out of range, expected 0.01 to 60 seconds",
      "wg0.conf:8: MaxTcpConnections: -1 is out of range, expected 0 to 1000000",
      'wg0.conf:9: MaxUdpSessions: "many" is not a number, expected 0 to 1000000',
      "wg0.conf:12: RateUp: 0.5kbit is out of range, expected one from 1kbit to 1000Gbit, such as 500kbit, 20Mbit or 2.5Gbit",
    ],
  ],
  [
    "numbers out of range",
    `${INTERFACE}ListenPort = 65536\nMTU = 575\nRekeyAfter = 121\n${PEER_SECTION}PersistentKeepalive = 65536\n` +
    "[Proxy]\nTcpDialTimeout = 0\nMaxDials = 0\n",
    [
      "wg0.conf:3: ListenPort: 65536 is out of range, expected 0 to 65535",
      "wg0.conf:4: MTU: 575 is out of range, expected 576 to 65475",
      "wg0.conf:5: RekeyAfter: 121 is out of range, expected 1 to 120 seconds",
      "wg0.conf:8: PersistentKeepalive: 65536 is out of range, expected 0 to 65535 seconds, or off",
      "wg0.conf:10: TcpDialTimeout: 0 is out of range, expected 0.1 to 300 seconds",
      "wg0.conf:11: MaxDials: 0 is out of range, expected 1 to 1000000",
    ],
  ],
  ["words for numbers", `${INTERFACE}ListenPort = http\nMTU = -1\nFwMark = red\nSaveConfig = 1\n`, [
    'wg0.conf:3: ListenPort: "http" is not a number, expected 0 to 65535',
    "wg0.conf:4: MTU: -1 is out of range, expected 576 to 65475",
    'wg0.conf:5: FwMark: "red" is not a mark, expected 0 to 0xffffffff, or off',
    'wg0.conf:6: SaveConfig: "1" is neither, expected true or false',
  ]],
  ...([
    ["example.com", '"example.com" is not an endpoint, expected HOST:PORT or [IPV6]:PORT'],
    ["fd09::1:51820", '"fd09::1:51820" is not an endpoint, expected HOST:PORT or [IPV6]:PORT'],
    ["[10.0.0.1]:51820", '"10.0.0.1" is not an IPv6 address, expected [IPV6]:PORT'],
    ["10.0.1:51820", '"10.0.1" is neither an address nor a name, expected HOST:PORT'],
    ["a..b:51820", '"a..b" is neither an address nor a name, expected HOST:PORT'],
    ["example.com:0", "port 0 is out of range, expected 1 to 65535"],
    ["example.com:70000", "port 70000 is out of range, expected 1 to 65535"],
  ] as const).map(([value, message]): [string, string, string[]] => [
    `the endpoint ${value}`,
    `${INTERFACE}${PEER_SECTION}Endpoint = ${value}\n`,
    [`wg0.conf:5: Endpoint: ${message}`],
  ]),
  [
    "what the proxy cannot do",
    `${INTERFACE}[Proxy]\nSubnets = 10.50.0.0/16\nProtocols = tcp, gre\nInterface = eth0\nMap = 10.50.0.0/24 -> 10.1.0.0/25\n` +
    "Map = 10.50.0.0/24 -> fd00::/120\nMap = 10.50.0.1\nMap = 10.50.0.1 -> x\n",
    [
      'wg0.conf:5: Protocols: "gre" is unknown, expected tcp or udp or icmp',
      'wg0.conf:6: Interface: "eth0" is unknown, expected nic1 or nic2',
      "wg0.conf:7: Map: 10.50.0.0/24 and 10.1.0.0/25 differ in length, expected the same",
      "wg0.conf:8: Map: 10.50.0.0/24 and fd00::/120 differ in family, expected the same (only single addresses may differ)",
      'wg0.conf:9: Map: "10.50.0.1" is not a map, expected FROM/LENGTH -> TO/LENGTH',
      'wg0.conf:10: Map: "x" is not an address or prefix, expected one such as 10.9.0.0/24 or fd09::/64',
    ],
  ],
  [
    "a target mapped twice",
    `${INTERFACE}[Proxy]\nSubnets = 10.50.0.0/16\nMap = 10.50.0.1 -> 127.0.0.1, 10.50.0.1/32 -> 127.0.0.2\n`,
    ["wg0.conf:5: Map: 10.50.0.1/32 is mapped twice, expected once (the first is at wg0.conf:5)"],
  ],
  [
    "a damaged private key where a public value belongs, found by fuzzing",
    `${INTERFACE}Address = fd09:${PRIVATE.slice(0, 22)}:${PRIVATE.slice(22)}:1/64\n`,
    [
      "wg0.conf:3: Address: the value (withheld: it looks like a key) is not an address or prefix, expected one such as 10.9.0.1/24 or fd09::1/64",
    ],
  ],
  [
    "a status listener that others can reach, without a token",
    `${INTERFACE}[Status]\nListen = 0.0.0.0:9586\n`,
    [
      "wg0.conf:4: Listen: 0.0.0.0 can be reached from outside, expected TokenFile beside it, or a loopback address",
    ],
  ],
  ["a status listener at no address", `${INTERFACE}[Status]\nListen = gateway:9586\n`, [
    'wg0.conf:4: Listen: "gateway" is not an address, expected ADDRESS:PORT, localhost:PORT or unix:PATH',
  ]],
  [
    "values of [Status] and [Log]",
    `${INTERFACE}[Status]\nListen = [::1]:70000\nAllowedHosts = a/b\n[Log]\nLevel = loud\nOutput = /tmp/\nAccessProtocols = tcp, sctp\n`,
    [
      "wg0.conf:4: Listen: port 70000 is out of range, expected 0 to 65535",
      'wg0.conf:5: AllowedHosts: "a/b" is no name of a host, expected one such as gateway.corp.test',
      'wg0.conf:7: Level: "loud" is unknown, expected trace or debug or info or warning or error',
      'wg0.conf:8: Output: "/tmp/" is no file, expected a path',
      'wg0.conf:9: AccessProtocols: "sctp" is unknown, expected tcp or udp or icmp',
    ],
  ],
  [
    "values of [Capture]",
    `${INTERFACE}[Capture]\nWrite = tcp:0.0.0.0:1\nAt = nic3\nSnap = -1\nRotate = 1M\n`,
    [
      "wg0.conf:4: Write: 0.0.0.0 can be reached from outside, expected a loopback address: whoever connects sees every packet",
      'wg0.conf:5: At: "nic3" is no place to capture at, expected nic1, nic2, outer or link:NAME',
      "wg0.conf:6: Snap: -1 is out of range, expected 0 to 65535",
      'wg0.conf:7: Rotate: "1M" is not two numbers, expected SIZE,COUNT as 100M,10',
    ],
  ],
  ["a capture without a place to write to", `${INTERFACE}[Capture]\nAt = outer\n`, [
    "wg0.conf:3: Write: missing, expected a file, - or tcp:ADDRESS:PORT",
  ]],
  [
    "standard output for a capture and for the log",
    `${INTERFACE}[Capture]\nWrite = -\nRotate = 1M,2\n[Log]\nOutput = stdout\n`,
    [
      "wg0.conf:4: Write: standard output is a log's already, expected a file",
      "wg0.conf:5: Rotate: has no use without a file, expected Write = FILE",
    ],
  ],
  ["a private key where a public value belongs", `${INTERFACE}Address = ${PRIVATE}\n`, [
    "wg0.conf:3: Address: the value (withheld: it looks like a key) is not an address or prefix, expected one such as 10.9.0.1/24 or fd09::1/64",
  ]],
];

for (const [name, text, lines] of CASES) {
  Deno.test(`the file's error is one line with its place: ${name}`, () => {
    assert.deepEqual(problems(text), lines);
    assert.ok(!lines.join().includes(PRIVATE.slice(0, 43)));
  });
}

Deno.test("an embedder's object has the same errors, by path", () => {
  const input = {
    interface: { address: 3, listenPort: 70000, listenprt: 1 },
    peers: [{}, { publicKey: 5, allowedIps: ["10.0.0.0/8", null] }, null],
    prox: {},
  };
  assert.deepEqual(problems(input as unknown as ConfigInput), [
    "prox: unknown section, expected interface, peers, rules, links, proxy, relay, status, capture or log",
    "interface.privateKey: missing, expected a key made by wirestack genkey",
    "interface.address: is number, expected a list",
    "interface.listenPort: 70000 is out of range, expected 0 to 65535",
    "interface.listenprt: unknown key, did you mean listenPort?",
    "peers[0].publicKey: missing, expected the peer's public key",
    "peers[1].publicKey: not a key: 1 characters, expected 44 characters of base64, as wg writes them",
    "peers[1].allowedIps[1]: is null, expected text or a number",
    "peers[2]: is not an object, expected one with the keys of the section",
  ]);
  assert.throws(() => loadConfig(null as unknown as ConfigInput), TypeError);
});

Deno.test("errors hold no key of an embedder's object either", () => {
  const input = {
    interface: { privateKey: `${PRIVATE}x`, presharedKey: PRIVATE, mtu: PRIVATE },
    peers: [{ publicKey: PRIVATE.slice(0, 43), endpoint: PRIVATE, presharedKey: [PRIVATE] }],
    proxy: { subnets: [PRIVATE], interface: PRIVATE, map: { PRIVATE } },
  };
  const lines = problems(input as unknown as ConfigInput);
  assert.equal(lines.length, 9);
  assert.ok(!lines.join("\n").includes(PRIVATE.slice(0, 42)), lines.join("\n"));
});

function problems(source: string | ConfigInput): readonly string[] {
  try {
    loadConfig(source, { file: "wg0.conf" });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.message, error.problems.join("\n"));
    return error.problems;
  }
  assert.fail("the configuration was accepted");
}
