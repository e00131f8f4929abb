/**
 * Which of several peers a flow goes through, so that it stays there while others may do its work.
 *
 * @module
 */

import { HalfSipHash, PROTOCOL_TCP, type TransitPacket } from "../../../netstack/mod.ts";

/** Words of an entry: protocol, ports, address of the other end, that in the prefix, who, when. */
const PORTS = 1;
const OTHER = 2;
const INSIDE = 6;
const SEAT = 10;
const SEEN = 11;
const WORDS = 12;
/** Places that a flow may be in. When others have them all, the longest silent gives way. */
const WAYS = 8;
const SETS = 2_048;

/** In {@link SEAT}: only requests to connect were seen yet. */
const OPENING = 0x100_0000;

const TCP_SYN = 0x02;
const TCP_ACK = 0x10;

/** Seconds of silence after which a packet begins a new flow, as UDP and ping sessions of agents do. */
const IDLE_SECONDS = 60;
/** TCP says itself when it begins. */
const TCP_IDLE_SECONDS = 86_400;

/** Decides whether a flow may stay with whom it is with. */
export interface Seats {
  /** @param seat Of the peer that the flow goes through, as given to {@link FlowMemory}. */
  mayKeep(seat: number, isTcp: boolean, now: number): boolean;
  /** Whether a flow goes where its packets come from. Default: not while it may stay where it is. */
  readonly follows?: boolean;
}

export class FlowMemoryCounters {
  /** Flows whose place another took. */
  displaced = 0;
  /** Flows that go on by another peer, for theirs is gone. */
  moved = 0;
}

/**
 * A table of fixed size: 16,384 flows, 768 KiB. A flow has one end in the prefix, and the other
 * elsewhere. Nothing is allocated for a packet.
 */
export class FlowMemory {
  readonly counters = new FlowMemoryCounters();
  readonly #words = new Int32Array(SETS * WAYS * WORDS);
  readonly #key = new Int32Array(SEAT);
  readonly #hash: HalfSipHash;
  readonly #seats: Seats;

  constructor(random: (out: Uint8Array) => void, seats: Seats) {
    this.#hash = new HalfSipHash(random);
    this.#seats = seats;
  }

  /**
   * Who gets a packet that is for the prefix.
   *
   * @param holder Who gets those of new flows.
   * @returns a seat.
   */
  choose(packet: TransitPacket, holder: number, now: number): number {
    const isTcp = packet.protocol === PROTOCOL_TCP;
    const isOpening = isTcp && !packet.isFragmented &&
      (packet.flags & (TCP_SYN | TCP_ACK)) === TCP_SYN;
    this.#setKey(packet, false);
    const at = this.#place(isTcp, now);
    const words = this.#words;
    const known = words[at + SEAT]!;
    const seat = known & ~OPENING;
    const isKnown = known >= 0 && !(isOpening && (known & OPENING) === 0);
    words[at + SEEN] = Math.floor(now / 1000);
    if (isKnown && (seat === holder || this.#seats.mayKeep(seat, isTcp, now))) {
      if (!isOpening) words[at + SEAT] = seat;
      return seat;
    }
    if (isKnown) this.counters.moved++;
    words[at + SEAT] = isOpening ? holder | OPENING : holder;
    return holder;
  }

  /** A packet of the prefix has come by `seat`, which does not hold it: its flow is there, it seems. */
  arrived(packet: TransitPacket, seat: number, now: number): void {
    const isTcp = packet.protocol === PROTOCOL_TCP;
    this.#setKey(packet, true);
    const at = this.#place(isTcp, now);
    const words = this.#words;
    const known = words[at + SEAT]!;
    if (known < 0) words[at + SEAT] = seat;
    else if ((known & ~OPENING) !== seat) {
      if (!this.#seats.follows && this.#seats.mayKeep(known & ~OPENING, isTcp, now)) return;
      words[at + SEAT] = seat;
    }
    words[at + SEEN] = Math.floor(now / 1000);
  }

  /** Where the flow is that a packet of the prefix, quoted in an error, is of; -1 if that is not known. */
  seatOf(quoted: TransitPacket): number {
    this.#setKey(quoted, true);
    const set = this.#set();
    for (let at = set; at < set + WAYS * WORDS; at += WORDS) {
      if (this.#isAt(at)) return this.#words[at + SEAT]! & ~OPENING;
    }
    return -1;
  }

  /** A seat has become another peer's: what went through it begins anew. */
  forget(seat: number): void {
    const words = this.#words;
    for (let at = 0; at < words.length; at += WORDS) {
      if (words[at]! !== 0 && (words[at + SEAT]! & ~OPENING) === seat) words[at] = 0;
    }
  }

  /** @param isFrom Whether the packet's source is in the prefix; otherwise its destination is. */
  #setKey(packet: TransitPacket, isFrom: boolean): void {
    const { buffer, version, protocol, source, destination } = packet;
    const { sourcePort, destinationPort } = packet;
    const key = this.#key;
    key.fill(0);
    key[0] = protocol << 4 | version;
    // Only the first of its fragments has ports, and all have to go the same way.
    if (!packet.isFragmented) {
      key[PORTS] = isFrom ? destinationPort << 16 | sourcePort : sourcePort << 16 | destinationPort;
    }
    const other = isFrom ? destination : source;
    const inside = isFrom ? source : destination;
    for (let i = 0; i < (version === 4 ? 1 : 4); i++) {
      key[OTHER + i] = word(buffer, other + 4 * i);
      key[INSIDE + i] = word(buffer, inside + 4 * i);
    }
  }

  /** Where the places are that the key's flow may be in. */
  #set(): number {
    const hash = this.#hash;
    hash.begin();
    for (let i = 0; i < SEAT; i++) hash.word(this.#key[i]!);
    return (hash.end() >>> 0) % SETS * WAYS * WORDS;
  }

  /** The place of the key's flow, which is its from now on: without a seat if it is new. */
  #place(isTcp: boolean, now: number): number {
    const words = this.#words;
    const seconds = Math.floor(now / 1000);
    const set = this.#set();
    let oldest = set;
    for (let at = set; at < set + WAYS * WORDS; at += WORDS) {
      if (this.#isAt(at)) {
        const idle = isTcp ? TCP_IDLE_SECONDS : IDLE_SECONDS;
        if (seconds - words[at + SEEN]! > idle) words[at + SEAT] = -1;
        return at;
      }
      if (words[oldest] === 0) continue;
      if (words[at] === 0 || words[at + SEEN]! < words[oldest + SEEN]!) oldest = at;
    }
    if (words[oldest] !== 0) this.counters.displaced++;
    words.set(this.#key, oldest);
    words[oldest + SEAT] = -1;
    return oldest;
  }

  #isAt(at: number): boolean {
    const key = this.#key;
    const words = this.#words;
    for (let i = 0; i < SEAT; i++) if (words[at + i] !== key[i]) return false;
    return true;
  }
}

function word(buffer: Uint8Array, at: number): number {
  return buffer[at]! << 24 | buffer[at + 1]! << 16 | buffer[at + 2]! << 8 | buffer[at + 3]!;
}
