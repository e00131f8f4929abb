import assert from "node:assert/strict";
import { encodeKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { DialledEndpoint } from "../../../proxy/bind/stream/mod.ts";
import { type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";
import type { Gateway } from "../../../proxy/gateway/gateway.ts";
import { applyConfig } from "../../../proxy/gateway/reload.ts";
import { CARRIER_FAMILIES } from "../../../proxy/watch/metrics/carriers.ts";
import { uapiGet } from "../../../proxy/control/uapi_get.ts";
import { IpAddress } from "../../../netstack/mod.ts";
import { MadeAuthority } from "../bind/certificates/made.ts";
import { forbid } from "../bind/stream/forbid.ts";
import { captureLog } from "../log/capture.ts";
import { until } from "../pair.ts";
import { StreamSite } from "./stream_site.ts";

/** What Prometheus is told of carriers, by name and labels. */
function carrierSamples(gateway: Gateway): Map<string, number> {
  const samples = new Map<string, number>();
  for (const { name, collect } of CARRIER_FAMILIES) {
    const out = {
      sample: (value: number, ...labels: string[]) =>
        samples.set([name, ...labels].join(" "), value),
    };
    collect(out as never, { gateway } as never);
  }
  return samples;
}

for (const transport of ["tls", "grpc"]) {
  Deno.test(`peers shake hands over ${transport}, and the hub knows where they are`, async () => {
    await using site = await StreamSite.make();
    const hub = await site.startHub({ listen: `${transport}:127.0.0.1:0` });
    const { shakeHands } = await site.client(0);
    await shakeHands();
    const [peer] = hub.engine.device.peers();
    await until(() => peer!.hasSession, "the hub's session");
    assert.match(`${peer!.endpoint}`, new RegExp(`^${transport}:127\\.0\\.0\\.1:\\d+$`));
    assert.match([...uapiGet(hub)].join(""), /\nendpoint=127\.0\.0\.1:\d+\n/);
    const { received, receivedBytes } = [...hub.streams.binds][0]!.counters;
    const samples = carrierSamples(hub);
    assert.equal(samples.get(`wirestack_carriers ${transport}`), 1);
    assert.equal(samples.get(`wirestack_carrier_events_total ${transport} accepted`), 1);
    assert.ok(received > 0);
    assert.equal(samples.get(`wirestack_carrier_datagrams_total ${transport} received`), received);
    assert.equal(samples.get(`wirestack_carrier_bytes_total ${transport} received`), receivedBytes);
    assert.equal(samples.get(`wirestack_carrier_refusals_total ${transport} certificate`), 0);
    assert.ok(samples.get("wirestack_carrier_memory_bytes")! > 100_000);
  });
}

Deno.test("what gRPC needs is loaded with a gateway that has a fallback in it, and with no other", async () => {
  await using site = await StreamSite.make();
  const path = (name: string) => JSON.stringify(`${site.folder}/${name}`);
  // A process that has become another user may not read it later.
  const file = (name: string) => JSON.stringify(new URL(`../../../${name}`, import.meta.url).href);
  const text = `
    import { createRequire } from "node:module";
    import { loadConfig } from ${file("proxy/config/config.ts")};
    import { Gateway } from ${file("proxy/gateway/gateway.ts")};
    const key = (n) => new Uint8Array(32).fill(n).toBase64();
    const loaded = createRequire("file:///none.js").cache;
    for (const transport of ["tls", "grpc"]) {
      const { config } = loadConfig({
        interface: { privateKey: key(1), address: "10.9.0.2/24" },
        peers: [{
          ...{ publicKey: key(9), allowedIps: "10.9.0.1/32" },
          ...{ fallback: transport + "://127.0.0.1:1", ca: ${path("ca.pem")} },
          ...{ cert: ${path("0.pem")}, key: ${path("0.key")} },
        }],
      });
      await Gateway.start(config);
      console.log(transport, Object.keys(loaded).some((name) => name.includes("/grpc-js/")));
    }
    Deno.exit();`;
  const child = new Deno.Command(Deno.execPath(), {
    args: [...["run", "--quiet", "--no-prompt", "--allow-net", "--allow-read", "--no-check"], "-"],
    cwd: new URL("../../../", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { stdout } = await child.output();
  assert.equal(new TextDecoder().decode(stdout), "tls false\ngrpc true\n");
});

Deno.test("where a hub listens in TLS nobody is proxied to", async () => {
  await using site = await StreamSite.make();
  const hub = await site.startHub();
  const { port } = hub.streams.places[0]!;
  const isOwn = (at: number) =>
    hub.proxy.listeners.has("tcp", IpAddress.v4(127, 0, 0, 1), at, () => true);
  assert.equal(isOwn(port), true);
  await hub.streams.close();
  assert.equal(isOwn(port), false);
});

Deno.test("a hub does not start with a file that is not what it should be, and names the key", async () => {
  await using site = await StreamSite.make();
  const { folder } = site;
  const other = await MadeAuthority.make();
  Deno.writeTextFileSync(`${folder}/empty.pem`, "");
  Deno.writeTextFileSync(`${folder}/crl.pem`, await other.revoke([]));
  const cases: [Partial<ConfigInput["relay"]>, path: string, message: RegExp][] = [
    [
      { cert: `${folder}/none.pem` },
      "relay.cert",
      /none\.pem is not there, expected a file in PEM/,
    ],
    [{ cert: `${folder}/empty.pem` }, "relay.cert", /empty\.pem: no certificate, expected/],
    [{ key: `${folder}/hub.pem` }, "relay.key", /hub\.pem: no private key, expected one in PEM/],
    [{ key: `${folder}/0.key` }, "relay.key", /0\.key is not the key of .*hub\.pem, expected/],
    [{ clientCa: `${folder}/hub.key` }, "relay.clientCa", /hub\.key: no certificate, expected/],
    [{ crl: `${folder}/crl.pem` }, "relay.crl", /crl\.pem: not signed by the authority, expected/],
    [{ crl: `${folder}/ca.pem` }, "relay.crl", /ca\.pem: no list of revoked certificates in PEM/],
  ];
  for (const [relay, path, message] of cases) {
    await assert.rejects(site.startHub(relay), (error: Error & { path: string[] }) => {
      assert.equal(error.path.join("."), path);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("a port that is taken is said to be, with its place", async () => {
  await using site = await StreamSite.make();
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    await assert.rejects(
      site.startHub({ listen: ["tls:127.0.0.1:0", `tls:127.0.0.1:${taken.addr.port}`] }),
      {
        name: "SettingError",
        path: ["relay", "listen", 1],
        message: `port ${taken.addr.port} is in use, expected a free TCP port`,
      },
    );
  } finally {
    taken.close();
  }
});

Deno.test("a reload takes new certificates and who is let in; connections of who still is go on", async () => {
  await using site = await StreamSite.make();
  const hub = await site.startHub();
  const [first, second] = [await site.client(0), await site.client(1)];
  await first.shakeHands();
  await second.shakeHands();
  const reload = (relay?: Partial<ConfigInput["relay"]>) => {
    const loaded = loadConfig(site.config(relay));
    return applyConfig(hub, loadConfig(site.config()).config, loaded);
  };
  const { remote } = first.endpoint;
  const before = remote!.port;

  await site.certificate("hub", { name: "renewed", usage: "serverAuth", hosts: ["localhost"] });
  assert.deepEqual(reload().warnings, []);
  assert.throws(() => reload({ cert: `${site.folder}/none.pem` }), {
    message: /^relay\.cert: .*none\.pem is not there, expected a file in PEM$/,
  });
  assert.deepEqual(reload({ allowedClients: "first, third" }).warnings, []);
  await until(() => second.endpoint.state === "waiting", "the second is gone");
  assert.equal(
    second.endpoint.problem,
    "refused: the certificate that is shown there is not among those that are let in",
  );
  assert.equal(carrierSamples(hub).get("wirestack_carrier_events_total tls expelled"), 1);
  assert.equal(first.endpoint.state, "open");
  assert.equal(first.endpoint.remote!.port, before);
  assert.equal(first.endpoint.remote!.description, "hub");

  assert.deepEqual(reload().warnings, []);
  second.endpoint.open();
  await until(() => second.endpoint.state === "open", "the second is back");
  assert.equal(second.endpoint.remote!.description, "renewed");
  assert.deepEqual(reload({ listen: "tls:127.0.0.1:1" }).warnings, [
    "relay.listen: cannot change while running, expected a restart; it stays as it was",
  ]);
});

Deno.test("a hub that may not read its key any more keeps it at a reload, and all else counts", async () => {
  await using site = await StreamSite.make();
  const hub = await site.startHub();
  const second = await site.client(1);
  await second.shakeHands();
  const reload = (relay?: Partial<ConfigInput["relay"]>) =>
    applyConfig(hub, loadConfig(site.config()).config, loadConfig(site.config(relay)));
  using log = captureLog("warning");
  using _ = forbid(`${site.folder}/hub.key`);
  reload({ allowedClients: "first" });
  await until(() => second.endpoint.state === "waiting", "the second is gone");
  const stays = log.lines.filter((line) => line.includes("certificates stay as they were"));
  assert.equal(stays.length, 1, log.lines.join(""));
  assert.match(
    stays[0]!,
    /tls:127\.0\.0\.1:\d+: certif.*hub\.key may not be read, expected a file in PEM/,
  );
  const first = await site.client(0);
  await first.shakeHands();
  assert.equal(first.endpoint.remote!.description, "hub");
  assert.throws(() => reload({ key: `${site.folder}/0.key` }), /0\.key is not the key of/);
});

Deno.test("a fallback that comes by a reload has the certificate that another read when it might", async () => {
  await using site = await StreamSite.make();
  const hub = await site.startHub();
  const { gateway, input } = await site.client(0);
  const { port } = (await site.start(site.config())).streams.places[0]!;
  assert.notEqual(port, hub.streams.places[0]!.port);
  using log = captureLog("warning");
  using _ = forbid(...["pem", "key"].map((end) => `${site.folder}/0.${end}`));
  const moved = {
    ...input,
    peers: input.peers!.map((peer) => ({
      ...peer,
      fallback: `tls://localhost:${port}`,
    })),
  };
  applyConfig(gateway, loadConfig(input).config, loadConfig(moved));
  const [peer] = gateway.engine.device.peers();
  const [endpoint] = gateway.peers.paths.of(peer!)!.fallbacks as DialledEndpoint[];
  endpoint!.open();
  await until(() => endpoint!.state === "open", "it is dialled");
  const stays = log.lines.filter((line) => line.includes("certificates of fallbacks stay"));
  assert.equal(stays.length, 1, log.lines.join(""));
  assert.match(stays[0]!, /0\.pem may not be read, expected a file in PEM/);
});

Deno.test("a fallback's certificate that is not there ends the start, and is a line when a reload brings it", async () => {
  await using site = await StreamSite.make();
  await site.startHub();
  using log = captureLog("warning");
  const { gateway, input } = await site.client(0);
  const wrong = structuredClone(input);
  wrong.peers![0]!.cert = `${site.folder}/nope.pem`;
  await assert.rejects(site.start(wrong), {
    name: "SettingError",
    path: ["peers", 0, "cert"],
    message: /nope\.pem is not there, expected a file in PEM$/,
  });
  assert.deepEqual(log.lines, []);
  applyConfig(gateway, loadConfig(input).config, loadConfig(wrong));
  assert.equal(log.lines.length, 1, log.lines.join(""));
  assert.match(
    log.lines[0]!,
    /tls:\/\/localhost:\d+ cannot be dialled: .*nope\.pem is not there, expe/,
  );
});

Deno.test("a gateway without streams has them loaded by the reload that brings its first fallback", async () => {
  await using site = await StreamSite.make();
  await site.startHub();
  const plain: ConfigInput = {
    interface: { privateKey: encodeKey(site.keys[0]!), address: "10.9.0.2/24" },
    peers: [{ publicKey: encodeKey(publicKeyOf(site.hubKey)), allowedIps: "10.9.0.1/32" }],
  };
  const gateway = await site.start(plain);
  assert.equal(gateway.streams.isLoaded, false);
  assert.deepEqual([...gateway.streams.binds], []);
  const withFallback = (i: number): ConfigInput => ({
    ...plain,
    peers: [{ ...plain.peers![0]!, ...site.fallback(i), persistentKeepalive: 25 }],
  });
  // The first is not wanted any more when it could be opened.
  for (const i of [1, 0]) {
    applyConfig(gateway, loadConfig(plain).config, loadConfig(withFallback(i)));
  }
  const [peer] = gateway.engine.device.peers();
  assert.match(gateway.peers.fallbacks(peer!)[0]!.certPath, /0\.pem$/);
  await until(() => peer!.hasSession, "a session by the fallback", 20_000);
  assert.equal(gateway.peers.paths.of(peer!)!.fallbacks.length, 1);
  assert.match(`${peer!.endpoint}`, /^tls:/);
  assert.equal([...site.hub.streams.binds][0]!.carriers, 1);
});
