/**
 * Puts fragments together.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";
import { copyBytes, equalBytes, readUint16, readUint32, writeUint16 } from "./bytes.ts";
import type { IpCounters } from "./counters.ts";
import { Datagram, HEADROOM } from "./datagram.ts";
import { Deadlines } from "./deadlines.ts";
import {
  FRAGMENT_OFFSET_MASK,
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  IPV4_IDENTIFICATION,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV4_TOTAL_LENGTH,
  ipv4HeaderLength,
  MORE_FRAGMENTS,
  writeIpv4Checksum,
} from "./ipv4.ts";
import {
  FRAGMENT_HEADER_LENGTH,
  FRAGMENT_IDENTIFICATION,
  FRAGMENT_OFFSET,
  IPV6_DESTINATION,
  IPV6_FRAGMENT,
  IPV6_HEADER_LENGTH,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
} from "./ipv6.ts";
import type { MemoryBudget } from "./memory_budget.ts";
import type { Nic } from "./nic.ts";
import { PROTOCOL_TCP } from "./protocols.ts";
import { HalfSipHash } from "./siphash.ts";

export interface ReassemblySettings {
  /** Memory above which the oldest datagrams are given up, bytes. */
  high: number;
  /** They are given up until no more than this is left, bytes. */
  low: number;
  /** How long the first fragment waits for the rest, ms. */
  ipv4Ms: number;
  /** RFC 8200 §4.5: 60 seconds. */
  ipv6Ms: number;
  /** Pieces of one datagram. 65,535 bytes over the smallest MTU are 119. */
  maxFragments: number;
}

/** gVisor's limits. */
export const DEFAULT_REASSEMBLY: Readonly<ReassemblySettings> = {
  high: 4 << 20,
  low: 3 << 20,
  ipv4Ms: 30_000,
  ipv6Ms: 60_000,
  maxFragments: 256,
};

/** Largest payload of IP behind its header. */
const MAX_LENGTH = 65_535;
/** What a datagram costs beside its bytes. */
const OVERHEAD = 512;

/**
 * Puts fragments together (RFC 791 §3.2, RFC 8200 §4.5), within hard limits.
 *
 * Data is kept in the order of arrival, so that memory follows what was really sent and a lone
 * fragment with a high offset costs only its own size. Fragments that overlap are an attack: the whole
 * datagram is given up, with what may still come of it (RFC 5722).
 */
export class Reassembly {
  /** The whole packet, after a call that returned its length; valid until the next call. */
  buffer: Uint8Array = new Uint8Array(0);
  /** Offset of its IP header in {@link buffer}. */
  offset = 0;

  readonly #settings: ReassemblySettings;
  readonly #counters: IpCounters;
  readonly #hash: HalfSipHash;
  readonly #budget: MemoryBudget | undefined;
  /** Chains by hash of the key. */
  readonly #table = new Map<number, Datagram>();
  /** In the order of their first fragment. */
  readonly #oldest = new Set<Datagram>();
  readonly #deadlines = new Deadlines<Datagram>();
  #memory = 0;
  /** Of {@link #memory}, by sender. */
  readonly #bySender = new Map<unknown, number>();

  constructor(
    settings: Partial<ReassemblySettings>,
    counters: IpCounters,
    random: (out: Uint8Array) => void,
    budget?: MemoryBudget,
  ) {
    this.#budget = budget;
    this.#settings = { ...DEFAULT_REASSEMBLY, ...settings };
    this.#counters = counters;
    this.#hash = new HalfSipHash(random);
  }

  /** Datagrams that wait for more. */
  get size(): number {
    return this.#oldest.size;
  }

  /** Bytes accounted. */
  get memory(): number {
    return this.#memory;
  }

  /**
   * An IPv4 fragment. The header is valid.
   *
   * @param from Who sent it: fragments of two senders are never combined.
   * @returns Length of the whole packet now in {@link buffer}; 0 = not yet, or dropped.
   */
  handleIpv4(
    nic: Nic,
    from: unknown,
    buffer: Uint8Array,
    offset: number,
    totalLength: number,
    now: number,
  ): number {
    const headerLength = ipv4HeaderLength(buffer, offset);
    const field = readUint16(buffer, offset + IPV4_FRAGMENT);
    const start = (field & FRAGMENT_OFFSET_MASK) * 8;
    const more = (field & MORE_FRAGMENTS) !== 0;
    const length = totalLength - headerLength;
    const protocol = buffer[offset + IPV4_PROTOCOL]!;
    // RFC 1858 §3.2.2: a fragment that starts inside the TCP header is an attack on packet filters.
    const isTiny = protocol === PROTOCOL_TCP && start === 8;
    if (isTiny || !isPossible(start, length, more, MAX_LENGTH - IPV4_HEADER_LENGTH)) {
      this.#counters.badFragment++;
      return 0;
    }
    const identification = readUint16(buffer, offset + IPV4_IDENTIFICATION);
    const source = offset + IPV4_SOURCE;
    const datagram = this.#datagram(nic, from, 4, buffer, source, identification, protocol, now);
    if (datagram.poisoned) return 0;
    if (!this.#add(datagram, buffer, offset + headerLength, start, length, more)) return 0;
    if (start === 0) datagram.saveHeader(buffer, offset, IPV4_HEADER_LENGTH);
    if (!datagram.isComplete) return 0;
    const total = this.#finish(datagram, IPV4_HEADER_LENGTH);
    const at = this.offset;
    this.buffer[at] = 0x45;
    writeUint16(this.buffer, at + IPV4_TOTAL_LENGTH, total);
    writeUint16(this.buffer, at + IPV4_FRAGMENT, 0);
    writeIpv4Checksum(this.buffer, at, IPV4_HEADER_LENGTH);
    return total;
  }

  /**
   * An IPv6 fragment.
   *
   * @param header Offset of the Fragment header.
   * @param totalLength Of the packet at `offset`.
   * @returns As {@link handleIpv4}. The Fragment header, and what extension headers stood before it,
   * are gone.
   */
  handleIpv6(
    nic: Nic,
    from: unknown,
    buffer: Uint8Array,
    offset: number,
    header: number,
    totalLength: number,
    now: number,
  ): number {
    const field = readUint16(buffer, header + FRAGMENT_OFFSET);
    const start = field & ~7;
    const more = (field & 1) !== 0;
    const data = header + FRAGMENT_HEADER_LENGTH;
    const length = offset + totalLength - data;
    if (!isPossible(start, length, more, MAX_LENGTH)) {
      this.#counters.badFragment++;
      return 0;
    }
    const identification = readUint32(buffer, header + FRAGMENT_IDENTIFICATION);
    const source = offset + IPV6_SOURCE;
    const datagram = this.#datagram(nic, from, 6, buffer, source, identification, 0, now);
    if (datagram.poisoned) return 0;
    if (!this.#add(datagram, buffer, data, start, length, more)) return 0;
    if (start === 0) {
      datagram.saveHeader(buffer, offset, IPV6_HEADER_LENGTH);
      copyBytes(buffer, header, datagram.buffer, IPV6_HEADER_LENGTH, FRAGMENT_HEADER_LENGTH);
    }
    if (!datagram.isComplete) return 0;
    const nextHeader = datagram.buffer[IPV6_HEADER_LENGTH]!;
    const total = this.#finish(datagram, IPV6_HEADER_LENGTH);
    this.buffer[this.offset + IPV6_NEXT_HEADER] = nextHeader;
    writeUint16(this.buffer, this.offset + IPV6_PAYLOAD_LENGTH, total - IPV6_HEADER_LENGTH);
    return total;
  }

  pollTimeout(): number {
    return this.#deadlines.next();
  }

  /**
   * Gives up datagrams that waited too long.
   *
   * @param expired Called for each whose first fragment came, with that fragment as a packet, for a
   * Time Exceeded (RFC 1122 §3.3.2, RFC 8200 §4.5). Borrowed.
   */
  handleTimeout(
    now: number,
    expired: (nic: Nic, buffer: Uint8Array, offset: number, length: number) => void,
  ): void {
    for (;;) {
      const datagram = this.#deadlines.popDue(now);
      if (datagram === undefined) return;
      if (!datagram.poisoned) {
        this.#counters.reassemblyTimeout++;
        const length = this.#quote(datagram);
        if (length > 0) expired(datagram.nic, this.buffer, this.offset, length);
      }
      this.#remove(datagram);
    }
  }

  /** Forgets what came in by `nic`. */
  removeNic(nic: Nic): void {
    for (const datagram of this.#oldest) if (datagram.nic === nic) this.#remove(datagram);
  }

  /** Finds or makes the datagram of a fragment; the addresses lie back to back at `addresses`. */
  #datagram(
    nic: Nic,
    from: unknown,
    version: IpVersion,
    buffer: Uint8Array,
    addresses: number,
    identification: number,
    protocol: number,
    now: number,
  ): Datagram {
    const addressesLength = version === 4
      ? IPV4_DESTINATION - IPV4_SOURCE + 4
      : IPV6_DESTINATION - IPV6_SOURCE + 16;
    const hash = this.#hash;
    hash.begin();
    hash.word(nic.id << 16 | version << 8 | protocol);
    hash.word(identification | 0);
    hash.bytes(buffer, addresses, addressesLength);
    const key = hash.end();
    const chain = this.#table.get(key);
    for (let datagram = chain; datagram !== undefined; datagram = datagram.next) {
      if (
        datagram.nic === nic && datagram.from === from &&
        datagram.identification === identification &&
        datagram.protocol === protocol && datagram.addresses.length === addressesLength &&
        equalBytes(datagram.addresses, 0, buffer, addresses, addressesLength)
      ) return datagram;
    }
    const made = new Datagram(
      nic,
      from,
      key,
      identification,
      protocol,
      buffer.slice(addresses, addresses + addressesLength),
    );
    made.next = chain;
    this.#table.set(key, made);
    this.#oldest.add(made);
    const { ipv4Ms, ipv6Ms } = this.#settings;
    this.#deadlines.set(made, now + (version === 4 ? ipv4Ms : ipv6Ms));
    return made;
  }

  /** @returns Whether the datagram is still good. */
  #add(
    datagram: Datagram,
    buffer: Uint8Array,
    data: number,
    start: number,
    length: number,
    more: boolean,
  ): boolean {
    const verdict = datagram.add(buffer, data, start, length, more, this.#settings.maxFragments);
    if (verdict === "duplicate") return false;
    if (verdict !== "added") {
      if (verdict === "overlap") this.#counters.reassemblyOverlap++;
      else this.#counters.reassemblyTooMany++;
      // RFC 5722 §3: also the fragments still to come. The empty record stays until its time is up.
      datagram.poison();
    }
    this.#account(datagram);
    return verdict === "added" && datagram.heapIndex >= 0;
  }

  /**
   * Takes note of a datagram's size, and keeps all of them within the limits: the oldest give way, of
   * senders that have more than an equal share.
   */
  #account(datagram: Datagram): void {
    const cost = OVERHEAD + datagram.buffer.length;
    this.#charge(datagram, cost);
    if (this.#memory <= this.#settings.high) return;
    const share = this.#settings.low / this.#bySender.size;
    for (const oldest of this.#oldest) {
      if (this.#bySender.get(oldest.from)! <= share) continue;
      if (!oldest.poisoned) this.#counters.reassemblyEvicted++;
      this.#remove(oldest);
      if (this.#memory <= this.#settings.low) return;
    }
  }

  #charge(datagram: Datagram, cost: number): void {
    const more = cost - datagram.accounted;
    datagram.accounted = cost;
    this.#memory += more;
    const ofSender = (this.#bySender.get(datagram.from) ?? 0) + more;
    if (ofSender > 0) this.#bySender.set(datagram.from, ofSender);
    else this.#bySender.delete(datagram.from);
    this.#budget?.charge(datagram.from, more);
  }

  /** Takes a complete datagram out; {@link buffer} then has `headerLength` bytes and the data. */
  #finish(datagram: Datagram, headerLength: number): number {
    this.#remove(datagram);
    this.#counters.reassembled++;
    if (datagram.isInOrder) {
      // Data that arrived in order is in order already: only the header has to be put before it.
      this.buffer = datagram.buffer;
      this.offset = HEADROOM - headerLength;
      this.buffer.copyWithin(this.offset, 0, headerLength);
    } else {
      this.buffer = new Uint8Array(headerLength + datagram.total);
      this.offset = 0;
      copyBytes(datagram.buffer, 0, this.buffer, 0, headerLength);
      datagram.copyData(this.buffer, headerLength);
    }
    return headerLength + datagram.total;
  }

  /** Puts the first fragment into {@link buffer}. @returns Its length, 0 if it never came. */
  #quote(datagram: Datagram): number {
    const length = datagram.firstLength;
    if (length === 0) return 0;
    const isIpv4 = datagram.buffer[0]! >> 4 === 4;
    const headerLength = isIpv4 ? IPV4_HEADER_LENGTH : HEADROOM;
    this.buffer = new Uint8Array(headerLength + length);
    this.offset = 0;
    copyBytes(datagram.buffer, 0, this.buffer, 0, headerLength);
    datagram.copyFirst(this.buffer, headerLength);
    if (isIpv4) {
      this.buffer[0] = 0x45;
      writeUint16(this.buffer, IPV4_TOTAL_LENGTH, headerLength + length);
      writeIpv4Checksum(this.buffer, 0, IPV4_HEADER_LENGTH);
    } else {
      this.buffer[IPV6_NEXT_HEADER] = IPV6_FRAGMENT;
      writeUint16(this.buffer, IPV6_PAYLOAD_LENGTH, headerLength + length - IPV6_HEADER_LENGTH);
    }
    return headerLength + length;
  }

  #remove(datagram: Datagram): void {
    this.#deadlines.remove(datagram);
    this.#oldest.delete(datagram);
    this.#charge(datagram, 0);
    let before = this.#table.get(datagram.key);
    if (before === datagram) {
      if (datagram.next === undefined) this.#table.delete(datagram.key);
      else this.#table.set(datagram.key, datagram.next);
      return;
    }
    while (before !== undefined && before.next !== datagram) before = before.next;
    if (before !== undefined) before.next = datagram.next;
  }
}

/** Empty pieces, pieces that end between the units of 8 bytes, and the "ping of death". */
function isPossible(start: number, length: number, more: boolean, limit: number): boolean {
  if (length <= 0 || (more && (length & 7) !== 0)) return false;
  return start + length <= limit;
}
