/**
 * Every key that `wirestack set` takes, with another value and with a wrong one, from the table of
 * keys: one that is added is missing here until it is tried.
 *
 * @module
 */

import assert from "node:assert/strict";
import { udpUnavailable } from "../../../ffi/mod.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { isRepeated, type Key, KEYS, SECTION_NAMES } from "../../../proxy/config/keys.ts";
import { parseSettings } from "../../../proxy/config/setting.ts";
import { ownUdpPort } from "../own_port.ts";
import { runHere } from "../cli/run_here.ts";
import { ControlLab } from "./lab.ts";

const PEER = encodeKey(publicKeyOf(generatePrivateKey()));
const PORT = ownUdpPort();

const CONFIG = `[Interface]
PrivateKey = ${encodeKey(generatePrivateKey())}
Address = 10.9.0.1/24

[Peer]
Name = laptop
PublicKey = ${PEER}
AllowedIPs = 10.9.0.2/32
RateUp = 7Mbit

[Rule]
To = 10.50.3.0/24
Ports = tcp/80

[Proxy]
Subnets = 10.50.0.0/16

[Status]
Listen = 127.0.0.1:9586

[Log]
Level = info
`;

interface Taken {
  /** Another value than it has. */
  readonly to: string;
  /** What the gateway then has. */
  readonly is: unknown;
  /** Where it has it. */
  seen(lab: ControlLab): unknown;
  /** Which it needs. */
  readonly beside?: string;
  /** Default: what is right for no key but a few. Undefined: every text is right. */
  readonly wrong?: string | undefined;
}

const rule = (lab: ControlLab) => lab.gateway.proxy.admission.rules.rules[0]!;
const peer = (lab: ControlLab) => lab.gateway.engine.device.peer(Uint8Array.fromBase64(PEER))!;
const peerLimits = (lab: ControlLab) => lab.gateway.peers.limits(peer(lab))!;
const owner = (lab: ControlLab) => lab.gateway.ownerOf(peer(lab));
const settings = (lab: ControlLab) => lab.gateway.proxy.settings;

type Timeouts = ReturnType<typeof settings>["timeouts"];
type Limits = ReturnType<typeof settings>["limits"];

/** Of [Proxy], in seconds. */
const seconds = (field: keyof Timeouts): Taken => ({
  to: "3.5",
  is: 3_500,
  seen: (lab) => settings(lab).timeouts[field],
});
const limit = (field: keyof Limits): Taken => ({
  to: "77",
  is: 77,
  seen: (lab) => settings(lab).limits[field],
});

const TAKEN: Readonly<Record<string, Taken>> = {
  "Interface.ListenPort": { to: `${PORT}`, is: PORT, seen: ({ gateway }) => gateway.port },
  "Interface.ListenAddress": {
    to: "127.0.0.1",
    is: "127.0.0.1",
    seen: ({ gateway }) => gateway.listenAddress,
  },
  "Interface.FwMark": { to: "0x7", is: 7, seen: ({ gateway }) => gateway.fwMark },

  "Peer.laptop.Name": { to: "tablet", is: "tablet", seen: (lab) => peer(lab).name, wrong: "a,b" },
  "Peer.laptop.AllowedIPs": {
    to: "10.9.0.2/32, 10.9.0.64/26",
    is: ["10.9.0.2/32", "10.9.0.64/26"],
    seen: (lab) => lab.gateway.peers.allowedIps(peer(lab)).map(String),
  },
  "Peer.laptop.Endpoint": {
    to: "192.0.2.7:51820",
    is: ["192.0.2.7", 51820],
    seen(lab) {
      const [location] = lab.gateway.peers.locations(peer(lab));
      return [location?.hostname, location?.port];
    },
  },
  "Peer.laptop.PersistentKeepalive": {
    to: "25",
    is: 25,
    seen: (lab) => peer(lab).persistentKeepalive,
  },
  "Peer.laptop.RateUp": { to: "5Mbit", is: 5e6, seen: (lab) => owner(lab).rates.up?.rate },
  "Peer.laptop.RateDown": { to: "5Mbit", is: 5e6, seen: (lab) => owner(lab).rates.down?.rate },
  "Peer.laptop.RateBurst": { to: "2", is: 2_000, seen: (lab) => peerLimits(lab).rateBurstMs },
  "Peer.laptop.MaxTcpConnections": {
    to: "12",
    is: 12,
    seen: (lab) => owner(lab).maxTcpConnections,
  },
  "Peer.laptop.MaxUdpSessions": { to: "13", is: 13, seen: (lab) => owner(lab).maxUdpSessions },

  "Rule.1.From": { to: "laptop", is: ["laptop"], seen: (lab) => rule(lab).from },
  "Rule.1.To": { to: "10.50.4.0/24", is: "10.50.4.0/24", seen: (lab) => `${rule(lab).to}` },
  "Rule.1.Ports": {
    to: "udp/53, tcp/8000-8100",
    is: [["udp", 53, 53], ["tcp", 8000, 8100]],
    seen: (lab) => rule(lab).ports.map(({ protocol, first, last }) => [protocol, first, last]),
  },
  "Rule.1.Action": { to: "drop", is: "drop", seen: (lab) => rule(lab).action },
  "Rule.1.Rewrite": {
    to: "10.50.9.2:8443",
    is: ["10.50.9.2/32", 8443],
    seen: (lab) => [`${rule(lab).rewrite?.to}`, rule(lab).rewrite?.port],
  },
  "Rule.1.Rate": { to: "20Mbit", is: 2e7, seen: (lab) => rule(lab).state.rates.up?.rate },
  "Rule.1.FlowRate": { to: "500kbit", is: 5e5, seen: (lab) => rule(lab).flowRate },
  "Rule.1.MaxConnections": { to: "9", is: 9, seen: (lab) => rule(lab).maxConnections },
  "Rule.1.SendProxyProtocol": {
    to: "v2",
    is: "v2",
    seen: (lab) => rule(lab).sendProxyProtocol,
  },
  "Rule.1.WarmConnections": {
    to: "1",
    is: 1,
    seen: (lab) => rule(lab).warmConnections,
    beside: "Rule.1.Rewrite=10.50.9.1",
  },

  "Proxy.Subnets": {
    to: "10.50.0.0/16, 10.60.0.0/16",
    is: ["10.50.0.0/16", "10.60.0.0/16"],
    seen: ({ gateway }) => gateway.proxy.prefixes().map(String).sort(),
  },
  "Proxy.Protocols": {
    to: "udp",
    is: { prefix: "10.50.0.0/16", tcp: false, udp: true, icmp: false },
    seen: ({ gateway }) => gateway.proxy.subnets().find(({ prefix }) => prefix === "10.50.0.0/16"),
  },
  "Proxy.Map": {
    to: "10.50.7.0/24 -> 192.168.7.0/24",
    is: ["10.50.7.0/24", "192.168.7.0/24"],
    seen: (lab) => settings(lab).maps.flatMap(({ from, to }) => [`${from}`, `${to}`]),
  },
  "Proxy.TcpDialTimeout": seconds("tcpDialMs"),
  "Proxy.TcpHalfCloseTimeout": seconds("tcpHalfCloseMs"),
  "Proxy.TcpKeepaliveIdle": seconds("tcpKeepAliveIdleMs"),
  "Proxy.TcpKeepaliveInterval": seconds("tcpKeepAliveIntervalMs"),
  "Proxy.TcpKeepaliveCount": {
    to: "7",
    is: 7,
    seen: (lab) => settings(lab).timeouts.tcpKeepAliveCount,
  },
  "Proxy.UdpIdleTimeout": seconds("udpIdleMs"),
  "Proxy.UdpDnsIdleTimeout": seconds("udpDnsIdleMs"),
  "Proxy.IcmpIdleTimeout": seconds("icmpIdleMs"),
  "Proxy.UdpFiltering": {
    to: "endpoint",
    is: "endpoint",
    seen: (lab) => settings(lab).udpFiltering,
  },
  "Proxy.Resolver": {
    to: "192.0.2.53",
    is: 1,
    seen: (lab) => settings(lab).nameServers.length,
  },
  "Proxy.Default": { to: "drop", is: "drop", seen: (lab) => settings(lab).defaultAction },
  "Proxy.MaxDials": limit("maxDials"),
  "Proxy.MaxTcpConnections": limit("maxTcpConnections"),
  "Proxy.MaxUdpSessions": limit("maxUdpSessions"),
  "Proxy.MaxPingSessions": limit("maxPingSessions"),
  "Proxy.MaxPingRate": limit("maxPingRate"),
  "Proxy.MaxBufferMemory": {
    to: "300M",
    is: 300 << 20,
    seen: ({ gateway }) => gateway.engine.stack.memory.total,
  },

  "Status.TokenFile": {
    to: "/run/token",
    is: "/run/token",
    seen: ({ applied }) => applied?.status?.tokenFile,
    wrong: undefined, // a path; whether there is a token is asked by who opens it
  },
  "Status.AllowedHosts": {
    to: "gateway.example.com",
    is: ["gateway.example.com"],
    seen: ({ applied }) => applied?.status?.allowedHosts,
  },
  "Status.MaxPeers": { to: "33", is: 33, seen: ({ applied }) => applied?.status?.maxPeers },
  "Log.Level": { to: "debug", is: "debug", seen: ({ applied }) => applied?.log.level },
  "Log.Format": { to: "json", is: "json", seen: ({ applied }) => applied?.log.format },
  "Log.AccessProtocols": {
    to: "tcp",
    is: ["tcp"],
    seen: ({ applied }) => applied?.log.accessProtocols,
  },
};

/** As the command has it. */
function labelOf({ section, name }: Key): string {
  const of = section === "peers" ? "laptop." : section === "rules" ? "1." : "x.";
  return `${SECTION_NAMES[section]}.${isRepeated(section) ? of : ""}${name}`;
}

Deno.test("set takes exactly the keys that are tried here", () => {
  const taken = KEYS.map(labelOf).filter((label) =>
    parseSettings([`${label}=1`]).problems.length === 0
  );
  assert.deepEqual(taken.sort(), Object.keys(TAKEN).sort());
});

for (const [label, { to, is, seen, beside, ...rest }] of Object.entries(TAKEN)) {
  const wrong = "wrong" in rest ? rest.wrong : "(wrong)";
  const hasMark = udpUnavailable() === undefined && Deno.uid() === 0;
  Deno.test(`set takes another ${label}, says so, and no wrong one`, async () => {
    const ffi = udpUnavailable() === undefined;
    await using lab = await ControlLab.start(CONFIG, undefined, undefined, ffi);
    const set = (value: string) => {
      const others = beside === undefined ? [] : [beside];
      const command = ["set", "lab", `${label}=${value}`, ...others];
      return runHere([...command, "--control-dir", lab.directory]);
    };
    assert.notDeepEqual(seen(lab), is, "it is another value");
    if (label !== "Interface.FwMark" || hasMark) { // which is the system's to allow
      const { status, out, error } = await set(to);
      assert.deepEqual([status, error], [0, ""]);
      assert.ok(out.startsWith(`lab: set\n  ${label}: `), out);
      const [line] = out.split("\n").slice(1);
      assert.ok(line!.replaceAll(" ", "").endsWith(to.replaceAll(" ", "")), out);
      assert.deepEqual(seen(lab), is);
    }
    if (wrong === undefined) return;
    const before = seen(lab);
    const refused = await set(wrong);
    assert.deepEqual([refused.status, refused.out], [2, ""]);
    assert.ok(refused.error.startsWith(`${label}: `), refused.error);
    assert.match(refused.error, /expected|did you mean/);
    assert.deepEqual(seen(lab), before, "nothing is changed");
  });
}
