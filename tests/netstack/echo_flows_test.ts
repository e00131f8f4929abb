import assert from "node:assert/strict";
import fc from "fast-check";
import type {
  EchoFlow,
  EchoVerdict,
  IcmpErrorKind,
  IpAddress,
  StackOptions,
} from "../../netstack/mod.ts";
import {
  concat,
  Host,
  ICMP,
  icmp,
  icmpMessage,
  ip,
  packet,
  type Parsed,
  plainChecksum,
  uint16,
} from "./packets.ts";

const DATA = Uint8Array.of(1, 2, 3, 4, 5);

interface Asked {
  flow: EchoFlow;
  destination: IpAddress;
  message: Uint8Array;
  hopLimit: number;
  dontFragment: boolean;
}

/** A gateway whose forwarder notes what it is asked for, and gives `verdict`. */
function gateway(options: Partial<StackOptions> = {}) {
  const host = new Host({}, options);
  const nic = host.addProxyNic("10.50.0.0/16", "fd50::/64");
  const asked: Asked[] = [];
  const lab = { host, nic, asked, verdict: "accept" as EchoVerdict };
  host.stack.setIcmpForwarder(nic, {
    echo: (flow, destination, buffer, offset, length) => {
      const { hopLimit, dontFragment } = flow;
      const message = buffer.slice(offset, offset + length);
      asked.push({ flow, destination, message, hopLimit, dontFragment });
      return lab.verdict;
    },
  });
  return lab;
}

const rest = (identifier: number, sequence: number, data: Uint8Array = DATA) =>
  concat(uint16(identifier), uint16(sequence), data);

function ping(
  source: string,
  destination: string,
  identifier = 77,
  sequence = 1,
  more: { hopLimit?: number; fragment?: number; data?: Uint8Array } = {},
): Uint8Array {
  const { data, ...header } = more;
  const type = source.includes(":") ? 128 : 8;
  return icmp(source, destination, type, 0, rest(identifier, sequence, data), header);
}

/** Has the forwarder answer the request asked last, with another identifier, as a socket has it. */
function reply({ host, asked }: ReturnType<typeof gateway>, data: Uint8Array = DATA): Parsed[] {
  const { flow, destination, message } = asked.at(-1)!;
  const path = flow.pathFrom(destination)!;
  path.hopLimit = 61;
  const bytes = concat(Uint8Array.of(99, 99, 99, 99), uint16(5555), message.slice(6, 8), data);
  assert.equal(flow.reply(path, bytes, 0, bytes.length, host.sim.now), true);
  host.sim.runFor(0);
  return host.take();
}

Deno.test("a ping of a foreign address reaches the forwarder, its hop limit one less", () => {
  const { host, asked } = gateway();
  host.receive(
    ping("10.9.0.2", "10.50.0.1", 77, 3, { hopLimit: 9 }),
    ping("fd09::2", "fd50::1", 78, 4, { hopLimit: 2 }),
    ping("10.9.0.2", "10.50.0.1", 77, 5, { fragment: 0x4000 }),
  );
  assert.deepEqual(asked.map(({ hopLimit }) => hopLimit), [8, 1, 63]);
  assert.deepEqual(asked.map(({ dontFragment }) => dontFragment), [false, true, true]);
  assert.deepEqual(asked.map(({ flow }) => flow.identifier), [77, 78, 77]);
  assert.deepEqual(asked[0]!.message, icmpMessage("10.9.0.2", "10.50.0.1", 8, 0, rest(77, 3)));
  assert.equal(`${asked[1]!.destination}`, "fd50::1");
  assert.equal(asked[0]!.flow, asked[2]!.flow);
  assert.equal(host.stack.resources().echoFlows, 2);
  assert.equal(host.stack.counters.icmp.echoForwarded, 3);
});

Deno.test("a ping whose hop limit ends here is answered by the gateway, and not forwarded", () => {
  const { host, asked } = gateway();
  const [answer] = host.receive(ping("10.9.0.2", "10.50.0.1", 77, 1, { hopLimit: 1 }));
  assert.equal(answer!.source, "10.9.0.1");
  assert.equal(answer!.payload[0], 11);
  assert.equal(asked.length, 0);
});

Deno.test("a reply has the client's identifier, sequence and data, and comes from the target", () => {
  const lab = gateway();
  for (
    const [client, target, type] of [["10.9.0.2", "10.50.0.1", 0], [
      "fd09::2",
      "fd50::1",
      129,
    ]] as const
  ) {
    lab.host.receive(ping(client, target, 0xfffe, 7));
    const [answer] = reply(lab);
    assert.equal(answer!.source, target);
    assert.equal(answer!.destination, client);
    assert.equal(answer!.hopLimit, 61);
    assert.deepEqual(answer!.payload, icmpMessage(target, client, type, 0, rest(0xfffe, 7)));
  }
});

Deno.test("identifiers of two clients do not mix, nor two of one client", () => {
  const { host, asked } = gateway();
  host.receive(
    ping("10.9.0.2", "10.50.0.1", 1),
    ping("10.9.0.3", "10.50.0.1", 1),
    ping("10.9.0.2", "10.50.0.1", 2),
  );
  assert.equal(new Set(asked.map(({ flow }) => flow)).size, 3);
});

Deno.test("a ping of the largest size goes to the forwarder whole, and its reply back in fragments", () => {
  const lab = gateway();
  const data = lab.host.sim.random.bytes(65_535 - 28);
  const message = icmpMessage("10.9.0.2", "10.50.0.1", 8, 0, rest(7, 1, data));
  const fragments: Uint8Array[] = [];
  for (let start = 0; start < message.length; start += 1400) {
    const more = start + 1400 < message.length ? 0x2000 : 0;
    fragments.push(packet({
      source: "10.9.0.2",
      destination: "10.50.0.1",
      protocol: ICMP,
      identification: 9,
      fragment: start / 8 | more,
      payload: message.slice(start, start + 1400),
    }));
  }
  lab.host.receive(...fragments);
  assert.deepEqual(lab.asked[0]!.message, message);
  const answers = reply(lab, data);
  assert.ok(answers.length > 40);
  assert.ok(answers.every(({ bytes }) => bytes.length <= 1420));
  const whole = concat(...answers.map(({ payload }) => payload));
  assert.deepEqual(whole, icmpMessage("10.50.0.1", "10.9.0.2", 0, 0, rest(7, 1, data)));
});

Deno.test("a refused ping is told so, a dropped one is not, and the flow is gone", () => {
  const lab = gateway();
  const { host } = lab;
  lab.verdict = "prohibited";
  const request = ping("10.9.0.2", "10.50.0.1");
  const [four] = host.receive(request);
  assert.equal(four!.source, "10.9.0.1");
  assert.deepEqual([...four!.payload.slice(0, 2)], [3, 13]);
  assert.deepEqual(four!.payload.slice(8), request);
  const [six] = host.receive(ping("fd09::2", "fd50::1"));
  assert.deepEqual([...six!.payload.slice(0, 2)], [1, 1]);
  lab.verdict = "drop";
  assert.equal(host.receive(request).length, 0);
  const { echoProhibited, echoDropped } = host.stack.counters.icmp;
  assert.deepEqual([echoProhibited, echoDropped], [2, 1]);
  assert.equal(host.stack.resources().echoFlows, 0);
});

Deno.test("a flow with a session outlives a refused ping", () => {
  const lab = gateway();
  lab.host.receive(ping("10.9.0.2", "10.50.0.1"));
  lab.asked[0]!.flow.session = "mine";
  lab.verdict = "prohibited";
  lab.host.receive(ping("10.9.0.2", "10.50.0.2"));
  assert.equal(lab.asked[1]!.flow, lab.asked[0]!.flow);
});

Deno.test("without a forwarder, or with a code that means nothing, a ping is ignored", () => {
  const lab = gateway();
  const { host, nic, asked } = lab;
  host.receive(icmp("10.9.0.2", "10.50.0.1", 8, 1, rest(1, 1)));
  host.stack.setIcmpForwarder(nic, undefined);
  assert.equal(host.receive(ping("10.9.0.2", "10.50.0.1")).length, 0);
  assert.equal(asked.length, 0);
  assert.equal(host.stack.counters.icmp.echoIgnored, 2);
});

/** What {@link EchoFlow.report} has the client told about `sequence`. */
function report(
  { host, asked }: ReturnType<typeof gateway>,
  kind: IcmpErrorKind,
  sequence: number,
  reporter?: IpAddress,
  mtu = 0,
): Parsed | undefined {
  const { flow, destination } = asked.at(-1)!;
  const isPassedOn = flow.report(kind, mtu, destination, sequence, reporter, host.sim.now);
  host.sim.runFor(0);
  const answers = host.take();
  assert.equal(answers.length, isPassedOn ? 1 : 0);
  return answers[0];
}

Deno.test("a report quotes the request it is about, from whoever made it", () => {
  const lab = gateway();
  for (
    const [client, target, router, kind] of [
      ["10.9.0.2", "10.50.0.1", "192.0.2.7", [11, 0]],
      ["fd09::2", "fd50::1", "2001:db8::7", [3, 0]],
    ] as const
  ) {
    const requests = [1, 2, 3].map((n) => ping(client, target, 77, n, { hopLimit: 1 + n }));
    lab.host.receive(...requests);
    const { source, payload } = report(lab, "time-exceeded", 2, ip(router))!;
    assert.equal(source, router);
    assert.deepEqual([...payload.slice(0, 2)], kind);
    assert.deepEqual(payload.slice(8), requests[1]!.slice(0, payload.length - 8));
    assert.equal(
      report(lab, "host-unreachable", 3)!.source,
      client === "10.9.0.2" ? "10.9.0.1" : "fd09::1",
    );
    assert.equal(report(lab, "parameter-problem", 3), undefined);
  }
});

Deno.test("a report about a request of long ago has its sequence number, and no checksum", () => {
  const lab = gateway();
  for (let n = 1; n <= 100; n++) lab.host.receive(ping("10.9.0.2", "10.50.0.1", 77, n));
  const quote = report(lab, "host-unreachable", 1)!.payload.slice(8);
  assert.deepEqual(quote.slice(20), concat(Uint8Array.of(8, 0, 0, 0), uint16(77), uint16(1)));
  assert.equal(plainChecksum(quote.slice(0, 20)), 0, "the quoted header's checksum");
});

Deno.test("a path MTU is for a client that does not want its ping fragmented", () => {
  const lab = gateway();
  lab.host.receive(ping("10.9.0.2", "10.50.0.1", 77, 1));
  assert.equal(report(lab, "too-big", 1, undefined, 1300), undefined);
  lab.host.receive(ping("10.9.0.2", "10.50.0.1", 77, 2, { fragment: 0x4000 }));
  const { payload } = report(lab, "too-big", 2, undefined, 1300)!;
  assert.deepEqual([...payload.slice(0, 2), ...payload.slice(6, 8)], [3, 4, ...uint16(1300)]);
});

Deno.test("reports are limited as the stack's own errors are", () => {
  const lab = gateway();
  lab.host.receive(ping("10.9.0.2", "10.50.0.1", 77, 1));
  const { flow, destination } = lab.asked[0]!;
  for (let n = 0; n < 1000; n++) {
    flow.report("host-unreachable", 0, destination, 1, undefined, lab.host.sim.now);
  }
  lab.host.sim.runFor(0);
  assert.ok(lab.host.take().length <= 200);
  assert.ok(lab.host.stack.counters.icmp.errorsRateLimited >= 800);
});

Deno.test("a closed flow neither answers nor reports, and the next ping makes another", () => {
  const lab = gateway();
  const request = ping("10.9.0.2", "10.50.0.1");
  lab.host.receive(request);
  const { flow, destination, message } = lab.asked[0]!;
  const path = flow.pathFrom(destination)!;
  flow.close();
  flow.close();
  assert.equal(lab.host.stack.resources().echoFlows, 0);
  assert.equal(flow.reply(path, message, 0, message.length, 0), false);
  assert.equal(flow.report("host-unreachable", 0, destination, 1, undefined, 0), false);
  lab.host.receive(request);
  assert.notEqual(lab.asked[1]!.flow, flow);
  lab.host.stack.removeNic(lab.nic);
  assert.equal(lab.host.stack.resources().echoFlows, 0);
});

Deno.test("a reply that is no message, or none of the client's family, is not sent", () => {
  const lab = gateway();
  lab.host.receive(ping("10.9.0.2", "10.50.0.1"));
  const { flow, destination } = lab.asked[0]!;
  const path = flow.pathFrom(destination)!;
  assert.equal(flow.reply(path, new Uint8Array(7), 0, 7, 0), false);
  assert.equal(flow.reply(path, new Uint8Array(65_516), 0, 65_516, 0), false);
  assert.equal(flow.pathFrom(ip("fd50::1")), undefined);
  lab.nic.spoofing = false;
  assert.equal(flow.pathFrom(ip("10.50.0.1")), undefined);
});

Deno.test("what goes through comes back as it was sent: any identifier, sequence and data", () => {
  const lab = gateway();
  fc.assert(fc.property(
    fc.nat(0xffff),
    fc.nat(0xffff),
    fc.uint8Array({ maxLength: 3000 }),
    fc.boolean(),
    (identifier, sequence, data, isIpv4) => {
      const [client, target] = isIpv4 ? ["10.9.0.2", "10.50.0.1"] : ["fd09::2", "fd50::1"];
      lab.host.receive(ping(client!, target!, identifier, sequence, { data }));
      const whole = concat(...reply(lab, data).map(({ payload }) => payload));
      const type = isIpv4 ? 0 : 129;
      const expected = icmpMessage(target!, client!, type, 0, rest(identifier, sequence, data));
      assert.deepEqual(whole, expected);
      lab.asked.at(-1)!.flow.close();
      lab.asked.length = 0;
    },
  ));
});

Deno.test("a flow knows who sent its latest request, when its forwarder is asked", () => {
  const { host, asked } = gateway();
  const seen: unknown[] = [];
  const from = (who: unknown, bytes: Uint8Array) => {
    const before = asked.length;
    host.stack.handlePacket(host.nic, bytes, 0, bytes.length, host.sim.now, who);
    host.sim.runFor(0);
    assert.equal(asked.length, before + 1);
    seen.push(asked.at(-1)!.flow.from);
  };
  const [alice, bob] = [{ name: "alice" }, { name: "bob" }];
  from(alice, ping("10.9.0.2", "10.50.0.1", 77, 1));
  from(bob, ping("10.9.0.3", "10.50.0.1", 77, 1));
  from(alice, ping("fd09::2", "fd50::1", 77, 1));
  // An address that has become another's.
  from(bob, ping("10.9.0.2", "10.50.0.1", 77, 2));
  assert.deepEqual(seen, [alice, bob, alice, bob]);
  assert.equal(asked[3]!.flow, asked[0]!.flow);
  assert.equal(host.stack.resources().echoFlows, 3);
});
