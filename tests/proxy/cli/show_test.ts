import assert from "node:assert/strict";
import {
  formatAgo,
  formatBytes,
  formatGateway,
  formatSeconds,
} from "../../../proxy/cli/show_format.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { ShownGateway } from "../../../proxy/cli/shown.ts";
import { ControlLab, hexKey } from "../control/lab.ts";
import { ownUdpPort } from "../own_port.ts";
import { runHere } from "./run_here.ts";

const privateKey = generatePrivateKey();
const CONFIG = {
  interface: { privateKey: encodeKey(privateKey), address: "10.9.0.1/24" },
  proxy: { subnets: ["10.50.0.0/16"], protocols: "tcp" },
};

const wirestack = (...args: string[]) => runHere(args);

Deno.test("units and words are those of wg show", () => {
  assert.deepEqual(
    [0, 1023, 1024, 1239, 2 ** 20, 3.5 * 2 ** 30, 2 ** 40, 2 ** 51].map(formatBytes),
    [
      ...["0 B", "1023 B", "1.00 KiB", "1.21 KiB", "1.00 MiB", "3.50 GiB", "1.00 TiB"],
      "2048.00 TiB",
    ],
  );
  assert.deepEqual([1, 63, 3600, 90061, 31_536_002].map(formatSeconds), [
    "1 second",
    "1 minute, 3 seconds",
    "1 hour",
    "1 day, 1 hour, 1 minute, 1 second",
    "1 year, 2 seconds",
  ]);
  assert.equal(formatAgo(1000, 1_000_900), "Now");
  assert.equal(formatAgo(937, 1_000_900), "1 minute, 3 seconds ago");
  assert.match(formatAgo(1001, 1_000_900), /wound backward/);
});

Deno.test("show has a paragraph on a whole-system tunnel's device, before the links", async () => {
  await using lab = await ControlLab.start(CONFIG);
  const drops = { tooBig: 0, deviceFull: 3 };
  const counts = { packetsIn: 4, bytesIn: 2048, packetsOut: 2, bytesOut: 1000 };
  const stats = { ...lab.gateway.stats(), device: { name: "wg0", mtu: 1420, ...counts, drops } };
  const head = { name: "wg0", publicKey: null, privateKey: null, listenPort: 0, fwMark: 0 };
  const gateway = stats as unknown as NonNullable<ShownGateway["gateway"]>;
  assert.match(
    formatGateway({ ...head, peers: [], gateway }, 0),
    /^interface: wg0\n\ndevice: wg0\n {2}mtu: 1420\n {2}transfer: 2\.00 KiB from this host, 1000 B to it\n {2}dropped: device full 3\n\ngateway: up /,
  );
});

Deno.test("show has a line for each carrier of a peer: where to, how it is, what it has carried", () => {
  const moved = { receivedDatagrams: 3, receivedBytes: 2048, sentDatagrams: 1, sentBytes: 148 };
  const none = { receivedDatagrams: 0, receivedBytes: 0, sentDatagrams: 0, sentBytes: 0 };
  const carriers = [
    {
      ...{ transport: "tls", endpoint: "tls://hub:443", name: "hub", ...moved },
      ...{ state: "open" as const, problem: null },
    },
    {
      ...{ transport: "grpc", endpoint: "grpc://hub:8443", name: "hub", ...moved },
      ...{ state: "waiting" as const, problem: "connection refused" },
    },
    {
      ...{ transport: "grpc", endpoint: "grpc://spare:8443", name: null, ...none },
      ...{ state: "closed" as const, problem: null },
    },
  ];
  const head = { name: "wg0", publicKey: null, privateKey: null, listenPort: 0, fwMark: 0 };
  const peer = {
    ...{ publicKey: "KEY=", name: null, origin: null, presharedKey: null, endpoint: null },
    ...{ transport: null, allowedIps: ["10.9.0.1/32"], latestHandshake: 0 },
    ...{ receivedBytes: 0, sentBytes: 0, persistentKeepalive: 0 },
  };
  assert.equal(
    formatGateway({ ...head, peers: [{ ...peer, carriers }], gateway: null }, 0),
    "interface: wg0\n\npeer: KEY=\n" +
      "  carrier: tls://hub:443 open to hub, 2.00 KiB received, 148 B sent\n" +
      "  carrier: grpc://hub:8443 waiting (connection refused), 2.00 KiB received, 148 B sent\n" +
      "  carrier: grpc://spare:8443 closed, 0 B received, 0 B sent\n" +
      "  allowed ips: 10.9.0.1/32\n",
  );
});

Deno.test("show has wg's blocks and the gateway's, and hides the secrets", async () => {
  await using lab = await ControlLab.start(CONFIG);
  await lab.ask(
    `set=1\npublic_key=${hexKey(2)}\npreshared_key=${hexKey(7)}\nendpoint=192.0.2.1:5\n` +
      `allowed_ip=10.9.0.2/32\nallowed_ip=fd09::2/128\npublic_key=${hexKey(3)}\n\n`,
  );
  const folder = ["--control-dir", lab.directory];
  const shown = await wirestack("show", "lab", ...folder);
  assert.deepEqual([shown.status, shown.error], [0, ""]);
  const key = (number: number) => encodeKey(Uint8Array.fromHex(hexKey(number)));
  const gateway = shown.out.indexOf("\ngateway: up ");
  assert.equal(
    shown.out.slice(0, gateway),
    `interface: lab\n  public key: ${encodeKey(publicKeyOf(privateKey))}\n` +
      `  private key: (hidden)\n  listening port: ${lab.gateway.port}\n\n` +
      `peer: ${key(2)}\n  preshared key: (hidden)\n  endpoint: 192.0.2.1:5\n` +
      `  allowed ips: 10.9.0.2/32, fd09::2/128\n\npeer: ${key(3)}\n  allowed ips: (none)\n`,
  );
  assert.match(shown.out.slice(gateway), /\n {2}proxied: 10\.50\.0\.0\/16 \(tcp only\)\n/);
  for (const what of ["connections", "udp sessions", "forwarded", "dropped", "memory"]) {
    assert.match(shown.out.slice(gateway), new RegExp(`\n {2}${what}: `));
  }

  const json = await wirestack("show", "lab", "--json", ...folder);
  const { peers, gateway: stats, ...device } = JSON.parse(json.out);
  assert.deepEqual(device, {
    name: "lab",
    publicKey: encodeKey(publicKeyOf(privateKey)),
    privateKey: "(hidden)",
    listenPort: lab.gateway.port,
    fwMark: 0,
  });
  assert.deepEqual(peers.map((peer: { presharedKey: unknown }) => peer.presharedKey), [
    "(hidden)",
    null,
  ]);
  assert.equal(stats.subnets[0].prefix, "10.50.0.0/16");
  for (const { out } of [shown, json, await wirestack("show", "--json", ...folder)]) {
    for (const secret of [privateKey, Uint8Array.fromHex(hexKey(7))]) {
      assert.ok(!out.includes(encodeKey(secret)) && !out.includes(secret.toHex()));
    }
  }
  assert.equal((await wirestack("show", ...folder)).out.split("\n")[0], "interface: lab");
  assert.deepEqual(JSON.parse((await wirestack("show", "--json", ...folder)).out).length, 1);
});

Deno.test("show counts the connections and sessions of this host's programs too", async () => {
  await using lab = await ControlLab.start(CONFIG);
  const { inbounds, proxy } = lab.gateway;
  proxy.tcp.counters.connected = 2;
  inbounds.counters.tcp.connected = 3;
  inbounds.counters.udp.sessions = 4;
  const { out } = await wirestack("show", "--control-dir", lab.directory);
  assert.match(out, /^ {2}connections: 0 open, 0 being made, 5 so far$/m);
  assert.match(out, /^ {2}udp sessions: 0 open, 4 so far$/m);
});

Deno.test("show calls peers by their names, wherever these came from", async () => {
  const key = encodeKey(new Uint8Array(32).fill(5));
  const peers = [{ publicKey: key, name: "laptop" }];
  await using lab = await ControlLab.start({ ...CONFIG, peers });
  const folder = ["--control-dir", lab.directory];
  assert.match((await wirestack("show", ...folder)).out, /\npeer: BQUF\S+\n {2}name: laptop\n/);
  lab.next = { ...CONFIG, peers: [{ ...peers[0]!, name: "desktop" }] };
  assert.equal((await wirestack("reload", ...folder)).status, 0);
  const { peers: [peer] } = JSON.parse((await wirestack("show", "lab", "--json", ...folder)).out);
  assert.deepEqual([peer.publicKey, peer.name], [key, "desktop"]);
});

Deno.test("reload says what has changed", async () => {
  const peer = (number: number, name?: string) => ({
    publicKey: encodeKey(new Uint8Array(32).fill(number)),
    ...(name && { name }),
  });
  await using lab = await ControlLab.start({ ...CONFIG, peers: [peer(5, "laptop"), peer(6)] });
  const folder = ["--control-dir", lab.directory];
  lab.next = {
    interface: { ...CONFIG.interface, listenAddress: "127.0.0.1" },
    peers: [{ ...peer(5, "laptop"), allowedIps: "10.9.0.2" }, peer(7, "tv")],
    proxy: { subnets: ["10.60.0.0/16"], maxDials: 7, map: "10.60.0.1=127.0.0.1" },
  };
  assert.deepEqual(await wirestack("reload", ...folder), {
    status: 0,
    error: "",
    out: "lab: reloaded\n  ListenAddress: default -> 127.0.0.1\n" +
      "  Subnets: 10.60.0.0/16 added, 10.50.0.0/16 removed\n  Protocols: tcp -> default\n" +
      "  Map: 10.60.0.1=127.0.0.1 added\n  MaxDials: default -> 7\n" +
      `  peer ${peer(6).publicKey}: removed\n  peer laptop: changed\n  peer tv: added\n`,
  });
  const listenPort = ownUdpPort();
  lab.next = { ...lab.next, interface: { ...lab.next.interface, listenPort } };
  assert.equal(
    (await wirestack("reload", ...folder)).out,
    `lab: reloaded\n  ListenPort: default -> ${listenPort}\n`,
  );
  assert.equal(lab.gateway.port, listenPort);
  lab.next = {
    ...lab.next,
    interface: { ...lab.next.interface, privateKey: encodeKey(generatePrivateKey()) },
  };
  assert.equal(
    (await wirestack("reload", ...folder)).out,
    "lab: reloaded\n  PrivateKey: another one\n",
  );
  assert.equal(
    (await wirestack("reload", ...folder)).out,
    "lab: reloaded, nothing has changed\n",
  );
});

Deno.test("show and reload name what is missing", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const folder = ["--control-dir", directory];
    const cases: [string[], number, RegExp][] = [
      [["show", "wg9"], 1, /^wirestack: wg9: not running \(nobody listens at .*\/wg9\.sock\)\n$/],
      [["show", "a b"], 1, /^wirestack: NAME: is no interface's, expected 1 to 15 of /],
      [["show", "/x/a b.conf"], 1, /^wirestack: the file's name: is no interface's/],
      [["show"], 1, /^wirestack: no gateway runs \(nobody listens in \S+\)\n$/],
      [["reload"], 1, /^wirestack: NAME: missing, and no gateway runs in /],
      [["reload", "./wg9.conf"], 1, /^wirestack: wg9: not running/],
      [["reload", "a", "b"], 2, /too many arguments/],
    ];
    for (const [args, status, message] of cases) {
      const result = await wirestack(...args, ...folder);
      assert.deepEqual([result.status, result.out], [status, ""], args.join(" "));
      assert.match(result.error, message);
    }
  } finally {
    await Deno.remove(directory);
  }
});

Deno.test("reload says what was wrong with status 2, what could not change, and that it is done", async () => {
  await using lab = await ControlLab.start(CONFIG);
  const folder = ["--control-dir", lab.directory];
  lab.next = `[Interface]\nPrivateKey = ${encodeKey(privateKey)}\nMTU = 7\n`;
  assert.deepEqual(await wirestack("reload", ...folder), {
    status: 2,
    out: "",
    error: "wg0.conf:3: MTU: 7 is out of range, expected 576 to 65475\n",
  });
  lab.next = lab.next.replace("MTU = 7", "MTU = 1300") +
    "[Proxy]\nSubnets = 10.50.0.0/16\nProtocols = tcp\n";
  const { status, out, error } = await wirestack("reload", "lab", ...folder);
  assert.deepEqual([status, out], [0, "lab: reloaded, nothing has changed\n"]);
  assert.match(error, /^warning: wg0.conf:3: MTU: cannot change while running/m);
});
