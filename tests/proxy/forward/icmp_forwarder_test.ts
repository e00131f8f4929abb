import assert from "node:assert/strict";
import type { EchoFlow, IcmpErrorKind, IpAddress, Path } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import type { Flow } from "../../../proxy/flow/flow.ts";
import { FlowReview } from "../../../proxy/flow/review.ts";
import type { FlowLimits } from "../../../proxy/flow/admit.ts";
import { IcmpForwarder, type IcmpForwarderOptions } from "../../../proxy/forward/icmp_forwarder.ts";
import { TargetAddress } from "../../../proxy/target/address.ts";
import type { IcmpTargetHandler, IcmpTargets } from "../../../proxy/target/icmp.ts";
import { admission, forwarderOptions, map } from "./lab.ts";

const ip = (text: string) => parseIpAddress(text)!;

/** A request's or reply's ICMP message. */
function message(sequence: number, data = 4, type = 8): Uint8Array {
  const bytes = new Uint8Array(8 + data);
  bytes.set([type, 0, 0, 0, 0, 0, sequence >> 8, sequence]);
  return bytes;
}

interface Socket {
  readonly version: number;
  readonly handler: IcmpTargetHandler;
  readonly sent: { to: string; hopLimit: number; dontFragment: boolean; bytes: Uint8Array }[];
  isClosed: boolean;
}

/** A forwarder with a peer for each /24 of clients, and sockets that note what they are given. */
function lab(
  limits: Partial<FlowLimits> = {},
  more: Parameters<typeof admission>[0] = {},
  open?: () => void,
  targetsOf?: IcmpForwarderOptions["targets"],
) {
  const { options, clock } = forwarderOptions(limits);
  const sockets: Socket[] = [];
  const failures: unknown[] = [];
  const targets: IcmpTargets = {
    hasReady: false,
    open: (version, handler) => {
      open?.();
      const socket: Socket = { version, handler, sent: [], isClosed: false };
      sockets.push(socket);
      return {
        send: (to, hopLimit, dontFragment, buffer, offset, length) => {
          const bytes = buffer.slice(offset, offset + length);
          socket.sent.push({ to: to.netAddr.hostname, hopLimit, dontFragment, bytes });
        },
        close: () => void (socket.isClosed = true),
      };
    },
    drain() {},
    flush() {},
    close: () => Promise.resolve(),
  };
  const forwarder = new IcmpForwarder({
    ...options,
    ...(Object.keys(more).length > 0 && { admission: admission({ ...more, limits }) }),
    hasRoom: () => true,
    onNoSocket: (error) => failures.push(error) > 0 && false,
    openTargets: () => targets,
    ...(targetsOf && { targets: targetsOf }),
  });
  const told: string[] = [];
  const client = (address: string, identifier: number) => {
    const flow = {
      client: ip(address),
      identifier,
      hopLimit: 63,
      dontFragment: true,
      session: undefined,
      isClosed: false,
      pathFrom: (from: IpAddress) => ({ source: from, hopLimit: 0 }),
      reply: (path: Path, buffer: Uint8Array, offset: number, length: number) =>
        told.push(
          `${address}/${identifier}: ${length} bytes from ${path.source} ttl ${path.hopLimit} seq ${
            buffer[offset + 7]
          }`,
        ) > 0,
      report: (
        kind: IcmpErrorKind,
        mtu: number,
        to: IpAddress,
        sequence: number,
        reporter?: IpAddress,
      ) => told.push(`${kind} ${mtu} to ${to} seq ${sequence} by ${reporter ?? "gateway"}`) > 0,
      close: () => void (flow.isClosed = true),
    };
    return flow as typeof flow & EchoFlow;
  };
  const ping = (from: EchoFlow, to: string, sequence = 1, data?: number) => {
    const bytes = message(sequence, data);
    return forwarder.echo(from, ip(to), bytes, 0, bytes.length, clock.now);
  };
  const answer = (socket: Socket, from: string, sequence = 1, hopLimit = 64) => {
    const bytes = message(sequence, 4, 0);
    const { words } = new TargetAddress(ip(from), 0);
    socket.handler.reply(words, 0, bytes, 0, bytes.length, hopLimit, clock.now);
  };
  return { forwarder, clock, sockets, failures, client, ping, answer, told, options };
}

/** A lab whose pings all go to a name; `found` is to be told where that leads, once for each ping's target. */
function named(open?: () => void) {
  const found: ((target: IpAddress | "host-unreachable") => void)[] = [];
  const rule = { from: [], to: [], ports: [], action: "allow", warmConnections: 0 } as const;
  const rules = {
    rules: [{ ...rule, rewrite: { to: "db.test" } }],
    defaultAction: "allow",
  } as const;
  const made = lab({}, { rules }, open, {
    resolve: (_flow, tell) => {
      found.push(tell);
      return () => {};
    },
  });
  return { ...made, found };
}

Deno.test("a ping goes out with the client's hop limit, and its reply comes back from where it went", () => {
  const { client, ping, answer, sockets, told, forwarder, clock, options } = lab();
  const from = client("10.9.0.2", 7);
  assert.equal(ping(from, "11.0.0.1", 3), "accept");
  const [flow] = options.admission.table.flows();
  clock.now = 20;
  answer(sockets[0]!, "11.0.0.1", 3);
  const { sent } = sockets[0]!;
  assert.deepEqual(sent.map(({ to, hopLimit, dontFragment }) => [to, hopLimit, dontFragment]), [
    ["11.0.0.1", 63, true],
  ]);
  assert.deepEqual(told, ["10.9.0.2/7: 12 bytes from 11.0.0.1 ttl 63 seq 3"]);
  const { requests, replies, bytesUp, bytesDown } = forwarder.counters;
  assert.deepEqual([requests, replies, bytesUp, bytesDown], [1, 1, 4, 4]);
  assert.equal(flow!.protocol, "icmp");
  assert.equal(flow!.sourcePort, 7);
  assert.equal(flow!.carrier!.inspect(flow!).rttMs, 20);
  assert.equal(flow!.carrier!.targetRttMs!(flow!), 20);
});

Deno.test("a map leads a ping to another address, its reply comes from the one that was pinged", () => {
  const { client, ping, answer, sockets, told } = lab();
  ping(client("10.9.0.2", 7), "10.50.0.9");
  assert.equal(sockets[0]!.sent[0]!.to, "127.0.0.9");
  answer(sockets[0]!, "127.0.0.9");
  assert.match(told[0]!, /from 10\.50\.0\.9 /);
});

Deno.test("a map to the other family has its request's type", () => {
  const { client, ping, sockets } = lab({}, { maps: [map("fd50::1", "11.0.0.1")] });
  assert.equal(ping(client("fd09::2", 7), "fd50::1"), "accept");
  assert.equal(sockets[0]!.version, 4);
  assert.equal(sockets[0]!.sent[0]!.bytes[0], 8);
});

Deno.test("a client and identifier have a socket of their own, and targets share it", () => {
  const { client, ping, sockets, answer, told } = lab();
  const [one, two] = [client("10.9.0.2", 7), client("10.9.0.3", 7)];
  for (const target of ["11.0.0.1", "11.0.0.2"]) {
    ping(one, target);
    ping(two, target);
  }
  assert.equal(sockets.length, 2);
  answer(sockets[1]!, "11.0.0.2");
  assert.deepEqual(told.map((line) => line.slice(0, 10)), ["10.9.0.3/7"]);
});

Deno.test("nobody answers for a target: silence stays silence, and other senders are not let in", () => {
  const { client, ping, sockets, answer, told, forwarder } = lab();
  ping(client("10.9.0.2", 7), "11.0.0.1");
  answer(sockets[0]!, "11.0.0.2");
  assert.deepEqual(told, []);
  assert.equal(forwarder.counters.filtered, 1);
});

Deno.test("what the network says is told: routers by their address, this host as the gateway", () => {
  const isOwnAddress = (address: IpAddress) => `${address}` === "192.0.2.1";
  const { client, ping, sockets, told, clock, forwarder } = lab({}, { isOwnAddress });
  ping(client("10.9.0.2", 7), "11.0.0.1", 5);
  const { words } = new TargetAddress(ip("11.0.0.1"), 0);
  const report = (kind: IcmpErrorKind, mtu: number, by?: string) =>
    sockets[0]!.handler.report(words, 0, 5, kind, mtu, by === undefined ? by : ip(by), clock.now);
  report("time-exceeded", 0, "192.0.2.7");
  report("host-unreachable", 0, "192.0.2.1");
  report("too-big", 1300);
  report("prohibited", 0, "11.0.0.1");
  assert.deepEqual(told, [
    "time-exceeded 0 to 11.0.0.1 seq 5 by 192.0.2.7",
    "host-unreachable 0 to 11.0.0.1 seq 5 by gateway",
    "too-big 1300 to 11.0.0.1 seq 5 by gateway",
    "prohibited 0 to 11.0.0.1 seq 5 by 11.0.0.1",
  ]);
  assert.equal(forwarder.counters.reports, 4);
});

Deno.test("what is not allowed is prohibited, and no socket is opened for it", () => {
  const { client, ping, sockets, forwarder, options } = lab();
  const from = client("10.9.0.2", 7);
  for (const target of ["127.0.0.1", "169.254.1.1", "::1"]) {
    assert.equal(ping(from, target), "prohibited");
  }
  assert.equal(sockets.length, 0);
  assert.equal(forwarder.counters.forbidden, 3);
  assert.equal(options.admission.table.size, 0);
});

Deno.test("a peer that pings with ever new identifiers takes no session from another", () => {
  const { client, ping, forwarder, sockets, clock, options } = lab({ maxPingSessions: 8 });
  const mine = [1, 2, 3].map((identifier) => client("10.9.0.2", identifier));
  for (const flow of mine) ping(flow, "11.0.0.1");
  for (let identifier = 0; identifier < 50; identifier++) {
    clock.now++;
    ping(client("10.9.1.2", identifier), "11.0.0.1");
  }
  assert.equal(forwarder.size, 8);
  assert.equal(forwarder.counters.evicted, 45);
  assert.deepEqual(mine.map(({ isClosed }) => isClosed), [false, false, false]);
  assert.equal(sockets.filter(({ isClosed }) => !isClosed).length, 8);
  assert.equal(options.admission.pings.total, 8);
});

Deno.test("a flood of one peer is cut, and another's pings go through", () => {
  const { client, ping, forwarder, clock } = lab({ maxPingRate: 100 });
  const flood = client("10.9.1.2", 1);
  let passed = 0;
  for (let n = 0; n < 10_000; n++) {
    clock.now = n / 10; // 10,000 per second for a second
    if (ping(flood, "11.0.0.1", n) === "accept") passed++;
  }
  assert.ok(passed >= 100 && passed <= 150, `${passed} of 10,000`);
  assert.equal(forwarder.counters.flooded, 10_000 - passed);
  assert.equal(ping(client("10.9.0.2", 1), "11.0.0.1"), "accept");
});

Deno.test("a session ends when nothing went either way for its time, and a reply counts", () => {
  const { client, ping, answer, forwarder, sockets, clock, options } = lab();
  const from = client("10.9.0.2", 7);
  ping(from, "11.0.0.1");
  const [flow] = options.admission.table.flows();
  clock.now = 20_000;
  answer(sockets[0]!, "11.0.0.1");
  assert.equal(forwarder.pollTimeout(), 50_000);
  forwarder.handleTimeout(49_999);
  assert.equal(forwarder.size, 1);
  forwarder.handleTimeout(50_000);
  assert.deepEqual([forwarder.size, from.isClosed, sockets[0]!.isClosed], [0, true, true]);
  assert.equal(flow!.end, "idle");
  assert.equal(forwarder.pollTimeout(), Infinity);
});

Deno.test("what is no longer allowed ends, and the session with its last target", () => {
  const { client, ping, sockets, forwarder, options } = lab();
  const { admission: { table } } = options;
  const review = (look: (flow: Flow) => boolean) =>
    new FlowReview(table, { look, finished: () => 0 }).begin();
  const from = client("10.9.0.2", 7);
  ping(from, "11.0.0.1");
  ping(from, "11.0.0.2");
  review((flow) => `${flow.destination}` !== "11.0.0.1");
  assert.deepEqual([forwarder.size, table.size], [1, 1]);
  review(() => false);
  assert.deepEqual([forwarder.size, table.size, sockets[0]!.isClosed], [0, 0, true]);
  assert.equal(forwarder.counters.revoked, 2);
});

Deno.test("without a socket a ping is silence, counted, and the next one tries again", () => {
  const { client, ping, forwarder, failures } = lab({}, {}, () => {
    throw new Error("no socket");
  });
  const from = client("10.9.0.2", 7);
  ping(from, "11.0.0.1");
  ping(from, "11.0.0.1");
  assert.equal(failures.length, 2);
  assert.equal(forwarder.counters.socketErrors, 2);
  assert.equal(forwarder.counters.requests, 0);
});

Deno.test("a session that ends to make room for its own socket sends nothing more", () => {
  let isOut = false;
  const { client, ping, sockets, forwarder, clock, found } = named(() => {
    if (!isOut) return;
    isOut = false;
    // As for want of a descriptor: whoever has been idle gives way.
    assert.equal(forwarder.giveWay(session.peer, clock.now), true);
    throw new Error("no socket");
  });
  const from = client("10.9.0.2", 7);
  ping(from, "11.0.0.1", 1);
  const session = from.session as unknown as { peer: Parameters<typeof forwarder.giveWay>[0] };
  found[0]!(ip("11.0.0.9"));
  ping(from, "11.0.0.2", 2);
  ping(from, "11.0.0.2", 3);
  clock.now = 9_000;
  isOut = true;
  found[1]!(ip("fd50::9"));
  assert.deepEqual(sockets.map(({ isClosed }) => isClosed), [true], "no other was opened");
  assert.deepEqual([forwarder.size, forwarder.counters.requests], [0, 1]);
});

Deno.test("a gateway that is closing takes no more pings, and ends those there are", async () => {
  const { client, ping, forwarder, sockets, options } = lab();
  ping(client("10.9.0.2", 7), "11.0.0.1");
  forwarder.close();
  assert.equal(ping(client("10.9.0.2", 8), "11.0.0.1"), "drop");
  assert.equal(forwarder.counters.closing, 1);
  await forwarder.abort();
  assert.deepEqual([forwarder.size, sockets[0]!.isClosed], [0, true]);
  assert.equal(options.admission.table.size, 0);
});

Deno.test("pings of a name wait for its address, a few of them, and nothing waits for one that leads nowhere", () => {
  const { client, ping, answer, sockets, told, forwarder, found } = named();
  const from = client("10.9.0.2", 7);
  for (let n = 1; n <= 10; n++) ping(from, "11.0.0.1", n);
  assert.deepEqual([sockets.length, found.length, forwarder.counters.noBuffer], [0, 1, 2]);
  found[0]!(ip("11.0.0.9"));
  assert.deepEqual(sockets[0]!.sent.map(({ to, bytes }) => `${to} ${bytes[7]}`), [
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => `11.0.0.9 ${n}`),
  ]);
  answer(sockets[0]!, "11.0.0.9", 3);
  assert.match(told[0]!, /from 11\.0\.0\.1 .* seq 3$/);
  ping(from, "11.0.0.2", 11);
  found[1]!("host-unreachable");
  assert.equal(told[1], "host-unreachable 0 to 11.0.0.2 seq 11 by gateway");
  // One that is too large to be kept is answered all the same.
  ping(from, "11.0.0.3", 12, 4_000);
  assert.equal(forwarder.counters.noBuffer, 3);
  found[2]!("host-unreachable");
  assert.equal(told[2], "host-unreachable 0 to 11.0.0.3 seq 12 by gateway");
});

Deno.test("a rule's rate drops pings above it, and counts them", () => {
  const named = { from: [], to: [], ports: [], action: "allow", warmConnections: 0 } as const;
  const rules = { rules: [{ ...named, rate: 8_000 }], defaultAction: "allow" } as const;
  const { client, ping, sockets, forwarder } = lab({ maxPingRate: 100_000 }, { rules });
  const from = client("10.9.0.2", 7);
  for (let n = 0; n < 2_000; n++) ping(from, "11.0.0.1", n & 0xff);
  const { overRate, requests } = forwarder.counters;
  assert.ok(overRate > 0 && requests > 0, `${overRate} dropped, ${requests} sent on`);
  assert.deepEqual([overRate + requests, sockets[0]!.sent.length], [2_000, requests]);
});
