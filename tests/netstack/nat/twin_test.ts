import assert from "node:assert/strict";
import fc from "fast-check";
import type { NatFiltering } from "../../../netstack/mod.ts";
import { concat, icmp, parse, type Parsed, tcpSegment, udp, uint16, uint32 } from "../packets.ts";
import { EXTERNAL, EXTERNAL6, NatLab, portsOf } from "./lab.ts";
import { ACK, FIN, PlainNat, type Protocol, RST, SYN } from "./plain_nat.ts";

const FIRST = 4998;
const LAST = 5000;
const MAX_SESSIONS = 9;

const NETS = {
  4: {
    hosts: ["192.168.0.2", "192.168.0.3", "192.168.0.4"],
    remotes: ["203.0.113.20", "198.51.100.7"],
    external: EXTERNAL,
  },
  6: {
    hosts: ["fd01::2", "fd01:0:0:1::3", "fd01:0:0:2::4"],
    remotes: ["2001:db8:0:1::20", "2001:db8:0:2::7"],
    external: EXTERNAL6,
  },
};

const small = (size: number) => fc.integer({ min: 0, max: size - 1 });
const protocol = fc.constantFrom<Protocol>("tcp", "udp", "icmp");
const flags = fc.constantFrom(SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK);
const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      way: fc.constant("out"),
      protocol,
      host: small(3),
      port: small(4),
      remote: small(2),
      remotePort: small(3),
      flags,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      way: fc.constantFrom("in", "error"),
      protocol,
      host: fc.constant(0),
      port: small(4),
      remote: small(2),
      remotePort: small(3),
      flags,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      way: fc.constant("wait"),
      protocol,
      host: fc.constant(0),
      port: fc.constantFrom(1, 59_000, 181_000, 241_000, 7_300_000),
      remote: fc.constant(0),
      remotePort: fc.constant(0),
      flags,
    }),
  },
);

for (const version of [4, 6] as const) {
  for (const filtering of ["endpoint", "address", "address-port"] as const) {
    Deno.test(`every packet goes where a list of mappings would send it, IPv${version}, filtering by ${filtering}`, () => {
      fc.assert(
        fc.property(fc.array(command, { minLength: 20, maxLength: 120 }), (commands) => {
          run(version, filtering, commands);
        }),
        { numRuns: 100 },
      );
    });
  }
}

type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

function run(version: 4 | 6, filtering: NatFiltering, commands: Command[]): void {
  const { hosts, remotes, external } = NETS[version];
  const lab = new NatLab({
    filtering,
    ports: { first: FIRST, last: LAST },
    maxSessions: MAX_SESSIONS,
  });
  const twin = new PlainNat(filtering, FIRST, LAST, MAX_SESSIONS);
  const { sim } = lab;
  for (const each of commands) {
    const { way, protocol, flags } = each;
    if (way === "wait") {
      sim.runFor(each.port);
      lab.take(); // SYNs that are answered now
      continue;
    }
    const port = FIRST - 1 + each.port;
    const remote = remotes[each.remote]!;
    const remotePort = 80 + each.remotePort;
    if (way === "out") {
      const host = hosts[each.host]!;
      const sent = lab.out(packetOf(protocol, true, host, port, remote, remotePort, flags));
      const came = sent.find(({ source }) => source === external);
      const wrong = twin.out(
        protocol,
        host,
        port,
        remote,
        remotePort,
        flags,
        came && portsOf(came)[0],
        sim.now,
      );
      assert.equal(wrong, undefined);
      if (came !== undefined) assert.equal(came.destination, remote);
    } else if (way === "in") {
      const came = lab.in(packetOf(protocol, false, remote, remotePort, external, port, flags));
      const to = twin.in(protocol, port, remote, remotePort, flags, sim.now);
      assert.deepEqual(came.map(told), to === undefined ? [] : [`${to.host} ${to.port}`]);
    } else {
      const about = packetOf(protocol, true, external, port, remote, remotePort, flags);
      const rest = concat(uint32(0), about);
      const error = version === 4
        ? icmp(remote, external, 3, 1, rest)
        : icmp(remote, external, 1, 3, rest);
      const came = lab.in(error);
      const to = twin.error(protocol, port, remote, remotePort, sim.now);
      const quoted = came.map(({ destination, payload }) => {
        const inner = parse(payload.slice(8));
        assert.equal(inner.source, destination);
        return `${inner.source} ${portsOf(inner)[0]}`;
      });
      assert.deepEqual(quoted, to === undefined ? [] : [`${to.host} ${to.port}`]);
    }
    assert.equal(lab.nat.mappings, twin.mappings.length);
    assert.equal(lab.nat.sessions, twin.sessions.length);
  }
  sim.runFor(7_500_000);
  const { natMappings, natSessions } = lab.stack.resources();
  assert.equal(natMappings + natSessions, 0);
  assert.equal(lab.stack.pollTimeout(), Infinity);
}

function told(came: Parsed): string {
  return `${came.destination} ${portsOf(came)[1]}`;
}

/** @param isRequest Of a ping, whose identifier is the port behind the NAT. */
function packetOf(
  protocol: Protocol,
  isRequest: boolean,
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
  flags: number,
): Uint8Array {
  if (protocol === "udp") {
    return udp(source, sourcePort, destination, destinationPort, Uint8Array.of(1, 2, 3));
  }
  if (protocol === "tcp") {
    return tcpSegment(source, sourcePort, destination, destinationPort, 1, 1, flags);
  }
  const isIpv6 = source.includes(":");
  const type = isIpv6 ? (isRequest ? 128 : 129) : isRequest ? 8 : 0;
  const identifier = isRequest ? sourcePort : destinationPort;
  return icmp(source, destination, type, 0, concat(uint16(identifier), uint16(1)));
}
