/** `Nat` of a link, over real sockets: two links through one gateway without WireGuard. */

import assert from "node:assert/strict";
import { ConfigError, type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";
import type { LinkInput } from "../../../proxy/config/input.ts";
import type { Wirestack } from "../../../proxy/embed/wirestack.ts";
import { advise } from "../../../proxy/gateway/advice.ts";
import { ends } from "../../netstack/nat/lab.ts";
import { parse } from "../../netstack/packets.ts";
import { readPcapng } from "../capture/pcapng_reader.ts";
import { pattern, readAll, until } from "../pair.ts";
import { startWirestack } from "../start.ts";

const LISTEN = { listen: "tcp:127.0.0.1:0", framing: "length16" } as const;

function linkOf(net: Wirestack, name: string) {
  return net.stats().links.find((link) => link.name === name)!;
}

/** A program with a stack of its own and nothing but a link. */
async function program(gateway: Wirestack, name: string, address: string): Promise<Wirestack> {
  const net = await startWirestack({
    interface: { address },
    links: [{
      name: "up",
      connect: linkOf(gateway, name).place!,
      framing: "length16",
      prefixes: "0.0.0.0/0",
    }],
  });
  await until(() => linkOf(gateway, name).state === "connected", `${name} has come`);
  return net;
}

/** A phone behind a NAT of 10.0.1.1, and a car, each with a link of one gateway. */
async function phoneAndCar(nat: Partial<LinkInput>) {
  const phoneLink = { name: "phone", ...LISTEN, prefixes: "10.0.0.8/32", nat: "10.0.1.1", ...nat };
  const gateway = await startWirestack({
    interface: { peerToPeer: true },
    links: [phoneLink, { name: "car", ...LISTEN, prefixes: "10.0.0.9/32" }],
  });
  const phone = await program(gateway, "phone", "10.0.0.8/32");
  const car = await program(gateway, "car", "10.0.0.9/32");
  return { gateway, phone, car };
}

Deno.test("two links through one gateway: the phone appears as its NAT's address, and reaches itself by it", async () => {
  const { gateway, phone, car } = await phoneAndCar({ natFiltering: "endpoint" });

  const sent = pattern(200_000, 3);
  using listener = car.listen({ port: 80 });
  const [conn, accepted] = await Promise.all([
    phone.connect({ hostname: "10.0.0.9", port: 80 }),
    listener.accept(),
  ]);
  assert.equal((accepted.remoteAddr as Deno.NetAddr).hostname, "10.0.1.1");
  const [received] = await Promise.all([
    readAll(conn),
    (async () => {
      for (let at = 0; at < sent.length;) at += await accepted.write(sent.subarray(at));
      await accepted.closeWrite();
    })(),
  ]);
  assert.deepEqual(received, sent);
  conn.close();
  accepted.close();

  // What the phone's other socket is reached by, from beyond and from itself.
  using first = phone.listenDatagram({ port: 6000 });
  using second = phone.listenDatagram({ port: 7000 });
  using beyond = car.listenDatagram({ port: 53 });
  await first.send(Uint8Array.of(1), { transport: "udp", hostname: "10.0.0.9", port: 53 });
  const [, source] = await beyond.receive();
  assert.deepEqual(source, { transport: "udp", hostname: "10.0.1.1", port: 6000 });
  await second.send(Uint8Array.of(2), { transport: "udp", hostname: "10.0.1.1", port: 6000 });
  const [hairpinned, by] = await first.receive();
  assert.deepEqual([...hairpinned], [2]);
  assert.deepEqual(by, { transport: "udp", hostname: "10.0.1.1", port: 7000 });

  await assert.rejects(
    car.connect({ hostname: "10.0.0.8", port: 80, timeoutMs: 500 }),
    Deno.errors.TimedOut,
    "the phone's own address is nobody's beyond its NAT",
  );
  const { nat } = linkOf(gateway, "phone");
  assert.deepEqual(nat!.addresses, ["10.0.1.1"]);
  assert.equal(nat!.mappings, 3);
  assert.ok(nat!.counters.hairpinned === 1 && nat!.counters.direct > 0);
  assert.equal(linkOf(gateway, "car").nat, null);
  const { counters, resources } = gateway.stats();
  assert.equal(counters.nat.direct, nat!.counters.direct);
  assert.equal(resources.natMappings, 3);
  for (const net of [phone, car, gateway]) await net.close({ graceMs: 0 });
});

Deno.test("a capture shows a packet before the NAT at one link and after it at the other, both ways, once each", async () => {
  const { gateway, phone, car } = await phoneAndCar({ natPorts: "20000-20000" });
  const ending = new AbortController();
  const capture = gateway.capture({
    at: ["link:phone", "link:car"],
    filter: "udp",
    signal: ending.signal,
  });
  const file = new Response(capture.pcapng).bytes();
  using asking = phone.listenDatagram({ port: 6000 });
  using answering = car.listenDatagram({ port: 53 });
  await asking.send(Uint8Array.of(1), { transport: "udp", hostname: "10.0.0.9", port: 53 });
  const [, from] = await answering.receive();
  await answering.send(Uint8Array.of(2), from);
  await asking.receive();
  ending.abort();
  const { packets } = readPcapng(await file);
  assert.deepEqual(
    packets.map(({ at, direction, data }) => {
      const packet = parse(data);
      return `${at} ${direction}: ${ends(packet)}, ${packet.payload.at(-1)}`;
    }),
    [
      "link:phone in: 10.0.0.8:6000 > 10.0.0.9:53, 1",
      "link:car out: 10.0.1.1:20000 > 10.0.0.9:53, 1",
      "link:car in: 10.0.0.9:53 > 10.0.1.1:20000, 2",
      "link:phone out: 10.0.0.9:53 > 10.0.0.8:6000, 2",
    ],
  );
  for (const net of [phone, car, gateway]) await net.close({ graceMs: 0 });
});

Deno.test("addLink of the module takes a NAT, and says what is wrong with one", async () => {
  const net = await startWirestack({ interface: { address: "10.9.0.1/24" }, links: [] });
  const streams = () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    return { readable, writable };
  };
  const link = net.addLink({ ...streams(), nat: ["10.0.1.1", "fd00::1"], natPorts: "20000-20999" });
  assert.deepEqual(link.stats()!.nat!.addresses, ["10.0.1.1", "fd00::1"]);
  for (
    const [options, message] of [
      [{ nat: "10.0.1" }, /^nat: "10\.0\.1" is not an address, expected one such as 10\.0\.0\.8$/],
      [
        { nat: "10.0.1.2", natPorts: "9-8" },
        /^natPorts: "9-8" is no range of ports, expected as 20000-24999$/,
      ],
      [
        { nat: "10.0.1.2", natFiltering: "port" as "address" },
        /^natFiltering: "port" is unknown, expected endpoint or address or address-port$/,
      ],
      [{ nat: "10.0.1.3, 10.0.1.2" }, /^a NAT has one address of a family, or one of each, got/],
      [{ nat: "10.9.0.1" }, /^10\.9\.0\.1 is the stack's own, and cannot be a NAT's too$/],
    ] as const
  ) assert.throws(() => net.addLink({ ...streams(), ...options }), { message });
  await link.close();
  assert.equal(net.stats().links.length, 0);
  await net.close({ graceMs: 0 });
});

Deno.test("each wrong Nat has its line", () => {
  const problems = (link: Partial<LinkInput>, more: Partial<ConfigInput> = {}) => {
    try {
      loadConfig({
        interface: { peerToPeer: true },
        ...more,
        links: [{ name: "phone", ...LISTEN, prefixes: "10.0.0.8/32", ...link }, {
          name: "car",
          ...LISTEN,
          prefixes: "10.0.0.9/32",
        }],
      });
      return [];
    } catch (error) {
      assert.ok(error instanceof ConfigError);
      return error.problems;
    }
  };
  assert.deepEqual(problems({ nat: "10.0.0.8, fd00::8", natPorts: "1024-65535" }), []);
  const cases: readonly (readonly [Partial<LinkInput>, string])[] = [
    [{ nat: "phone" }, `links[0].nat[0]: "phone" is not an address, expected one such as 10.0.0.8`],
    [
      { nat: "127.0.0.1" },
      "links[0].nat[0]: 127.0.0.1 is no host's elsewhere, expected one such as 10.0.0.8",
    ],
    [
      { nat: "10.0.1.1, 10.0.1.2" },
      "links[0].nat[1]: 10.0.1.2 is the second of its family, expected one of each",
    ],
    [
      { nat: "10.0.0.9" },
      "links[1].prefixes[0]: 10.0.0.9/32 is somewhere else too, expected it once (the first is at links[0].nat[0])",
    ],
    [
      { nat: "10.0.1.1", natPorts: "0-9" },
      `links[0].natPorts: "0-9" is no range of ports, expected as 20000-24999`,
    ],
    [
      { nat: "10.0.1.1", natFiltering: "none" as "address" },
      `links[0].natFiltering: "none" is unknown, expected endpoint or address or address-port`,
    ],
    [
      { natFiltering: "address" },
      "links[0].natFiltering: given without links[0].nat, expected it too",
    ],
  ];
  for (const [link, line] of cases) assert.deepEqual(problems(link), [line]);
  assert.deepEqual(
    problems({ nat: "10.9.0.1" }, { interface: { address: "10.9.0.1/24", peerToPeer: true } }),
    [
      "links[0].nat[0]: 10.9.0.1 is the gateway's own, expected one that nobody has",
    ],
  );
});

Deno.test("a Nat where nothing goes to other links is taken, and warned of", () => {
  const warnings = (peerToPeer: boolean) =>
    advise(loadConfig({
      interface: { peerToPeer },
      links: [{ name: "phone", ...LISTEN, prefixes: "10.0.0.8/32", nat: "10.0.0.8" }],
    })).filter((line) => line.includes("nat"));
  assert.deepEqual(warnings(true), []);
  assert.deepEqual(warnings(false), [
    "links[0].nat: is for what goes to peers and other links, and nothing does, expected interface.peerToPeer: true",
  ]);
});
