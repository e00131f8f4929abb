/**
 * Where the packets go of a prefix that several peers speak for.
 *
 * @module
 */

import { type Prefix, TransitPacket } from "../../../netstack/mod.ts";
import type { Peer, SharedPrefix } from "../../../wireguard/mod.ts";
import type { FlowMemory } from "./flow_memory.ts";
import type { Member, Members } from "./members.ts";

/** Filled for each packet; nobody keeps them. */
const packet = new TransitPacket();
const quoted = new TransitPacket();

export class SharedRoute implements SharedPrefix<Peer> {
  readonly prefix: Prefix;
  /** In the order of preference. */
  members: readonly Member[];
  /** Whose new flows are. */
  holder: Member;
  /** It has been said that none of them is alive. */
  isReported = false;
  /** Whether it was ever held by one that was heard. */
  isHeld = false;
  readonly #flows: FlowMemory;
  readonly #all: Members;
  readonly #peers: ReadonlySet<Peer>;

  /** @param holder Missing, or none of them: the first. */
  constructor(
    prefix: Prefix,
    members: readonly Member[],
    flows: FlowMemory,
    all: Members,
    holder: Member | undefined,
  ) {
    this.prefix = prefix;
    this.members = members;
    this.holder = holder !== undefined && members.includes(holder) ? holder : members[0]!;
    this.#flows = flows;
    this.#all = all;
    this.#peers = new Set(members.map(({ peer }) => peer));
  }

  has(peer: Peer): boolean {
    return this.#peers.has(peer);
  }

  choose(
    holder: Peer,
    buffer: Uint8Array,
    offset: number,
    length: number,
    version: 4 | 6,
    now: number,
  ): Peer {
    packet.parse(buffer, offset, length, version);
    const seat = this.#seat(holder, now);
    const chosen = this.#all.at(seat)?.peer;
    // A flow's peer may have stopped to speak for this prefix, and do so for others.
    return chosen !== undefined && this.has(chosen) ? chosen : holder;
  }

  arrived(
    from: Peer,
    buffer: Uint8Array,
    offset: number,
    length: number,
    version: 4 | 6,
    now: number,
  ): void {
    packet.parse(buffer, offset, length, version);
    if (packet.kind === "malformed" || packet.kind === "icmp-error") return;
    this.#flows.arrived(packet, this.#all.of(from)!.seat, now);
  }

  #seat(holder: Peer, now: number): number {
    const { seat } = this.#all.of(holder)!;
    if (packet.kind === "malformed") return seat;
    if (packet.kind !== "icmp-error") return this.#flows.choose(packet, seat, now);
    // It belongs to the flow that it is about.
    const at = quoted.parseQuoted(packet) ? this.#flows.seatOf(quoted) : -1;
    return at < 0 ? seat : at;
  }
}
