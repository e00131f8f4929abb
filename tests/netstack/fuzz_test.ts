import assert from "node:assert/strict";
import { Random } from "../sim/random.ts";
import { forSeeds } from "../sim/seeds.ts";
import {
  addNic,
  concat,
  Host,
  icmp,
  packet,
  parseHeader,
  plainChecksum,
  tcpSyn,
  UDP,
  udp,
  uint16,
  uint32,
} from "./packets.ts";

const ZERO = uint32(0);

/** Real packets of every kind, to be damaged. */
function corpus(random: Random): (() => Uint8Array)[] {
  const data = random.bytes(random.between(0, 1300));
  const id = random.below(4);
  const source6 = "fd09::2";
  const v6 = (destination: string, protocol: number, payload: Uint8Array) =>
    packet({ source: source6, destination, protocol, payload });
  const fragment6 = (start: number, more: number) =>
    concat(Uint8Array.of(UDP, 0), uint16(start | more), uint32(id));
  const half = udp("10.9.0.2", 1, "10.9.0.1", 7, data.slice(0, 64)).slice(20);
  return [
    () => udp("10.9.0.2", 1, "10.9.0.1", 7, data),
    () => udp("10.9.0.2", 1, "10.50.0.1", 7, data),
    () => udp("10.9.0.2", 1, "10.7.0.9", 7, data),
    () => udp(source6, 1, "fd09::1", 7, data),
    () => udp(source6, 1, "fd50::1", 7, data),
    () => udp(source6, 1, "fd07::9", 7, data),
    () => udp("10.9.0.2", 1, "192.0.2.1", 7, data),
    () =>
      udp("10.9.0.2", 1, "10.50.0.1", 7, data, { options: Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0) }),
    () => udp("10.9.0.2", 1, "10.50.0.1", 7, data, { hopLimit: 1 }),
    () => icmp("10.9.0.2", "10.9.0.1", 8, 0, concat(ZERO, data)),
    () => icmp(source6, "fd09::1", 128, 0, concat(ZERO, data)),
    () => icmp("10.9.0.2", "10.9.0.1", 3, 3, concat(ZERO, udp("10.9.0.1", 7, "10.9.0.2", 9, data))),
    () => icmp(source6, "fd09::1", 2, 0, concat(uint32(1300), udp("fd09::1", 7, source6, 9, data))),
    () => tcpSyn("10.9.0.2", 1, "10.9.0.1", 80),
    () => tcpSyn("10.9.0.2", random.below(1000) + 1, "10.50.0.1", 80),
    () => tcpSyn(source6, random.below(1000) + 1, "fd50::1", 80),
    () =>
      udp("10.9.0.2", 1, "10.9.0.1", 7, data, {
        identification: id,
        fragment: 0x2000,
        payload: half.slice(0, 32),
      }),
    () =>
      udp("10.9.0.2", 1, "10.9.0.1", 7, data, {
        identification: id,
        fragment: 4,
        payload: half.slice(32),
      }),
    () => v6("fd09::1", 44, concat(fragment6(0, 1), data.slice(0, data.length & ~7))),
    () => v6("fd09::1", 44, concat(fragment6(data.length & ~7, 0), data)),
    () => v6("fd09::1", 44, concat(fragment6(0, 0), data)),
    () => v6("fd50::1", 60, concat(Uint8Array.of(UDP, 0, 1, 4, 0, 0, 0, 0), data)),
    () =>
      v6(
        "fd09::1",
        0,
        concat(Uint8Array.of(43, 0, 5, 2, 0, 0, 1, 0), Uint8Array.of(UDP, 0, 0, 0), ZERO),
      ),
  ];
}

function damage(random: Random, bytes: Uint8Array): Uint8Array {
  let out: Uint8Array = bytes.slice();
  const changes = random.below(4);
  for (let i = 0; i < changes && out.length > 0; i++) {
    // Headers are where it matters.
    const at = random.below(random.chance(0.8) ? Math.min(out.length, 64) : out.length);
    const choice = random.next();
    if (choice < 0.4) out[at]! ^= 1 << random.below(8);
    else if (choice < 0.6) out[at] = random.below(256);
    else if (choice < 0.7) out[at] = random.chance(0.5) ? 0 : 255;
    else if (choice < 0.85) out = out.slice(0, at);
    else out = concat(out, random.bytes(random.below(64)));
  }
  // Half of them get past the first checks.
  const headerLength = (out[0]! & 15) * 4;
  if (
    random.chance(0.5) && out[0]! >> 4 === 4 && headerLength >= 20 && headerLength <= out.length
  ) {
    if (random.chance(0.5)) out.set(uint16(out.length), 2);
    out.set(uint16(0), 10);
    out.set(uint16(plainChecksum(out.subarray(0, headerLength))), 10);
  }
  if (random.chance(0.5) && out[0]! >> 4 === 6 && out.length >= 40) {
    out.set(uint16(out.length - 40), 4);
  }
  return out.length > 1420 ? out.slice(0, 1420) : out;
}

/** A gateway with everything on: endpoints, forwarders, a NIC that forwards. */
function gateway(seed: number): Host {
  const host = new Host({}, { maxUdpFlows: 50, reassembly: { high: 100_000, low: 50_000 } });
  const { stack } = host;
  const echo = stack.bindUdp({ port: 7 });
  echo.handler = {
    datagram: (_endpoint, source, port, buffer, offset, length, now) => {
      if (port !== 0) echo.send(source, port, buffer, offset, length, now);
    },
  };
  const verdicts = ["accept", "refuse", "prohibited", "drop"] as const;
  const proxy = host.addProxyNic("10.50.0.0/16", "fd50::/64");
  let count = seed;
  stack.setUdpForwarder(proxy, {
    datagram: (flow, destination, port, buffer, offset, length, now) => {
      flow.session = "session";
      if (count % 5 === 0) flow.close();
      flow.send(destination, port, buffer, offset, length, now);
      return verdicts[count++ % verdicts.length]!;
    },
  });
  const answers = ["reset", "host", "net", "prohibited", "drop"] as const;
  stack.tcp.setForwarder(proxy, {
    request: (request) => {
      if (count++ % 3 === 0) request.accept()?.abort();
      else request.reject(answers[count % answers.length]!);
    },
  });
  stack.tcp.listen({ port: 80 }, { accepted: (endpoint) => endpoint.close() });
  const link = host.sim.link({ mtu: 1280 });
  link.b.receive = (buffer, offset, length) => parseHeader(buffer.slice(offset, offset + length));
  addNic(stack, link.a, { name: "other", forwarding: true }, ["10.7.0.1/24", "fd07::1/64"]);
  return host;
}

Deno.test("no packet makes the stack throw, every answer is well formed, every packet is accounted for", () => {
  forSeeds(60, (seed) => {
    const random = new Random(seed);
    const host = gateway(seed);
    for (let i = 0; i < 400; i++) {
      const packets = corpus(random);
      const bytes = random.chance(0.02)
        ? random.bytes(random.below(200))
        : damage(random, packets[random.below(packets.length)]!());
      // The host takes its answers apart and checks every length and checksum. What it forwarded
      // may be damaged behind the IP header.
      host.stack.handlePacket(host.nic, bytes, 0, bytes.length, host.sim.now);
      if (random.chance(0.3)) flush(host, random.below(3000));
    }
    flush(host, 0);
    const { ip } = host.stack.counters;
    assert.equal(
      ip.received + ip.reassembled,
      ip.delivered + ip.forwarded + ip.malformed + ip.badChecksum + ip.badOptions +
        ip.sourceRouted + ip.badExtension + ip.badSource + ip.badDestination + ip.noRoute +
        ip.hopLimitExceeded + ip.tooBig + ip.unknownProtocol + ip.fragmentsReceived,
    );
    assert.ok(ip.delivered > 50);
    assert.equal(host.port.slotsOut, 0);
    flush(host, 300_000);
    assert.equal(host.stack.resources().reassemblies, 0);
    assert.equal(host.stack.resources().tcpHalfOpen, 0);
  });
});

function flush(host: Host, duration: number): void {
  host.sim.runFor(duration);
  host.take();
}
