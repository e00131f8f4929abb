/**
 * Congestion state shared by the connections to one remote address (RFC 9040).
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import { readInt32 } from "../bytes.ts";
import { Roster } from "../roster.ts";

/** Members looked at for one share: bounds the work, however many connections a peer opens. */
const MOST_ASKED = 256;

/** What an {@link Ensemble} wants to know of a connection. */
export interface Member {
  /** Bytes it has in flight, or will have when its repair is over; 0 = it would not use more. */
  readonly claim: number;
  /** Place among the members. Starts as -1. */
  ensembleIndex: number;
}

/**
 * The connections to one remote address, which share a path. In slow start they probe the capacity
 * of that path together, and one that started earlier has a larger window. So at its first loss each
 * takes an equal part of what all have in flight, instead of keeping its head start (ensemble sharing
 * of the congestion window, RFC 9040 §7). From then on each is on its own.
 */
export class Ensemble {
  readonly #members = new Roster<Member, "ensembleIndex">("ensembleIndex");

  get size(): number {
    return this.#members.size;
  }

  add(member: Member): void {
    this.#members.add(member);
  }

  remove(member: Member): void {
    this.#members.delete(member);
  }

  /** An equal part, bytes: the mean of what those claim who claim anything; 0 = fewer than two do. */
  get share(): number {
    let total = 0;
    let claims = 0;
    let asked = 0;
    for (const { claim } of this.#members.items) {
      if (claim > 0) {
        total += claim;
        claims++;
      }
      if (++asked === MOST_ASKED) break;
    }
    return claims < 2 ? 0 : Math.floor(total / claims);
  }
}

/** The ensembles that have members. */
export class Ensembles {
  readonly #byAddress = new Map<number | string, Ensemble>();

  get size(): number {
    return this.#byAddress.size;
  }

  join(remote: IpAddress, member: Member): Ensemble {
    const key = keyOf(remote);
    let ensemble = this.#byAddress.get(key);
    if (ensemble === undefined) this.#byAddress.set(key, ensemble = new Ensemble());
    ensemble.add(member);
    return ensemble;
  }

  leave(remote: IpAddress, ensemble: Ensemble, member: Member): void {
    ensemble.remove(member);
    if (ensemble.size === 0) this.#byAddress.delete(keyOf(remote));
  }
}

/** Of IPv4 a number: to write the address costs every short connection more than the rest of this. */
function keyOf({ bytes, version }: IpAddress): number | string {
  return version === 4 ? readInt32(bytes, 0) : bytes.toHex();
}
