/**
 * Fragments through a NAT: those behind the first have no ports, and may come before it (RFC 4787
 * REQ-14).
 *
 * @module
 */

import { equalBytes } from "../bytes.ts";
import { HalfSipHash } from "../siphash.ts";
import type { TransitPacket } from "../transit.ts";
import type { NatCounters } from "./counters.ts";

/** Packets whose fragments may still be arriving: in all, and from one sender. */
const MOST = 1_024;
const MOST_OF_SENDER_PACKETS = 256;
/** Bytes that wait for the first fragment of their packet: in all, from one sender, of one packet. */
const MOST_BYTES = 1 << 20;
const MOST_OF_SENDER = 128 << 10;
const MOST_OF_PACKET = 72 << 10;
/** RFC 8200 §4.5 has the receiver wait for 60 s; what is held here is held for less. */
const KEPT_MS = 30_000;

/** A packet in fragments. */
export class FragmentedPacket {
  readonly ingress: number;
  readonly protocol: number;
  readonly identification: number;
  /** As they came in: source and destination. */
  readonly addresses: Uint8Array;
  readonly sender: number;
  readonly ends: number;
  /** Whether the first fragment has come, and passed. Only then are the next fields set. */
  isKnown = false;
  /** Addresses that take the place of source and destination; undefined = they stay. */
  source: Uint8Array | undefined = undefined;
  destination: Uint8Array | undefined = undefined;
  /** Its identification on the other side; -1 = unchanged. */
  identificationBeyond = -1;
  /** Copies of what came before the first fragment, and what counts them if that never comes. */
  held: Uint8Array[] = [];
  counters: NatCounters | undefined = undefined;
  heldBytes = 0;

  constructor(
    ingress: number,
    protocol: number,
    identification: number,
    addresses: Uint8Array,
    sender: number,
    ends: number,
  ) {
    this.ingress = ingress;
    this.protocol = protocol;
    this.identification = identification;
    this.addresses = addresses;
    this.sender = sender;
    this.ends = ends;
  }
}

export class NatFragments {
  readonly #hash: HalfSipHash;
  /** The oldest first. */
  readonly #packets = new Map<number, FragmentedPacket>();
  readonly #bytesOf = new Map<number, number>();
  /** Each sender's, the oldest first: who sends many gives up its own. */
  readonly #keysOf = new Map<number, Set<number>>();
  #bytes = 0;

  constructor(random: (out: Uint8Array) => void) {
    this.#hash = new HalfSipHash(random);
  }

  get size(): number {
    return this.#packets.size;
  }

  /** When something held is given up, ms; Infinity = never. */
  pollTimeout(): number {
    for (const { ends } of this.#packets.values()) return ends;
    return Infinity;
  }

  handleTimeout(now: number): void {
    for (const [key, packet] of this.#packets) {
      if (packet.ends > now) return;
      this.#remove(key, packet);
    }
  }

  /**
   * The packet that a fragment belongs to, remembered from now on. Fragments from two NICs never
   * belong together.
   */
  of(packet: TransitPacket, ingress: number, now: number): FragmentedPacket {
    const key = this.#keyOf(packet, ingress);
    const found = this.#packets.get(key);
    if (found !== undefined && found.ends > now && isOf(found, packet, ingress)) return found;
    if (found !== undefined) this.#remove(key, found);
    const sender = this.#senderOf(packet);
    const keys = this.#keysOf.get(sender);
    if (keys !== undefined && keys.size >= MOST_OF_SENDER_PACKETS) {
      const [oldest] = keys;
      this.#remove(oldest!, this.#packets.get(oldest!)!);
    } else if (this.#packets.size >= MOST) {
      const [oldest] = this.#packets;
      this.#remove(...oldest!);
    }
    const { buffer, source, version, protocol, identification } = packet;
    const size = version === 4 ? 4 : 16;
    const made = new FragmentedPacket(
      ingress,
      version === 4 ? protocol : 0,
      identification,
      buffer.slice(source, source + 2 * size),
      sender,
      now + KEPT_MS,
    );
    this.#packets.set(key, made);
    const own = this.#keysOf.get(sender);
    if (own === undefined) this.#keysOf.set(sender, new Set([key]));
    else own.add(key);
    return made;
  }

  /** Keeps a copy until the first fragment comes. @returns Whether there is room for it. */
  hold(of: FragmentedPacket, packet: TransitPacket, counters: NatCounters): boolean {
    const { buffer, offset, length } = packet;
    const ofSender = this.#bytesOf.get(of.sender) ?? 0;
    if (of.heldBytes + length > MOST_OF_PACKET || ofSender + length > MOST_OF_SENDER) return false;
    while (this.#bytes + length > MOST_BYTES) {
      const oldest = this.#oldestHeld()!;
      this.#drop(oldest);
      if (oldest === of) return false;
    }
    of.held.push(buffer.slice(offset, offset + length));
    of.heldBytes += length;
    of.counters = counters;
    this.#account(of, length);
    return true;
  }

  /** What has waited for the first. */
  release(of: FragmentedPacket): Uint8Array[] {
    const { held } = of;
    this.#account(of, -of.heldBytes);
    of.held = [];
    of.heldBytes = 0;
    return held;
  }

  #oldestHeld(): FragmentedPacket | undefined {
    for (const packet of this.#packets.values()) if (packet.heldBytes > 0) return packet;
    return undefined;
  }

  #remove(key: number, packet: FragmentedPacket): void {
    this.#packets.delete(key);
    const keys = this.#keysOf.get(packet.sender)!;
    keys.delete(key);
    if (keys.size === 0) this.#keysOf.delete(packet.sender);
    this.#drop(packet);
  }

  #drop(packet: FragmentedPacket): void {
    const lost = this.release(packet).length;
    if (lost > 0) packet.counters!.fragments += lost;
  }

  #account({ sender }: FragmentedPacket, bytes: number): void {
    this.#bytes += bytes;
    const ofSender = (this.#bytesOf.get(sender) ?? 0) + bytes;
    if (ofSender > 0) this.#bytesOf.set(sender, ofSender);
    else this.#bytesOf.delete(sender);
  }

  /** A hash of the source, so that one host cannot fill all of it. */
  #senderOf({ buffer, source, version }: TransitPacket): number {
    this.#hash.begin();
    this.#hash.bytes(buffer, source, version === 4 ? 4 : 8);
    return this.#hash.end();
  }

  #keyOf(packet: TransitPacket, ingress: number): number {
    const { buffer, source, version, protocol, identification } = packet;
    const hash = this.#hash;
    hash.begin();
    hash.word(ingress);
    // RFC 8200 §4.5: the Next Header of IPv6's fragments does not tell them apart.
    hash.word(version === 4 ? protocol : 0);
    hash.word(identification | 0);
    hash.bytes(buffer, source, version === 4 ? 8 : 32);
    return hash.end();
  }
}

function isOf(known: FragmentedPacket, packet: TransitPacket, ingress: number): boolean {
  const { addresses } = known;
  return known.ingress === ingress && known.identification === packet.identification &&
    known.protocol === (packet.version === 4 ? packet.protocol : 0) &&
    addresses.length === (packet.version === 4 ? 8 : 32) &&
    equalBytes(addresses, 0, packet.buffer, packet.source, addresses.length);
}
