import assert from "node:assert/strict";
import type { IcmpErrorKind, IpAddress, UdpFlow } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import type { Admission } from "../../../proxy/flow/admit.ts";
import { Flow, FlowOwner, type FlowProtocol } from "../../../proxy/flow/flow.ts";
import type { RuleOptions } from "../../../proxy/flow/rule.ts";
import { RuleSet } from "../../../proxy/flow/rules.ts";
import type { ByteStream, DialHandler, StreamHandler } from "../../../proxy/flow/stream.ts";
import { NamedTargets } from "../../../proxy/forward/named_targets.ts";
import { UdpForwarder } from "../../../proxy/forward/udp_forwarder.ts";
import type { UdpSession } from "../../../proxy/forward/udp_session.ts";
import { ipAt, portAt } from "../../../proxy/target/address.ts";
import type { NameSource } from "../../../proxy/target/names.ts";
import { encodeProxyHeader } from "../../../proxy/target/proxy_protocol.ts";
import type { UdpTargetHandler } from "../../../proxy/target/udp.ts";
import { captureLog } from "../log/capture.ts";
import { settle, TestClock } from "../target/clock.ts";
import { admission, forwarderOptions } from "./lab.ts";

const ip = (text: string) => parseIpAddress(text)!;
const OWNER = new FlowOwner(() => "laptop");

function rule(options: Partial<RuleOptions>): RuleOptions {
  return { from: [], to: [], ports: [], action: "allow", warmConnections: 0, ...options };
}

/** A source that knows some names, and notes what it was asked. */
class Zone implements NameSource {
  readonly questions = ["any"];
  readonly staleMs = 86_400_000;
  readonly asked: string[] = [];
  readonly addresses = new Map<string, string>();
  ttlMs = 60_000;

  ask(name: string) {
    this.asked.push(name);
    const text = this.addresses.get(name);
    if (text === undefined) return Promise.reject(new Error("no name server answers"));
    const addresses = text.split(" ").filter(Boolean).map(ip);
    return Promise.resolve({ addresses, ttlMs: this.ttlMs });
  }
}

class Stream {
  readonly sent: Uint8Array[] = [];
  handler: unknown = undefined;
  preface(bytes: Uint8Array): void {
    this.sent.push(bytes);
  }
}

class WarmStream extends Stream {
  override handler: StreamHandler | undefined = undefined;
  isReset = false;
  resume(): void {}
  reset(): void {
    this.isReset = true;
  }
}

function lab(
  rules: readonly RuleOptions[],
  isOwn: (address: IpAddress) => boolean = () => false,
  turn: (run: () => void) => void = queueMicrotask,
) {
  const clock = new TestClock();
  const zone = new Zone();
  const dials: { to: string; handler: DialHandler; isAborted: boolean }[] = [];
  const admitted: Admission = admission({
    rules: { rules, defaultAction: "allow" },
    isOwnAddress: isOwn,
  });
  const targets = new NamedTargets({
    admission: admitted,
    source: zone,
    ...clock,
    turn,
    dialer: {
      dial: (to, port, handler) => {
        const dial = { to: `${to} ${port}`, handler, isAborted: false };
        dials.push(dial);
        return { abort: () => void (dial.isAborted = true) };
      },
    },
  });
  const flow = (destination = "10.50.0.1", port = 443, protocol: FlowProtocol = "tcp") => {
    const flow = new Flow(protocol, OWNER, ip("10.9.0.2"), 40_000, ip(destination), port, 0);
    assert.equal(admitted.admit(flow, 0), undefined);
    return flow;
  };
  /** Dials, and says what becomes of it. */
  const dial = (flow: Flow) => {
    const result = { stream: undefined as unknown, why: undefined as string | undefined };
    const dial = targets.dialFlow(flow, {
      connected: (stream) => result.stream = stream,
      dialFailed: (why) => result.why = why,
    });
    return { result, abort: () => dial.abort() };
  };
  return { clock, zone, dials, targets, flow, dial, admission: admitted };
}

const NAMED = [rule({ rewrite: { to: "db.test", port: 8443 } })];

Deno.test("a flow that a rule leads to a name is dialled where the name leads when it begins", async () => {
  const { zone, dials, flow, dial, clock } = lab(NAMED);
  zone.addresses.set("db.test", "192.0.2.1");
  zone.ttlMs = 5_000;
  const old = flow();
  assert.deepEqual([old.dialledName, old.dialledPort, old.dialled], ["db.test", 8443, undefined]);
  const first = dial(old);
  await settle();
  assert.deepEqual(dials.map(({ to }) => to), ["192.0.2.1 8443"]);
  const stream = new Stream() as unknown as ByteStream;
  dials[0]!.handler.connected(stream);
  assert.equal(first.result.stream, stream);
  assert.equal(`${old.dialled}`, "192.0.2.1");

  // It moves: those that run stay, new ones go there.
  zone.addresses.set("db.test", "192.0.2.2");
  await clock.advance(5_000);
  const fresh = flow();
  dial(fresh);
  await settle();
  assert.equal(dials[1]!.to, "192.0.2.2 8443");
  assert.equal(dials[0]!.isAborted, false);
  assert.equal(`${old.dialled}`, "192.0.2.1");
  assert.equal(zone.asked.length, 2);
});

Deno.test("what the resolver makes of loopback, of this host and of metadata is refused, with one line", async () => {
  using log = captureLog();
  const { zone, dials, flow, dial, targets } = lab(NAMED, (address) => `${address}` === "10.0.0.7");
  const lies = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0"];
  zone.addresses.set("db.test", [...lies, "10.0.0.7", "64:ff9b::7f00:1"].join(" "));
  const { result } = dial(flow());
  assert.equal(result.why, undefined, "never from within the call");
  await settle();
  assert.equal(result.why, "prohibited");
  const again = dial(flow()); // known now
  assert.equal(again.result.why, undefined, "nor then");
  await settle();
  assert.equal(again.result.why, "prohibited");
  assert.deepEqual(dials, []);
  assert.equal(targets.refusedAddresses, 16);
  assert.equal(log.lines.length, 1, log.lines.join(""));
  assert.match(log.lines[0]!, /db\.test leads to 127\.0\.0\.1, which is refused: loopback/);
});

Deno.test("of several addresses those that are refused are left out", async () => {
  using _log = captureLog();
  const { zone, dials, flow, dial } = lab(NAMED);
  zone.addresses.set("db.test", "127.0.0.1 192.0.2.1 ::1");
  dial(flow());
  await settle();
  assert.deepEqual(dials.map(({ to }) => to), ["192.0.2.1 8443"]);
  dials[0]!.handler.dialFailed("refused");
});

Deno.test("a name that is not resolved is a host that cannot be reached", async () => {
  using _log = captureLog();
  const { flow, dial } = lab(NAMED);
  const { result } = dial(flow());
  await settle();
  assert.equal(result.why, "host");
});

Deno.test("a flow that gives up while its name is resolved dials nothing", async () => {
  const { zone, dials, flow, dial } = lab(NAMED);
  zone.addresses.set("db.test", "192.0.2.1");
  const { abort, result } = dial(flow());
  abort();
  await settle();
  assert.deepEqual(dials, []);
  assert.deepEqual(result, { stream: undefined, why: undefined });
});

Deno.test("a dial to a name counts as one to that name, until it is over", async () => {
  const { zone, dials, flow, dial, admission } = lab(NAMED);
  zone.addresses.set("db.test", "192.0.2.1");
  const one = flow();
  dial(one);
  await settle();
  assert.equal(admission.dials.size, 1);
  dials[0]!.handler.connected(new Stream() as unknown as ByteStream);
  admission.dials.end(one, "answered", 1);
  assert.equal(admission.dials.size, 0);
});

Deno.test("the header says who the client is and what it asked for, not what was dialled", async () => {
  for (const version of ["v1", "v2"] as const) {
    for (const to of ["db.test", undefined]) {
      const rewrite = to === undefined ? { port: 8443 } : { to, port: 8443 };
      const { zone, dials, flow, dial } = lab([rule({ rewrite, sendProxyProtocol: version })]);
      zone.addresses.set("db.test", "2001:db8::1");
      const one = flow();
      const { result } = dial(one);
      await settle();
      assert.equal(dials[0]!.to, to ? "2001:db8::1 8443" : "10.50.0.1 8443");
      const stream = new Stream();
      dials[0]!.handler.connected(stream as unknown as ByteStream);
      assert.equal(result.stream, stream);
      assert.deepEqual(stream.sent, [encodeProxyHeader(version, "tcp", {
        source: ip("10.9.0.2"),
        sourcePort: 40_000,
        destination: ip("10.50.0.1"),
        destinationPort: 443,
      })]);
    }
  }
});

/** A client's port, and the sockets towards targets as a list of what they send. */
function udpLab(rules: readonly RuleOptions[]) {
  const { zone, clock, targets, admission } = lab(rules);
  const sent: string[] = [];
  const handlers: UdpTargetHandler[] = [];
  const hooks = {
    onOpen() {},
    onNoSocket: (error: unknown): boolean => assert.fail(String(error)),
  };
  const { options } = forwarderOptions();
  const forwarder = new UdpForwarder({
    ...options,
    admission,
    targets,
    now: clock.now,
    hasRoom: () => true,
    onNoSocket: (error) => hooks.onNoSocket(error),
    openTargets: () => ({
      hasReady: false,
      open: (version, handler) => {
        hooks.onOpen();
        handlers.push(handler);
        return {
          send: (to, buffer, offset, length) => {
            const text = buffer.slice(offset, offset + length).toHex();
            sent.push(`v${version} ${ipAt(to.words, 0)} ${portAt(to.words, 0)} ${text}`);
            return true;
          },
          close() {},
        };
      },
      drain() {},
      flush() {},
      close: () => Promise.resolve(),
    }),
  });
  const reports: IcmpErrorKind[] = [];
  const client = {
    client: ip("10.9.0.2"),
    clientPort: 40_000,
    session: undefined as unknown,
    isClosed: false,
    close() {
      client.isClosed = true;
    },
    report(kind: IcmpErrorKind) {
      reports.push(kind);
      return true;
    },
  };
  const datagram = (byte: number, port = 53, length = 1) =>
    forwarder.datagram(
      client as unknown as UdpFlow,
      ip("10.50.0.1"),
      port,
      new Uint8Array(length).fill(byte),
      0,
      length,
      clock.now(),
    );
  return {
    ...{ targets, zone, sent, handlers, datagram, forwarder, client, reports, admission, clock },
    hooks,
  };
}

Deno.test("a session that ends to make room for its own socket sends nothing more", async () => {
  const { zone, sent, datagram, forwarder, client, clock, hooks, handlers } = udpLab(NAMED);
  zone.addresses.set("db.test", "192.0.2.1");
  for (const byte of [1, 2, 3]) datagram(byte);
  hooks.onNoSocket = () => false;
  hooks.onOpen = () => {
    hooks.onOpen = () => {};
    const { peer } = client.session as UdpSession;
    assert.equal(forwarder.giveWay(peer, clock.now() + 9_000), true);
    throw new Error("EMFILE");
  };
  await settle();
  assert.deepEqual([sent, handlers.length, forwarder.size], [[], 0, 0]);
  await forwarder.abort();
});

Deno.test("datagrams wait until their name is resolved, and leave in order", async () => {
  const { zone, sent, datagram, forwarder, admission } = udpLab(NAMED);
  zone.addresses.set("db.test", "2001:db8::1 192.0.2.1");
  for (const byte of [1, 2, 3]) assert.equal(datagram(byte), "accept");
  assert.deepEqual(sent, []);
  await settle();
  assert.equal(datagram(4), "accept");
  // The client's own family, though the other is preferred.
  assert.deepEqual(sent, [1, 2, 3, 4].map((byte) => `v4 192.0.2.1 8443 0${byte}`));
  assert.equal(forwarder.counters.datagramsUp, 4);
  const [flow] = admission.table.flows();
  assert.equal(`${flow!.dialled} ${flow!.state} ${flow!.packetsUp}`, "192.0.2.1 open 4");
  await forwarder.abort();
});

Deno.test("a name that is known to lead nowhere opens no socket, and its client is told", async () => {
  using _log = captureLog();
  const { zone, datagram, reports, handlers, admission, forwarder, sent, client } = udpLab(NAMED);
  zone.addresses.set("db.test", "127.0.0.1");
  for (let i = 1; i <= 3; i++) {
    client.session = undefined; // as the stack does with what is closed
    assert.equal(datagram(i), "accept");
    await settle();
    assert.deepEqual(reports, new Array(i).fill("prohibited"));
  }
  assert.deepEqual([handlers.length, sent.length, admission.table.size], [0, 0, 0]);
  assert.equal(forwarder.size, 0);
  assert.equal(admission.sessions.total, 0);
  assert.equal(forwarder.pollTimeout(), Infinity);
  await forwarder.abort();
});

Deno.test("what ends while its name is resolved is waited for no more", async () => {
  const { zone, datagram, forwarder, client, targets, sent, clock } = udpLab(NAMED);
  let waiting = 0;
  const resolve = targets.resolve.bind(targets);
  targets.resolve = (flow, found) => {
    const stop = resolve(flow, found);
    waiting++;
    return () => {
      waiting--;
      stop();
    };
  };
  let answer = () => {};
  zone.ask = () =>
    new Promise((resolve) =>
      answer = () => resolve({ addresses: [ip("192.0.2.1")], ttlMs: 60_000 })
    );
  for (let i = 0; i < 10; i++) {
    client.session = undefined; // another port of the client's
    datagram(i);
  }
  assert.equal(waiting, 10);
  forwarder.handleTimeout(clock.now() + 60_000); // all of them are idle
  assert.equal(forwarder.size, 0);
  assert.equal(waiting, 0);
  answer();
  await settle();
  assert.deepEqual(sent, []);
  await forwarder.abort();
});

Deno.test("a rate counts a datagram that waits for its name once", async () => {
  const rules = [rule({ ...NAMED[0], rate: 1_000 })];
  const { zone, sent, datagram, forwarder } = udpLab(rules);
  zone.addresses.set("db.test", "192.0.2.1");
  for (const byte of [1, 2, 3, 4]) datagram(byte, 53, 1_400);
  await settle();
  assert.equal(sent.length, 4);
  assert.equal(forwarder.counters.overRate, 0);
  await forwarder.abort();
});

Deno.test("so many datagrams wait and no more", async () => {
  const { zone, sent, datagram, forwarder } = udpLab(NAMED);
  zone.addresses.set("db.test", "192.0.2.1");
  for (let i = 0; i < 20; i++) datagram(i);
  await settle();
  assert.equal(sent.length, 16);
  assert.equal(forwarder.counters.noBuffer, 4);
  await forwarder.abort();
});

Deno.test("a session whose name leads nowhere says so and ends", async () => {
  using _log = captureLog();
  const { datagram, reports, client, admission, forwarder } = udpLab(NAMED);
  datagram(1);
  await settle();
  assert.deepEqual(reports, ["host-unreachable"]);
  assert.equal(client.isClosed, true);
  assert.equal(admission.table.size, 0);
  assert.equal(admission.sessions.total, 0);
  await forwarder.abort();
});

Deno.test("a session that ends while its name is resolved sends nothing", async () => {
  const { zone, sent, datagram, forwarder, admission } = udpLab(NAMED);
  zone.addresses.set("db.test", "192.0.2.1");
  datagram(1);
  await forwarder.abort();
  await settle();
  assert.deepEqual(sent, []);
  assert.equal(admission.table.size, 0);
});

Deno.test("with version 2 each datagram has its header, with or without a name", async () => {
  const header = encodeProxyHeader("v2", "udp", {
    source: ip("10.9.0.2"),
    sourcePort: 40_000,
    destination: ip("10.50.0.1"),
    destinationPort: 53,
  }).toHex();
  for (const to of ["db.test", undefined]) {
    const { zone, sent, datagram, forwarder } = udpLab([
      rule({ sendProxyProtocol: "v2", ...to && { rewrite: { to } } }),
    ]);
    zone.addresses.set("db.test", "192.0.2.1");
    datagram(1);
    await settle();
    datagram(2);
    const where = to ? "192.0.2.1" : "10.50.0.1";
    assert.deepEqual(sent, [`v4 ${where} 53 ${header}01`, `v4 ${where} 53 ${header}02`]);
    await forwarder.abort();
  }
});

Deno.test("version 1 has no form for datagrams: they go as they are", async () => {
  const { sent, datagram, forwarder } = udpLab([rule({ sendProxyProtocol: "v1" })]);
  datagram(7);
  assert.deepEqual(sent, ["v4 10.50.0.1 53 07"]);
  await forwarder.abort();
});

Deno.test("a flow gets a connection that is ready, with its header at first use, or another dial", async () => {
  const rewrite = { to: "db.test", port: 8443 };
  const turns: (() => void)[] = [];
  const { zone, dials, flow, dial, targets, admission } = lab(
    [rule({ rewrite, warmConnections: 2, sendProxyProtocol: "v2" })],
    undefined,
    (run) => turns.push(run),
  );
  zone.addresses.set("db.test", "192.0.2.1");
  targets.setRules(admission.rules);
  await settle();
  assert.deepEqual(dials.map(({ to }) => to), ["192.0.2.1 8443", "192.0.2.1 8443"]);
  const ready = dials.splice(0).map(({ handler }) => {
    const stream = new WarmStream();
    handler.connected(stream as unknown as ByteStream);
    return stream;
  });
  assert.deepEqual(ready.map(({ sent }) => sent.length), [0, 0]);
  const one = flow();
  const first = dial(one);
  assert.equal(first.result.stream, undefined, "it is looked at first");
  turns.shift()!();
  assert.equal(first.result.stream, ready[0]);
  assert.deepEqual(ready.map(({ sent }) => sent.length), [1, 0]);
  assert.equal(`${one.dialled}`, "192.0.2.1");
  // The other's end has come by the time that it is looked at.
  const second = dial(flow());
  ready[1]!.handler!.ended(null as never);
  turns.shift()!();
  assert.equal(second.result.stream, undefined);
  assert.deepEqual(dials.map(({ to }) => to), ["192.0.2.1 8443"]);
  targets.close();
});

Deno.test("a flow that gives up while a ready connection is looked at has it closed", async () => {
  const turns: (() => void)[] = [];
  const { zone, dials, flow, dial, targets, admission } = lab(
    [rule({ rewrite: { to: "db.test", port: 8443 }, warmConnections: 1 })],
    undefined,
    (run) => turns.push(run),
  );
  zone.addresses.set("db.test", "192.0.2.1");
  targets.setRules(admission.rules);
  await settle();
  const stream = new WarmStream();
  dials[0]!.handler.connected(stream as unknown as ByteStream);
  const { abort, result } = dial(flow());
  abort();
  turns.shift()!();
  assert.equal(result.stream, undefined);
  assert.equal(stream.isReset, true);
  targets.close();
});

Deno.test("a rule that rewrites nothing has connections ready from its first flow on", async () => {
  const ports = [{ protocol: "tcp" as const, first: 443, last: 443 }];
  const rules = [rule({ ports, warmConnections: 1 })];
  const { dials, flow, dial, targets, admission, clock } = lab(rules);
  targets.setRules(admission.rules);
  await clock.advance(10_000);
  assert.deepEqual(dials, []);
  dial(flow());
  assert.deepEqual(dials.map(({ to }) => to), ["10.50.0.1 443", "10.50.0.1 443"]);
  // The same rules again: nothing is closed.
  admission.setRules({ rules, defaultAction: "allow" });
  targets.setRules(admission.rules);
  assert.deepEqual(dials.map(({ isAborted }) => isAborted), [false, false]);
  targets.setRules(new RuleSet([], "allow"));
  assert.equal(dials.filter(({ isAborted }) => isAborted).length, 1);
  targets.close();
});

Deno.test("a name in To is resolved in the background: the rule matches what it stands for, and follows it", async () => {
  using log = captureLog();
  const { zone, clock, targets, admission } = lab([rule({ to: ["db.test"] })]);
  admission.setRules({ rules: [rule({ to: ["db.test"] })], defaultAction: "reject" });
  const decided = (destination: string) =>
    admission.decide(new Flow("tcp", OWNER, ip("10.9.0.2"), 40_000, ip(destination), 443, 0))
      .refusal ?? "allowed";
  zone.addresses.set("db.test", "10.50.0.1 10.50.0.2 127.0.0.1");
  zone.ttlMs = 5_000;
  targets.setRules(admission.rules);
  assert.equal(decided("10.50.0.1"), "rejected", "not known yet");
  await settle();
  assert.deepEqual(["10.50.0.1", "10.50.0.2", "10.50.0.3"].map(decided), [
    "allowed",
    "allowed",
    "rejected",
  ]);
  const live = new Flow("tcp", OWNER, ip("10.9.0.2"), 40_000, ip("10.50.0.1"), 443, 0);
  assert.equal(admission.admit(live, 0), undefined);
  let ended = 0;
  live.carrier = { endFlow: () => ended++ } as never;
  // It moves. Who is there stays, also when everything is looked at again.
  zone.addresses.set("db.test", "10.50.0.3");
  await clock.advance(5_000);
  assert.deepEqual(["10.50.0.1", "10.50.0.3"].map(decided), ["rejected", "allowed"]);
  admission.review();
  assert.equal(ended, 0);
  // Nobody answers: what is known counts on. A reload of the same rules forgets nothing.
  zone.addresses.clear();
  await clock.advance(60_000);
  assert.equal(decided("10.50.0.3"), "allowed");
  admission.setRules({ rules: [rule({ to: ["db.test"] })], defaultAction: "reject" });
  targets.setRules(admission.rules);
  assert.equal(decided("10.50.0.3"), "allowed");
  // It says that there is none.
  zone.addresses.set("db.test", "");
  await clock.advance(60_000);
  assert.equal(decided("10.50.0.3"), "rejected");
  assert.equal(log.lines.filter((line) => line.includes("127.0.0.1")).length, 1);
  targets.close();
  assert.equal(clock.timers, 0);
});

Deno.test("a dial that the runtime does not permit fails, wherever it is made from", async () => {
  using log = captureLog();
  const { zone, dials, flow, dial, targets } = lab(NAMED);
  zone.addresses.set("db.test", "192.0.2.1 192.0.2.2");
  dials.push = () => {
    throw new Deno.errors.NotCapable("no access to 192.0.2.1");
  };
  const { result } = dial(flow());
  await settle();
  assert.equal(result.why, "failed");
  assert.match(log.lines.join("\n"), /192\.0\.2\.1 port 8443: .*no access/);
  targets.close();
});
