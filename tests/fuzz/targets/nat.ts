import assert from "node:assert/strict";
import { type Link, LINK_HEADROOM, Nat, type Nic, Stack } from "../../../netstack/mod.ts";
import { icmp, ip, prefix, tcpSegment, udp } from "../../netstack/packets.ts";
import type { Random } from "../../sim/random.ts";
import { Random as Seeded } from "../../sim/random.ts";
import { quote } from "../generate.ts";
import { mutatePacket } from "../mutate.ts";
import type { Target } from "../target.ts";
import {
  checksum,
  concat,
  get16,
  ICMP,
  ICMPV6,
  ipLength,
  layoutOf,
  pseudoSum,
  TCP,
  UDP,
} from "../wire.ts";
import { Surrounded } from "./surroundings.ts";

const INPUTS = 300;
const MTU = 1_400;
const FLAGS = [0x02, 0x12, 0x10, 0x11, 0x04, 0x18];

/** By family: what is behind the NATs, what they appear as, and who is beyond. */
const NETS = [
  {
    inside: ["192.168.0.2", "192.168.0.3"],
    second: ["172.16.0.2", "172.16.0.3"],
    outside: ["203.0.113.20", "198.51.100.7"],
    external: "203.0.113.8",
    secondExternal: "203.0.113.9",
  },
  {
    inside: ["fd01::2", "fd01::3"],
    second: ["fd02::2", "fd02::3"],
    outside: ["2001:db8:0:1::20", "2001:db8:0:2::7"],
    external: "2001:db8:0:1::8",
    secondExternal: "2001:db8:0:1::9",
  },
] as const;

const SIDES = ["inside", "second", "outside"] as const;
type Side = typeof SIDES[number];

export const nat: Target = {
  name: "nat",
  about: "packets and forged inner headers through two NATs: sums, addresses, balance, bounds",
  run(seed) {
    const random = new Seeded(seed);
    const lab = new Lab(random);
    for (let i = 0; i < INPUTS; i++) lab.step();
    lab.end();
    return lab.tried;
  },
};

class Lab {
  readonly #random: Random;
  readonly #stack: Stack;
  readonly #nics = new Map<Side, Nic>();
  readonly #nats: Nat[] = [];
  readonly #ports: { first: number; last: number };
  readonly #maxSessions: number;
  /** What arrived at each side, to be answered, reported and repeated. */
  readonly #seen: Record<Side, Uint8Array[]> = { inside: [], second: [], outside: [] };
  /** The packet at work, and where it came in. */
  #input: Uint8Array = new Uint8Array(0);
  #now = 1_000;
  #isDraining = false;
  /** What is sent is about packets of before. */
  #isTimeout = false;
  #from: Side = "outside";
  tried = 0;

  constructor(random: Random) {
    this.#random = random;
    const fill = (out: Uint8Array) => random.fill(out);
    this.#stack = new Stack({ random: fill });
    for (const side of SIDES) {
      const link = this.#link(side);
      const nic = this.#stack.addNic({ name: side, mtu: MTU, link, forwarding: true });
      this.#nics.set(side, nic);
    }
    const [inside, second, outside] = SIDES.map((side) => this.#nics.get(side)!);
    for (const text of ["192.168.0.0/24", "fd01::/64"]) {
      this.#stack.routes.insert(prefix(text), inside!);
    }
    for (const text of ["172.16.0.0/24", "fd02::/64"]) {
      this.#stack.routes.insert(prefix(text), second!);
    }
    for (const text of ["0.0.0.0/0", "::/0"]) this.#stack.routes.insert(prefix(text), outside!);
    const first = 5_000;
    this.#ports = { first, last: first + random.below(8) };
    this.#maxSessions = random.between(1, 20);
    const filtering = (["endpoint", "address", "address-port"] as const)[random.below(3)]!;
    for (const name of ["external", "secondExternal"] as const) {
      const made = new Nat({
        addresses: NETS.map((net) => ip(net[name])),
        random: fill,
        filtering,
        ports: this.#ports,
        maxSessions: this.#maxSessions,
      });
      this.#stack.setNat(name === "external" ? inside! : second!, made);
      this.#nats.push(made);
    }
    if (random.chance(0.3)) {
      const verdicts = ["pass", "pass", "reject", "drop"] as const;
      this.#stack.setTransitFilter({ handlePacket: () => verdicts[random.below(4)]! });
    }
  }

  step(): void {
    const random = this.#random;
    if (random.chance(0.05)) {
      this.#now += random.below(400_000);
      this.#expire();
    }
    const side = SIDES[random.below(3)]!;
    const seen = this.#seen[side];
    const last = seen[random.below(seen.length)];
    let bytes = this.#fresh(side);
    if (last !== undefined && random.chance(0.3)) bytes = quote(random, last);
    else if (last !== undefined && random.chance(0.4)) bytes = answer(last);
    const all = random.chance(0.4) ? mutatePacket(random, bytes, seen) : [bytes];
    for (const each of all) this.#receive(side, each);
  }

  /** When all timers have run out nothing is left. */
  end(): void {
    for (let rounds = 0; this.#stack.pollTimeout() < Infinity; rounds++) {
      assert.ok(rounds < 10_000, "timers end");
      this.#now = Math.max(this.#now, this.#stack.pollTimeout());
      this.#expire();
    }
    for (const [name, count] of Object.entries(this.#stack.resources())) {
      assert.equal(count, 0, name);
    }
    this.#assertBalanced();
  }

  /** A packet of a host on that side, to one on any, as it knows it. */
  #fresh(side: Side): Uint8Array {
    const random = this.#random;
    const net = NETS[random.below(2)]!;
    const source = net[side][random.below(2)]!;
    const targets = [...net.outside, net.external, net.secondExternal, ...net[side]];
    const target = targets[random.below(targets.length)]!;
    const port = () => this.#ports.first - 1 + random.below(8);
    switch (random.below(3)) {
      case 0:
        return udp(source, port(), target, port(), random.bytes(random.below(90)));
      case 1: {
        const flags = FLAGS[random.below(FLAGS.length)]!;
        return tcpSegment(source, port(), target, port(), random.uint32(), random.uint32(), flags);
      }
      default: {
        const isIpv6 = source.includes(":");
        const type = (isIpv6 ? [128, 128, 129] : [8, 0, 13, 14])[random.below(isIpv6 ? 3 : 4)]!;
        const rest = concat(
          Uint8Array.of(0x13, port() & 0xff, 0, 1),
          random.bytes(random.below(40)),
        );
        return icmp(source, target, type, 0, rest);
      }
    }
  }

  #receive(side: Side, bytes: Uint8Array): void {
    this.tried++;
    this.#now += this.#random.below(3);
    this.#input = bytes;
    this.#from = side;
    const surrounded = new Surrounded(this.#random, bytes);
    const { buffer, offset, length } = surrounded;
    this.#isDraining = true;
    this.#stack.handlePacket(this.#nics.get(side)!, buffer, offset, length, this.#now, side);
    this.#isDraining = false;
    surrounded.check(true);
    this.#flush();
    this.#assertBalanced();
    for (const nat of this.#nats) {
      const size = this.#ports.last - this.#ports.first + 1;
      assert.ok(nat.mappings <= 6 * size, "more mappings than ports");
      assert.ok(nat.sessions <= this.#maxSessions, "more sessions than may be");
    }
  }

  /** A packet that leaves. @param isForwarded Not one of the stack's own. */
  #sent(side: Side, bytes: Uint8Array, isForwarded: boolean): void {
    const seen = this.#seen[side];
    if (seen.length < 40) seen.push(bytes);
    else seen[this.#random.below(40)] = bytes;
    const layout = layoutOf(bytes);
    assert.ok(layout !== undefined && ipLength(bytes) === bytes.length, "no packet");
    if (layout.version === 4) assert.equal(checksum(bytes, 0, layout.headerLength), 0);
    const net = NETS[layout.version === 4 ? 0 : 1];
    const at = layout.version === 4 ? 12 : 8;
    const size = layout.version === 4 ? 4 : 16;
    const hides = (texts: readonly string[], offset: number) => {
      for (const text of texts) {
        assert.ok(!ip(text).matches(bytes, offset, layout.version), `${text} is seen at ${side}`);
      }
    };
    // What a host sends to others behind its own NAT is as it wrote it.
    const strangers = SIDES.filter((other) =>
      this.#from !== side && other !== "outside" && other !== side
    );
    // The bytes of a later fragment may look like one.
    const error = !layout.isLater && isError(bytes, layout.protocol, layout.transport);
    for (const stranger of strangers) {
      hides(net[stranger], at);
      // Nor does an error say who is behind a NAT, if it quotes what went through one.
      const inner = layout.transport + 8;
      if (isForwarded && error && bytes.length >= inner + at + 2 * size) {
        // It knows what it has sent itself, be that under a name of somebody else's.
        const isOfReceiver = isSame(bytes, inner + at, at + size, size);
        if (!isOfReceiver) hides(net[stranger], inner + at);
        hides(net[stranger], inner + at + size);
      }
    }
    if (isForwarded) this.#assertSameSum(bytes);
    else if (error && !this.#isTimeout) {
      assert.ok(this.#isQuoted(side, bytes, layout.transport + 8), "quoted otherwise than it came");
    }
  }

  /** What the stack says about a packet quotes it as it came in. */
  #isQuoted(side: Side, bytes: Uint8Array, at: number): boolean {
    const quoted = bytes.subarray(at);
    const input = this.#input;
    // Between two hosts beyond no NAT stands, and then the hop that it has gone is left in it.
    const hop = side !== "outside" ? [] : input[0]! >> 4 === 4 ? [8, 10, 11] : [7];
    return quoted.every((byte, i) => byte === input[i] || hop.includes(i));
  }

  /** A checksum that was wrong stays so by as much, and one that was right stays right. */
  #assertSameSum(bytes: Uint8Array): void {
    const input = this.#input.subarray(0, ipLength(this.#input));
    if (input.length !== bytes.length) return; // a fragment that has waited
    const sums = [input, bytes].map(residue);
    if (sums[0] === undefined || this.#isReleased) return;
    assert.equal(sums[1], sums[0], "the checksum has changed by something else");
  }

  get #isReleased(): boolean {
    return this.#stack.counters.ip.fragmentsReleased > 0;
  }

  #assertBalanced(): void {
    const { ip } = this.#stack.counters;
    const accounted = ip.malformed + ip.badChecksum + ip.badOptions + ip.sourceRouted +
      ip.badExtension + ip.badSource + ip.badDestination + ip.noRoute + ip.hopLimitExceeded +
      ip.tooBig + ip.forwarded + ip.delivered + ip.untranslated + ip.fragmentsHeld -
      ip.fragmentsReleased;
    const lost = ip.received - accounted;
    // What a filter rejects is handed up, to be answered, and counted there as well.
    const least = ip.filtered > 0 ? -ip.filtered : 0;
    assert.ok(lost >= least && lost <= ip.filtered + ip.noBuffer, JSON.stringify(ip));
    const dropped = this.#nats.reduce(
      (sum, { counters }) =>
        sum + counters.unmapped + counters.filtered + counters.direct + counters.unasked +
        counters.unknownError + counters.badError + counters.otherProtocol + counters.malformed +
        counters.fragments,
      0,
    );
    assert.ok(dropped >= ip.untranslated, "an untranslated packet has no reason");
  }

  #expire(): void {
    this.#isTimeout = true;
    this.#stack.handleTimeout(this.#now);
    this.#flush();
    this.#isTimeout = false;
  }

  #flush(): void {
    for (let turns = 0; this.#stack.flush(this.#now); turns++) assert.ok(turns < 100, "flush ends");
  }

  #link(side: Side): Link {
    const buffer = new Uint8Array(LINK_HEADROOM + MTU + 32);
    return {
      buffer,
      allocate: () => LINK_HEADROOM,
      release() {},
      transmit: (bytes, offset, length) => {
        assert.ok(!this.#isDraining, "nothing is sent while packets come in");
        this.#sent(side, bytes.slice(offset, offset + length), false);
      },
      forward: (bytes, offset, length) => {
        if (this.#random.chance(0.02)) return false;
        this.#sent(side, bytes.slice(offset, offset + length), true);
        return true;
      },
    };
  }
}

/** The packet with its ends exchanged, as if the other one answered. */
function answer(bytes: Uint8Array): Uint8Array {
  const out = bytes.slice();
  const layout = layoutOf(bytes);
  if (layout === undefined) return out;
  const [at, size] = layout.version === 4 ? [12, 4] : [8, 16];
  swapAt(out, at, at + size, size);
  const { protocol, transport } = layout;
  if ((protocol === TCP || protocol === UDP) && transport + 4 <= out.length) {
    swapAt(out, transport, transport + 2, 2);
  }
  return out;
}

function isSame(bytes: Uint8Array, a: number, b: number, size: number): boolean {
  return bytes.subarray(a, a + size).every((byte, i) => byte === bytes[b + i]);
}

function swapAt(bytes: Uint8Array, a: number, b: number, size: number): void {
  const first = bytes.slice(a, a + size);
  bytes.copyWithin(a, b, b + size);
  bytes.set(first, b);
}

function isError(bytes: Uint8Array, protocol: number, transport: number): boolean {
  const type = bytes[transport]!;
  return protocol === ICMP && [3, 4, 5, 11, 12].includes(type) ||
    protocol === ICMPV6 && type < 128;
}

/** What the sum over a transport's bytes comes out as; undefined = it has none, or it is not whole. */
function residue(bytes: Uint8Array): number | undefined {
  const layout = layoutOf(bytes);
  if (layout === undefined || layout.isFragment) return undefined;
  const { version, protocol, transport } = layout;
  const length = bytes.length - transport;
  if (protocol === UDP && (length < 8 || get16(bytes, transport + 6) === 0)) return undefined;
  if (![ICMP, ICMPV6, TCP, UDP].includes(protocol)) return undefined;
  const pseudo = protocol === ICMP ? 0 : pseudoSum(bytes, version, protocol, length);
  const sum = checksum(bytes, transport, length, pseudo);
  return sum === 0xffff ? 0 : sum;
}
