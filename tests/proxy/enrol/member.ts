/**
 * Members of a hub, by number.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import type { Member } from "../../../proxy/enrol/member.ts";

export const HOUR = 3_600_000;

/** Invited at 0, for an hour. */
export function member(number: number, values: Partial<Member> = {}): Member {
  return {
    tokenKey: new Uint8Array(32).fill(number),
    name: `m${number}`,
    isClient: false,
    state: "invited",
    invitedAt: 0,
    expiresAt: HOUR,
    link: IpAddress.v4(169, 254, 1, number),
    addresses: [IpAddress.v4(10, 9, 0, number)],
    allowedIps: [new Prefix(IpAddress.v4(10, 9, 0, 0), 24)],
    subnets: [],
    maps: [],
    endpoints: ["hub:51820"],
    fallbacks: [],
    ...values,
  };
}

export const keyOf = (number: number): Uint8Array => new Uint8Array(32).fill(number + 100);
