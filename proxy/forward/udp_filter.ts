/**
 * What filtering (RFC 4787 §5) asks: the targets that a client's port has sent to. Which of them may
 * answer from where is decided by the sessions (`udp_session.ts` here and in `inbound/`).
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import type { Flow } from "../flow/flow.ts";
import { hashOf, TargetAddress } from "../target/address.ts";
import type { UdpDetour } from "./udp_detour.ts";

/** Targets that are remembered; the one not sent to for longest is forgotten first. */
const MAX_ENTRIES = 256;
/** So many are always remembered, even when {@link UdpFilter.add} is told that space is short. */
const LEAST_ENTRIES = 8;

/** No target. */
const NOWHERE = new TargetAddress(IpAddress.v4(0, 0, 0, 0), 0);

/** An address and port that the client has sent to. */
export class FilterEntry {
  readonly flow: Flow;
  /** The address that datagrams for it are sent to; {@link NOWHERE} until its name is resolved. */
  target: TargetAddress;
  /** Missing: datagrams are sent as they come. */
  detour: UdpDetour | undefined = undefined;
  /** When it was last sent to, by count. */
  turn = 0;
  // Chains of the tables.
  nextDestination: FilterEntry | undefined = undefined;
  nextTarget: FilterEntry | undefined = undefined;

  /** @param flow An admitted one. */
  constructor(flow: Flow) {
    this.flow = flow;
    const { dialled, dialledPort } = flow;
    this.target = dialled === undefined ? NOWHERE : new TargetAddress(dialled, dialledPort);
  }
}

/** Finds entries by destination and by target. A look-up allocates nothing. */
export class UdpFilter {
  readonly #byDestination = new Map<number, FilterEntry>();
  readonly #byTarget = new Map<number, FilterEntry>();
  #last: FilterEntry | undefined;
  #lastReply: FilterEntry | undefined;
  #turn = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Notes that the client sends to `destination`. @returns undefined if it has not done so before. */
  noteSent(destination: IpAddress, port: number): FilterEntry | undefined {
    const last = this.#last;
    // The stack hands out the same object as long as the destination stays the same.
    if (
      last !== undefined && last.flow.destination === destination &&
      last.flow.destinationPort === port
    ) return last;
    let entry = this.#byDestination.get(hashOfDestination(destination, port));
    while (entry !== undefined && !isFor(entry, destination, port)) entry = entry.nextDestination;
    if (entry === undefined) return undefined;
    entry.flow.destination = destination;
    entry.turn = ++this.#turn;
    return this.#last = this.#lastReply = entry;
  }

  /**
   * Adds an entry that {@link noteSent} has not found.
   *
   * @param isCrowded Whether this filter may have only a few entries.
   * @returns the entry that is forgotten for it.
   */
  add(entry: FilterEntry, isCrowded = false): FilterEntry | undefined {
    const most = isCrowded ? LEAST_ENTRIES : MAX_ENTRIES;
    const forgotten = this.#size >= most ? this.#oldest() : undefined;
    if (forgotten !== undefined) this.remove(forgotten);
    entry.turn = ++this.#turn;
    const { flow, target } = entry;
    const key = hashOfDestination(flow.destination, flow.destinationPort);
    entry.nextDestination = this.#byDestination.get(key);
    this.#byDestination.set(key, entry);
    if (target !== NOWHERE) this.#addTarget(entry);
    this.#size++;
    this.#last = this.#lastReply = entry;
    return forgotten;
  }

  remove(entry: FilterEntry): void {
    this.#size--;
    this.#last = this.#lastReply = undefined;
    const { destination, destinationPort } = entry.flow;
    const key = hashOfDestination(destination, destinationPort);
    unlink(this.#byDestination, key, entry, "nextDestination");
    if (entry.target !== NOWHERE) {
      unlink(this.#byTarget, entry.target.hash, entry, "nextTarget");
    }
  }

  /** The name that an entry goes to has been resolved. */
  resolved(entry: FilterEntry, target: TargetAddress): void {
    entry.target = target;
    this.#addTarget(entry);
  }

  /**
   * The entry whose target is at the socket address in `words` from `at` on. Of several destinations
   * that are mapped to one target, the one last sent to.
   */
  at(words: Int32Array, at: number): FilterEntry | undefined {
    const last = this.#lastReply;
    if (last !== undefined && last.target.isAt(words, at)) return last;
    let found: FilterEntry | undefined;
    let entry = this.#byTarget.get(hashOf(words, at));
    for (; entry !== undefined; entry = entry.nextTarget) {
      if (!entry.target.isAt(words, at)) continue;
      if (found === undefined || entry.turn > found.turn) found = entry;
    }
    if (found !== undefined) this.#lastReply = found;
    return found;
  }

  /** The same, whatever the port. Linear: only for unsolicited senders, and answers of another port. */
  atAddress(words: Int32Array, at: number): FilterEntry | undefined {
    let found: FilterEntry | undefined;
    for (const entry of this.entries()) {
      if (entry.target === NOWHERE || !entry.target.hasAddress(words, at)) continue;
      if (found === undefined || entry.turn > found.turn) found = entry;
    }
    return found;
  }

  /** The entry last used, or another one. */
  any(): FilterEntry | undefined {
    if (this.#lastReply !== undefined) return this.#lastReply;
    for (const entry of this.entries()) return entry;
    return undefined;
  }

  *entries(): Iterable<FilterEntry> {
    for (const chain of this.#byDestination.values()) {
      let entry: FilterEntry | undefined = chain;
      for (; entry !== undefined; entry = entry.nextDestination) yield entry;
    }
  }

  #addTarget(entry: FilterEntry): void {
    const { hash } = entry.target;
    entry.nextTarget = this.#byTarget.get(hash);
    this.#byTarget.set(hash, entry);
  }

  #oldest(): FilterEntry | undefined {
    let oldest: FilterEntry | undefined;
    for (const entry of this.entries()) {
      if (oldest === undefined || entry.turn < oldest.turn) oldest = entry;
    }
    return oldest;
  }
}

function isFor({ flow }: FilterEntry, destination: IpAddress, port: number): boolean {
  return flow.destinationPort === port && flow.destination.equals(destination);
}

function unlink(
  table: Map<number, FilterEntry>,
  key: number,
  entry: FilterEntry,
  next: "nextDestination" | "nextTarget",
): void {
  let before = table.get(key)!;
  if (before === entry) {
    if (entry[next] === undefined) table.delete(key);
    else table.set(key, entry[next]);
    return;
  }
  while (before[next] !== entry) before = before[next]!;
  before[next] = entry[next];
}

function hashOfDestination({ bytes }: IpAddress, port: number): number {
  let hash = port;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash;
}
