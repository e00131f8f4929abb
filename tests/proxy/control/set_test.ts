import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { SettingError } from "../../../proxy/config/error.ts";
import { parseSettings } from "../../../proxy/config/setting.ts";
import { FlowOwner } from "../../../proxy/flow/flow.ts";
import { LiveSettings } from "../../../proxy/gateway/live_settings.ts";
import type { Inbound } from "../../../proxy/inbound/inbound.ts";
import { runHere } from "../cli/run_here.ts";
import { captureLog } from "../log/capture.ts";
import { ControlLab, hexKey } from "./lab.ts";

const privateKey = encodeKey(generatePrivateKey());
const laptop = encodeKey(publicKeyOf(generatePrivateKey()));
const phone = encodeKey(publicKeyOf(generatePrivateKey()));

const CONFIG = `[Interface]
PrivateKey = ${privateKey}
Address = 10.9.0.1/24

[Peer]
Name = laptop
PublicKey = ${laptop}
AllowedIPs = 10.9.0.2/32

[Peer]
Name = my.phone
PublicKey = ${phone}
AllowedIPs = 10.9.0.3/32
PersistentKeepalive = 25

[Rule]
From = laptop
Ports = tcp/80

[Rule]
Action = reject

[Proxy]
Subnets = 10.50.0.0/16
TcpDialTimeout = 7
`;

async function start() {
  const lab = await ControlLab.start(CONFIG);
  return {
    lab,
    set: (...settings: string[]) =>
      runHere(["set", "lab", ...settings, "--control-dir", lab.directory]),
    reload: () => runHere(["reload", "lab", "--control-dir", lab.directory]),
    peer: (key: string) => lab.gateway.engine.device.peer(Uint8Array.fromBase64(key))!,
    [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose](),
  };
}

Deno.test("what is wrong with a file is logged once when a command reloads it", async () => {
  using log = captureLog();
  await using site = await start();
  site.lab.next = CONFIG.replace("TcpDialTimeout = 7", "TcpDialTimeout = x");
  const { status, error } = await site.reload();
  assert.deepEqual([status, error.includes('TcpDialTimeout: "x"')], [2, true]);
  const lines = log.lines.filter((line) => /TcpDialTimeout|stays as it is/.test(line));
  assert.deepEqual(lines.length, 2, lines.join(""));
});

Deno.test("set changes what it names, says what it was, and a reload makes it what the file says", async () => {
  await using site = await start();
  const { proxy, peers } = site.lab.gateway;
  const done = await site.set(
    "proxy.tcpdialtimeout=2.5",
    "Proxy.MaxDials=5",
    "Peer.my.phone.PersistentKeepalive=",
    `Peer.${laptop}.AllowedIPs=10.9.0.2/32, 10.9.0.7`,
    "Rule.2.Action=drop",
  );
  assert.deepEqual([done.status, done.error], [0, ""]);
  assert.equal(
    done.out,
    "lab: set\n  Proxy.TcpDialTimeout: 7 -> 2.5\n  Proxy.MaxDials: default -> 5\n" +
      "  Rule.2.Action: reject -> drop\n  Peer.my.phone.PersistentKeepalive: default\n" +
      `  Peer.${laptop}.AllowedIPs: 10.9.0.2/32, 10.9.0.7\n`,
  );
  assert.equal(proxy.settings.timeouts.tcpDialMs, 2500);
  assert.equal(proxy.settings.limits.maxDials, 5);
  assert.equal(proxy.admission.rules.rules[1]!.action, "drop");
  assert.equal(site.peer(phone).persistentKeepalive, 0);
  assert.equal(site.peer(laptop).name, "laptop");
  assert.deepEqual(peers.allowedIps(site.peer(laptop)).map(String), ["10.9.0.2/32", "10.9.0.7/32"]);
  assert.deepEqual(peers.allowedIps(site.peer(phone)).map(String), ["10.9.0.3/32"]);

  const again = await site.set("Proxy.TcpDialTimeout=2.5");
  assert.equal(again.out, "lab: set, nothing has changed\n");
  const reloaded = await site.reload();
  assert.equal(
    reloaded.out,
    "lab: reloaded\n  TcpDialTimeout: 2.5 -> 7\n  MaxDials: 5 -> default\n  rules: 1 added, 1 removed\n" +
      "  peer laptop: changed\n  peer my.phone: changed\n",
  );
  assert.equal(proxy.settings.timeouts.tcpDialMs, 7000);
  assert.equal(site.peer(phone).persistentKeepalive, 25);
});

Deno.test("inbounds are told of other timeouts, by set and by a reload", async () => {
  await using site = await start();
  const { gateway } = site.lab;
  const told: [before: number, now: number][] = [];
  gateway.inbounds.open((host): Inbound => ({
    owner: new FlowOwner(() => "test", true),
    timeoutsChanged: (before) =>
      void told.push([before.tcpHalfCloseMs, host.settings.timeouts.tcpHalfCloseMs]),
    close() {},
    abort: () => Promise.resolve(),
  }));
  const usual = gateway.proxy.settings.timeouts.tcpHalfCloseMs;
  assert.equal((await site.set("Proxy.TcpHalfCloseTimeout=3")).status, 0);
  assert.equal((await site.reload()).status, 0);
  assert.deepEqual(told, [[usual, 3_000], [3_000, usual]]);
});

Deno.test("what wg and add-peer have changed stays, and can be set too", async () => {
  await using site = await start();
  const key = encodeKey(Uint8Array.fromHex(hexKey(5)));
  await site.lab.ask(
    `set=1\npublic_key=${hexKey(5)}\nwirestack_name=tablet\nallowed_ip=10.9.0.5/32\n\n`,
  );
  assert.equal((await site.set("Proxy.UdpIdleTimeout=9")).status, 0);
  assert.equal(site.peer(key).name, "tablet");
  assert.equal((await site.set("Peer.tablet.PersistentKeepalive=11")).status, 0);
  assert.equal((await site.set("Rule.1.From=tablet")).status, 0);
  const lines = await site.lab.get();
  assert.ok(lines.includes("persistent_keepalive_interval=11"));
  await site.lab.ask(
    `set=1\npublic_key=${hexKey(5)}\npersistent_keepalive_interval=3\n\n`,
  );
  assert.equal((await site.set("Peer.Tablet.AllowedIPs=10.9.0.6/32")).status, 0);
  assert.equal(site.peer(key).persistentKeepalive, 3, "as wg set it");
});

Deno.test("whatever is wrong is named with what is expected, and nothing is changed", async () => {
  await using site = await start();
  const before = await site.lab.get();
  const cases: [string, string][] = [
    ["Proxy.TcpDialTimeout=never", 'Proxy.TcpDialTimeout: "never" is not a number'],
    ["Proxy.TcpDialTimout=5", "Proxy.TcpDialTimout: unknown, did you mean TcpDialTimeout?"],
    ["Prox.TcpDialTimeout=5", '"Prox": unknown, did you mean Proxy?'],
    ["TcpDialTimeout=5", '"TcpDialTimeout=5": did you mean Proxy.TcpDialTimeout=…?'],
    ["AllowedIPs=10.9.0.0/24", "did you mean Peer.NAME.AllowedIPs=…?"],
    ["Proxy=5", '"Proxy=5": expected SECTION.KEY=VALUE'],
    ["Interface.MTU=1300", "Interface.MTU: cannot change while running, expected it in the"],
    ["Proxy.Interface=nic1", "Proxy.Interface: cannot change while running"],
    [`Interface.PrivateKey=${privateKey}`, "Interface.PrivateKey: a command line shows it to"],
    ["Interface.PeersFrom=a.json", "Interface.PeersFrom: cannot change by itself, expected it in"],
    ["Peer.laptop.Pin=x", "Peer.laptop.Pin: cannot change by itself, expected it in the config"],
    ["Relay.Crl=a.pem", "Relay.Crl: cannot change by itself, expected it in the configuration"],
    ["Interface.DNS=1.1.1.1", "Interface.DNS: cannot change while running"],
    ["Peer.labtop.AllowedIPs=", 'no peer "labtop", did you mean laptop?'],
    ["Peer.laptop=1", "Peer.laptop: has no key, expected one as Peer.laptop.AllowedIPs=…"],
    ["Rule.3=x", "Rule.3: has no key, expected one as Rule.3.Rate=…"],
    ["Peer.AllowedIPs=10.0.0.0/8", "Peer.AllowedIPs: says of no peer, expected Peer.laptop.Allo"],
    ["Peer.laptop.PublicKey=x", "Peer.laptop.PublicKey: a peer's key cannot change"],
    ["Peer.laptop.Name=MY.phone", "Peer.laptop.Name: MY.phone is another peer's too"],
    ["Peer.laptop.AllowedIPs=10.9.0.300", "Peer.laptop.AllowedIPs: "],
    ["Rule.3.Action=drop", "Rule.3.Action: there is no rule 3, expected 1 to 2"],
    ["Rule.0.Action=drop", "Rule.0.Action: there is no rule 0, expected 1 to 2"],
    ["Rule.1.From=tablet", 'Rule.1.From: no peer is called "tablet"'],
    ["Rule.2.Rate=5Mbit", "Rule.2.Rate: a rule with Action = reject lets nothing through"],
    ["Rule.1.Rate=5parsec", "Rule.1.Rate: "],
  ];
  for (const [wrong, expected] of cases) {
    const { status, out, error } = await site.set("Proxy.MaxDials=77", wrong);
    assert.deepEqual([status, out], [2, ""], wrong);
    assert.ok(error.includes(expected), `${wrong}: ${error}`);
    assert.ok(/expected|did you mean/.test(error), `${wrong}: ${error}`);
    assert.equal(error.split("\n").length, 2, `one line: ${error}`);
    assert.ok(!error.includes(privateKey));
  }
  assert.deepEqual(await site.lab.get(), before);
  assert.notEqual(site.lab.gateway.proxy.settings.limits.maxDials, 77);
  const all = await site.set(...cases.slice(0, 5).map(([wrong]) => wrong));
  assert.equal(all.error.trimEnd().split("\n").length, 5, "all of it is named at once");
  assert.equal((await site.set()).status, 2);
});

Deno.test("the port can be set, and one that is in use changes nothing", async () => {
  await using site = await start();
  const { gateway } = site.lab;
  const other = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  const { port } = other.addr as Deno.NetAddr;
  const before = gateway.port;
  const refused = await site.set("Proxy.MaxDials=77", `Interface.ListenPort=${port}`);
  assert.equal(refused.status, 2);
  assert.match(refused.error, /^Interface\.ListenPort: .*in use/);
  assert.equal(gateway.port, before);
  assert.notEqual(gateway.proxy.settings.limits.maxDials, 77);
  other.close();
  assert.equal((await site.set(`Interface.ListenPort=${port}`)).status, 0);
  assert.equal(gateway.port, port);
});

Deno.test("two peers that are to have the same name keep the ones they have", async () => {
  await using site = await start();
  const both = await site.set("Peer.laptop.Name=tablet", "Peer.my.phone.Name=Tablet");
  assert.equal(both.status, 2);
  assert.match(both.error, /Peer\.my\.phone\.Name: two peers are given this name/);
  assert.deepEqual([site.peer(laptop).name, site.peer(phone).name], ["laptop", "my.phone"]);
});

Deno.test("what watches a gateway changes with the rest of a set, or not at all", async () => {
  await using site = await start();
  const { gateway } = site.lab;
  const levels: string[] = [];
  const trials: string[] = [];
  let refused: SettingError | undefined;
  const settings = new LiveSettings(gateway, loadConfig(CONFIG), ({ log }, isTrial) => {
    (isTrial ? trials : levels).push(log.level);
    if (refused !== undefined) throw refused;
  });
  const set = (...texts: string[]) => settings.set(parseSettings(texts));
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  try {
    const { port } = taken.addr as Deno.NetAddr;
    assert.throws(
      () => set("Log.Level=debug", `Interface.ListenPort=${port}`),
      { name: "ConfigError", message: /is in use/ },
    );
  } finally {
    taken.close();
  }
  assert.deepEqual([trials, levels], [["debug"], []]);

  refused = new SettingError(["status", "tokenFile"], "is wrong, expected another");
  const before = gateway.port;
  assert.throws(
    () => set("Log.Level=error", "Interface.ListenAddress=127.0.0.1", "Interface.ListenPort=0"),
    { name: "ConfigError", message: /is wrong, expected another/ },
  );
  assert.deepEqual([trials, levels, gateway.port], [["debug", "error"], [], before]);

  refused = undefined;
  set("Log.Level=error", "Interface.ListenAddress=127.0.0.1");
  assert.deepEqual(levels, ["error"]);
});

Deno.test("where what goes around the tunnel is known by its mark, that stays as it is", async () => {
  const options = { keepsMark: true } as const;
  await using lab = await ControlLab.start(CONFIG, undefined, undefined, undefined, options);
  const run = (command: string, ...args: string[]) =>
    runHere([command, "lab", ...args, "--control-dir", lab.directory]);
  const mark = lab.gateway.fwMark;
  const { status, error } = await run("set", "Interface.FwMark=7");
  assert.equal(status, 2);
  assert.match(error, /^Interface\.FwMark: cannot change while running, expected a restart$/m);
  assert.equal(lab.gateway.fwMark, mark);

  lab.next = CONFIG.replace("[Interface]", "[Interface]\nFwMark = 7");
  const reloaded = await run("reload");
  assert.equal(reloaded.status, 0, reloaded.error);
  assert.equal(reloaded.out, "lab: reloaded, nothing has changed\n");
  assert.match(reloaded.error, /FwMark: cannot change while running, expected a restart/);
  assert.equal(lab.gateway.fwMark, mark);
});
