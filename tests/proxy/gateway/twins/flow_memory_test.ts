import assert from "node:assert/strict";
import fc from "fast-check";
import { TransitPacket } from "../../../../netstack/mod.ts";
import { FlowMemory, type Seats } from "../../../../proxy/gateway/twins/flow_memory.ts";
import { icmp, packet as ipPacket, udp } from "../../../netstack/packets.ts";

const random = (out: Uint8Array) => void out.fill(7);
const SYN = 0x02;
const ACK = 0x10;

function tcp(from: string, to: string, ports: [number, number], flags: number): Uint8Array {
  const payload = new Uint8Array(20);
  const view = new DataView(payload.buffer);
  view.setUint16(0, ports[0]);
  view.setUint16(2, ports[1]);
  payload[12] = 0x50;
  payload[13] = flags;
  return ipPacket({ source: from, destination: to, protocol: 6, payload });
}

function parsed(bytes: Uint8Array): TransitPacket {
  const packet = new TransitPacket();
  packet.parse(bytes, 0, bytes.length, bytes[0]! >> 4 === 4 ? 4 : 6);
  return packet;
}

/** The plain twin: a map by what a flow is called. */
class PlainMemory {
  readonly flows = new Map<string, { seat: number; isOpening: boolean; seen: number }>();
  readonly seats: Seats;

  constructor(seats: Seats) {
    this.seats = seats;
  }

  choose(name: string, isTcp: boolean, isOpening: boolean, holder: number, now: number): number {
    const known = this.#known(name, isTcp, now);
    const isKnown = known !== undefined && !(isOpening && !known.isOpening);
    if (isKnown && (known.seat === holder || this.seats.mayKeep(known.seat, isTcp, now))) {
      this.flows.set(name, {
        seat: known.seat,
        isOpening: known.isOpening && isOpening,
        seen: now,
      });
      return known.seat;
    }
    this.flows.set(name, { seat: holder, isOpening, seen: now });
    return holder;
  }

  arrived(name: string, isTcp: boolean, seat: number, now: number): void {
    const known = this.#known(name, isTcp, now);
    if (known === undefined) this.flows.set(name, { seat, isOpening: false, seen: now });
    else if (known.seat === seat) known.seen = now;
    else if (!this.seats.mayKeep(known.seat, isTcp, now)) {
      this.flows.set(name, { seat, isOpening: false, seen: now });
    }
  }

  #known(name: string, isTcp: boolean, now: number) {
    const known = this.flows.get(name);
    const idle = isTcp ? 86_400 : 60;
    if (known === undefined) return undefined;
    return Math.floor(now / 1000) - Math.floor(known.seen / 1000) > idle ? undefined : known;
  }
}

Deno.test("the table says what a map says, whatever comes from either side", () => {
  const step = fc.record({
    flow: fc.nat(11),
    isIpv6: fc.boolean(),
    what: fc.constantFrom("syn", "ack", "udp", "udp", "echo", "from"),
    seat: fc.nat(2),
    ms: fc.constantFrom(1, 200, 1_000, 70_000),
    dead: fc.nat(7),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
      let dead = 0;
      const seats: Seats = { mayKeep: (seat) => (dead >> seat & 1) === 0 };
      const memory = new FlowMemory(random, seats);
      const plain = new PlainMemory(seats);
      let now = 5_000;
      for (const { flow, isIpv6, what, seat, ms, dead: nextDead } of steps) {
        now += ms;
        dead = nextDead;
        const client = isIpv6 ? `fd09::${flow + 1}` : `10.9.0.${flow + 1}`;
        const target = isIpv6 ? "fd64::5" : "100.64.1.5";
        const ports: [number, number] = [1_000 + flow, 80];
        const name = `${client} ${flow}`;
        if (what === "from") {
          const bytes = udp(target, 80, client, ports[0], Uint8Array.of(1));
          memory.arrived(parsed(bytes), seat, now);
          plain.arrived(`udp ${name}`, false, seat, now);
          continue;
        }
        const bytes = what === "udp"
          ? udp(client, ports[0], target, 80, Uint8Array.of(1))
          : what === "echo"
          ? icmp(client, target, isIpv6 ? 128 : 8, 0, Uint8Array.of(0, flow, 0, 1))
          : tcp(client, target, ports, what === "syn" ? SYN : ACK);
        const isTcp = what === "syn" || what === "ack";
        assert.equal(
          memory.choose(parsed(bytes), seat, now),
          plain.choose(`${isTcp ? "tcp" : what} ${name}`, isTcp, what === "syn", seat, now),
        );
      }
      assert.equal(memory.counters.displaced, 0);
    }),
    { numRuns: 400 },
  );
});

Deno.test("fragments of a datagram go the way of its first one", () => {
  const memory = new FlowMemory(random, { mayKeep: () => true });
  const payload = new Uint8Array(32);
  const fragment = (at: number) =>
    parsed(ipPacket({
      source: "10.9.0.2",
      destination: "100.64.1.5",
      protocol: 17,
      payload,
      fragment: at,
    }));
  const MORE = 0x2000;
  assert.equal(memory.choose(fragment(MORE), 0, 0), 0);
  assert.equal(
    memory.choose(fragment(4), 1, 1_000),
    0,
    "it has no ports, and is known all the same",
  );
});

Deno.test("an error goes where the flow is that it is about", () => {
  const memory = new FlowMemory(random, { mayKeep: () => true });
  memory.choose(parsed(udp("10.9.0.2", 5, "100.64.1.5", 80, Uint8Array.of(1))), 1, 0);
  const about = udp("100.64.1.5", 80, "10.9.0.2", 5, Uint8Array.of(1, 2));
  const error = parsed(
    icmp("10.9.0.2", "100.64.1.5", 3, 3, Uint8Array.from([0, 0, 0, 0, ...about])),
  );
  const quoted = new TransitPacket();
  assert.ok(quoted.parseQuoted(error));
  assert.equal(memory.seatOf(quoted), 1);
  const other = parsed(udp("100.64.1.5", 80, "10.9.0.3", 5, Uint8Array.of(1)));
  assert.equal(memory.seatOf(other), -1);
});

Deno.test("more flows than there is room for: the longest silent gives way, and is counted", () => {
  const memory = new FlowMemory(random, { mayKeep: () => true });
  const bytes = udp("10.9.0.2", 5, "100.64.1.5", 80, Uint8Array.of(1));
  const packet = parsed(bytes);
  for (let i = 0; i < 40_000; i++) {
    packet.sourcePort = i;
    packet.destinationPort = i >> 16 ^ 80;
    memory.choose(packet, 0, i);
  }
  assert.ok(memory.counters.displaced > 20_000);
  packet.sourcePort = 39_999;
  packet.destinationPort = 80;
  assert.equal(memory.choose(packet, 1, 40_000), 0, "the newest is known");
  packet.sourcePort = 1;
  assert.equal(memory.choose(packet, 1, 40_000), 1, "one of the oldest is not");
});

Deno.test("what went by a peer that is gone begins anew", () => {
  const memory = new FlowMemory(random, { mayKeep: () => true });
  const packet = parsed(udp("10.9.0.2", 5, "100.64.1.5", 80, Uint8Array.of(1)));
  assert.equal(memory.choose(packet, 0, 0), 0);
  memory.forget(0);
  assert.equal(memory.choose(packet, 1, 0), 1);
});

Deno.test("packets that are none are dropped by nobody here, and throw nothing", () => {
  const memory = new FlowMemory(random, { mayKeep: (seat) => seat === 0 });
  const garbage = fc.tuple(
    fc.constantFrom(0x45, 0x40, 0x4f, 0x60),
    fc.uint8Array({ minLength: 39, maxLength: 160 }),
  ).map(([first, rest]) => Uint8Array.of(first, ...rest));
  fc.assert(
    fc.property(garbage, fc.nat(1), (bytes, seat) => {
      const packet = parsed(bytes);
      memory.arrived(packet, seat, 0);
      assert.ok([0, 1].includes(memory.choose(packet, seat, 0)));
    }),
    { numRuns: 2_000 },
  );
});
