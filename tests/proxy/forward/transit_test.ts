import assert from "node:assert/strict";
import fc from "fast-check";
import { TransitPacket } from "../../../netstack/mod.ts";
import { DEFAULT_TIMEOUTS } from "../../../proxy/config/defaults.ts";
import { FlowOwner, type FlowRequest } from "../../../proxy/flow/flow.ts";
import type { RuleAction, RuleOptions } from "../../../proxy/flow/rule.ts";
import { TransitFlows } from "../../../proxy/forward/transit_flows.ts";
import {
  concat,
  Host,
  icmp,
  ip,
  packet,
  type Parsed,
  parseHeader,
  TCP,
  tcpSegment,
  tcpSyn,
  UDP,
  udp,
  uint16,
  uint32,
} from "../../netstack/packets.ts";
import { matches, rule, tcp } from "../flow/rule.ts";
import { admission } from "./lab.ts";

const DATA = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const [FIN_ACK, SYN_ACK, RST, ACK] = [0x11, 0x12, 0x04, 0x10];

/** A hub with rules. Peers are told apart by the last byte of an address. */
function hub(rules: readonly RuleOptions[], defaultAction: RuleAction = "reject", maxFlows = 100) {
  const host = new Host({ forwarding: true });
  const owners = new Map<number, FlowOwner>();
  const subject = admission({ rules: { rules, defaultAction } });
  const transit = new TransitFlows({
    admission: subject,
    ownerOf: (_from, { bytes }) => {
      const peer = bytes.at(-1)!;
      const owner = owners.get(peer) ?? new FlowOwner(() => `peer ${peer}`);
      owners.set(peer, owner);
      return owner;
    },
    settings: { timeouts: DEFAULT_TIMEOUTS },
    random: (out) => host.sim.random.fill(out),
    maxFlows,
  }, new TransitPacket());
  host.stack.setTransitFilter(transit);
  const wait = (ms: number) => {
    host.sim.runFor(ms);
    transit.handleTimeout(host.sim.now);
  };
  /** What became of a packet: it passed, an answer in words, or silence. */
  const send = (bytes: Uint8Array): string => outcome(bytes, host.receive(bytes));
  const flows = () =>
    subject.table.flows().map(({ protocol, owner, source, destination, destinationPort, state }) =>
      `${protocol} ${owner.name}: ${source} > ${destination} ${destinationPort} ${state}`
    );
  return { host, subject, transit, owners, wait, send, flows };
}

function outcome(bytes: Uint8Array, answers: readonly Parsed[]): string {
  if (answers.length === 0) return "silence";
  assert.equal(answers.length, 1);
  const [{ source, destination, protocol, payload }] = answers as [Parsed];
  const sent = parseHeader(bytes);
  if (source === sent.source && destination === sent.destination) return "passed";
  assert.equal(destination, sent.source);
  if (protocol === TCP) {
    assert.equal(source, sent.destination);
    assert.equal(payload[13]! & 0x04, 0x04);
    return "reset";
  }
  return `ICMP ${payload[0]} ${payload[1]}`;
}

const A = "10.9.0.2", B = "10.9.0.3", A6 = "fd09::2", B6 = "fd09::3";

Deno.test("what a rule allows passes, and what answers it; the rest is rejected at once", () => {
  const { send, flows } = hub([
    rule({ from: [`${A}/32`, `${A6}/128`], ports: [tcp(80), { ...tcp(53), protocol: "udp" }] }),
  ]);
  for (const [a, b, prohibited] of [[A, B, "ICMP 3 13"], [A6, B6, "ICMP 1 1"]] as const) {
    assert.equal(send(tcpSyn(a, 1000, b, 80)), "passed");
    assert.equal(send(tcpSegment(b, 80, a, 1000, 1, 1001, SYN_ACK)), "passed");
    assert.equal(send(tcpSegment(a, 1000, b, 80, 1001, 2, ACK)), "passed");
    assert.equal(send(tcpSyn(a, 1000, b, 81)), "reset");
    assert.equal(send(tcpSyn(b, 1000, a, 80)), "reset");
    assert.equal(send(udp(a, 1000, b, 53, DATA)), "passed");
    assert.equal(send(udp(b, 53, a, 1000, DATA)), "passed");
    assert.equal(send(udp(b, 53, a, 1001, DATA)), prohibited);
    assert.equal(send(udp(a, 1000, b, 54, DATA)), prohibited);
    assert.equal(send(udp(b, 1000, a, 53, DATA)), prohibited);
  }
  assert.deepEqual(flows(), [
    "tcp peer 2: 10.9.0.2 > 10.9.0.3 80 open",
    "udp peer 2: 10.9.0.2 > 10.9.0.3 53 open",
    "tcp peer 2: fd09::2 > fd09::3 80 open",
    "udp peer 2: fd09::2 > fd09::3 53 open",
  ]);
});

Deno.test("what a rule or the default drops gets no answer", () => {
  const { send, subject } = hub([], "drop");
  assert.equal(send(tcpSyn(A, 1000, B, 80)), "silence");
  assert.equal(send(udp(A6, 1000, B6, 80, DATA)), "silence");
  assert.equal(send(icmp(A, B, 8, 0, uint32(0))), "silence");
  assert.equal(send(packet({ source: A, destination: B, protocol: 47, payload: DATA })), "silence");
  assert.equal(subject.table.size, 0);
});

Deno.test("a rule that rewrites cannot let a packet pass", () => {
  const { send } = hub([rule({ ports: [tcp(80)], rewrite: { port: 81 } }), rule()]);
  assert.equal(send(tcpSyn(A, 1000, B, 80)), "reset");
  assert.equal(send(tcpSyn(A, 1000, B, 81)), "passed");
});

Deno.test("a ping passes with its replies, and neither lets the other side ping", () => {
  for (
    const [a, b, request, reply, prohibited] of [
      [A, B, 8, 0, "ICMP 3 13"],
      [A6, B6, 128, 129, "ICMP 1 1"],
    ] as const
  ) {
    const { send, transit } = hub([
      rule({ from: [a], ports: [{ protocol: "icmp", first: 0, last: 65535 }] }),
    ]);
    const echo = concat(uint16(77), uint16(1), DATA);
    assert.equal(send(icmp(b, a, reply, 0, echo)), "silence");
    assert.equal(send(icmp(a, b, request, 0, echo)), "passed");
    assert.equal(send(icmp(b, a, reply, 0, echo)), "passed");
    assert.equal(send(icmp(b, a, request, 0, echo)), prohibited);
    assert.equal(send(icmp(b, a, reply, 0, concat(uint16(78), uint16(1), DATA))), "silence");
    assert.equal(transit.counters.unasked, 2);
    assert.equal(send(udp(a, 1, b, 2, DATA)), prohibited);
  }
});

Deno.test("an ICMP error passes if it is about a flow that passed, to whom sent the packet", () => {
  const { send } = hub([rule({ from: [A] })]);
  const asked = udp(A, 1000, B, 53, DATA);
  const error = (quoted: Uint8Array) => icmp(B, A, 3, 3, concat(uint32(0), quoted));
  assert.equal(send(error(asked)), "silence");
  assert.equal(send(asked), "passed");
  assert.equal(send(error(asked)), "passed");
  // Eight bytes of it are enough. One about what another sent is none of its business.
  assert.equal(send(error(asked.subarray(0, 28))), "passed");
  assert.equal(send(error(asked.subarray(0, 27))), "silence");
  assert.equal(send(error(udp(A, 1000, B, 54, DATA))), "silence");
  assert.equal(send(error(udp(B, 53, A, 1000, DATA))), "silence");
  const tooBig = icmp(B6, A6, 2, 0, concat(uint32(1280), udp(A6, 1, B6, 2, DATA)));
  assert.equal(send(tooBig), "silence");
});

Deno.test("fragments pass behind a first one that passed, and not before it", () => {
  const { send, transit } = hub([rule({ ports: [{ protocol: "udp", first: 53, last: 53 }] })]);
  const whole = (port: number) => udp(A, 1000, B, port, new Uint8Array(2000)).slice(20);
  const four = (port: number, identification: number, place: number) =>
    packet({
      source: A,
      destination: B,
      protocol: UDP,
      payload: whole(port).slice(place * 8, place * 8 + 1000),
      identification,
      fragment: (place === 125 ? 0 : 0x2000) | place,
    });
  assert.equal(send(four(53, 7, 125)), "silence");
  assert.equal(send(four(53, 7, 0)), "passed");
  assert.equal(send(four(53, 7, 125)), "passed");
  assert.equal(send(four(53, 8, 125)), "silence");
  assert.equal(send(four(54, 9, 0)), "ICMP 3 13");
  assert.equal(send(four(54, 9, 125)), "silence");
  const datagram = udp(A6, 1000, B6, 53, new Uint8Array(2000)).slice(40);
  const six = (identification: number, place: number) =>
    packet({
      source: A6,
      destination: B6,
      protocol: 44,
      payload: concat(
        Uint8Array.of(UDP, 0),
        uint16(place << 3 | (place === 125 ? 0 : 1)),
        uint32(identification),
        datagram.slice(place * 8, place * 8 + 1000),
      ),
    });
  assert.equal(send(six(7, 125)), "silence");
  assert.equal(send(six(7, 0)), "passed");
  assert.equal(send(six(7, 125)), "passed");
  assert.equal(transit.counters.fragments, 4);
  // RFC 1858, RFC 3128: a TCP header that is spread over fragments is not believed.
  const segment = tcpSyn(A, 1, B, 80).slice(20);
  const tiny = (place: number, payload: Uint8Array) =>
    packet({ source: A, destination: B, protocol: TCP, payload, fragment: 0x2000 | place });
  assert.equal(send(tiny(0, segment.slice(0, 8))), "silence");
  assert.equal(send(tiny(1, segment.slice(8))), "silence");
  assert.equal(transit.counters.malformed, 2);
});

Deno.test("a peer that sends first fragments alone does not lose another's the rest of theirs", () => {
  const { send } = hub([rule({ ports: [{ protocol: "udp", first: 53, last: 53 }] })]);
  const piece = (source: string, identification: number, place: number) =>
    packet({
      source,
      destination: B,
      protocol: UDP,
      payload: udp(source, 1000, B, 53, new Uint8Array(24)).slice(20).slice(
        place * 8,
        place * 8 + 16,
      ),
      identification,
      fragment: (place === 0 ? 0x2000 : 0) | place,
    });
  for (let i = 0; i < 10; i++) assert.equal(send(piece("10.9.0.4", i, 0)), "passed");
  for (let i = 0; i < 3_000; i++) send(piece(A, i, 0));
  for (let i = 0; i < 10; i++) assert.equal(send(piece("10.9.0.4", i, 2)), "passed");
  // Its own oldest are gone, the latest are there.
  assert.equal(send(piece(A, 1_000, 2)), "silence");
  assert.equal(send(piece(A, 2_999, 2)), "passed");
});

Deno.test("a connection that was there before the rules goes on, whoever's packet comes first", () => {
  const { send, flows } = hub([rule({ from: [A], ports: [tcp(80)] })]);
  assert.equal(send(tcpSegment(B, 80, A, 1000, 1, 1, ACK)), "passed");
  assert.deepEqual(flows(), ["tcp peer 2: 10.9.0.2 > 10.9.0.3 80 dialling"]);
  assert.equal(send(tcpSegment(A, 1000, B, 80, 1, 1, ACK)), "passed");
  assert.deepEqual(flows(), ["tcp peer 2: 10.9.0.2 > 10.9.0.3 80 open"]);
  assert.equal(send(tcpSegment(B, 81, A, 1000, 1, 1, ACK)), "reset");
  assert.equal(send(tcpSyn(B, 80, A, 1001)), "reset");
});

Deno.test("whoever may not connect does not by a segment of a connection that never was", () => {
  const { send } = hub([rule({ from: [A], ports: [tcp(80)] })]);
  // As if it were an answer to port 1000 of A, which A might have sent from.
  assert.equal(send(tcpSegment(B, 80, A, 1000, 1, 1, ACK)), "passed");
  assert.equal(send(tcpSyn(B, 80, A, 1000)), "reset");
  assert.equal(send(tcpSegment(A, 1000, B, 80, 1, 1, ACK)), "passed");
  assert.equal(send(tcpSyn(B, 80, A, 1000)), "reset");
  // Nor does it take a place in another's name for long, if that one never answers.
  const one = hub([rule({ from: [A], maxConnections: 1 })]);
  assert.equal(one.send(tcpSegment(B, 80, A, 1000, 1, 1, ACK)), "passed");
  assert.equal(one.send(tcpSyn(A, 1001, B, 80)), "reset");
  one.wait(30_000);
  assert.equal(one.send(tcpSyn(A, 1001, B, 80)), "passed");
  // Both may begin where the rules let both.
  const both = hub([rule({ ports: [tcp(80), tcp(1000)] })]);
  assert.equal(both.send(tcpSyn(A, 1000, B, 80)), "passed");
  assert.equal(both.send(tcpSyn(B, 80, A, 1000)), "passed");
  assert.equal(both.send(tcpSegment(A, 1000, B, 80, 1, 1, SYN_ACK)), "passed");
  assert.equal(both.flows().length, 1);
});

Deno.test("flows end: with their connections, by a reset, or idle; ports are used again", () => {
  const { send, wait, subject, transit } = hub([rule({ from: [A] })]);
  const ends: string[] = [];
  subject.table.observe({ ended: ({ protocol, end }) => void ends.push(`${protocol} ${end}`) });
  const open = () => {
    send(tcpSyn(A, 1000, B, 80));
    send(tcpSegment(B, 80, A, 1000, 1, 1001, SYN_ACK));
  };
  open();
  send(tcpSegment(A, 1000, B, 80, 1001, 2, FIN_ACK));
  wait(60_000);
  assert.equal(subject.table.flows()[0]!.state, "half-closed");
  send(tcpSegment(B, 80, A, 1000, 2, 1002, FIN_ACK));
  assert.equal(send(tcpSegment(A, 1000, B, 80, 1002, 3, ACK)), "passed");
  wait(9_000);
  assert.deepEqual(ends, []);
  open(); // the same ports
  assert.deepEqual(ends.splice(0), ["tcp closed"]);
  send(tcpSegment(B, 80, A, 1000, 2, 0, RST));
  wait(11_000);
  assert.deepEqual(ends.splice(0), ["tcp reset-by-target"]);
  // A reset that nobody believed ends nothing.
  open();
  send(tcpSegment(B, 80, A, 1000, 999, 0, RST));
  send(tcpSegment(A, 1000, B, 80, 1001, 2, ACK));
  wait(7_000_000);
  assert.deepEqual(ends, []);
  wait(441_000);
  assert.deepEqual(ends.splice(0), ["tcp idle"]);
  send(tcpSyn(A, 1000, B, 80));
  send(udp(A, 1, B, 53, DATA));
  send(udp(A, 1, B, 54, DATA));
  send(icmp(A, B, 8, 0, uint32(0)));
  wait(29_000);
  assert.deepEqual(ends, []);
  wait(1_000);
  assert.deepEqual(ends.splice(0).sort(), ["icmp idle", "tcp idle", "udp idle"]);
  wait(30_000);
  assert.deepEqual(ends, ["udp idle"]);
  assert.equal(transit.size, 0);
  assert.equal(transit.pollTimeout(), Infinity);
});

Deno.test("a connection that is killed is reset, both ends with the next that they send", () => {
  const { send, subject } = hub([rule()]);
  const open = () => {
    assert.equal(send(tcpSyn(A, 1000, B, 80)), "passed");
    assert.equal(send(tcpSegment(B, 80, A, 1000, 1, 1001, SYN_ACK)), "passed");
  };
  open();
  const [flow] = subject.table.flows();
  flow!.carrier!.endFlow(flow!, "killed");
  assert.equal(send(tcpSegment(A, 1000, B, 80, 1001, 2, ACK)), "reset");
  assert.equal(send(tcpSegment(B, 80, A, 1000, 2, 1001, ACK)), "reset");
  assert.equal(send(tcpSegment(A, 1001, B, 80, 1001, 2, ACK)), "passed");
  open(); // a new one may use its ports
});

Deno.test("a reload ends what is no longer allowed, and the rest goes on", () => {
  const { send, subject, flows } = hub([rule()]);
  send(tcpSyn(A, 1000, B, 80));
  send(udp(A, 1000, B, 53, DATA));
  subject.setRules({ rules: [rule({ ports: [tcp(80)] })], defaultAction: "reject" });
  assert.equal(subject.review(), 1);
  assert.deepEqual(flows(), ["tcp peer 2: 10.9.0.2 > 10.9.0.3 80 dialling"]);
  assert.equal(send(tcpSegment(B, 80, A, 1000, 1, 1001, SYN_ACK)), "passed");
  assert.equal(send(udp(B, 53, A, 1000, DATA)), "ICMP 3 13");
});

Deno.test("a peer that fills the table loses its own flows, the idle ones first", () => {
  const { send, wait, transit, owners, subject } = hub([rule()], "reject", 50);
  for (let i = 0; i < 5; i++) send(udp(B, 1000 + i, "10.9.0.9", 1, DATA));
  for (let i = 0; i < 200; i++) {
    wait(1);
    send(udp(A, 1000 + i, "10.9.0.9", 1, DATA));
    assert.equal(send(udp("10.9.0.9", 1, A, 1000, DATA)), "passed");
  }
  assert.equal(transit.size, 50);
  const ports = (owner: FlowOwner) =>
    subject.table.flows().filter((flow) => flow.owner === owner).map((flow) => flow.sourcePort);
  assert.equal(ports(owners.get(3)!).length, 5);
  // The one in use has stayed all the while.
  assert.ok(ports(owners.get(2)!).includes(1000));
  assert.equal(transit.counters.evicted, 155);
});

Deno.test("a packet finds its flow as a list of them would", () => {
  const addresses = [A, B, "10.9.0.4", A6, B6];
  const rules = [
    rule({ from: [`${A}/32`], to: [`${B}/32`], ports: [tcp(80), { ...tcp(1), protocol: "udp" }] }),
    rule({ from: [`${A6}/128`] }),
    rule({ from: ["peer 4"], ports: [{ protocol: "icmp", first: 0, last: 65535 }] }),
  ];
  const address = fc.constantFrom(...addresses);
  const port = fc.constantFrom(1, 80, 1000);
  const one = fc.tuple(
    fc.constantFrom("syn", "ack", "udp", "request", "reply"),
    address,
    port,
    address,
    port,
  ).filter(([, source, , destination]) =>
    source !== destination && source.includes(":") === destination.includes(":")
  );
  fc.assert(
    fc.property(fc.array(one, { maxLength: 60 }), (packets) => {
      const { send, owners } = hub(rules);
      const known = new Set<string>();
      const allowed = (
        protocol: "tcp" | "udp" | "icmp",
        source: string,
        to: string,
        at: number,
      ) => {
        const peer = ip(source).bytes.at(-1)!;
        const request: FlowRequest = {
          protocol,
          owner: owners.get(peer) ?? new FlowOwner(() => `peer ${peer}`),
          source: ip(source),
          sourcePort: 0,
          destination: ip(to),
          destinationPort: at,
        };
        return rules.some((rule) => matches(rule, request));
      };
      for (const [kind, source, sourcePort, destination, destinationPort] of packets) {
        const isV6 = source.includes(":");
        const isEcho = kind === "request" || kind === "reply";
        const protocol = isEcho ? "icmp" : kind === "udp" ? "udp" : "tcp";
        const near = isEcho ? 7 : sourcePort, far = isEcho ? 7 : destinationPort;
        const up = [protocol, source, near, destination, far].join();
        const down = [protocol, destination, far, source, near].join();
        const isNew = allowed(protocol, source, destination, isEcho ? 0 : destinationPort);
        const mayBeReverse = kind === "ack" && allowed("tcp", destination, source, sourcePort);
        const isKnown = kind === "request"
          ? known.has(up)
          : kind === "reply"
          ? known.has(down)
          : known.has(up) || known.has(down) && (kind !== "syn" || isNew);
        const passes = isKnown || kind !== "reply" && (isNew || mayBeReverse);
        if (passes && !isKnown) known.add(isNew ? up : down);
        const echo = concat(uint16(7), uint16(1));
        const bytes = kind === "syn"
          ? tcpSyn(source, sourcePort, destination, destinationPort)
          : kind === "ack"
          ? tcpSegment(source, sourcePort, destination, destinationPort, 1, 1, ACK)
          : kind === "udp"
          ? udp(source, sourcePort, destination, destinationPort, DATA)
          : icmp(
            source,
            destination,
            kind === "request" ? (isV6 ? 128 : 8) : isV6 ? 129 : 0,
            0,
            echo,
          );
        assert.equal(send(bytes) === "passed", passes, `${kind} ${up}`);
      }
    }),
    { numRuns: 200 },
  );
});
