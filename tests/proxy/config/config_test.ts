import assert from "node:assert/strict";
import { type ConfigError, type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";
import { summarize } from "../../../proxy/config/summary.ts";
import { encodeKey } from "../../../proxy/base64.ts";

const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const THIRD = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const PSK = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=";
const INTERFACE = `[Interface]\nPrivateKey = ${PRIVATE}\n`;

Deno.test("a wg-quick file with a proxy section becomes a configuration", () => {
  const { config, warnings } = loadConfig(
    `# the site
[Interface]
PrivateKey = ${PRIVATE}
Address = 10.9.0.1/24, fd09::1/64
ListenPort = 51820

[Peer] # laptop
PublicKey = ${PEER}
PresharedKey = ${PSK}
AllowedIPs = 10.9.0.2/32, fd09::2/128
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25

[Peer]
PublicKey = ${THIRD}
Endpoint = vpn.example.com:443
PersistentKeepalive = off

[Proxy]
Subnets = 10.50.0.0/16, fd50::/64
Protocols = tcp, udp
Map = 10.50.0.1/32 -> 127.0.0.1/32
`,
  );
  assert.deepEqual(warnings, []);
  assert.equal(encodeKey(config.privateKey!), PRIVATE);
  assert.deepEqual(config.addresses.map((a) => `${a.address}/${a.length}`), [
    "10.9.0.1/24",
    "fd09::1/64",
  ]);
  assert.equal(config.listenPort, 51820);
  assert.equal(config.mtu, 1420);
  const [laptop, third] = config.peers;
  assert.equal(encodeKey(laptop!.publicKey), PEER);
  assert.equal(encodeKey(laptop!.presharedKey!), PSK);
  assert.deepEqual(laptop!.allowedIps.map(String), ["10.9.0.2/32", "fd09::2/128"]);
  assert.deepEqual(laptop!.endpoint, { hostname: "2001:db8::1", port: 51820 });
  assert.equal(laptop!.persistentKeepalive, 25);
  assert.deepEqual(third!.endpoint, { hostname: "vpn.example.com", port: 443 });
  assert.equal(third!.persistentKeepalive, 0);
  assert.equal(third!.presharedKey, undefined);
  const proxy = config.proxy!;
  assert.deepEqual(proxy.subnets.map(String), ["10.50.0.0/16", "fd50::/64"]);
  assert.deepEqual(proxy.maps.map(({ from, to }) => `${from} ${to}`), [
    "10.50.0.1/32 127.0.0.1/32",
  ]);
  assert.deepEqual(config.rules, []);
  assert.deepEqual({ ...proxy, subnets: [], maps: [] }, {
    resolver: [],
    defaultAction: "allow",
    interface: "nic2",
    subnets: [],
    tcp: true,
    udp: true,
    icmp: false,
    maps: [],
    timeouts: {
      tcpDialMs: 5000,
      tcpHalfCloseMs: 60000,
      tcpKeepAliveIdleMs: 60000,
      tcpKeepAliveIntervalMs: 30000,
      tcpKeepAliveCount: 9,
      udpIdleMs: 60000,
      udpDnsIdleMs: 30000,
      icmpIdleMs: 30000,
    },
    limits: {
      maxDials: 2048,
      maxTcpConnections: 16384,
      maxUdpSessions: 4096,
      maxPingSessions: 1024,
      maxPingRate: 2000,
    },
    udpFiltering: "address",
  });
});

Deno.test("MaxBufferMemory is bytes, or so many k, M or G", () => {
  const load = (text: string) =>
    loadConfig(`${INTERFACE}[Proxy]\nSubnets = 10.50.0.0/16\nMaxBufferMemory = ${text}\n`).config
      .proxy!.maxBufferMemory;
  assert.equal(load("1048576"), 1 << 20);
  assert.equal(load("2048k"), 2 << 20);
  assert.equal(load("1.5M"), 3 << 19);
  assert.equal(load("2G"), 2 ** 31);
  for (
    const [text, error] of [["1000k", /out of range/], ["1T", /not a size/], [
      "-1",
      /-1 is out of range/,
    ], ["1-", /not a size/]] as const
  ) {
    assert.throws(() => load(text), error);
  }
});

Deno.test("a peer's name is its Name, or else the comment behind or below its header", () => {
  const keys = Array.from({ length: 8 }, (_, i) => encodeKey(new Uint8Array(32).fill(i + 9)));
  const names = (...sections: string[]) =>
    loadConfig(
      INTERFACE +
        sections.map((text, i) => text.replace("KEY", `PublicKey = ${keys[i]}`)).join("\n"),
    ).config.peers.map(({ name }) => name);
  assert.deepEqual(
    names(
      "[Peer]\nName = Laptop of A. B.\n# not this\nKEY",
      "[Peer] # phone\nKEY",
      "[Peer]\n#  tablet \nKEY",
      "[Peer]\nKEY\n# too late",
      "[Peer]\n\n# too far\nKEY",
      "[Peer]\n# Phone\nKEY",
      "[Peer]\n# Endpoint = a:1\nKEY",
      `[Peer]\n# ${"a".repeat(43)}\nKEY`,
    ),
    ["Laptop of A. B.", "phone", "tablet", ...Array(5).fill(undefined)],
  );
  // A Name further down counts more than a comment further up.
  assert.deepEqual(names("[Peer] # phone\nKEY", "[Peer]\nName = phone\nKEY"), [undefined, "phone"]);
  const object = { interface: { privateKey: PRIVATE }, peers: [{ publicKey: PEER, name: "tv" }] };
  assert.equal(loadConfig(object).config.peers[0]!.name, "tv");
});

Deno.test("keys of WireGuard's apps are read with a warning", () => {
  const { warnings } = loadConfig(`${INTERFACE}ExcludedApplications = com.a, com.b\n`, {
    file: "f",
  });
  assert.deepEqual(warnings, [
    "f:3: ExcludedApplications: has no effect: it is for WireGuard's app on a phone",
  ]);
});

Deno.test("an embedder's object and the file mean the same", () => {
  const text = `${INTERFACE}Address = 10.9.0.1/24, fd09::1/64
ListenPort = 51820
MTU = 1380
RekeyAfter = 10
[Peer]
PublicKey = ${PEER}
AllowedIPs = 10.9.0.2/32, fd09::2/128
PersistentKeepalive = 25
[Proxy]
Subnets = 10.50.0.0/16
Protocols = udp
Interface = nic2
Map = 10.50.0.1 -> ::1
UdpIdleTimeout = 0.5
MaxDials = 7
`;
  const input: ConfigInput = {
    interface: {
      privateKey: PRIVATE,
      address: ["10.9.0.1/24", "fd09::1/64"],
      listenPort: 51820,
      mtu: "1380",
      rekeyAfter: 10,
    },
    peers: [{
      publicKey: PEER,
      allowedIps: "10.9.0.2/32,fd09::2/128",
      persistentKeepalive: 25,
    }],
    proxy: {
      subnets: ["10.50.0.0/16"],
      protocols: ["udp"],
      interface: "nic2",
      map: ["10.50.0.1 -> ::1"],
      udpIdleTimeout: 0.5,
      maxDials: 7,
    },
  };
  const fromFile = loadConfig(text).config;
  assert.deepEqual(loadConfig(input).config, fromFile);
  assert.equal(fromFile.rekeyAfterMs, 10_000);
  assert.equal(fromFile.proxy!.timeouts.udpIdleMs, 500);
  assert.equal(fromFile.proxy!.tcp, false);
});

Deno.test("without a proxy section there is a tunnel only", () => {
  assert.equal(loadConfig(INTERFACE).config.proxy, undefined);
  assert.equal(loadConfig(INTERFACE).config.listenPort, undefined);
});

Deno.test("keys and sections may have any case; BOM, CRLF and blanks do not matter", () => {
  const text = `\uFEFF  [INTERFACE]\r\n privatekey=${PRIVATE}#x\r\n\tLISTENPORT  =  1 \r\n\r\n` +
    `[peer]\r\nPUBLICKEY = ${PEER}\r\nallowedips=10.0.0.0/8,,10.1.0.0/16 , 10.2.0.0/16`;
  const { config } = loadConfig(text);
  assert.equal(config.listenPort, 1);
  assert.deepEqual(config.peers[0]!.allowedIps.map(String), [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.2.0.0/16",
  ]);
});

Deno.test("keys with lists may be repeated", () => {
  const { config } = loadConfig(
    `${INTERFACE}Address = 10.9.0.1/24\nAddress = fd09::1\n[Peer]\nPublicKey = ${PEER}\n` +
      "AllowedIPs = 10.1.0.0/16\nAllowedIPs =\nAllowedIPs = 10.2.0.0/16\n" +
      "[Proxy]\nSubnets = 10.50.0.0/16\nSubnets = 10.51.0.0/16\nMap = 10.50.0.0/24->10.1.0.0/24\nMap = 10.50.0.1->127.0.0.1\n",
  );
  assert.deepEqual(config.addresses.map((a) => `${a.address}/${a.length}`), [
    "10.9.0.1/24",
    "fd09::1/128",
  ]);
  assert.equal(config.peers[0]!.allowedIps.length, 2);
  assert.equal(config.proxy!.subnets.length, 2);
  assert.deepEqual(config.proxy!.maps.map(({ from }) => `${from}`), [
    "10.50.0.1/32",
    "10.50.0.0/24",
  ], "the most specific map comes first");
});

Deno.test("host bits in a prefix are dropped, those of an address stay", () => {
  const { config } = loadConfig(
    `${INTERFACE}Address = 10.9.0.1/24\n[Peer]\nPublicKey = ${PEER}\nAllowedIPs = 10.9.1.77/16\n`,
  );
  assert.equal(`${config.addresses[0]!.address}`, "10.9.0.1");
  assert.equal(`${config.peers[0]!.allowedIps[0]}`, "10.9.0.0/16");
});

Deno.test("keys of wg-quick that have no effect without a device get one warning each", () => {
  const { config, warnings } = loadConfig(
    `${INTERFACE}DNS = 1.1.1.1, corp.example\nDNS = 9.9.9.9\nTable = off\n` +
      "PreUp = echo a, b; true\nPostUp = x\nPostUp = y\nPreDown = z\nPostDown = z\nSaveConfig = true\n",
    { file: "wg0.conf" },
  );
  assert.deepEqual(config.device, {
    dns: { servers: ["1.1.1.1", "9.9.9.9"], domains: ["corp.example"] },
    table: "off",
    killSwitch: false,
    preUp: ["echo a, b; true"],
    postUp: ["x", "y"],
    preDown: ["z"],
    postDown: ["z"],
    saveConfig: true,
  });
  assert.deepEqual(warnings, [
    "wg0.conf:3: DNS: has no effect without --tun",
    "wg0.conf:5: Table: has no effect without --tun",
    "wg0.conf:6: PreUp: has no effect without --tun",
    "wg0.conf:7: PostUp: has no effect without --tun",
    "wg0.conf:9: PreDown: has no effect without --tun",
    "wg0.conf:10: PostDown: has no effect without --tun",
    "wg0.conf:11: SaveConfig: has no effect without --tun",
  ]);
});

Deno.test("FwMark is a number as wg writes it, or off", () => {
  const mark = (text: string) => loadConfig(`${INTERFACE}FwMark = ${text}\n`);
  for (
    const [text, expected] of [["0xca6c", 0xca6c], ["51820", 51820], ["0xFFFFFFFF", 2 ** 32 - 1]]
  ) {
    const { config, warnings } = mark(`${text}`);
    assert.deepEqual([config.fwMark, warnings], [expected, []]);
  }
  for (const text of ["off", "Off", "0", "0x0"]) assert.equal(mark(text).config.fwMark, undefined);
});

Deno.test("what works but is hardly meant gets a warning", () => {
  const { warnings } = loadConfig(
    `${INTERFACE}[Peer]\nPublicKey = ${PEER}\nAllowedIPs = 10.9.0.2\n` +
      `[Peer]\nPublicKey = ${THIRD}\nAllowedIPs = 10.9.0.2/32\n` +
      "[Proxy]\nSubnets = 10.50.0.0/16\nMap = 10.60.0.1 -> 127.0.0.1\n",
    { file: "wg0.conf" },
  );
  assert.deepEqual(warnings, [
    "wg0.conf:8: AllowedIPs: 10.9.0.2/32 moves to this peer (also at wg0.conf:5)",
    "wg0.conf:11: Map: 10.60.0.1/32 is not inside Subnets, nothing will reach it there",
  ]);
  const proxies = ["[Proxy]\n", "[Proxy]\nInterface = nic1\n"];
  assert.deepEqual(proxies.map((proxy) => loadConfig(INTERFACE + proxy, { file: "f" }).warnings), [
    ["f:3: Subnets: missing: no target can be reached through the proxy"],
    [
      "f:4: Interface: nic1 has the forwarders answer on the tunnel's own interface, nic2 keeps the two apart",
    ],
  ]);
});

Deno.test("peers of a hub share a prefix, and are told where that is a mistake", () => {
  const hub = `[Interface]\nPrivateKey = ${PRIVATE}\nAddress = 10.9.0.1/24\nPeerToPeer = true\n`;
  const peer = (key: string, prefixes: string) =>
    `[Peer]\nPublicKey = ${key}\nAllowedIPs = ${prefixes}\n`;
  const load = (a: string, b: string) =>
    loadConfig(hub + peer(PEER, a) + peer(THIRD, b), { file: "hub.conf" });
  const good = load("10.9.0.2/32, 100.64.1.0/24", "10.9.0.3/32, 100.64.1.0/24");
  assert.deepEqual(good.warnings, []);
  assert.match(
    summarize(good.config),
    new RegExp(`; 100.64.1.0/24 by ${PEER.replace("+", ".")}, else `),
  );
  assert.deepEqual(load("10.9.0.2/32", "10.9.0.2/32, 10.9.0.3/32").warnings, [
    "hub.conf:7: AllowedIPs: shares 10.9.0.2/32 and has no address of its own, where it could be asked: " +
    "when it is lost, another has the prefix after 32 s instead of 4, expected one such as 10.9.0.2/32 beside it",
    "hub.conf:10: AllowedIPs: 10.9.0.2/32 is another peer's too (hub.conf:7): this one gets nothing " +
    "while that is alive, expected an address of its own",
  ]);
});

Deno.test("a value that the system refuses later is still placed", () => {
  const { source } = loadConfig(
    `${INTERFACE}ListenPort = 51820\n[Peer]\nPublicKey = ${PEER}\nEndpoint = a:1\n`,
    { file: "wg0.conf" },
  );
  assert.equal(source.label(["interface", "listenPort"]), "wg0.conf:3: ListenPort");
  assert.equal(source.label(["peers", 0, "endpoint"]), "wg0.conf:6: Endpoint");
  assert.equal(source.label(["interface", "listenAddress"]), "wg0.conf:1: ListenAddress");
  const object = loadConfig({ interface: { privateKey: PRIVATE, listenPort: 1 } }).source;
  assert.equal(object.label(["interface", "listenPort"]), "interface.listenPort");
});

Deno.test("a peer's limits, by file, by object and by flags", () => {
  const limits = {
    rateUp: 500_000,
    rateDown: 2_500_000_000,
    rateBurstMs: 500,
    maxTcpConnections: 0,
    maxUdpSessions: 7,
  };
  const peer = `[Peer]\nPublicKey = ${PEER}\n`;
  const file = loadConfig(
    `${INTERFACE}${peer}RateUp = 500kbit\nRateDown = 2.5Gbit\nRateBurst = 0.5\n` +
      "MaxTcpConnections = 0\nMaxUdpSessions = 7\n",
  );
  assert.deepEqual(file.config.peers[0]!.limits, limits);
  const object = loadConfig({
    interface: { privateKey: PRIVATE },
    peers: [{
      publicKey: PEER,
      rateUp: "500kbit",
      rateDown: "2.5Gbit",
      rateBurst: 0.5,
      maxTcpConnections: 0,
      maxUdpSessions: "7",
    }],
  });
  assert.deepEqual(object.config.peers[0]!.limits, limits);
  assert.deepEqual(loadConfig(`${INTERFACE}${peer}RateUp = 1Mbit\n`).config.peers[0]!.limits, {
    rateUp: 1_000_000,
    rateBurstMs: 200,
  });
  assert.equal(loadConfig(INTERFACE + peer).config.peers[0]!.limits, undefined);
  const { warnings } = loadConfig(`${INTERFACE}${peer}RateBurst = 1\n`, { file: "wg0.conf" });
  assert.deepEqual(warnings, ["wg0.conf:5: RateBurst: has no effect without RateUp or RateDown"]);
});

Deno.test("every key and flag is documented", async () => {
  const { KEYS } = await import("../../../proxy/config/keys.ts");
  const text = await Deno.readTextFile(new URL("../../../docs/configuration.md", import.meta.url));
  const missing = KEYS.flatMap((key) => {
    return [`\`${key.name}\``, ...(key.flag ? [`\`--${key.flag}\``] : [])];
  }).filter((name) => !text.includes(name));
  assert.deepEqual(missing, []);
});

Deno.test("ten thousand peers load quickly", () => {
  const peers = Array.from({ length: 10_000 }, (_, i) => {
    const key = new Uint8Array(32);
    new DataView(key.buffer).setUint32(0, i + 1);
    return `[Peer]\nPublicKey = ${encodeKey(key)}\nAllowedIPs = 10.${i >> 8 & 255}.${
      i & 255
    }.1/32\n`;
  });
  const start = performance.now();
  const { config } = loadConfig(INTERFACE + peers.join(""));
  assert.equal(config.peers.length, 10_000);
  // Some 0.3 s, and minutes if it were quadratic; a busy machine takes a hundred times as long.
  assert.ok(performance.now() - start < 30_000);
});

Deno.test("a map to 0.0.0.0 or :: is loopback's, and said to be", () => {
  const privateKey = encodeKey(new Uint8Array(32).fill(1));
  // A wide one is not: it does not reach this host.
  const map = ["10.50.0.9 -> 0.0.0.0", "10.50.0.8 -> ::", "10.50.1.0/24 -> 0.0.0.0/24"];
  const proxy = { subnets: "10.50.0.0/16", map };
  const { warnings } = loadConfig({ interface: { privateKey }, proxy });
  assert.deepEqual(warnings, [
    "proxy.map[0]: 0.0.0.0 is this host's loopback: all that listens there can be reached at 10.50.0.9/32",
    "proxy.map[1]: :: is this host's loopback: all that listens there can be reached at 10.50.0.8/32",
  ]);
});

Deno.test("of a file that is something else, a hundred lines are told, and how many more", () => {
  const lines = Array.from({ length: 250 }, (_, i) => `Foo${i} = 1`).join("\n");
  let found: readonly string[] = [];
  try {
    loadConfig(`[Interface]\n${lines}\n`);
  } catch (error) {
    found = (error as ConfigError).problems;
  }
  assert.equal(found.length, 101);
  assert.match(found[0]!, /missing|Foo0: unknown key/);
  assert.match(found.at(-1)!, /^and 15\d more problems$/);
});
