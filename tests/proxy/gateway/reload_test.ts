import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { setImmediate } from "node:timers";
import { parseIpAddress } from "../../../proxy/address.ts";
import {
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
} from "../../../proxy/base64.ts";
import { UdpAddress } from "../../../proxy/bind/udp_address.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { SettingError } from "../../../proxy/config/error.ts";
import { Flow, FlowOwner } from "../../../proxy/flow/flow.ts";
import { ControlLab, hexKey, RELOADED } from "../control/lab.ts";
import { pattern, until } from "../pair.ts";
import { startGateway, startWirestack } from "../start.ts";
import { ownUdpPort } from "../own_port.ts";

const gatewayKey = generatePrivateKey();
const clientKey = generatePrivateKey();
const clientPublic = encodeKey(publicKeyOf(clientKey));
const presharedKey = encodeKey(generatePresharedKey());
const key = (number: number) => encodeKey(Uint8Array.fromHex(hexKey(number)));

/** A gateway's file. Lines are 1 to 4, the client 5 to 8, then what is given. */
function file(rest: string, head = "Address = 10.9.0.1/24"): string {
  return `[Interface]\nPrivateKey = ${encodeKey(gatewayKey)}\n${head}\n\n` +
    `[Peer]\nPublicKey = ${clientPublic}\nPresharedKey = ${presharedKey}\n` +
    `AllowedIPs = 10.9.0.2/32\n${rest}`;
}

/** The gateway's figures as they are when they are looked at. */
function statsOf({ gateway }: ControlLab) {
  return {
    counters: () => gateway.stats().counters.udpForwarder!,
    resources: () => gateway.stats().resources,
  };
}

/** Sends every datagram back. */
async function udpEcho() {
  const socket = createSocket("udp4");
  const target = { port: 0, heard: 0 };
  socket.on("message", (bytes, from) => {
    target.heard++;
    socket.send(bytes, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  target.port = socket.address().port;
  return Object.assign(target, {
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => socket.close(() => resolve())),
  });
}

const PROXY = "[Proxy]\nSubnets = 10.50.0.0/16\nMap = 10.50.0.1 -> 127.0.0.1\n";

/** A client of the lab's gateway, and an echo behind it that the client is connected to. */
async function connected(lab: ControlLab) {
  const echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = (async () => {
    for await (const conn of echo) conn.readable.pipeTo(conn.writable).catch(() => {});
  })();
  const client = await startWirestack({
    interface: { privateKey: encodeKey(clientKey), address: "10.9.0.2/24" },
    peers: [{
      publicKey: encodeKey(publicKeyOf(gatewayKey)),
      presharedKey,
      allowedIps: ["10.0.0.0/8"],
      endpoint: `127.0.0.1:${lab.gateway.port}`,
    }],
  });
  const { port } = echo.addr as Deno.NetAddr;
  const conn = await client.connect({ hostname: "10.50.0.1", port });
  return {
    client,
    port,
    /** A round trip on the connection that was open from the start. */
    async ping(seed: number) {
      const sent = pattern(1000, seed);
      await conn.write(sent);
      const received = new Uint8Array(sent.length);
      for (let at = 0; at < sent.length;) {
        const length = await conn.read(received.subarray(at));
        assert.ok(length !== null, "the connection has ended");
        at += length;
      }
      assert.deepEqual(received, sent);
    },
    close: () => conn.close(),
    async [Symbol.asyncDispose]() {
      try {
        conn.close();
      } catch { /* the test has */ }
      await client.close();
      echo.close();
      await served;
    },
  };
}

Deno.test("a connection of a peer that stays survives a hundred reloads of everything else", async () => {
  await using lab = await ControlLab.start(file(PROXY));
  await using site = await connected(lab);
  const [peer] = lab.gateway.engine.device.peers();
  const handshake = peer!.lastHandshake;
  const keypair = peer!.keypairs.current;
  for (let i = 0; i < 100; i++) {
    const others = Array.from(
      { length: i % 5 },
      (_, j) =>
        `[Peer]\nPublicKey = ${key(10 + i + j)}\nAllowedIPs = 10.9.${i}.${j}/32\n` +
        `PersistentKeepalive = ${i}\n`,
    );
    lab.next = file(
      others.join("") +
        `${PROXY}Subnets = 10.${60 + i}.0.0/16\nUdpIdleTimeout = ${1 + i}\n`,
    );
    assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
    assert.equal([...lab.gateway.engine.device.peers()].length, 1 + others.length);
    await site.ping(i);
  }
  assert.equal(peer!.lastHandshake, handshake);
  assert.equal(peer!.keypairs.current, keypair);
});

Deno.test("limits of a peer come with a reload, hold for connections that are open, and go with another", async () => {
  await using lab = await ControlLab.start(file(PROXY));
  await using site = await connected(lab);
  const reload = async (limits: string) => {
    lab.next = file(PROXY).replace("AllowedIPs = 10.9.0.2/32", `$&\n${limits}`);
    assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  };
  const [flow] = lab.gateway.proxy.admission.table.flows();
  await site.ping(1);
  assert.deepEqual([flow!.up, flow!.down], [undefined, undefined]);
  await reload("RateDown = 8Mbit\nMaxTcpConnections = 1");
  await until(() => flow!.down !== undefined, "the rate applies");
  assert.deepEqual([flow!.up, flow!.owner.rates.down?.rate], [undefined, 8e6]);
  const before = flow!.owner.rates.down!.spent;
  await site.ping(2);
  assert.ok(flow!.owner.rates.down!.spent > before + 1_000, "it is counted");
  const open = () => site.client.connect({ hostname: "10.50.0.1", port: site.port });
  await assert.rejects(open(), Deno.errors.ConnectionRefused);
  assert.equal(lab.gateway.stats().counters.tcpForwarder!.overQuota, 1);
  await reload("RateDown = 16Mbit");
  assert.equal(flow!.owner.rates.down?.rate, 16e6);
  await site.ping(3);
  (await open()).close();
  await reload("");
  await until(() => flow!.down === undefined, "the rate is gone");
  await site.ping(4);
});

Deno.test("a subnet that goes ends its connections and takes no new ones, one that comes does", async () => {
  await using lab = await ControlLab.start(file(PROXY));
  await using site = await connected(lab);
  const open = (hostname: string) => site.client.connect({ hostname, port: site.port });
  lab.next = file(
    "[Proxy]\nSubnets = 10.60.0.0/16\nMap = 10.60.0.1 -> 127.0.0.1\nMaxTcpConnections = 2\n",
  );
  assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  await assert.rejects(site.ping(1), Deno.errors.ConnectionReset);
  const conns = [await open("10.60.0.1"), await open("10.60.0.1")];
  await assert.rejects(open("10.60.0.1"), Deno.errors.ConnectionRefused); // the new limit
  await assert.rejects(open("10.50.0.1"), Deno.errors.NetworkUnreachable);
  const { routes } = lab.gateway.engine.stack;
  assert.equal(routes.lookupAddress(parseIpAddress("10.50.0.1")!), undefined);
  assert.equal(lab.gateway.stats().counters.tcpForwarder!.revoked, 1);
  for (const conn of conns) conn.close();
});

Deno.test("a UDP session whose subnet and map go with a reload ends, while it is busy", async () => {
  await using lab = await ControlLab.start(file(PROXY));
  await using site = await connected(lab);
  await using target = await udpEcho();
  using socket = site.client.listenDatagram();
  const to = { transport: "udp", hostname: "10.50.0.1", port: target.port } as const;
  let received = 0;
  const receiving = (async () => {
    for await (const _ of socket) received++;
  })();
  const { counters, resources } = statsOf(lab);
  const busy = async (isOver: () => boolean) => {
    await until(() => {
      socket.send(pattern(100), to);
      return isOver();
    }, "the session is busy, or over");
  };
  await busy(() => received > 5);
  assert.deepEqual([counters().revoked, resources().udpSessions], [0, 1]);
  lab.next = file("[Proxy]\nSubnets = 10.60.0.0/16\n");
  const reloading = lab.ask("wirestack_reload=1\n\n");
  await busy(() => counters().revoked === 1);
  assert.match(await reloading, RELOADED);
  assert.equal(resources().udpSessions, 0);
  const noRoute = () => lab.gateway.stats().counters.ip.noRoute!;
  await busy(() => noRoute() > 0); // and what was under way has arrived
  const [{ heard }, before] = [target, noRoute()];
  await busy(() => noRoute() > before + 3);
  assert.equal(target.heard, heard, "nothing reaches the target any more");
  assert.equal(resources().udpSessions, 0);
  socket.close();
  await receiving;
});

Deno.test("keys, allowed IPs, keepalive and port change; the client's session goes on", async () => {
  await using lab = await ControlLab.start(file(PROXY));
  await using site = await connected(lab);
  const port = ownUdpPort();
  lab.next = file(
    PROXY + `[Peer]\nPublicKey = ${key(2)}\nEndpoint = 127.0.0.1:9\nAllowedIPs = 10.9.0.3\n`,
    `Address = 10.9.0.1/24\nListenPort = ${port}`,
  ).replace(
    "AllowedIPs = 10.9.0.2/32",
    "AllowedIPs = 10.9.0.2/32, 10.77.0.0/16\nPersistentKeepalive = 1",
  );
  assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  assert.equal(lab.gateway.port, port);
  // The gateway's keepalive tells the client where it is now.
  await until(
    () => site.client.stats().peers[0]!.endpoint === `127.0.0.1:${port}`,
    "the client follows to the new port",
  );
  await site.ping(1);
  assert.deepEqual(lab.gateway.stats().peers.map(({ allowedIps }) => allowedIps), [
    ["10.9.0.2/32", "10.77.0.0/16"],
    ["10.9.0.3/32"],
  ]);
});

Deno.test({
  name:
    "a socket on another port has its peers' link-local endpoints on the interface they were on",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const { config } = loadConfig({
      interface: { privateKey: encodeKey(gatewayKey) },
      peers: [{ publicKey: clientPublic, allowedIps: "10.9.0.2/32" }],
    });
    const gateway = await startGateway(config, { ffi: true });
    try {
      const { peers, udp } = gateway;
      const [peer] = gateway.engine.device.peers();
      peers.paths.setUdpOf(peer!, udp.endpoint(parseIpAddress("fe80::1")!, 51820, 3));
      const before = peer!.endpoint;
      gateway.listen({ listenPort: ownUdpPort() });
      const { endpoint } = peer!;
      assert.ok(endpoint instanceof UdpAddress && endpoint !== before);
      assert.deepEqual([`${endpoint}`, endpoint.scope], [`${before}`, 3]);
    } finally {
      await gateway.close();
    }
  },
});

Deno.test("what came by the control socket goes by a reload, and where a peer was heard stays", async () => {
  await using lab = await ControlLab.start(file(PROXY + "\n"));
  await using site = await connected(lab);
  await lab.ask(
    `set=1\npublic_key=${hexKey(5)}\nallowed_ip=10.9.0.5/32\n` +
      `public_key=${publicKeyOf(clientKey).toHex()}\npreshared_key=${hexKey(1)}\n` +
      "allowed_ip=10.9.0.6/32\npersistent_keepalive_interval=7\n\n",
  );
  const endpoint = lab.gateway.stats().peers[0]!.endpoint;
  assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  const [peer, ...others] = lab.gateway.stats().peers;
  assert.deepEqual(others, []);
  assert.deepEqual([peer!.allowedIps, peer!.persistentKeepalive], [["10.9.0.2/32"], 0]);
  assert.equal(peer!.endpoint, endpoint);
  assert.ok(
    (await lab.get()).includes(`preshared_key=${Uint8Array.fromBase64(presharedKey).toHex()}`),
  );
  await site.ping(1);
});

Deno.test("a prefix that two peers have stays the last one's through reloads", async () => {
  const two = `[Peer]\nPublicKey = ${key(2)}\nAllowedIPs = 10.9.0.2/32, 10.8.0.0/16\n`;
  await using lab = await ControlLab.start(file(two));
  const owners = () => lab.gateway.stats().peers.map(({ allowedIps }) => allowedIps);
  const expected = [[], ["10.9.0.2/32", "10.8.0.0/16"]];
  assert.deepEqual(owners(), expected);
  await lab.ask("wirestack_reload=1\n\n");
  assert.deepEqual(owners(), expected);
});

Deno.test("a bad file changes nothing and every problem is told", async () => {
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  await using lab = await ControlLab.start(file(PROXY));
  const before = await lab.ask("get=1\n\n");
  const subnets = JSON.stringify(lab.gateway.proxy.subnets());
  const bad = [
    [
      file("[Proxy]\nSubnets = x\nColour = red\n"),
      [
        'wg0.conf:10: Subnets: "x" is not an address or prefix, expected one such as ' +
        "10.9.0.0/24 or fd09::/64",
        "wg0.conf:11: Colour: unknown key, expected one that [Proxy] has (see docs/configuration.md)",
      ],
    ],
    [
      file(`[Peer]\nPublicKey = ${key(3)}\n`, `ListenPort = ${port}`),
      [`wg0.conf:3: ListenPort: port ${port} is in use, expected a free UDP port`],
    ],
  ] as const;
  try {
    for (const [text, problems] of bad) {
      lab.next = text;
      const answer = await lab.ask("wirestack_reload=1\n\n");
      const told = problems.map((problem) => `problem=${encodeURIComponent(problem)}\n`).join("");
      assert.equal(answer, `${told}errno=-22\n\n`);
      assert.equal(await lab.ask("get=1\n\n"), before);
      assert.equal(JSON.stringify(lab.gateway.proxy.subnets()), subnets);
    }
  } finally {
    taken.close();
  }
});

Deno.test("what cannot change while running is named, and the rest changes", async () => {
  await using lab = await ControlLab.start(file(PROXY));
  lab.next = file(
    `[Peer]\nPublicKey = ${key(3)}\n[Proxy]\nSubnets = 10.50.0.0/16\nInterface = nic1\n`,
    "Address = 10.8.0.1/24\nMTU = 1300\nPeerToPeer = true\nRekeyAfter = 60",
  );
  const answer = decodeURIComponent(await lab.ask("wirestack_reload=1\n\n"));
  const stays = "cannot change while running, expected a restart; it stays as it was";
  for (const name of ["3: Address", "4: MTU", "5: PeerToPeer", "6: RekeyAfter", "16: Interface"]) {
    assert.ok(answer.includes(`warning=wg0.conf:${name}: ${stays}\n`), `${name} in ${answer}`);
  }
  assert.match(answer, /errno=0\n\n$/);
  const { engine, proxy } = lab.gateway;
  assert.equal(engine.nic1.mtu, 1420);
  assert.deepEqual(proxy.subnets(), [{ prefix: "10.50.0.0/16", tcp: true, udp: true, icmp: true }]);
  assert.equal([...engine.device.peers()].length, 2);
});

Deno.test("a mark that the socket cannot have is an error with its line, and nothing changes", async () => {
  await using lab = await ControlLab.start(file(PROXY), undefined, undefined, false);
  const before = await lab.get();
  lab.next = file("PersistentKeepalive = 7\n", "FwMark = 0x2a\nListenPort = 0");
  const answer = decodeURIComponent(await lab.ask("wirestack_reload=1\n\n"));
  assert.equal(
    answer,
    "problem=wg0.conf:3: FwMark: cannot be set on Deno's sockets, expected 0 or off, or the flag " +
      "--ffi\nerrno=-22\n\n",
  );
  assert.deepEqual(await lab.get(), before);
  const config = { ...loadConfig(file(PROXY)).config, fwMark: 42 };
  await assert.rejects(
    startGateway(config, { ffi: false }),
    (error) => error instanceof SettingError && error.path[1] === "fwMark",
  );
});

Deno.test({
  name: "a reload sets the file's mark, changes it and takes it away, and the port stays",
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0,
  async fn() {
    await using lab = await ControlLab.start(file(PROXY), undefined, undefined, true);
    const { port } = lab.gateway;
    for (const [head, mark] of [["FwMark = 0x2a", 42], ["FwMark = 7", 7], ["", 0]] as const) {
      lab.next = file(PROXY, `Address = 10.9.0.1/24\n${head}`);
      assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
      assert.deepEqual([lab.gateway.fwMark, lab.gateway.port], [mark, port]);
    }
  },
});

Deno.test("another private key: the peers shake hands anew, and their connections go on", async () => {
  await using lab = await ControlLab.start(file(PROXY));
  await using site = await connected(lab);
  const [peer] = lab.gateway.engine.device.peers();
  const keypair = peer!.keypairs.current;
  const other = generatePrivateKey();
  lab.next = file(PROXY).replace(encodeKey(gatewayKey), encodeKey(other));
  assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  assert.deepEqual(lab.gateway.publicKey, publicKeyOf(other));
  // The client knows the first alone.
  lab.next = file(PROXY);
  assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  await site.ping(1);
  assert.notEqual(peer!.keypairs.current, keypair);
});

Deno.test("what a reload means to thousands of flows is done a few in each turn, to the last one", async () => {
  await using lab = await ControlLab.start(file(PROXY));
  const { table } = lab.gateway.proxy.admission;
  const address = parseIpAddress("10.50.0.1")!;
  const nobody = new FlowOwner(() => "a peer that is gone");
  for (let i = 0; i < 2_000; i++) {
    const flow = new Flow("udp", nobody, parseIpAddress("10.9.0.9")!, i, address, 2, 0);
    flow.carrier = {
      lastActivity: 0,
      inspect: () => flow,
      endFlow: (flow, why) => table.remove(flow, why),
      end: (why) => table.remove(flow, why),
    };
    table.add(flow);
  }
  let turn = 0;
  let isWatching = true;
  const watch = () => (turn++, isWatching && setImmediate(watch));
  watch();
  const ended = new Map<number, number>();
  table.observe({ ended: () => ended.set(turn, (ended.get(turn) ?? 0) + 1) });
  assert.match(await lab.ask("wirestack_reload=1\n\n"), RELOADED);
  await until(() => table.size === 0, "all are looked at");
  isWatching = false;
  assert.ok(Math.max(...ended.values()) < 2_000, `${[...ended.values()]}`);
});
