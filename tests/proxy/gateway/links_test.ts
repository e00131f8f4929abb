/** Links beside WireGuard, and instead of it, over real sockets. */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { type ConfigInput, loadConfig, SettingError } from "../../../proxy/config/config.ts";
import type { LinkInput } from "../../../proxy/config/input.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { headerLength, writeHeader } from "../../../proxy/link/framing.ts";
import { parse, udp } from "../../netstack/packets.ts";
import { listenOnBoth } from "../own_port.ts";
import { pattern, readAll, until } from "../pair.ts";
import { startGateway, startWirestack } from "../start.ts";
import { TempFolder } from "../../temp_folder.ts";

const PROXY = { subnets: ["10.50.0.0/16"], map: ["10.50.0.1 -> 127.0.0.1"] };

/** Echoes on loopback, of both kinds, on one port. */
function echoes() {
  const [tcp, datagrams] = listenOnBoth("127.0.0.1");
  const { port } = tcp.addr;
  const served = Promise.all([
    (async () => {
      for await (const conn of tcp) conn.readable.pipeTo(conn.writable).catch(() => {});
    })(),
    (async () => {
      for await (const [bytes, from] of datagrams) await datagrams.send(bytes, from);
    })(),
  ]);
  return {
    port,
    async [Symbol.asyncDispose]() {
      tcp.close();
      datagrams.close();
      await served;
    },
  };
}

/** A gateway without WireGuard, and where its link is. */
async function router(link: Partial<LinkInput> = {}, more: Partial<ConfigInput> = {}) {
  const net = await startWirestack({
    links: [{ name: "phone", listen: "tcp:127.0.0.1:0", framing: "length16", ...link }],
    proxy: PROXY,
    ...more,
  });
  return { net, place: linkOf(net).place! };
}

function linkOf(net: Wirestack, name = "phone") {
  return net.stats().links.find((link) => link.name === name)!;
}

/** A program with a stack of its own and nothing but a link. */
function program(place: string, link: Partial<LinkInput> = {}) {
  return startWirestack({
    interface: { address: "10.0.0.8/32" },
    links: [{
      name: "up",
      connect: place,
      prefixes: "0.0.0.0/0",
      ...(/^(tcp|unix):/.test(place) && { framing: "length16" as const }),
      ...link,
    }],
  });
}

async function assertEchoes(net: Wirestack, port: number, bytes = 300_000): Promise<void> {
  const sent = pattern(bytes, 7);
  using conn = await net.connect({ hostname: "10.50.0.1", port });
  const [received] = await Promise.all([
    readAll(conn),
    (async () => {
      for (let at = 0; at < sent.length;) at += await conn.write(sent.subarray(at));
      await conn.closeWrite();
    })(),
  ]);
  assert.deepEqual(received, sent);
  using socket = net.listenDatagram();
  await socket.send(sent.subarray(0, 1_000), {
    transport: "udp",
    hostname: "10.50.0.1",
    port,
  });
  const [answer] = await socket.receive();
  assert.deepEqual(answer, sent.subarray(0, 1_000));
}

for (const kind of ["tcp", "udp", "unix", "unixgram"] as const) {
  Deno.test(`over ${kind}: a program without WireGuard reaches TCP and UDP targets`, async () => {
    await using site = echoes();
    using temporary = new TempFolder();
    const folder = temporary.path;
    const isStream = kind === "tcp" || kind === "unix";
    const listen = kind.startsWith("unix") ? `${kind}:${folder}/phone.sock` : `${kind}:127.0.0.1:0`;
    const { net, place } = await router({
      listen,
      prefixes: "10.0.0.8/32",
      framing: isStream ? "length16" : "datagram",
    });
    const client = await program(place);
    await assertEchoes(client, site.port);
    const { state, connections, bytesIn, bytesOut, peer } = linkOf(net);
    assert.deepEqual([state, connections], ["connected", 1]);
    assert.ok(peer !== null);
    assert.ok(bytesIn > 300_000 && bytesOut > 300_000);
    // The last acknowledgement may be lost: the connection is there until it comes again.
    await until(() => net.flows("phone").length === 1, "the connection is over");
    const [flow] = net.flows("phone");
    assert.deepEqual([flow!.peer, flow!.protocol], ["phone", "udp"]);
    assert.deepEqual(net.flows("car"), []);
    if (kind.startsWith("unix")) {
      assert.equal((await Deno.stat(place.replace(/^\w+:/, ""))).mode! & 0o077, 0);
    }
    await client.close({ graceMs: 0 });
    await net.close({ graceMs: 0 });
    assert.deepEqual([...Deno.readDirSync(folder)], [], "no socket is left");
    await Deno.remove(folder);
  });
}

Deno.test("a link beside WireGuard: peers and what is behind it reach each other, if PeerToPeer says so", async () => {
  await using site = echoes();
  for (const peerToPeer of [true, false]) {
    const [key, clientKey] = [generatePrivateKey(), generatePrivateKey()];
    const gateway = await startWirestack({
      interface: { privateKey: encodeKey(key), address: "10.9.0.1/24", peerToPeer },
      peers: [{ publicKey: publicKeyOf(clientKey), name: "laptop", allowedIps: "10.9.0.2/32" }],
      links: [{
        name: "phone",
        listen: "tcp:127.0.0.1:0",
        framing: "length32",
        prefixes: "10.0.0.8/32",
      }],
      proxy: PROXY,
    });
    const laptop = await startWirestack({
      interface: { privateKey: encodeKey(clientKey), address: "10.9.0.2/24" },
      peers: [{
        publicKey: publicKeyOf(key),
        allowedIps: "10.0.0.0/8",
        endpoint: `127.0.0.1:${gateway.port}`,
      }],
    });
    const phone = await program(linkOf(gateway).place!, { framing: "length32" });
    await assertEchoes(phone, site.port, 10_000);
    await assertEchoes(laptop, site.port, 10_000);
    using listener = phone.listen({ port: 80 });
    const options = { hostname: "10.0.0.8", port: 80, timeoutMs: 60_000 };
    if (peerToPeer) {
      const [conn, accepted] = await Promise.all([laptop.connect(options), listener.accept()]);
      assert.deepEqual((accepted.remoteAddr as Deno.NetAddr).hostname, "10.9.0.2");
      conn.close();
      accepted.close();
    } else {
      await assert.rejects(laptop.connect(options), Deno.errors.NetworkUnreachable);
      assert.ok(gateway.stats().counters.ip.noRoute > 0);
    }
    for (const net of [phone, laptop, gateway]) await net.close({ graceMs: 0 });
  }
});

/** A bare client of a link, that frames by hand. */
async function bare(place: string) {
  const [kind, ...where] = place.split(":");
  const conn: Deno.Conn = kind === "unix"
    ? await Deno.connect({ transport: "unix", path: where.join(":") })
    : await Deno.connect({ hostname: "127.0.0.1", port: Number(where.at(-1)) });
  return {
    conn,
    async send(packet: Uint8Array) {
      const frame = new Uint8Array(headerLength("length16") + packet.length);
      writeHeader("length16", frame, 0, packet.length);
      frame.set(packet, 2);
      for (let at = 0; at < frame.length;) at += await conn.write(frame.subarray(at));
    },
    /** The next packet that comes back. */
    async next() {
      const buffer = new Uint8Array(70_000);
      let end = 0;
      const need = async (count: number) => {
        while (end < count) {
          const got = await conn.read(buffer.subarray(end, count));
          assert.ok(got !== null);
          end += got;
        }
      };
      await need(2);
      await need(2 + (buffer[0]! << 8 | buffer[1]!));
      return parse(buffer.slice(2, end));
    },
  };
}

Deno.test("sources outside of the prefixes, or routed elsewhere, are dropped and counted", async () => {
  await using site = echoes();
  const data = Uint8Array.of(1, 2, 3);
  {
    const { net, place } = await router({ prefixes: "10.0.0.0/30" });
    const client = await bare(place);
    for (const source of ["10.0.0.5", "10.50.0.9", "192.0.2.1"]) {
      await client.send(udp(source, 7, "10.50.0.1", site.port, data));
    }
    await client.send(udp("10.0.0.2", 8, "10.50.0.1", site.port, data));
    assert.equal((await client.next()).destination, "10.0.0.2");
    assert.equal(linkOf(net).drops.foreignSource, 3);
    assert.equal(linkOf(net).packetsIn, 4);
    client.conn.close();
    await net.close();
  }
  // A link without prefixes: anything but what belongs to another link.
  const { net, place } = await router({}, {
    links: [
      { name: "phone", listen: "tcp:127.0.0.1:0", framing: "length16" },
      { name: "car", listen: "udp:127.0.0.1:0", prefixes: "10.1.0.0/16" },
    ],
  });
  const client = await bare(place);
  await client.send(udp("10.1.0.5", 7, "10.50.0.1", site.port, data));
  await client.send(udp("10.50.0.77", 7, "10.50.0.1", site.port, data));
  assert.equal((await client.next()).destination, "10.50.0.77");
  assert.equal(linkOf(net).drops.foreignSource, 1);
  client.conn.close();
  await net.close();
});

Deno.test("what a link listens on is no target, whatever a map says", async () => {
  const { net, place } = await router({}, {
    proxy: { subnets: ["10.50.0.0/16"], map: ["10.50.0.1 -> 127.0.0.1"] },
  });
  const client = await program(place);
  const port = Number(place.split(":").at(-1));
  await assert.rejects(client.connect({ hostname: "10.50.0.1", port, timeoutMs: 5_000 }));
  assert.equal(linkOf(net).connections, 1);
  assert.equal(net.stats().counters.tcpForwarder.connected, 0);
  await client.close({ graceMs: 0 });
  await net.close();
});

Deno.test("a reload adds, changes and removes links; what stays keeps its other side and connections", async () => {
  await using site = echoes();
  const phone = { name: "phone", listen: "tcp:127.0.0.1:0", framing: "length16" } as const;
  const { net, place } = await router();
  const client = await program(place);
  using conn = await client.connect({ hostname: "10.50.0.1", port: site.port });
  const ping = async () => {
    await conn.write(Uint8Array.of(42));
    assert.equal(await conn.read(new Uint8Array(9)), 1);
  };
  await ping();
  const car = { name: "car", listen: "udp:127.0.0.1:0", prefixes: "10.1.0.0/16" };
  const reload = async (links: readonly LinkInput[]) =>
    (await net.reload({ links, proxy: PROXY })).links;
  assert.deepEqual(await reload([phone, car]), ["link car: added"]);
  await until(() => linkOf(net, "car").state === "listening", "the car's link is open");
  await ping();
  assert.deepEqual(await reload([phone, { ...car, prefixes: "10.2.0.0/16" }]), [
    "link car: changed",
  ]);
  await until(() => linkOf(net, "car").prefixes[0] === "10.2.0.0/16", "it has changed");
  await until(() => linkOf(net, "car").state === "listening", "and is open again");
  await ping();
  assert.equal(linkOf(net).connections, 1);
  assert.deepEqual(await reload([phone]), ["link car: removed"]);
  await ping();
  // Of one that cannot be opened the rest hears nothing.
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const other = { ...phone, name: "other", listen: `tcp:127.0.0.1:${port}` };
  assert.deepEqual(await reload([phone, other]), ["link other: added"]);
  await until(() => linkOf(net, "other").lastEnd !== null, "it is refused");
  assert.match(linkOf(net, "other").lastEnd!, /^port \d+ is in use, expected a free one$/);
  assert.equal(linkOf(net, "other").state, "closed");
  taken.close();
  await ping();
  assert.deepEqual(await reload([]), ["link phone: removed", "link other: removed"]);
  await until(() => net.stats().resources.tcpRelays === 0, "its connections are gone");
  await client.close({ graceMs: 0 });
  await net.close();
});

Deno.test("WireGuard neither begins nor ends by a reload", async () => {
  const { net } = await router();
  const privateKey = encodeKey(generatePrivateKey());
  const { warnings } = await net.reload({ interface: { privateKey } });
  assert.deepEqual(warnings, [
    "interface.privateKey: WireGuard cannot begin while running, expected a restart",
  ]);
  assert.equal(net.stats().publicKey, null);
  await net.close();
});

Deno.test("what the system refuses a link is said with its place, and nothing is left open", async () => {
  const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  using folder = new TempFolder();
  const path = `${folder.path}/sock`;
  const held = Deno.listen({ transport: "unix", path });
  const cases: readonly (readonly [listen: string, message: RegExp])[] = [
    [`tcp:127.0.0.1:${port}`, /^port \d+ is in use, expected a free one$/],
    ["tcp:192.0.2.7:1", /^192\.0\.2\.7 is not an address of this host, expected one that is$/],
    [`unix:${path}`, /is another process's, expected another path$/],
    [`unix:${folder.path}/none/sock`, /none\/sock: its folder is not there, expected one that is$/],
  ];
  for (const [listen, message] of cases) {
    const { config } = loadConfig({
      links: [
        { name: "first", listen: "tcp:127.0.0.1:0", framing: "length16" },
        { name: "phone", listen, framing: "length16" },
      ],
    });
    await assert.rejects(startGateway(config), (error) => {
      assert.ok(error instanceof SettingError);
      assert.deepEqual(error.path, ["links", 1, "listen"]);
      assert.match(error.message, message);
      return true;
    });
  }
  taken.close();
  held.close();
});

for (const kind of ["tcp", "unix"] as const) {
  Deno.test(`over ${kind}: whatever one link's other side does, the others hear nothing of it`, async () => {
    await using site = echoes();
    using folder = new TempFolder();
    const listen = (name: string) =>
      kind === "unix" ? `unix:${folder.path}/${name}.sock` : "tcp:127.0.0.1:0";
    const bad = { name: "bad", listen: listen("bad"), framing: "length16" } as const;
    const worse = { name: "worse", listen: listen("worse"), framing: "length32" } as const;
    const { net, place } = await router({}, {
      links: [
        { name: "phone", listen: "tcp:127.0.0.1:0", framing: "length16", prefixes: "10.0.0.8/32" },
        { ...bad, prefixes: "10.6.0.0/16" },
        { ...worse, prefixes: "10.7.0.0/16" },
      ],
    });
    const client = await program(place);
    const good = async () => {
      const started = performance.now();
      await assertEchoes(client, site.port, 100_000);
      return performance.now() - started;
    };
    await good();
    // Never reads what it has asked for: three megabytes of answers.
    const deaf = await bare(linkOf(net, "bad").place!);
    for (let i = 0; i < 2_000; i++) {
      await deaf.send(udp("10.6.0.1", 7, "10.50.0.1", site.port, new Uint8Array(1_400)));
    }
    await good();
    const { noBuffer } = net.stats().counters.ip;
    const { full, stalled } = linkOf(net, "bad").drops;
    assert.equal(linkOf(net, "bad").packetsIn, 2_000);
    assert.ok(noBuffer + full! + stalled! > 0 || linkOf(net, "bad").packetsOut < 2_000);
    deaf.conn.close();
    await until(() => linkOf(net, "bad").state === "listening", "it is gone");
    // Half a frame, then the end; frames of 0 and 65,535; garbage until it is closed.
    const half = await bare(linkOf(net, "bad").place!);
    await half.conn.write(Uint8Array.of(5, 0xdc, 0x45, 0));
    half.conn.close();
    await until(() => /into a frame/.test(linkOf(net, "bad").lastEnd ?? ""), "half a frame");
    const odd = await bare(linkOf(net, "bad").place!);
    await odd.send(new Uint8Array(0));
    await odd.send(new Uint8Array(65_535).fill(0x45));
    await odd.send(udp("10.6.0.1", 9, "10.50.0.1", site.port, Uint8Array.of(1)));
    assert.equal((await odd.next()).destination, "10.6.0.1");
    const { drops } = linkOf(net, "bad");
    assert.deepEqual([drops.empty, drops.tooBig], [1, 1]);
    // @ts-expect-error: figures are typed one by one, by reason too
    assert.equal(drops.nonsense, undefined);
    for (let i = 0; i < 16; i++) await odd.send(new Uint8Array(50));
    assert.equal(await odd.conn.read(new Uint8Array(1)).catch(() => null), null);
    assert.match(linkOf(net, "bad").lastEnd!, /no IP packet: is Framing right\?/);
    odd.conn.close();
    const garbage = await bare(linkOf(net, "worse").place!);
    await garbage.conn.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
    assert.equal(await garbage.conn.read(new Uint8Array(1)).catch(() => null), null);
    assert.match(linkOf(net, "worse").lastEnd!, /^a frame of 1195725856 bytes/);
    garbage.conn.close();
    await good();
    assert.equal(linkOf(net).connections, 1);
    assert.equal(net.stats().counters.engine.faults, 0);
    await client.close({ graceMs: 0 });
    await net.close({ graceMs: 0 });
  });
}

Deno.test("over udp: garbage and what is too large are counted, a program that never reads holds up nobody", async () => {
  await using site = echoes();
  const { net, place } = await router({}, {
    links: [
      { name: "phone", listen: "tcp:127.0.0.1:0", framing: "length16", prefixes: "10.0.0.8/32" },
      { name: "bad", listen: "udp:127.0.0.1:0", prefixes: "10.6.0.0/16" },
    ],
  });
  const client = await program(place);
  const odd = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const [, hostname, port] = linkOf(net, "bad").place!.split(":");
  const to = { transport: "udp", hostname: hostname!, port: Number(port) } as const;
  const send = (bytes: Uint8Array) => odd.send(bytes, to);
  const sound = (data: Uint8Array) => udp("10.6.0.1", 7, "10.50.0.1", site.port, data);
  await send(sound(Uint8Array.of(1)));
  const [first] = await odd.receive();
  assert.equal(parse(first).destination, "10.6.0.1");

  await send(new Uint8Array(0));
  await send(new Uint8Array(65_000).fill(0x45));
  await send(new TextEncoder().encode("GET / HTTP/1.1"));
  await send(new Uint8Array(1));
  await send(sound(new Uint8Array(1_000)).subarray(0, 500)); // half of a packet
  const refused = () => {
    const { empty, tooBig, notIp } = linkOf(net, "bad").drops;
    return [empty, tooBig, notIp].join();
  };
  await until(() => refused() === "1,1,2", "all of it is counted");
  // Half a packet is one by its first byte: the stack knows better.
  await until(() => net.stats().counters.ip.malformed === 1, "which is no packet");

  // Asks for more than its socket holds, and takes nothing of it.
  const { packetsIn } = linkOf(net, "bad");
  for (let i = 0; i < 2_000; i++) {
    await send(sound(new Uint8Array(1_400)));
    if (i % 10 === 0) {
      await until(() => linkOf(net, "bad").packetsIn > packetsIn + i - 100, "not lost on the way");
    }
  }
  await assertEchoes(client, site.port, 100_000);
  assert.equal(linkOf(net, "bad").state, "connected");
  assert.equal(linkOf(net).connections, 1);
  assert.equal(net.stats().counters.engine.faults, 0);
  odd.close();
  await client.close({ graceMs: 0 });
  await net.close({ graceMs: 0 });
});
