/**
 * The rates of peers, for packets that go from one to the other: what is too much is dropped.
 *
 * @module
 */

import { IpAddress, type IpVersion, type TransitPolice } from "../../netstack/mod.ts";
import type { FlowOwner } from "../flow/flow.ts";
import type { Direction } from "../flow/limits.ts";
import type { Pace } from "../flow/pace.ts";
import type { Pacing } from "../flow/pacing.ts";

/** All that a peer sends to others, or gets from them, counts as one flow of its own. */
export class PeerPolice implements TransitPolice {
  readonly #pacing: Pacing;
  readonly #ownerOf: (from: unknown, client: IpAddress) => FlowOwner;
  readonly #paces = { up: new WeakMap<FlowOwner, Pace>(), down: new WeakMap<FlowOwner, Pace>() };

  constructor(pacing: Pacing, ownerOf: (from: unknown, client: IpAddress) => FlowOwner) {
    this.#pacing = pacing;
    this.#ownerOf = ownerOf;
  }

  /** What the receiver has no room for counts with the sender all the same: it has sent it. */
  admits(
    from: unknown,
    buffer: Uint8Array,
    destination: number,
    version: IpVersion,
    length: number,
    now: number,
  ): boolean {
    const address = IpAddress.from(buffer, destination, version);
    return this.#mayGo("up", this.#ownerOf(from, address), length, now) &&
      this.#mayGo("down", this.#ownerOf(undefined, address), length, now);
  }

  #mayGo(direction: Direction, owner: FlowOwner, length: number, now: number): boolean {
    const bucket = owner.rates[direction];
    if (bucket === undefined) return true;
    const paces = this.#paces[direction];
    let pace = paces.get(owner);
    if (pace === undefined) paces.set(owner, pace = this.#pacing.packets());
    pace.setBuckets([bucket]);
    return pace.admitsPacket(length, now);
  }
}
