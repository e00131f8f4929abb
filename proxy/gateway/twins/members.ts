/**
 * The peers that share prefixes with others, a seat for each, and whether each is there.
 *
 * @module
 */

import type { IpAddress, IpVersion } from "../../../netstack/mod.ts";
import type { Peer } from "../../../wireguard/mod.ts";
import type { Seats } from "./flow_memory.ts";
import { Liveness } from "./liveness.ts";

/**
 * How long connections wait for a peer that is lost: if only its line was, they go on; afterwards
 * another peer gets what they send, and resets them. New ones do not wait.
 */
const TCP_HOLD_MS = 15_000;

/** How peers that share prefixes are treated. */
export interface MemberSettings {
  /**
   * Whether this side calls them, as a client or an agent does its hubs: then each is called from the
   * start on, the nearest comes first, and a flow is where its packets come from.
   */
  readonly calls: boolean;
}

export interface Member {
  readonly peer: Peer;
  /** What flows remember it by; another's when it is gone. */
  readonly seat: number;
  /** Of its echo requests. */
  readonly identifier: number;
  readonly liveness: Liveness;
  /** Its own, which it is asked at. */
  address: IpAddress | undefined;
  /** How long its handshakes take, smoothed: ms; Infinity before the first. */
  tripMs: number;
  /** The handshake that was measured last, as `Peer.lastHandshake`. */
  measured: number;
  /** Since when an answer is waited for, of one that is called; Infinity if none is. */
  waitsSince: number;
  /** Of probes, that have been counted. */
  answers: number;
}

export class Members implements Seats, Iterable<Member> {
  readonly #members = new Map<Peer, Member>();
  readonly #seats: (Member | undefined)[] = [];
  /** So that other programs' pings are not taken for ours. */
  readonly #firstIdentifier: number;

  readonly #calls: boolean;

  constructor(random: (out: Uint8Array) => void, { calls }: MemberSettings = { calls: false }) {
    this.#calls = calls;
    const bytes = new Uint8Array(2);
    random(bytes);
    this.#firstIdentifier = bytes[0]! << 8 | bytes[1]!;
  }

  [Symbol.iterator](): Iterator<Member> {
    return this.#members.values();
  }

  /** Lets go of all others. @returns those. */
  keep(peers: ReadonlySet<Peer>): Member[] {
    const gone = [...this].filter(({ peer }) => !peers.has(peer));
    for (const { peer, seat } of gone) {
      this.#members.delete(peer);
      this.#seats[seat] = undefined;
    }
    return gone;
  }

  /** The peer's, which is made for one that has none. */
  seat(peer: Peer, now: number): Member {
    const known = this.#members.get(peer);
    if (known !== undefined) return known;
    const free = this.#seats.indexOf(undefined);
    const seat = free < 0 ? this.#seats.length : free;
    const member: Member = {
      peer,
      seat,
      identifier: this.#firstIdentifier + seat & 0xffff,
      liveness: new Liveness(now, this.#calls),
      address: undefined,
      tripMs: Infinity,
      measured: 0,
      waitsSince: Infinity,
      answers: 0,
    };
    this.#members.set(peer, member);
    this.#seats[seat] = member;
    return member;
  }

  of(peer: Peer): Member | undefined {
    return this.#members.get(peer);
  }

  at(seat: number): Member | undefined {
    return this.#seats[seat];
  }

  mayKeep(seat: number, isTcp: boolean, now: number): boolean {
    const liveness = this.#seats[seat]?.liveness;
    if (liveness === undefined) return false;
    if (liveness.standing === "alive") return true;
    // Connections do not end in a hub: they go on by another at once.
    return isTcp && !this.#calls && liveness.silentMs(now) < TCP_HOLD_MS;
  }

  /** Whether a flow goes where a packet of it has come from, though it was elsewhere and could stay there. */
  get follows(): boolean {
    return this.#calls;
  }

  /** An echo reply has come. Only a peer itself can send from its address. */
  readonly answered = (
    version: IpVersion,
    buffer: Uint8Array,
    source: number,
    identifier: number,
  ): void => {
    const member = this.#seats[identifier - this.#firstIdentifier & 0xffff];
    const address = member?.address;
    if (address?.version !== version) return;
    if (address.bytes.some((byte, i) => byte !== buffer[source + i])) return;
    member!.liveness.answered();
  };
}
