import assert from "node:assert/strict";
import { IpCounters } from "../../../netstack/counters.ts";
import type { Nic } from "../../../netstack/nic.ts";
import { Reassembly } from "../../../netstack/reassembly.ts";
import { Random } from "../../sim/random.ts";
import type { Target } from "../target.ts";
import {
  checksum,
  concat,
  fixChecksums,
  fixLengths,
  flaw,
  FRAGMENT,
  set16,
  set32,
} from "../wire.ts";
import { Surrounded } from "./surroundings.ts";

const INPUTS = 300;
const IPV4_MS = 30_000;
const IPV6_MS = 60_000;
/** An odd protocol, so that {@link flaw} asks nothing of the data. */
const PROTOCOL = 253;
const nics = [{ id: 1 }, { id: 2 }] as unknown as Nic[];

export const reassembly: Target = {
  name: "reassembly",
  about: "fragments of many datagrams, lost, doubled, overlapping, against a byte-by-byte twin",
  run(seed) {
    const random = new Random(seed);
    const lab = new Lab(random);
    for (let i = 0; i < INPUTS; i++) lab.step();
    lab.end();
    return INPUTS;
  },
};

/** A fragment before it has a header. */
interface Piece {
  /** Which of the datagrams under way, by everything that tells them apart. */
  version: 4 | 6;
  nic: number;
  source: number;
  identification: number;
  start: number;
  data: Uint8Array;
  more: boolean;
}

class Lab {
  readonly #random: Random;
  readonly #counters = new IpCounters();
  readonly #reassembly: Reassembly;
  /** Undefined where limits are so low that the oldest give way: then there is no telling. */
  readonly #twin: PlainReassembly | undefined;
  readonly #high: number;
  #now = 0;
  /** Pieces cut and not handed over yet. */
  readonly #pieces: Piece[] = [];
  readonly #old: Piece[] = [];

  constructor(random: Random) {
    this.#random = random;
    const isTight = random.chance(0.3);
    this.#high = isTight ? random.between(2_000, 60_000) : 1 << 30;
    this.#twin = isTight ? undefined : new PlainReassembly();
    this.#reassembly = new Reassembly(
      {
        high: this.#high,
        low: this.#high * 3 / 4,
        ipv4Ms: IPV4_MS,
        ipv6Ms: IPV6_MS,
        maxFragments: 256,
      },
      this.#counters,
      (out) => random.fill(out),
    );
  }

  step(): void {
    const random = this.#random;
    if (random.chance(0.02)) this.#wait(random.below(random.chance(0.2) ? 90_000 : 3_000));
    while (this.#pieces.length === 0) this.#cut();
    const at = random.chance(0.5) ? 0 : random.below(this.#pieces.length);
    const piece = this.#pieces.splice(at, 1)[0]!;
    if (random.chance(0.03)) return;
    this.#hand(random.chance(0.05) ? this.#bend(piece) : piece);
    this.#old.push(piece);
    if (random.chance(0.05)) this.#hand(this.#old[random.below(this.#old.length)]!);
  }

  end(): void {
    this.#wait(IPV6_MS + 1);
    assert.equal(this.#reassembly.size, 0);
    assert.equal(this.#reassembly.memory, 0);
    assert.equal(this.#reassembly.pollTimeout(), Infinity);
  }

  /** Cuts a new datagram, or one with the name of another, into pieces. */
  #cut(): void {
    const random = this.#random;
    const name = {
      version: random.chance(0.5) ? 4 as const : 6 as const,
      nic: random.below(2),
      source: random.below(3),
      identification: random.below(3),
    };
    const length = random.chance(0.1) ? random.below(70_000) : random.between(9, 3_000);
    const data = random.bytes(length);
    const size = 8 * random.between(1, Math.max(1, length >> random.between(3, 6)));
    for (let start = 0; start < length && this.#pieces.length < 600; start += size) {
      const part = data.subarray(start, Math.min(length, start + size));
      this.#pieces.push({ ...name, start, data: part, more: start + size < length });
    }
  }

  /** Something is not as it was. */
  #bend(piece: Piece): Piece {
    const random = this.#random;
    const { data } = piece;
    const changed = random.bytes(data.length);
    return [
      () => ({ ...piece, start: Math.max(0, piece.start + 8 * random.between(-3, 3)) }),
      () => ({ ...piece, more: !piece.more }),
      () => ({ ...piece, data: changed }),
      () => ({ ...piece, data: data.subarray(0, random.below(data.length + 1)) }),
      () => ({ ...piece, data: concat(data, random.bytes(random.below(40))) }),
      () => ({ ...piece, start: 8 * random.below(8192) }),
    ][random.below(6)]!();
  }

  #hand(piece: Piece): void {
    const bytes = toPacket(piece);
    // Longer than a packet can say.
    if (bytes === undefined) return;
    const packet = new Surrounded(this.#random, bytes);
    const { buffer, offset, length } = packet;
    const nic = nics[piece.nic]!;
    const reassembly = this.#reassembly;
    const total = piece.version === 4
      ? reassembly.handleIpv4(nic, undefined, buffer, offset, length, this.#now)
      : reassembly.handleIpv6(nic, undefined, buffer, offset, offset + 40, length, this.#now);
    packet.check();
    assert.ok(reassembly.memory <= this.#high, `${reassembly.memory} bytes held`);
    assert.ok(reassembly.memory >= 512 * reassembly.size, "memory accounted");
    const whole = total === 0
      ? undefined
      : reassembly.buffer.slice(reassembly.offset, reassembly.offset + total);
    if (whole !== undefined) checkWhole(whole, piece);
    const twin = this.#twin;
    if (twin === undefined) return;
    const expected = twin.add(piece, this.#now);
    const headerLength = piece.version === 4 ? 20 : 40;
    assert.deepEqual(whole?.subarray(headerLength), expected);
    assert.equal(reassembly.size, twin.size);
  }

  /** Time passes, deadline by deadline. */
  #wait(ms: number): void {
    const end = this.#now + ms;
    const reassembly = this.#reassembly;
    for (let next = reassembly.pollTimeout(); next <= end; next = reassembly.pollTimeout()) {
      this.#now = Math.max(this.#now, next);
      let reported = 0;
      reassembly.handleTimeout(this.#now, (nic, buffer, offset, length) => {
        assert.ok(nics.includes(nic));
        assert.equal(flaw(buffer.slice(offset, offset + length)), undefined);
        reported++;
      });
      const expected = this.#twin?.expire(this.#now);
      if (expected !== undefined) assert.equal(reported, expected, "reports of first fragments");
      assert.ok(reassembly.pollTimeout() > this.#now);
    }
    this.#now = end;
  }
}

/** The header of a reassembled packet (RFC 791 §3.2, RFC 8200 §4.5). */
function checkWhole(whole: Uint8Array, piece: Piece): void {
  if (piece.version === 4) {
    assert.equal(whole[0], 0x45);
    assert.equal(whole[2]! << 8 | whole[3]!, whole.length);
    assert.equal(whole[6]! << 8 | whole[7]!, 0, "fragment field");
    assert.equal(whole[9], PROTOCOL);
    assert.equal(checksum(whole, 0, 20), 0);
    assert.equal(whole[15], piece.source);
  } else {
    assert.equal(whole[0]! >> 4, 6);
    assert.equal(40 + (whole[4]! << 8 | whole[5]!), whole.length);
    assert.equal(whole[6], PROTOCOL);
    assert.equal(whole[23], piece.source);
  }
}

function toPacket(piece: Piece): Uint8Array | undefined {
  const { version, source, identification, start, data, more } = piece;
  if (start > 8 * 0x1fff || data.length > 65_000) return undefined;
  if (version === 4) {
    // Options of a length that depends on the piece; reassembly leaves them out.
    const header = new Uint8Array(20 + 4 * (start / 8 % 3));
    header[0] = 0x40 | header.length / 4;
    set16(header, 4, identification);
    set16(header, 6, (more ? 0x2000 : 0) | start / 8);
    header[8] = 64;
    header[9] = PROTOCOL;
    header.set([10, 0, 0, source, 10, 0, 0, 9], 12);
    header.fill(1, 20);
    const bytes = concat(header, data);
    fixLengths(bytes);
    fixChecksums(bytes);
    return bytes;
  }
  const header = new Uint8Array(48);
  header[0] = 0x60;
  header[6] = FRAGMENT;
  header[7] = 64;
  header[8] = 0xfd;
  header[23] = source;
  header[24] = 0xfd;
  header[40] = PROTOCOL;
  set16(header, 42, start | (more ? 1 : 0));
  set32(header, 44, identification);
  const bytes = concat(header, data);
  fixLengths(bytes);
  return bytes;
}

interface PlainDatagram {
  expires: number;
  poisoned: boolean;
  /** Length of the whole; -1 = not known. */
  total: number;
  pieces: Piece[];
}

/** RFC 791 §3.2, RFC 8200 §4.5 and RFC 5722 with every piece kept as it came. */
class PlainReassembly {
  readonly #datagrams = new Map<string, PlainDatagram>();

  get size(): number {
    return this.#datagrams.size;
  }

  /** @returns The whole data, when `piece` completes it. */
  add(piece: Piece, now: number): Uint8Array | undefined {
    const { version, start, data, more } = piece;
    const end = start + data.length;
    const limit = version === 4 ? 65_515 : 65_535;
    if (data.length === 0 || (more && data.length % 8 !== 0) || end > limit) return undefined;
    const name = `${version} ${piece.nic} ${piece.source} ${piece.identification}`;
    const datagram = this.#datagrams.get(name) ??
      {
        expires: now + (version === 4 ? IPV4_MS : IPV6_MS),
        poisoned: false,
        total: -1,
        pieces: [],
      };
    this.#datagrams.set(name, datagram);
    if (datagram.poisoned) return undefined;
    const same = datagram.pieces.find((other) =>
      other.start === start && other.more === more && equal(other.data, data)
    );
    if (same !== undefined) return undefined;
    const overlaps = datagram.pieces.some((other) =>
      start < other.start + other.data.length && other.start < end
    );
    const furthest = Math.max(
      0,
      ...datagram.pieces.map((other) => other.start + other.data.length),
    );
    const contradicts = more
      ? datagram.total >= 0 && end >= datagram.total
      : datagram.total >= 0 || furthest > end;
    if (overlaps || contradicts || datagram.pieces.length === 256) {
      datagram.poisoned = true;
      return undefined;
    }
    datagram.pieces.push(piece);
    if (!more) datagram.total = end;
    const received = datagram.pieces.reduce((sum, other) => sum + other.data.length, 0);
    if (received !== datagram.total) return undefined;
    this.#datagrams.delete(name);
    return concat(...datagram.pieces.sort((a, b) => a.start - b.start).map((other) => other.data));
  }

  /** @returns How many of those that expired had their first fragment. */
  expire(now: number): number {
    let reported = 0;
    for (const [name, { expires, poisoned, pieces }] of this.#datagrams) {
      if (expires > now) continue;
      this.#datagrams.delete(name);
      if (!poisoned && pieces.some(({ start }) => start === 0)) reported++;
    }
    return reported;
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
