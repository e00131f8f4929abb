/**
 * Dials in flight: how many there may be, whose they are, and which give way. A dial that is given up
 * in silence costs the client nothing: its SYN comes again, and is dialled anew.
 *
 * @module
 */

import { Roster } from "../../netstack/mod.ts";
import type { Flow } from "./flow.ts";
import { networkKey } from "./networks.ts";
import { Shares } from "./shares.ts";

/** What a dial has shown about its target. */
export type DialOutcome =
  /** The target is alive: it connected or refused. */
  | "answered"
  /** Nobody answered. */
  | "silent"
  /** Given up for other reasons. */
  | "unknown";

/** Dials in a row that nobody answered, after which an address or network counts as dead. */
const DEAD_AFTER = 3;
/** How long that is remembered, ms. */
const MEMORY_MS = 60_000;
/** A dial may be displaced after this long, ms: a live target nearby has answered by then. */
const PATIENCE_MS = 250;
/** Addresses and networks of which something is remembered while no dial is in flight. */
const MAX_REMEMBERED = 4_096;

/** Most dials in flight to one address, or to its /24 or /64: a part of all, and the least. */
const CAPS = {
  dead: { address: 1 / 64, network: 1 / 16, least: 4 },
  /** Nothing is known. */
  fresh: { address: 1 / 4, network: 1 / 4, least: 16 },
} as const;

/** An address or a network. */
interface Place {
  dials: number;
  /** Since the last answer. */
  silences: number;
  hasAnswered: boolean;
  /** When something was last learnt, ms. */
  at: number;
}

export class Dials {
  readonly shares: Shares = new Shares();
  readonly #inFlight = new Roster<Flow, "dialPlace">("dialPlace");
  readonly #addresses = new Map<number | string, Place>();
  readonly #networks = new Map<number | string, Place>();

  get size(): number {
    return this.#inFlight.size;
  }

  /** Whether the address or the network that `flow` dials is at its limit. */
  isCapped(flow: Flow, limit: number, now: number): boolean {
    const address = this.#addresses.get(addressOf(flow));
    const network = this.#networks.get(networkOf(flow));
    return isFull(address, "address", limit, now) || isFull(network, "network", limit, now);
  }

  /**
   * Which dial gives way to `flow` when `limit` are in flight: the one that has waited longest, of
   * the owner that has most if `flow`'s is below its share, else of the same owner and to another
   * network.
   */
  displaced(flow: Flow, limit: number, now: number): Flow | undefined {
    const owner = this.shares.donor(flow.owner, limit) ?? flow.owner;
    const network = networkOf(flow);
    let oldest: Flow | undefined;
    for (const dial of this.#inFlight.items) {
      if (dial.owner !== owner || now - dial.startedAt < PATIENCE_MS) continue;
      if (oldest !== undefined && dial.sequence > oldest.sequence) continue;
      if (owner !== flow.owner || networkOf(dial) !== network) oldest = dial;
    }
    return oldest;
  }

  begin(flow: Flow, now: number): void {
    this.#inFlight.add(flow);
    this.shares.take(flow.owner);
    placeOf(this.#addresses, addressOf(flow), now).dials++;
    placeOf(this.#networks, networkOf(flow), now).dials++;
  }

  end(flow: Flow, outcome: DialOutcome, now: number): void {
    if (flow.dialPlace < 0) return;
    this.#inFlight.delete(flow);
    this.shares.give(flow.owner);
    settle(this.#addresses, addressOf(flow), outcome, now);
    settle(this.#networks, networkOf(flow), outcome, now);
  }
}

function isFull(
  place: Place | undefined,
  kind: "address" | "network",
  limit: number,
  now: number,
): boolean {
  if (place === undefined) return false;
  const isDead = place.silences >= DEAD_AFTER && now - place.at < MEMORY_MS;
  if (!isDead && place.hasAnswered) return false;
  const cap = CAPS[isDead ? "dead" : "fresh"];
  return place.dials >= Math.max(cap.least, Math.ceil(limit * cap[kind]));
}

function placeOf(places: Map<number | string, Place>, key: number | string, now: number): Place {
  let place = places.get(key);
  if (place === undefined) {
    if (places.size >= MAX_REMEMBERED) forgetOne(places);
    place = { dials: 0, silences: 0, hasAnswered: false, at: now };
    places.set(key, place);
  }
  return place;
}

function settle(
  places: Map<number | string, Place>,
  key: number | string,
  outcome: DialOutcome,
  now: number,
): void {
  const place = places.get(key)!;
  place.dials--;
  if (outcome === "unknown") {
    if (place.dials === 0 && !place.hasAnswered && place.silences === 0) places.delete(key);
    return;
  }
  place.at = now;
  if (outcome === "answered") {
    place.hasAnswered = true;
    place.silences = 0;
  } else place.silences++;
}

/** The first that no dial is in flight to, if there is one: more dials than this may be allowed. */
function forgetOne(places: Map<number | string, Place>): void {
  for (const [key, { dials }] of places) {
    if (dials > 0) continue;
    places.delete(key);
    return;
  }
}

/** A name is an address and a network of its own: where it leads is not known when the dial begins. */
function addressOf({ dialledName, dialled }: Flow): number | string {
  if (dialledName !== undefined) return dialledName;
  const { bytes, version } = dialled!;
  return version === 4 ? word(bytes) : bytes.toHex();
}

function networkOf({ dialledName, dialled }: Flow): number | string {
  return dialledName ?? networkKey(dialled!);
}

function word(b: Uint8Array): number {
  return (b[0]! << 24 | b[1]! << 16 | b[2]! << 8 | b[3]!) >>> 0;
}
