import assert from "node:assert/strict";
import type { TcpForwarderRequest, TcpRejection } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import type { FlowLimits } from "../../../proxy/flow/admit.ts";
import { TcpForwarder } from "../../../proxy/forward/tcp_forwarder.ts";
import type { DialHandler } from "../../../proxy/flow/stream.ts";
import { HostDialer } from "../../../proxy/target/tcp.ts";
import type { ForwardTimeouts } from "../../../proxy/forward/options.ts";
import { captureLog } from "../log/capture.ts";
import { forwarderOptions } from "./lab.ts";

const ip = (text: string) => parseIpAddress(text)!;

/** A forwarder whose clock stands still, and requests that note how they are answered. */
function forwarder(
  limits: Partial<FlowLimits> = { maxTcpConnections: 3 },
  dialer = new HostDialer(),
) {
  const { options, clock } = forwarderOptions(limits);
  const forwarder = new TcpForwarder({ ...options, dialer });
  const request = (target: string, targetPort: number, client = "10.9.0.2") => {
    const answers: (TcpRejection | "accept")[] = [];
    const request = {
      client: ip(client),
      clientPort: 40_000,
      target: ip(target),
      targetPort,
      ingress: undefined as never,
      from: undefined,
      onAborted: undefined as (() => void) | undefined,
      accept: () => void answers.push("accept"), // the client has given up in between
      reject: (how: TcpRejection) => void answers.push(how),
    };
    forwarder.request(request as unknown as TcpForwarderRequest);
    return { answers, request };
  };
  const settings: { timeouts: ForwardTimeouts } = options.settings;
  return { forwarder, request, clock, settings, admission: options.admission };
}

/** A dialer whose targets say nothing until they are told to. */
class SilentDialer extends HostDialer {
  readonly handlers: DialHandler[] = [];

  override dial(_to: unknown, _port: number, handler: DialHandler) {
    this.handlers.push(handler);
    return { abort() {} };
  }
}

Deno.test("a client that gives up ends the dial, and gets no answer", () => {
  const { forwarder: tcp, request } = forwarder({}, new SilentDialer());
  const { answers, request: pending } = request("10.50.0.1", 80);
  assert.equal(tcp.dials, 1);
  pending.onAborted!();
  assert.deepEqual([tcp.dials, tcp.size, tcp.pollTimeout()], [0, 0, Infinity]);
  assert.equal(tcp.counters.abandoned, 1);
  assert.deepEqual(answers, []);
});

Deno.test("a client that gave up when the target answers: the target is reset", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { forwarder: tcp, request } = forwarder();
  const { answers } = request("10.50.0.1", listener.addr.port);
  using served = await listener.accept();
  await assert.rejects(served.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  assert.deepEqual(answers, ["accept"]);
  assert.deepEqual([tcp.dials, tcp.size], [0, 0]);
  listener.close();
});

Deno.test("other timeouts reach all that is under way, some hundred in each turn, and the last ones count", () => {
  const count = 600;
  const { forwarder: tcp, request, settings } = forwarder({}, new SilentDialer());
  for (let i = 0; i < count; i++) {
    request(`10.60.${i & 255}.${1 + (i >> 8)}`, 80, `10.9.${i % 200}.2`);
  }
  assert.equal(tcp.dials, count);
  const change = (tcpDialMs: number) => {
    const before = settings.timeouts;
    settings.timeouts = { ...before, tcpDialMs };
    tcp.timeoutsChanged(before);
  };
  change(3_000);
  assert.ok(tcp.pollTimeout() <= 0, "the rest is due at once");
  tcp.handleTimeout(0);
  change(1_000);
  let turns = 0;
  for (; tcp.pollTimeout() <= 0; turns++) tcp.handleTimeout(0);
  assert.ok(turns > 2, `${turns} turns`);
  assert.equal(tcp.pollTimeout(), 1_000);
  tcp.handleTimeout(999);
  assert.equal(tcp.dials, count);
  tcp.handleTimeout(1_000);
  assert.deepEqual([tcp.dials, tcp.counters.timedOut], [0, count]);
});

Deno.test("a dial ends at its limit of 5 s, with host unreachable", () => {
  const { forwarder: tcp, request } = forwarder({}, new SilentDialer());
  const { answers } = request("10.50.0.1", 80);
  assert.equal(tcp.pollTimeout(), 5000);
  tcp.handleTimeout(4999);
  assert.deepEqual(answers, []);
  tcp.handleTimeout(5000);
  assert.deepEqual(answers, ["host"]);
  assert.deepEqual([tcp.dials, tcp.size, tcp.pollTimeout()], [0, 0, Infinity]);
  assert.equal(tcp.counters.timedOut, 1);
});

Deno.test("more connections than allowed are refused", () => {
  const { forwarder: tcp, request } = forwarder(undefined, new SilentDialer());
  for (let i = 0; i < 3; i++) request("10.50.0.1", 80);
  assert.deepEqual(request("10.50.0.1", 80).answers, ["reset"]);
  assert.equal(tcp.counters.tooManyConnections, 1);
  tcp.abort();
  assert.deepEqual([tcp.dials, tcp.size], [0, 0]);
});

Deno.test("alone a peer may have every dial; another's takes the place of the one that waits longest, in silence", () => {
  const { forwarder: tcp, request, clock } = forwarder({ maxDials: 4 }, new SilentDialer());
  const first = request("10.50.0.1", 80, "10.9.0.2");
  for (let i = 2; i < 5; i++) request(`10.50.0.${i}`, 80, "10.9.0.2");
  assert.deepEqual(request("10.50.0.9", 80, "10.9.0.2").answers, ["drop"]);
  assert.deepEqual(request("10.50.0.9", 80, "10.9.1.2").answers, ["drop"]); // nothing waits long yet
  clock.now = 300;
  assert.deepEqual(request("10.50.0.9", 80, "10.9.1.2").answers, []);
  assert.deepEqual(first.answers, ["drop"]);
  assert.deepEqual([tcp.dials, tcp.counters.tooManyDials, tcp.counters.evicted], [4, 2, 1]);
  request("10.50.0.9", 80, "10.9.1.2");
  assert.deepEqual(request("10.50.0.9", 80, "10.9.1.2").answers, ["drop"]); // it has its half
  tcp.abort();
  assert.deepEqual([tcp.dials, tcp.size], [0, 0]);
});

Deno.test("2,000 dials to a network that says nothing leave room for the same peer's others, at once", () => {
  const { forwarder: tcp, request } = forwarder({}, new SilentDialer());
  for (let i = 0; i < 2_200; i++) request(`10.99.0.${i % 250}`, 80);
  assert.ok(tcp.dials <= 512, `${tcp.dials} are in flight`);
  for (let i = 0; i < 5; i++) assert.deepEqual(request("10.50.0.1", 80).answers, []);
  tcp.abort();
});

Deno.test("addresses and networks that keep timing out are capped, until one answers", () => {
  const dialer = new SilentDialer();
  const { forwarder: tcp, request, clock } = forwarder({ maxDials: 1024 }, dialer);
  for (let i = 0; i < 3; i++) request("10.99.0.1", 80);
  clock.now = 5_000;
  tcp.handleTimeout(5_000);
  for (let i = 0; i < 100; i++) request("10.99.0.1", 80);
  assert.equal(tcp.dials, 16, "one address");
  for (let i = 0; i < 200; i++) request(`10.99.0.${2 + i}`, 80);
  assert.equal(tcp.dials, 64, "its network");
  dialer.handlers.at(-1)!.dialFailed("refused"); // it lives
  for (let i = 0; i < 200; i++) request(`10.99.0.${2 + i}`, 80);
  assert.equal(tcp.dials, 263);
  tcp.abort();
});

Deno.test("in IPv6 the network that is capped is the /64, and no other beside it", () => {
  const { forwarder: tcp, request, clock } = forwarder({ maxDials: 1024 }, new SilentDialer());
  const dial = (count: number, network: string) => {
    const before = tcp.dials;
    for (let i = 1; i <= count; i++) request(`${network}:${i.toString(16)}::1`, 80);
    return tcp.dials - before;
  };
  for (let i = 0; i < 3; i++) request("2001:db8:0:1::1", 80);
  clock.now = 5_000;
  tcp.handleTimeout(5_000);
  for (let i = 0; i < 100; i++) request("2001:db8:0:1::1", 80);
  assert.equal(tcp.dials, 16, "one address");
  for (let i = 2; i < 200; i++) request(`2001:db8:0:1:${i.toString(16)}::1`, 80);
  assert.equal(tcp.dials, 64, "its /64, whatever the other half of the address");
  assert.equal(dial(200, "2001:db8:1"), 200, "each of a /64 of its own");
  assert.deepEqual(request("2001:db8:0:1:ffff::1", 80).answers, ["drop"]);
  assert.deepEqual(request("2001:db8:0:2::1", 80).answers, [], "the /64 next to it");
  tcp.abort();
});

Deno.test("a peer below its share gets the place of the connection that another has not used longest", () => {
  const limits = { maxTcpConnections: 4 };
  const { request, clock, admission, forwarder: tcp } = forwarder(limits, new SilentDialer());
  const port = 80;
  for (let i = 0; i < 4; i++) {
    clock.now = i;
    request("10.50.0.1", port, "10.9.0.2");
  }
  assert.deepEqual(request("10.50.0.1", port, "10.9.1.2").answers, ["reset"]); // none is idle
  clock.now = 10_002;
  const flows = [...admission.table.flows()];
  flows[0]!.lastActivity = 10_000;
  assert.deepEqual(request("10.50.0.1", port, "10.9.1.2").answers, []);
  assert.deepEqual(flows.map(({ end }) => end), [undefined, "evicted", undefined, undefined]);
  assert.deepEqual(request("10.50.0.1", port, "10.9.1.2").answers, []);
  // Now each has its share.
  clock.now = 100_000;
  assert.deepEqual(request("10.50.0.1", port, "10.9.1.2").answers, ["reset"]);
  assert.equal(tcp.counters.evicted, 2);
  tcp.abort();
  assert.equal(tcp.size, 0);
});

Deno.test("evictions are counted each, and are a line in the log once a minute", () => {
  using log = captureLog();
  const limits = { maxTcpConnections: 20 };
  const { request, clock, forwarder: tcp } = forwarder(limits, new SilentDialer());
  const open = (client: string, count: number) => {
    for (let i = 0; i < count; i++) request("10.50.0.1", 80, client);
  };
  open("10.9.0.2", 20);
  clock.now = 10_001;
  open("10.9.1.2", 10);
  clock.now = 70_000;
  open("10.9.2.2", 3);
  assert.equal(tcp.counters.evicted, 13);
  const lines = () => log.lines.filter((line) => line.includes("idle ones of")).map(words);
  const first =
    "all 20 connections are in use: idle ones of peer 0 were reset for others (1 so far), the last for peer 1";
  assert.deepEqual(lines(), [first]);
  clock.now = 70_001;
  open("10.9.2.2", 1);
  assert.equal(tcp.counters.evicted, 14);
  const second = /^all 20 .* idle ones of peer \d .* \(14 so far\), the last for peer 2$/;
  assert.deepEqual(lines().slice(0, 1), [first]);
  assert.match(lines()[1]!, second);
  assert.equal(lines().length, 2);
  tcp.abort();
});

/** Without time, level and category. */
function words(line: string): string {
  return line.trim().replace(/^\S+ \S+ +\S+ /, "");
}

Deno.test("when descriptors run out, those there are become all there may be, and are shared", () => {
  const dialer = new SilentDialer();
  const { request, clock, forwarder: tcp } = forwarder({}, dialer);
  for (let i = 0; i < 20; i++) {
    clock.now = i;
    request("10.50.0.1", 80, "10.9.0.2");
  }
  const { answers } = request("10.50.0.1", 80, "10.9.1.2");
  dialer.handlers.at(-1)!.dialFailed("exhausted");
  assert.deepEqual(answers, ["drop"], "its SYN comes again");
  assert.deepEqual(request("10.50.0.1", 80, "10.9.0.2").answers, ["reset"]);
  clock.now = 12_000;
  assert.deepEqual(request("10.50.0.1", 80, "10.9.1.2").answers, []);
  assert.deepEqual([tcp.size, tcp.counters.evicted], [16, 5], "and some are left free");
  clock.now = 70_000;
  assert.deepEqual(request("10.50.0.1", 80, "10.9.0.2").answers, [], "now it is tried again");
  tcp.abort();
  assert.equal(tcp.size, 0);
});

Deno.test("the runtime's inspector on a mapped loopback is refused", () => {
  const { forwarder: { counters }, request } = forwarder();
  assert.deepEqual(request("10.50.0.1", 9229).answers, ["reset"]);
  assert.equal(counters.forbidden, 1);
});

Deno.test("once it is closing it refuses", () => {
  const { forwarder: tcp, request } = forwarder();
  tcp.close();
  assert.deepEqual(request("10.50.0.1", 80).answers, ["reset"]);
  assert.deepEqual([tcp.counters.closing, tcp.size], [1, 0]);
});
