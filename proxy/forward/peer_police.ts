/**
 * The rates of peers, for packets that go from one to the other: what is too much is dropped.
 *
 * @module
 */

import type { IpVersion, TransitPolice } from "../../netstack/mod.ts";
import type { Bucket } from "../flow/bucket.ts";
import type { FlowOwner } from "../flow/flow.ts";
import type { Direction } from "../flow/limits.ts";
import type { Pace } from "../flow/pace.ts";
import type { Pacing } from "../flow/pacing.ts";

/** Who is behind packets, without an object for each. */
export interface PeerOwners {
  /** @param from As given to `Stack.handlePacket` with the packet. */
  ownerFrom(from: unknown): FlowOwner;
  /** Whose the address is that is at `offset` in `buffer`. */
  ownerAt(buffer: Uint8Array, offset: number, version: IpVersion): FlowOwner;
}

/** All that a peer sends to others, or gets from them, counts as one flow of its own. */
export class PeerPolice implements TransitPolice {
  readonly #pacing: Pacing;
  readonly #owners: PeerOwners;
  readonly #paces = { up: new WeakMap<Bucket, Pace>(), down: new WeakMap<Bucket, Pace>() };

  constructor(pacing: Pacing, owners: PeerOwners) {
    this.#pacing = pacing;
    this.#owners = owners;
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
    const { up } = this.#owners.ownerFrom(from).rates;
    if (up !== undefined && !this.#pace("up", up).admitsPacket(length, now)) return false;
    const { down } = this.#owners.ownerAt(buffer, destination, version).rates;
    return down === undefined || this.#pace("down", down).admitsPacket(length, now);
  }

  #pace(direction: Direction, bucket: Bucket): Pace {
    const paces = this.#paces[direction];
    let pace = paces.get(bucket);
    if (pace === undefined) {
      paces.set(bucket, pace = this.#pacing.packets());
      pace.setBuckets([bucket]);
    }
    return pace;
  }
}
