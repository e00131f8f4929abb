import { alone } from "../../alone.ts";
import assert from "node:assert/strict";
import { MESSAGE_BYTES, openUdpLibc, ReceiveRing, SendBatch, UdpSocket } from "../../../ffi/mod.ts";
import type { UdpFiltering } from "../../../proxy/config/config.ts";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { portAt } from "../../../proxy/target/address.ts";
import { type PairOptions, pattern, SITE, SITE_IPV6, startPair, until } from "../pair.ts";
import { ownUdpPort } from "../own_port.ts";
import { within } from "../until.ts";
import { tries } from "../../tries.ts";

/** A UDP socket of this host that answers each datagram with the same bytes, or as told. */
function echo(hostname: string, answer?: (bytes: Uint8Array, from: Deno.NetAddr) => Uint8Array) {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const heard: Deno.NetAddr[] = [];
  const running = (async () => {
    const buffer = new Uint8Array(65536);
    try {
      for (;;) {
        const [bytes, from] = await socket.receive(buffer);
        heard.push(from as Deno.NetAddr);
        await socket.send(answer?.(bytes, from as Deno.NetAddr) ?? bytes, from);
      }
    } catch {
      // closed
    }
  })();
  return {
    port: (socket.addr as Deno.NetAddr).port,
    /** Where the datagrams came from. */
    heard,
    socket,
    async [Symbol.asyncDispose]() {
      socket.close();
      await running;
    },
  };
}

const to = (hostname: string, port: number): Deno.NetAddr => ({ transport: "udp", hostname, port });

for (
  const [family, hostname, target] of [["IPv4", "127.0.0.1", SITE], ["IPv6", "::1", SITE_IPV6]]
) {
  Deno.test(`datagrams of 1 to 65,507 bytes come back as they went, ${family}`, async () => {
    await using pair = await startPair();
    await using server = echo(hostname!);
    using socket = pair.client.listenDatagram();
    for (const size of [1, 2, 512, 1372, 1373, 1392, 1393, 2049, 8000, 65_507]) {
      const sent = pattern(size, size);
      await socket.send(sent, to(target!, server.port));
      const [bytes, from] = await socket.receive();
      assert.deepEqual(bytes, sent, `${size} bytes`);
      assert.deepEqual(from, to(target!, server.port));
    }
    assert.equal(pair.gateway.stats().counters.udpForwarder!.sessions, 1);
  });
}

Deno.test("an empty datagram is one", async () => {
  await using pair = await startPair();
  await using server = echo("127.0.0.1");
  using socket = pair.client.listenDatagram();
  await socket.send(new Uint8Array(0), to(SITE, server.port));
  assert.equal((await socket.receive())[0].length, 0);
});

Deno.test("a client's port is one port to every target, another port another", async () => {
  await using pair = await startPair();
  await using one = echo("127.0.0.1");
  await using two = echo("127.0.0.1");
  using a = pair.client.listenDatagram();
  using b = pair.client.listenDatagram();
  for (const [socket, server] of [[a, one], [a, two], [b, one]] as const) {
    await socket.send(pattern(10), to(SITE, server.port));
    await socket.receive();
  }
  assert.equal(one.heard[0]!.port, two.heard[0]!.port);
  assert.notEqual(one.heard[0]!.port, one.heard[1]!.port);
});

Deno.test("replies never reach another client, nor one that has sent nothing there", async () => {
  // Loopback's addresses are several hosts here.
  await using pair = await startPair({
    proxy: { map: [`${SITE} -> 127.0.0.1`, "10.50.0.2 -> 127.0.0.2"] },
  });
  await using asked = echo("127.0.0.1");
  await using stranger = echo("127.0.0.2");
  using a = pair.client.listenDatagram();
  using b = pair.client.listenDatagram();
  await a.send(pattern(10), to(SITE, asked.port));
  await a.receive();
  await b.send(pattern(10), to("10.50.0.2", stranger.port));
  await b.receive();
  // The stranger knows a's port on the gateway, and was not asked by a.
  await stranger.socket.send(pattern(20), asked.heard[0]!);
  const filtered = () => pair.gateway.stats().counters.udpForwarder!.filtered === 1;
  await until(filtered, "the stranger's datagram is counted");
  await a.send(pattern(30), to(SITE, asked.port));
  assert.equal((await a.receive())[0].length, 30);
  assert.equal(b.dropped + a.dropped, 0);
});

/** Sends from another socket of the server's, and from another address, to who has asked it. */
async function answers(udpFiltering: UdpFiltering | undefined) {
  const maps = [`${SITE} -> 127.0.0.1`, "10.50.0.2 -> 127.0.0.2"];
  await using pair = await startPair({
    proxy: { map: maps, ...(udpFiltering && { udpFiltering }) },
  });
  await using server = echo("127.0.0.1");
  await using otherPort = echo("127.0.0.1");
  await using otherAddress = echo("127.0.0.2");
  await using unmapped = echo("127.0.0.3");
  using socket = pair.client.listenDatagram();
  await socket.send(pattern(10), to(SITE, server.port));
  await socket.receive();
  const client = server.heard[0]!;
  for (const sender of [unmapped, otherAddress, otherPort]) {
    await sender.socket.send(pattern(20), client);
  }
  await server.socket.send(pattern(30), client); // last, on a queue that keeps the order
  const heard: string[] = [];
  for (let length = 0; length !== 30;) {
    const [bytes, { hostname, port }] = await socket.receive();
    length = bytes.length;
    const names = new Map([
      [server.port, "server"],
      [otherPort.port, "other port"],
      [otherAddress.port, "other address"],
    ]);
    heard.push(`${hostname} ${names.get(port)}`);
  }
  return { heard, filtered: pair.gateway.stats().counters.udpForwarder!.filtered };
}

Deno.test("an answer from another port of the target arrives with that port, as from TFTP servers", async () => {
  const expected = { heard: [`${SITE} other port`, `${SITE} server`], filtered: 2 };
  assert.deepEqual(await answers(undefined), expected);
  assert.deepEqual(await answers("address"), expected);
});

Deno.test("UdpFiltering = address-port: only an address and port that was sent to may answer", async () => {
  assert.deepEqual(await answers("address-port"), { heard: [`${SITE} server`], filtered: 3 });
});

Deno.test("UdpFiltering = endpoint: any target that a client may reach may send to it first", async () => {
  const heard = ["10.50.0.2 other address", `${SITE} other port`, `${SITE} server`];
  assert.deepEqual(await answers("endpoint"), { heard, filtered: 1 });
});

Deno.test("a peer with few sessions gets one from the peer that has most, and nobody else loses any", async () => {
  const keys = Array.from({ length: 3 }, generatePrivateKey);
  const publicKeys = keys.map((key) => encodeKey(publicKeyOf(key)));
  await using server = echo("127.0.0.1");
  await using gateway = await Wirestack.start({
    interface: { privateKey: encodeKey(keys[0]!), address: "10.9.0.1/24" },
    peers: [1, 2].map((i) => ({ publicKey: publicKeys[i]!, allowedIps: `10.9.${i}.0/24` })),
    proxy: { subnets: "10.50.0.0/16", map: `${SITE} -> 127.0.0.1`, maxUdpSessions: 4 },
  });
  const client = (i: number) =>
    Wirestack.start({
      interface: { privateKey: encodeKey(keys[i]!), address: `10.9.${i}.2/16` },
      peers: [{
        publicKey: publicKeys[0]!,
        allowedIps: "0.0.0.0/0",
        endpoint: `127.0.0.1:${gateway.port}`,
      }],
    });
  await using greedy = await client(1);
  await using modest = await client(2);
  const heard = async (socket: ReturnType<Wirestack["listenDatagram"]>) => {
    await socket.send(pattern(4), to(SITE, server.port));
    await socket.receive();
    return server.heard.at(-1)!.port;
  };
  const open = async (net: Wirestack) => {
    const socket = net.listenDatagram();
    return { socket, port: await heard(socket) };
  };
  const many = [await open(greedy), await open(greedy), await open(greedy), await open(greedy)];
  const [one, two] = [await open(modest), await open(modest)];
  await open(greedy); // loses one of its own
  assert.equal(await heard(one.socket), one.port);
  assert.equal(await heard(two.socket), two.port);
  assert.equal(gateway.stats().counters.udpForwarder!.evicted, 3);
  assert.notEqual(await heard(many[0]!.socket), many[0]!.port);
});

Deno.test("a session whose map goes ends, while it is busy", async () => {
  await using pair = await startPair();
  await using server = echo("127.0.0.1");
  using socket = pair.client.listenDatagram();
  await socket.send(pattern(10), to(SITE, server.port));
  await socket.receive();
  pair.gateway.disableProxyOnSubnet(["10.50.0.0/16"]);
  const { counters, resources } = pair.gateway.stats();
  assert.deepEqual([counters.udpForwarder!.revoked, resources.udpSessions], [1, 0]);
  for (let i = 0; i < 3; i++) await socket.send(pattern(20), to(SITE, server.port));
  await until(() => pair.gateway.stats().counters.ip!.noRoute === 3, "nothing leads there");
  assert.equal(server.heard.length, 1);
});

Deno.test("a session ends after its idle time, sooner if it talked to name servers alone", () =>
  tries(5, async () => {
    await using pair = await startPair({ proxy: { udpIdleTimeout: 3, udpDnsIdleTimeout: 0.1 } });
    await using server = echo("127.0.0.1");
    using socket = pair.client.listenDatagram();
    using dns = pair.client.listenDatagram();
    // A machine that has others to serve may let a session end before its answer is read.
    const answer = async () => (await within(socket.receive(), "an answer", 10_000))[0];
    await socket.send(pattern(1), to(SITE, server.port));
    await answer();
    await dns.send(pattern(1), to("10.50.7.7", 53)); // nobody answers
    const sessions = () => pair.gateway.stats().resources.udpSessions;
    const idle = () => pair.gateway.stats().counters.udpForwarder!.idle!;
    await until(
      () => idle() === 1 && sessions() === 1,
      "the name server's session has ended",
      10_000,
    );
    await socket.send(pattern(2), to(SITE, server.port));
    assert.equal((await answer()).length, 2);
    await until(() => sessions() === 0, "the other has ended");
    assert.equal(idle(), 2);
    await socket.send(pattern(3), to(SITE, server.port)); // and a new one begins
    assert.equal((await answer()).length, 3);
  }));

Deno.test("beyond the limit the idlest session is given up", async () => {
  await using pair = await startPair({ proxy: { maxUdpSessions: 2 } });
  await using server = echo("127.0.0.1");
  const sockets = [1, 2, 3].map(() => pair.client.listenDatagram());
  const ask = async (i: number) => {
    await sockets[i]!.send(pattern(4), to(SITE, server.port));
    await sockets[i]!.receive();
  };
  await ask(0);
  await ask(1);
  await ask(0); // now 1 is the idlest
  await ask(2);
  const port = server.heard[0]!.port;
  await ask(0);
  assert.equal(server.heard.at(-1)!.port, port, "0 kept its session");
  const { resources, counters } = pair.gateway.stats();
  assert.equal(resources.udpSessions, 2);
  assert.equal(counters.udpForwarder!.evicted, 1);
  for (const socket of sockets) socket.close();
});

Deno.test("the gateway's own WireGuard socket is no target: a tunnel into itself would never rest", async () => {
  await using pair = await startPair();
  using socket = pair.client.listenDatagram();
  await socket.send(pattern(148), to(SITE, pair.gateway.port));
  const stats = () => pair.gateway.stats().counters.udpForwarder!;
  await until(() => stats().forbidden === 1, "it is refused");
  assert.equal(stats().sessions, 0);
});

Deno.test("refused targets get no socket", async () => {
  await using pair = await startPair({ proxy: { subnets: ["0.0.0.0/0", "::/0"] } });
  using socket = pair.client.listenDatagram();
  for (const hostname of ["169.254.169.254", "64:ff9b::7f00:1", "100.100.100.200"]) {
    await socket.send(pattern(5), to(hostname, 53));
  }
  const stats = () => pair.gateway.stats();
  await until(() => stats().counters.udpForwarder!.forbidden === 3, "all are refused");
  assert.equal(stats().resources.udpSessions, 0);
  assert.equal(stats().resources.udpFlows, 0);
});

for (const protocols of ["tcp", "udp"] as const) {
  Deno.test(`Protocols = ${protocols}: the other is refused`, async () => {
    const options: PairOptions = { proxy: { protocols } };
    await using pair = await startPair(options);
    await using server = echo("127.0.0.1");
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using socket = pair.client.listenDatagram();
    await socket.send(pattern(6), to(SITE, server.port));
    const connecting = pair.client.connect({ hostname: SITE, port: listener.addr.port });
    const { counters } = pair.gateway.stats();
    if (protocols === "tcp") {
      (await connecting).close();
      await until(
        () => pair.gateway.stats().counters.udpForwarder!.forbidden === 1,
        "the datagram is refused",
      );
      assert.equal(counters.tcpForwarder!.forbidden, 0);
    } else {
      await assert.rejects(connecting, Deno.errors.ConnectionRefused);
      assert.equal((await socket.receive())[0].length, 6);
      assert.ok(pair.gateway.stats().counters.tcpForwarder!.forbidden! >= 1); // asked again, if late
    }
  });
}

/** What a gateway gives without FFI and with it. */
function gatewayTest(
  name: string,
  kinds: readonly boolean[],
  use: (ffi: boolean, t: Deno.TestContext) => Promise<void>,
) {
  for (const ffi of kinds) {
    if (ffi && Deno.build.os !== "linux") continue;
    Deno.test(`${ffi ? "with" : "without"} FFI, ${name}`, (t) => use(ffi, t));
  }
}

gatewayTest(
  "a target's burst of 10,000 datagrams reaches the client whole",
  [true],
  async (ffi) => {
    const count = 10_000;
    await using pair = await startPair({ gateway: { ffi }, client: { ffi } });
    const libc = openUdpLibc();
    const server = new UdpSocket(libc, { hostname: "127.0.0.1", port: 0 });
    using socket = pair.client.listenDatagram();
    await socket.send(pattern(1), to(SITE, server.address.port));
    const ring = new ReceiveRing(libc, new Uint8Array(MESSAGE_BYTES));
    await until(() => ring.fill(server.fd) > 0 && ring.next(), "the client's datagram");
    const port = portAt(ring.senders, ring.sender);
    const times = new Uint8Array(count);
    const reading = (async () => {
      for (let i = 0; i < count; i++) {
        const [bytes] = await socket.receive();
        times[new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)]!++;
      }
    })();
    // All at once: nothing of the gateway's runs meanwhile.
    const memory = new Uint8Array(count * 4);
    const batch = new SendBatch(libc, memory, count, false);
    const sockaddr = Uint8Array.of(2, 0, port >> 8, port, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    const destination = { sockaddr, segmentLimit: Infinity };
    for (let i = 0; i < count; i++) {
      new DataView(memory.buffer).setUint32(4 * i, i);
      batch.push(destination, 4 * i, 4);
    }
    assert.ok(batch.flush(server.fd, (_offset, _length, errno) => assert.equal(errno, 0)));
    server.close();
    libc.close();
    await reading;
    assert.ok(times.every((n) => n === 1), "each once");
    const { udpForwarder } = pair.gateway.stats().counters;
    assert.equal(udpForwarder!.datagramsDown, count);
    assert.equal(udpForwarder!.noRoom, 0);
  },
);

for (
  const [family, target, hostname] of [["IPv4", SITE, "127.0.0.1"], ["IPv6", SITE_IPV6, "::1"]]
) {
  gatewayTest(`a closed port is reported to the client, ${family}`, [true], async (ffi) => {
    await using pair = await startPair({ gateway: { ffi } });
    await using server = echo(hostname!);
    using socket = pair.client.listenDatagram();
    const port = ownUdpPort();
    await socket.send(pattern(10), to(target!, server.port));
    await socket.receive();
    for (let i = 1; i <= 3; i++) {
      await socket.send(pattern(10), to(target!, port));
      const errors = () => pair.client.stats().counters.icmp!.errorsReceived;
      await until(() => errors() === i, "ICMP tells the client");
    }
    assert.equal(pair.gateway.stats().counters.udpForwarder!.reports, 3);
    // RFC 4787 §9: that ends nothing.
    await socket.send(pattern(20), to(target!, server.port));
    assert.deepEqual((await socket.receive())[0], pattern(20));
    assert.equal(server.heard[0]!.port, server.heard[1]!.port);
    assert.equal(pair.gateway.stats().counters.udpForwarder!.sessions, 1);
  });
}

gatewayTest(
  "many sessions work side by side, and leave nothing behind",
  [false, true],
  (ffi, t) =>
    alone(t, async () => {
      const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
      const before = Deno.build.os === "linux" ? descriptors() : 0;
      {
        await using pair = await startPair({ gateway: { ffi } });
        await using server = echo("127.0.0.1");
        const sockets = Array.from({ length: 300 }, () => pair.client.listenDatagram());
        for (let start = 0; start < sockets.length; start += 50) {
          const some = sockets.slice(start, start + 50);
          await Promise.all(some.map(async (socket, i) => {
            await socket.send(pattern(50, start + i + 1), to(SITE, server.port));
            assert.deepEqual((await socket.receive())[0], pattern(50, start + i + 1));
          }));
        }
        assert.equal(pair.gateway.stats().resources.udpSessions, 300);
        // What is on its way when everything ends.
        for (const socket of sockets) await socket.send(pattern(60), to(SITE, server.port));
        await pair.gateway.close();
        for (const socket of sockets) socket.close();
      }
      if (Deno.build.os === "linux") await until(() => descriptors() <= before, "all are closed");
    }),
);
