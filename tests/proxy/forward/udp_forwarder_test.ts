import assert from "node:assert/strict";
import type { UdpFlow } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { TargetAddress } from "../../../proxy/target/address.ts";
import type { UdpTargetHandler } from "../../../proxy/target/udp.ts";
import { openUdpTargets } from "../../../proxy/target/udp_open.ts";
import type { ForwardTimeouts } from "../../../proxy/forward/options.ts";
import { DEFAULT_TIMEOUTS } from "../../../proxy/config/defaults.ts";
import { UdpForwarder } from "../../../proxy/forward/udp_forwarder.ts";
import type { UdpSession } from "../../../proxy/forward/udp_session.ts";
import { preset } from "../../preset.ts";
import { forwarderOptions, map } from "./lab.ts";

const ip = (text: string) => parseIpAddress(text)!;

/** A forwarder with a peer for each /24 of clients, and datagrams to a target that says nothing. */
function forwarder(maxUdpSessions: number) {
  const target = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = target.addr as Deno.NetAddr;
  let now = 0;
  const forwarder = new UdpForwarder({
    ...forwarderOptions({ maxUdpSessions }).options,
    now: () => now,
    hasRoom: () => true,
    onNoSocket: (error) => assert.fail(String(error)),
    openTargets: (options) => openUdpTargets(options, preset.ffi ?? false),
  });
  const open = new Set<string>();
  const datagram = (client: string, clientPort: number) => {
    const name = `${client}:${clientPort}`;
    const flow = {
      client: ip(client),
      clientPort,
      session: undefined,
      close: () => open.delete(name),
    };
    open.add(name);
    const bytes = new Uint8Array(1);
    const verdict = forwarder.datagram(
      flow as unknown as UdpFlow,
      ip("10.50.0.1"),
      port,
      bytes,
      0,
      bytes.length,
      now++,
    );
    assert.equal(verdict, "accept");
  };
  return {
    counters: forwarder.counters,
    open,
    datagram,
    async [Symbol.asyncDispose]() {
      await forwarder.abort();
      target.close();
    },
  };
}

/** A forwarder whose sockets send nothing, by a clock of its own. */
function silent(maxUdpSessions: number) {
  const { options } = forwarderOptions({ maxUdpSessions });
  const settings: { timeouts: ForwardTimeouts } = options.settings;
  const clock = { now: 0 };
  const socket = { send: () => true, close() {} };
  const udp = new UdpForwarder({
    ...options,
    now: () => clock.now,
    hasRoom: () => true,
    onNoSocket: (error) => assert.fail(String(error)),
    openTargets: () => ({ open: () => socket, hasReady: false, drain() {}, flush() {} }) as never,
  });
  const begin = (clientPort: number, port = 9) => {
    const client = { client: ip("10.9.0.2"), clientPort, session: undefined, close() {} };
    const bytes = new Uint8Array(1);
    udp.datagram(client as unknown as UdpFlow, ip("10.60.0.1"), port, bytes, 0, 1, clock.now);
    return client.session as unknown as UdpSession;
  };
  return { udp, settings, clock, begin };
}

Deno.test("a session that has sent once has the time of its own kind", () => {
  const { udpIdleMs, udpDnsIdleMs } = DEFAULT_TIMEOUTS;
  const { udp, clock, begin } = silent(2);
  begin(1);
  assert.equal(udp.pollTimeout(), udpIdleMs);
  begin(2, 53);
  assert.equal(udp.pollTimeout(), udpDnsIdleMs);
  udp.handleTimeout(clock.now = udpDnsIdleMs);
  assert.deepEqual([udp.size, udp.pollTimeout()], [1, udpIdleMs]);
});

Deno.test("other timeouts reach all sessions, some thousand in each turn, whatever begins and ends meanwhile", () => {
  const { udp, settings, clock, begin } = silent(5_000);
  const sessions = Array.from({ length: 4_000 }, (_, i) => begin(1 + i));
  const change = (udpIdleMs: number) => {
    const before = settings.timeouts;
    settings.timeouts = { ...before, udpIdleMs };
    udp.timeoutsChanged(before);
  };
  change(30_000);
  assert.ok(udp.pollTimeout() <= 0, "the rest is due at once");
  for (const place of [0, 1, 500, 1_500, 2_900, 3_999]) sessions[place]!.end("killed");
  change(20_000);
  for (const place of [2, 600, 1_600, 3_000, 3_998]) sessions[place]!.end("killed");
  for (let i = 0; i < 100; i++) begin(10_000 + i);
  let turns = 0;
  for (; udp.pollTimeout() <= 0; turns++) udp.handleTimeout(0);
  assert.ok(turns >= 2, `${turns} turns`);
  udp.handleTimeout(clock.now = 19_999);
  assert.equal(udp.size, 4_000 - 11 + 100);
  udp.handleTimeout(clock.now = 20_000);
  assert.deepEqual([udp.size, udp.pollTimeout()], [0, Infinity]);
});

Deno.test("a peer that opens port after port takes no session from another", async () => {
  await using subject = forwarder(8);
  const { datagram, open, counters } = subject;
  for (let i = 0; i < 3; i++) datagram("10.9.0.2", 1000 + i);
  for (let i = 0; i < 50; i++) datagram("10.9.1.2", 2000 + i);
  assert.equal(counters.evicted, 45);
  const others = [...open].filter((name) => name.startsWith("10.9.0.2:"));
  assert.deepEqual(others, ["10.9.0.2:1000", "10.9.0.2:1001", "10.9.0.2:1002"]);
  // Of its own the idlest went.
  assert.deepEqual([...open].slice(3).map((name) => name.split(":")[1]), [
    ...["2045", "2046", "2047", "2048", "2049"],
  ]);
});

Deno.test("a peer with few sessions gets one from the peer that has the most", async () => {
  await using subject = forwarder(4);
  const { datagram, open } = subject;
  for (let i = 0; i < 4; i++) datagram("10.9.1.2", 2000 + i);
  datagram("10.9.0.2", 1000);
  assert.deepEqual([...open].sort(), [
    ...["10.9.0.2:1000", "10.9.1.2:2001", "10.9.1.2:2002", "10.9.1.2:2003"],
  ]);
});

Deno.test("sessions that ask target after target have flows in proportion to the sessions allowed", () => {
  const { options } = forwarderOptions({ maxUdpSessions: 16 });
  const subject = new UdpForwarder({
    ...options,
    hasRoom: () => true,
    onNoSocket: (error) => assert.fail(String(error)),
    openTargets: () => ({
      hasReady: false,
      open: () => ({ send: () => true, close() {} }),
      drain() {},
      flush() {},
      close: () => Promise.resolve(),
    }),
  });
  const { table } = options.admission;
  const client = (clientPort: number) =>
    ({ client: ip("10.9.0.2"), clientPort, session: undefined, close() {} }) as unknown as UdpFlow;
  const ask = (flow: UdpFlow, target: number) =>
    assert.equal(
      subject.datagram(flow, ip(`11.0.0.${target}`), 9, new Uint8Array(1), 0, 1, 0),
      "accept",
    );
  const alone = client(1);
  for (let target = 0; target < 60; target++) ask(alone, target);
  assert.equal(table.size, 60, "alone a session may have many");
  for (let port = 2; port <= 40; port++) {
    const flow = client(port);
    for (let target = 0; target < 200; target++) ask(flow, target);
  }
  assert.equal(subject.size, 16);
  // Four for each session allowed, and eight for each that came when these were used up.
  assert.ok(table.size <= 16 * (4 + 8), `${table.size} flows`);
  void subject.abort();
  assert.equal(table.size, 0);
});

Deno.test("who may answer without having been asked is decided anew after a change", () => {
  const { options } = forwarderOptions();
  let handler: UdpTargetHandler | undefined;
  const subject = new UdpForwarder({
    ...options,
    settings: { ...options.settings, udpFiltering: "endpoint" },
    hasRoom: () => true,
    onNoSocket: (error) => assert.fail(String(error)),
    openTargets: () => ({
      hasReady: false,
      open: (_version, opened) => {
        handler = opened;
        return { send: () => true, close() {} };
      },
      drain() {},
      flush() {},
      close: () => Promise.resolve(),
    }),
  });
  const heard: string[] = [];
  const client = {
    client: ip("10.9.0.2"),
    clientPort: 1,
    session: undefined,
    close() {},
    send: (from: unknown) => heard.push(String(from)) > 0,
  } as unknown as UdpFlow;
  subject.datagram(client, ip("11.0.0.1"), 9, new Uint8Array(1), 0, 1, 0);
  const { words } = new TargetAddress(ip("192.0.2.7"), 9);
  const answer = () => handler!.datagram(words, 0, new Uint8Array(1), 0, 1, 0);
  answer();
  options.admission.setMaps([map("10.60.0.1", "192.0.2.7")]);
  options.admission.review();
  answer();
  assert.deepEqual(heard, ["192.0.2.7", "10.60.0.1"]);
  void subject.abort();
});

Deno.test("when descriptors run out idle sessions give way: of whoever has most, else one's own", () => {
  const { options, clock } = forwarderOptions();
  let left = 6;
  const subject = new UdpForwarder({
    ...options,
    hasRoom: () => true,
    onNoSocket: () => true,
    openTargets: () => ({
      hasReady: false,
      open: () => {
        if (left === 0) throw new Error("EMFILE");
        left--;
        return { send: () => true, close: () => void left++ };
      },
      drain() {},
      flush() {},
      close: () => Promise.resolve(),
    }),
  });
  const sends = (peer: number, port: number) => {
    const client = {
      client: ip(`10.9.${peer}.2`),
      clientPort: port,
      session: undefined as unknown,
      close() {},
    };
    const again = () => {
      const { datagramsUp } = subject.counters;
      subject.datagram(
        client as unknown as UdpFlow,
        ip("11.0.0.1"),
        9,
        new Uint8Array(1),
        0,
        1,
        clock.now,
      );
      return subject.counters.datagramsUp > datagramsUp;
    };
    return { again, isSent: again() };
  };
  const of = (peer: number) =>
    [...options.admission.table.flows()].filter(({ owner }) => owner.name === `peer ${peer}`)
      .map(({ sourcePort }) => sourcePort);
  for (let port = 1; port <= 6; port++) {
    clock.now = port;
    assert.ok(sends(1, port).isSent);
  }
  // All of them are in use, and stay.
  clock.now = 4_000;
  assert.deepEqual([sends(2, 1).isSent, subject.counters.evicted], [false, 0]);
  clock.now = 7_000;
  const other = sends(2, 2);
  assert.deepEqual([other.isSent, of(1)], [false, [2, 3, 4, 5, 6]]);
  assert.ok(other.again(), "its next datagram finds a descriptor");
  // Who has most gives one of its own.
  const own = sends(1, 7);
  assert.deepEqual([own.isSent, own.again(), of(1)], [false, true, [3, 4, 5, 6, 7]]);
  assert.deepEqual(of(2), [1, 2]);
  void subject.abort();
});
