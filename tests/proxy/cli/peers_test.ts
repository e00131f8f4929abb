import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { formatPeers, sortPeers } from "../../../proxy/cli/peers_format.ts";
import type { PeerStats } from "../../../proxy/gateway/gateway.ts";
import { ControlLab } from "../control/lab.ts";
import { startWirestack } from "../start.ts";
import { runHere } from "./run_here.ts";

const NOW = 1_700_000_000_000;

function peer(name: string | null, more: Partial<PeerStats> = {}): PeerStats {
  return {
    publicKey: encodeKey(new Uint8Array(32).fill(name?.length ?? 7)),
    name,
    origin: "file",
    state: "never",
    endpoint: null,
    transport: null,
    transportSince: 0,
    transportSwitches: 0,
    carriers: [],
    allowedIps: [],
    receivedBytes: 0,
    sentBytes: 0,
    rate: { received: 0, sent: 0 },
    lastHandshake: 0,
    lastHeard: 0,
    heardSince: 0,
    sharedPrefixes: [],
    persistentKeepalive: 0,
    flows: null,
    ...more,
  };
}

Deno.test("the table has who, where, since when, last heard, how fast, subnets and origin", () => {
  const prefixes = Array.from({ length: 6 }, (_, i) => `10.9.${i}.0/24`);
  const table = formatPeers(
    [
      peer("office", {
        state: "connected",
        endpoint: "203.0.113.9:51820",
        transport: "udp",
        allowedIps: prefixes,
        receivedBytes: 3 * 2 ** 20,
        sentBytes: 2048,
        rate: { received: 1536, sent: 100 },
        lastHeard: NOW - 4_000,
        heardSince: NOW - 3_900_000,
      }),
      peer("phone", {
        state: "silent",
        endpoint: "[2001:db8::5]:9",
        transport: "tls",
        allowedIps: ["10.9.0.9/32"],
        lastHeard: NOW - 200_000,
        heardSince: NOW - 900_000,
        origin: "enrolled",
      }),
      peer("spare"),
    ],
    2,
    NOW,
  );
  assert.equal(
    table,
    "NAME    STATE      VIA  ENDPOINT           SINCE  HEARD      IN/S  OUT/S        IN       OUT  ORIGIN    SUBNETS\n" +
      "office  connected  udp  203.0.113.9:51820  1h05m     4s  1.50 KiB  100 B  3.00 MiB  2.00 KiB  file      " +
      "10.9.0.0/24, 10.9.1.0/24, 10.9.2.0/24, 10.9.3.0/24 and 2 more\n" +
      "phone   silent     tls  [2001:db8::5]:9        -  3m20s       0 B    0 B       0 B       0 B  enrolled  10.9.0.9/32\n" +
      "3 peers: 1 connected, 1 silent, 1 never heard; 1 of them not shown, --limit 0 shows all\n",
  );
  assert.equal(formatPeers([], 9, NOW), "0 peers: 0 connected, 0 silent, 0 never heard\n");
});

Deno.test("names are in the order that people count in, those without behind; figures the largest first", () => {
  const peers = [
    peer("client-10", { lastHeard: 5, rate: { received: 1, sent: 1 }, state: "silent" }),
    peer(null, { lastHeard: 9, state: "connected", receivedBytes: 4 }),
    peer("client-2", { sentBytes: 5 }),
    peer("Client-1", { rate: { received: 0, sent: 3 } }),
  ];
  const sorted = (by: Parameters<typeof sortPeers>[1]) => {
    const all = [...peers];
    sortPeers(all, by);
    return all.map(({ name }) => name?.split("-")[1] ?? "?").join(" ");
  };
  assert.equal(sorted("name"), "1 2 10 ?");
  assert.equal(sorted("heard"), "? 10 1 2");
  assert.equal(sorted("rate"), "1 10 2 ?");
  assert.equal(sorted("bytes"), "2 ? 1 10");
  assert.equal(sorted("state"), "? 10 1 2");
});

const hubKey = generatePrivateKey();
const COUNT = 3_000;

/** A hub with as many peers; the first can be made by {@link first}. */
async function hub(count: number) {
  const key = generatePrivateKey();
  const lab = await ControlLab.start({
    interface: { privateKey: encodeKey(hubKey), address: "10.0.0.1/8", peerToPeer: true },
    peers: Array.from({ length: count }, (_, i) => ({
      publicKey: i === 0 ? publicKeyOf(key) : new Uint8Array(32).fill(9).with(0, i >> 8).with(1, i),
      name: `client-${i}`,
      allowedIps: [`10.1.${i >> 8}.${i & 255}/32`],
    })),
  });
  const first = () =>
    startWirestack({
      interface: { privateKey: key, address: "10.1.0.0/8" },
      peers: [{
        publicKey: publicKeyOf(hubKey),
        allowedIps: "10.0.0.0/8",
        endpoint: `127.0.0.1:${lab.gateway.port}`,
        persistentKeepalive: 1, // moves in every second
      }],
    });
  return { lab, first };
}

Deno.test("thousands of peers are listed: all as JSON, a hundred lines for people, and by what matches", async () => {
  const { lab, first } = await hub(COUNT);
  await using _ = lab;
  const list = async (...args: string[]) => {
    const result = await runHere(["peers", "lab", "--control-dir", lab.directory, ...args]);
    assert.deepEqual([result.status, result.error], [0, ""], args.join(" "));
    return result.out;
  };
  const all: PeerStats[] = JSON.parse(await list("--json"));
  assert.deepEqual(
    all.map(({ name }) => name),
    Array.from({ length: COUNT }, (_, i) => `client-${i}`),
  );
  assert.equal(JSON.parse(await list("--json", "--limit", "7")).length, 7);
  const lines = (await list()).trimEnd().split("\n");
  assert.equal(lines.length, 1 + 100 + 1);
  assert.match(
    lines.at(-1)!,
    /^3000 peers: 0 connected, 0 silent, 3000 never heard; 2900 of them not/,
  );
  assert.equal((await list("--limit", "0")).trimEnd().split("\n").length, 1 + COUNT + 1);
  for (
    const [text, count] of [["CLIENT-299", 11], ["10.1.11.", 184], ["no such", 0], [
      "%",
      0,
    ]] as const
  ) {
    assert.equal(JSON.parse(await list("--json", "--match", text)).length, count, text);
  }

  const before = Date.now();
  await using client = await first();
  let found: PeerStats | undefined;
  while (found?.state !== "connected" || found.rate.received === 0) {
    [found] = JSON.parse(await list("--json", "--sort", "heard", "--limit", "1")) as PeerStats[];
  }
  const { publicKey, name, origin, endpoint, transport, allowedIps, heardSince, lastHeard } = found;
  assert.deepEqual({ publicKey, name, origin, endpoint, transport, allowedIps }, {
    publicKey: encodeKey(client.publicKey),
    name: "client-0",
    origin: "file",
    endpoint: `127.0.0.1:${client.port}`,
    transport: "udp",
    allowedIps: ["10.1.0.0/32"],
  });
  // Milliseconds, rounded.
  assert.ok(before - 2 <= heardSince && heardSince <= lastHeard && lastHeard <= Date.now() + 2);
  assert.match(await list("--match", "client-0"), /\nclient-0 +connected +udp +127\.0\.0\.1:\d+ /);
});

Deno.test("peers names what is missing or wrong", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const cases: [string[], number, RegExp][] = [
      [["wg9"], 1, /^wirestack: wg9: not running \(nobody listens at .*\/wg9\.sock\)\n$/],
      [["a b"], 1, /^wirestack: NAME: is no interface's, expected 1 to 15 of /],
      [[], 1, /^wirestack: NAME: missing, and no gateway runs in /],
      [["a", "b"], 2, /too many arguments/],
      [
        ["--sort", "size"],
        2,
        /'size' is invalid\. Allowed choices are bytes, endpoint, heard, name, /,
      ],
      [["--limit", "-1"], 2, /'-1' is invalid\. Expected a number, or 0 for all\./],
      [["--limit", "many"], 2, /'many' is invalid\. Expected a number, or 0 for all\./],
    ];
    for (const [args, status, message] of cases) {
      const result = await runHere(["peers", ...args, "--control-dir", directory]);
      assert.deepEqual([result.status, result.out], [status, ""], args.join(" "));
      assert.match(result.error, message);
    }
  } finally {
    await Deno.remove(directory);
  }
});

Deno.test("a prefix that several speak for says who has it", () => {
  const [a, b] = [true, false].map((isHeld, i) =>
    peer(`site-${i}`, {
      allowedIps: [`10.9.0.${i + 2}/32`, ...isHeld ? ["100.64.1.0/24"] : []],
      sharedPrefixes: [{ prefix: "100.64.1.0/24", isHeld }],
    })
  );
  const table = formatPeers([a!, b!], 10, NOW);
  assert.match(table, /site-0 .* 10\.9\.0\.2\/32, 100\.64\.1\.0\/24 \(holds\)\n/);
  assert.match(table, /site-1 .* 10\.9\.0\.3\/32, 100\.64\.1\.0\/24 \(standby\)\n/);
});
