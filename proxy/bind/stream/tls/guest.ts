/**
 * Who is let in by a key that the hub knows, before there is a certificate of the authority for it: a
 * machine that was invited. What its certificate says is its own invention, and counts for nothing.
 *
 * @module
 */

import type { Refusal } from "../../certificates/check.ts";
import type { CarrierRemote } from "../carrier.ts";
import { Farewell } from "../farewell.ts";

/** Ways to the hub that are tried at once, and what is left of those that broke. */
const MOST_CARRIERS = 4;

export interface Guest {
  /** What it will be called. */
  readonly name: string;
  /** The public key of the peer that it is in WireGuard, 32 bytes, and the only one that it may be. */
  readonly only: Uint8Array;
}

/**
 * A machine whose certificate would be refused later is refused now.
 *
 * @param allowed As `AllowedClients`: none for all.
 */
export function refuseGuest(
  { name }: Guest,
  allowed: readonly (string | Uint8Array)[],
): Refusal | undefined {
  if (allowed.length === 0 || allowed.includes(name.toLowerCase())) return undefined;
  return {
    farewell: Farewell.NotAllowed,
    reason: `is of the invitation of ${name}, who is not among AllowedClients`,
  };
}

/** Who is at the other end of its carriers. */
export function remoteOfGuest(
  { name, only }: Guest,
): Omit<CarrierRemote, "address" | "port"> {
  const description = `invite@${name}`;
  // Others are called by hexadecimal digits, or a pin.
  return { description, holder: `${description} ${only.toHex()}`, only, most: MOST_CARRIERS };
}
