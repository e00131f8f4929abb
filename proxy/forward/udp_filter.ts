/**
 * Whom a client's port has sent to: the only ones whose datagrams it gets (RFC 4787 §5,
 * address-and-port-dependent filtering).
 *
 * @module
 */

import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import { hashOf, TargetAddress } from "../target/address.ts";

/** Replies pass from as many addresses; the one asked longest ago is forgotten first. */
const MAX_ASKED = 256;

/** An address and port that the client has sent to. */
export class Asked {
  /** As the client says it. */
  destination: IpAddress;
  readonly port: number;
  /** The same after the policy's maps. */
  readonly target: TargetAddress;
  /** When it was last asked, by count. */
  turn = 0;
  // Chains of the tables.
  nextDestination: Asked | undefined;
  nextTarget: Asked | undefined;

  constructor(destination: IpAddress, port: number, target: IpAddress) {
    this.destination = destination;
    this.port = port;
    this.target = new TargetAddress(target, port);
  }
}

/** Finds by destination and by target, without text and without an object per look-up. */
export class AskedTable {
  readonly #byDestination = new Map<number, Asked>();
  readonly #byTarget = new Map<number, Asked>();
  #last: Asked | undefined;
  #lastReply: Asked | undefined;
  #turn = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(prefix: Prefix): boolean {
    for (const asked of this.#all()) if (prefix.contains(asked.destination)) return true;
    return false;
  }

  /** Notes that the client sends to `destination`. @returns undefined if it has not done so before. */
  ask(destination: IpAddress, port: number): Asked | undefined {
    const last = this.#last;
    // The stack hands out the same object as long as the destination stays the same.
    if (last !== undefined && last.destination === destination && last.port === port) return last;
    let asked = this.#byDestination.get(hashOfDestination(destination, port));
    while (asked !== undefined && !(asked.port === port && asked.destination.equals(destination))) {
      asked = asked.nextDestination;
    }
    if (asked === undefined) return undefined;
    asked.destination = destination;
    asked.turn = ++this.#turn;
    return this.#last = this.#lastReply = asked;
  }

  /** Adds what {@link ask} has not found. @param target What to send to for it. */
  add(destination: IpAddress, port: number, target: IpAddress): Asked {
    if (this.#size === MAX_ASKED) this.#forgetOldest();
    const asked = new Asked(destination, port, target);
    asked.turn = ++this.#turn;
    const key = hashOfDestination(destination, port);
    asked.nextDestination = this.#byDestination.get(key);
    this.#byDestination.set(key, asked);
    asked.nextTarget = this.#byTarget.get(asked.target.hash);
    this.#byTarget.set(asked.target.hash, asked);
    this.#size++;
    return this.#last = this.#lastReply = asked;
  }

  /**
   * Whom the client has asked at the socket address that `words` hold from `at` on. Of several
   * destinations that are mapped to one target, the one asked last.
   */
  at(words: Int32Array, at: number): Asked | undefined {
    const last = this.#lastReply;
    if (last !== undefined && last.target.isAt(words, at)) return last;
    let found: Asked | undefined;
    let asked = this.#byTarget.get(hashOf(words, at));
    for (; asked !== undefined; asked = asked.nextTarget) {
      if (!asked.target.isAt(words, at)) continue;
      if (found === undefined || asked.turn > found.turn) found = asked;
    }
    if (found !== undefined) this.#lastReply = found;
    return found;
  }

  *#all(): Iterable<Asked> {
    for (const chain of this.#byDestination.values()) {
      for (
        let asked: Asked | undefined = chain;
        asked !== undefined;
        asked = asked.nextDestination
      ) {
        yield asked;
      }
    }
  }

  #forgetOldest(): void {
    let oldest: Asked | undefined;
    for (const asked of this.#all()) {
      if (oldest === undefined || asked.turn < oldest.turn) oldest = asked;
    }
    if (oldest === undefined) return;
    this.#size--;
    if (this.#last === oldest) this.#last = undefined;
    if (this.#lastReply === oldest) this.#lastReply = undefined;
    unlink(
      this.#byDestination,
      hashOfDestination(oldest.destination, oldest.port),
      oldest,
      "nextDestination",
    );
    unlink(this.#byTarget, oldest.target.hash, oldest, "nextTarget");
  }
}

function unlink(
  table: Map<number, Asked>,
  key: number,
  asked: Asked,
  next: "nextDestination" | "nextTarget",
): void {
  let before = table.get(key)!;
  if (before === asked) {
    if (asked[next] === undefined) table.delete(key);
    else table.set(key, asked[next]);
    return;
  }
  while (before[next] !== asked) before = before[next]!;
  before[next] = asked[next];
}

function hashOfDestination({ bytes }: IpAddress, port: number): number {
  let hash = port;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash;
}
