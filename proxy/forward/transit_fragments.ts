/**
 * Which flow the fragments behind a first one belong to: they have no ports.
 *
 * @module
 */

import { HalfSipHash, type TransitPacket } from "../../netstack/mod.ts";
import type { FlowOwner } from "../flow/flow.ts";
import { Shares } from "../flow/shares.ts";
import type { TransitFlow } from "./transit_flow.ts";

/** Fragmented packets whose fragments may still come. */
const MOST = 1_024;
/** RFC 8200 §4.5: by then the receiver has given up putting it together. */
const KEPT_MS = 60_000;

interface Fragmented {
  readonly transit: TransitFlow;
  readonly isUp: boolean;
  readonly identification: number;
  readonly until: number;
  readonly sender: FlowOwner;
}

/** Known by the first fragment, which must come first. */
export class TransitFragments {
  readonly #hash: HalfSipHash;
  readonly #packets = new Map<number, Fragmented>();
  /** Keys by who sent them, the oldest first: who sends thousands loses its own. */
  readonly #keys = new Map<FlowOwner, Set<number>>();
  readonly #shares = new Shares();

  constructor(random: (out: Uint8Array) => void) {
    this.#hash = new HalfSipHash(random);
  }

  /** A first fragment passes. */
  add(
    packet: TransitPacket,
    sender: FlowOwner,
    transit: TransitFlow,
    isUp: boolean,
    now: number,
  ): void {
    const key = this.#key(packet);
    this.#remove(key);
    if (this.#packets.size >= MOST) {
      const giver = this.#shares.donor(sender, MOST) ??
        (this.#shares.of(sender) > 0 ? sender : this.#shares.greediest()!);
      const [oldest] = this.#keys.get(giver)!;
      this.#remove(oldest!);
    }
    const { identification } = packet;
    this.#packets.set(key, { transit, isUp, identification, until: now + KEPT_MS, sender });
    this.#shares.take(sender);
    const keys = this.#keys.get(sender);
    if (keys === undefined) this.#keys.set(sender, new Set([key]));
    else keys.add(key);
  }

  /** The flow of a fragment behind the first; undefined if that did not pass. */
  find(packet: TransitPacket, now: number): { transit: TransitFlow; isUp: boolean } | undefined {
    const found = this.#packets.get(this.#key(packet));
    if (found === undefined || now > found.until) return undefined;
    const { transit, isUp, identification } = found;
    const { flow } = transit;
    const { buffer, version } = packet;
    const [from, to] = isUp ? [flow.source, flow.destination] : [flow.destination, flow.source];
    const isIts = flow.end === undefined && identification === packet.identification &&
      from.matches(buffer, packet.source, version) &&
      to.matches(buffer, packet.destination, version);
    return isIts ? found : undefined;
  }

  #remove(key: number): void {
    const known = this.#packets.get(key);
    if (known === undefined) return;
    this.#packets.delete(key);
    this.#shares.give(known.sender);
    const keys = this.#keys.get(known.sender)!;
    keys.delete(key);
    if (keys.size === 0) this.#keys.delete(known.sender);
  }

  #key({ buffer, version, source, destination, identification, protocol }: TransitPacket): number {
    const hash = this.#hash;
    const size = version === 4 ? 4 : 16;
    hash.begin();
    hash.bytes(buffer, source, size);
    hash.bytes(buffer, destination, size);
    hash.word(identification);
    hash.word(protocol);
    return hash.end();
  }
}
