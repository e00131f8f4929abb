/** What a gateway that starts again knows of where its peers were. */

import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import {
  endpointFile,
  readEndpoints,
  writeEndpoints,
} from "../../../proxy/gateway/endpoint_file.ts";
import { EndpointMemory } from "../../../proxy/gateway/endpoint_memory.ts";
import type { Bind } from "../../../proxy/bind/bind.ts";
import { NetAddress } from "../../../proxy/bind/net_address.ts";
import { Pair } from "../../wireguard/pair.ts";
import type { Peer } from "../../../wireguard/mod.ts";
import { captureLog } from "../log/capture.ts";
import { until } from "../pair.ts";
import { startWirestack } from "../start.ts";
import { TempFolder } from "../../temp_folder.ts";
import { ownUdpPort } from "../own_port.ts";

const gatewayKey = generatePrivateKey();
const clientKey = generatePrivateKey();
const presharedKey = encodeKey(generatePrivateKey());

function startGateway(directory: string, port = 0) {
  return startWirestack({
    interface: { privateKey: encodeKey(gatewayKey), address: "10.9.0.1/24", listenPort: port },
    peers: [{
      publicKey: encodeKey(publicKeyOf(clientKey)),
      presharedKey,
      allowedIps: "10.9.0.2/32",
    }],
  }, { stateDirectories: [directory] });
}

Deno.test("a gateway that starts again calls its peers: an idle client is back within two seconds", async () => {
  using directory = new TempFolder();
  const first = await startGateway(`${directory.path}/state`, ownUdpPort());
  const { port } = first;
  await using client = await startWirestack({
    interface: { privateKey: encodeKey(clientKey), address: "10.9.0.2/24" },
    peers: [{
      publicKey: encodeKey(publicKeyOf(gatewayKey)),
      presharedKey,
      allowedIps: "10.9.0.1/32",
      endpoint: `127.0.0.1:${port}`,
    }],
  });
  using listener = first.listen({ port: 80 });
  using conn = await client.connect({ hostname: "10.9.0.1", port: 80 });
  using _accepted = await listener.accept();
  conn.close();
  const file = endpointFile(`${directory.path}/state`, publicKeyOf(gatewayKey));
  const written = () => readEndpoints(file);
  await until(() => written().size === 1, "it is written while the gateway runs");
  await first.close();

  assert.equal(Deno.statSync(file).mode! & 0o777, 0o600);
  const text = Deno.readTextFileSync(file);
  assert.ok(text.includes(encodeKey(publicKeyOf(clientKey))));
  for (const secret of [encodeKey(gatewayKey), encodeKey(clientKey), presharedKey]) {
    assert.ok(!text.includes(secret));
  }
  assert.deepEqual(Array.from(Deno.readDirSync(`${directory.path}/state`)).length, 1);

  const before = client.stats().counters.wireguard!;
  await using again = await startGateway(`${directory.path}/state`, port);
  await until(() => again.stats().peers[0]!.lastHandshake > 0, "the client is back", 2000);
  const after = client.stats().counters.wireguard!;
  assert.ok(Number.isInteger(again.stats().uptimeMs));
  assert.equal(after.initiationsSent, before.initiationsSent, "it was called");
  assert.equal(after.responsesSent, before.responsesSent! + 1);
});

Deno.test("a peer that is not where it was is called three times, and then may call itself", async () => {
  using directory = new TempFolder();
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = socket.addr as Deno.NetAddr;
  writeEndpoints(
    endpointFile(directory.path, publicKeyOf(gatewayKey)),
    new Map([[encodeKey(publicKeyOf(clientKey)), {
      address: IpAddress.v4(127, 0, 0, 1),
      port,
      heardAt: Date.now() - 60_000,
    }]]),
  );
  await using gateway = await startWirestack({
    interface: { privateKey: encodeKey(gatewayKey), address: "10.9.0.1/24" },
    peers: [{ publicKey: encodeKey(publicKeyOf(clientKey)), allowedIps: "10.9.0.2/32" }],
  }, {
    stateDirectories: [directory.path],
    timers: { rekeyTimeoutMs: 50, rekeyJitterMs: 1, rekeyAttemptMs: 5000 },
  });
  for (let i = 0; i < 3; i++) assert.equal((await socket.receive())[0].length, 148);
  await until(() => gateway.stats().peers[0]!.endpoint === null, "it is given up");
  assert.equal(gateway.stats().counters.wireguard!.initiationsSent, 3);
  socket.close();
});

/** A memory with a clock of its own, of peers that are as given. */
function memoryOf(directories: readonly string[], peers: readonly Peer[] = []) {
  const clock = { now: 0 };
  const memory = new EndpointMemory({
    directories,
    now: () => clock.now,
    wallClock: () => clock.now + 1_700_000_000_000,
    publicKey: () => publicKeyOf(gatewayKey),
    peers: () => peers,
  });
  return { memory, clock };
}

Deno.test("files that nobody has written to for an hour go at the next start, whoever's they are", () => {
  using directory = new TempFolder();
  const own = endpointFile(directory.path, publicKeyOf(gatewayKey));
  const wallClock = 1_700_000_000_000;
  const hour = 3_600_000;
  const ages = {
    [own]: hour + 1,
    [`${directory.path}/endpoints-0123456789abcdef.json`]: hour + 1,
    [`${directory.path}/endpoints-0123456789abcdee.json.new`]: hour + 1,
    [`${directory.path}/endpoints-0123456789abcded.json`]: hour,
    [`${directory.path}/endpoints-0123456789abcdec.json`]: -hour,
    [`${directory.path}/endpoints-of-mine.json`]: hour + 1,
  };
  for (const [path, age] of Object.entries(ages)) {
    Deno.writeTextFileSync(path, '{"peers":{}}');
    Deno.utimeSync(path, new Date(wallClock - age), new Date(wallClock - age));
  }
  Deno.mkdirSync(`${directory.path}/endpoints-0000000000000000.json`);
  memoryOf([directory.path]);
  assert.deepEqual(Array.from(Deno.readDirSync(directory.path), ({ name }) => name).sort(), [
    "endpoints-0000000000000000.json",
    "endpoints-0123456789abcdec.json",
    "endpoints-0123456789abcded.json",
    "endpoints-of-mine.json",
  ]);
});

Deno.test("a gateway whose file is gone, because it was silent for long, writes it again", () => {
  using directory = new TempFolder();
  const file = endpointFile(directory.path, publicKeyOf(gatewayKey));
  const { ba: peer } = new Pair();
  const { memory, clock } = memoryOf([directory.path], [peer]);
  const hear = () => {
    const bind = { name: "udp" } as unknown as Bind;
    peer.setEndpoint(NetAddress.of(bind, IpAddress.v4(192, 0, 2, 1), 7, true));
    peer.lastHandshake = 1_700_000_000_000 + clock.now;
    memory.changed(peer);
    memory.handleTimeout(memory.pollTimeout());
  };
  hear();
  Deno.removeSync(file);
  clock.now = 3_600_001;
  hear();
  assert.equal(readEndpoints(file).size, 1);
});

Deno.test("the file is written a second after a change, and not again within ten", () => {
  using directory = new TempFolder();
  const { memory, clock } = memoryOf([directory.path]);
  const file = endpointFile(directory.path, publicKeyOf(gatewayKey));
  memory.changed();
  assert.equal(memory.pollTimeout(), 1000);
  memory.handleTimeout(999);
  assert.throws(() => Deno.statSync(file), Deno.errors.NotFound);
  clock.now = 1000;
  memory.handleTimeout(1000);
  assert.ok(Deno.statSync(file).isFile);
  assert.equal(memory.pollTimeout(), Infinity);
  memory.changed();
  assert.equal(memory.pollTimeout(), 11_000);
});

Deno.test("of a thousand peers the file is written the more seldom, and all of them are in it", () => {
  using directory = new TempFolder();
  const bind = { name: "udp" } as unknown as Bind;
  const peers = Array.from({ length: 1_000 }, (_, i) => ({
    publicKey: new Uint8Array(32).with(0, i).with(1, i >> 8),
    endpoint: NetAddress.of(
      bind,
      new IpAddress(i % 2 === 0 ? Uint8Array.of(192, 0, i >> 8, i) : new Uint8Array(16).fill(i)),
      1 + i,
      true,
    ),
    lastHandshake: 1_700_000_000_000,
  } as unknown as Peer));
  const { memory, clock } = memoryOf([directory.path], peers);
  memory.changed();
  clock.now = 1_000;
  memory.handleTimeout(1_000);
  const found = readEndpoints(endpointFile(directory.path, publicKeyOf(gatewayKey)));
  assert.deepEqual(
    peers.map(({ publicKey }) => {
      const { address, port } = found.get(encodeKey(publicKey))!;
      return [address.bytes, port];
    }),
    peers.map(({ endpoint }) => [endpoint!.address, endpoint!.port]),
  );
  memory.changed();
  assert.equal(memory.pollTimeout(), 21_000);
});

Deno.test("a peer that stays where it is is written every ten minutes, one that has moved at once", () => {
  using directory = new TempFolder();
  const { ba: peer } = new Pair();
  const { memory, clock } = memoryOf([directory.path], [peer]);
  const bind = { name: "udp" } as unknown as Bind;
  const beAt = (last: number) => {
    peer.setEndpoint(NetAddress.of(bind, IpAddress.v4(192, 0, 2, last), 7, true));
    peer.lastHandshake = 1_700_000_000_000 + clock.now;
    memory.changed(peer);
    return memory.pollTimeout() !== Infinity;
  };
  const wait = (ms: number) => {
    clock.now += ms;
    memory.handleTimeout(clock.now);
  };
  assert.equal(beAt(1), true);
  wait(1_000);
  for (let i = 0; i < 4; i++) {
    wait(120_000);
    assert.equal(beAt(1), false);
  }
  wait(120_000);
  assert.equal(beAt(1), true, "ten minutes");
  wait(10_000);
  assert.equal(beAt(2), true, "elsewhere");
});

Deno.test("who has been silent for an hour is not called; what is no such file is not used", () => {
  using directory = new TempFolder();
  const file = endpointFile(directory.path, publicKeyOf(gatewayKey));
  const key = publicKeyOf(clientKey);
  const write = (ageMs: number) =>
    writeEndpoints(
      file,
      new Map([[encodeKey(key), {
        address: new IpAddress(new Uint8Array(16).fill(7)),
        port: 7,
        heardAt: 1_700_000_000_000 - ageMs,
      }]]),
    );
  write(3_600_000);
  assert.equal(memoryOf([directory.path]).memory.of(key)?.port, 7);
  assert.equal(memoryOf([directory.path]).memory.of(publicKeyOf(gatewayKey)), undefined);
  write(3_600_001);
  assert.equal(memoryOf([directory.path]).memory.of(key), undefined);
  write(-1);
  assert.equal(memoryOf([directory.path]).memory.of(key), undefined, "from the future");
  const entry = (endpoint: unknown) =>
    JSON.stringify({ peers: { [encodeKey(key)]: { endpoint, heardAt: 1_700_000_000_000 } } });
  const bad = ["", "{", "null", "[]", '{"peers":7}', '{"peers":{"x":1}}', '{"peers":{"x":null}}'];
  for (const text of [...bad, ...["7", "1.2.3.4:0", "1.2.3.4:99999", "a:7", 7, null].map(entry)]) {
    Deno.writeTextFileSync(file, text);
    assert.equal(memoryOf([directory.path]).memory.of(key), undefined, text);
  }
});

Deno.test("the first folder that can be written to is used; where there is none the gateway goes on", async () => {
  using directory = new TempFolder();
  Deno.writeTextFileSync(`${directory.path}/file`, "");
  const blocked = `${directory.path}/file/state`;
  const good = `${directory.path}/good`;
  const { memory } = memoryOf([blocked, good]);
  memory.save();
  assert.ok(Deno.statSync(endpointFile(good, publicKeyOf(gatewayKey))).isFile);
  const none = memoryOf([blocked]).memory;
  none.changed();
  none.save();
  assert.equal(none.pollTimeout(), Infinity);
  await using gateway = await startGateway(blocked);
  assert.equal(gateway.stats().peers.length, 1);
});

Deno.test("what cannot be written, on a full disk say, is tried again, later and later, and told once", () => {
  using directory = new TempFolder();
  using log = captureLog();
  const { ba: peer } = new Pair();
  const { memory, clock } = memoryOf([directory.path], [peer]);
  const bind = { name: "udp" } as unknown as Bind;
  peer.setEndpoint(NetAddress.of(bind, IpAddress.v4(192, 0, 2, 1), 7, true));
  peer.lastHandshake = 1_700_000_000_000;
  const file = endpointFile(directory.path, publicKeyOf(gatewayKey));
  Deno.mkdirSync(`${file}.new/in-the-way`, { recursive: true });
  const next = () => {
    const pause = memory.pollTimeout() - clock.now;
    clock.now = memory.pollTimeout();
    memory.handleTimeout(clock.now);
    return pause;
  };
  memory.changed(peer);
  assert.deepEqual(Array.from({ length: 4 }, next), [1_000, 10_000, 20_000, 40_000]);
  memory.changed(peer);
  for (let i = 0; i < 5; i++) assert.ok(next() <= 600_000);
  const said = (text: string) => log.lines.filter((line) => line.includes(text)).length;
  assert.equal(said("are not remembered"), 1, log.lines.join(""));
  Deno.removeSync(`${file}.new`, { recursive: true });
  peer.lastHandshake += clock.now;
  next();
  assert.equal(readEndpoints(file).size, 1);
  assert.equal(memory.pollTimeout(), Infinity);
  assert.equal(said("are remembered again"), 1);
});
