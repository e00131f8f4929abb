/**
 * A machine that was invited, and what has become of it.
 *
 * @module
 */

import { type IpAddress, Prefix } from "../../netstack/mod.ts";
import type { MapConfig, PeerConfig } from "../config/checked.ts";

/**
 * - `invited`: nobody has come with the token yet.
 * - `bound`: a key was handed in; nobody with another one is let in with this token.
 * - `used`: that key has had its first handshake.
 * - `revoked`: the token is worth nothing, and the key neither.
 */
export type MemberState = "invited" | "bound" | "used" | "revoked";

/** Where a machine stands; an invitation that nobody has taken in time is `expired`. */
export type MemberStatus = "invited" | "expired" | "joined" | "enrolled" | "revoked";

export interface Member {
  /** 32 bytes: the public key of the token. */
  readonly tokenKey: Uint8Array;
  readonly name: string;
  readonly isClient: boolean;
  readonly state: MemberState;
  /** ms since the Unix epoch, as all times here. */
  readonly invitedAt: number;
  readonly expiresAt: number;
  /** Its address while it enrols. */
  readonly link: IpAddress;
  /** Its addresses from then on. */
  readonly addresses: readonly IpAddress[];
  /** What it sends through the tunnel. */
  readonly allowedIps: readonly Prefix[];
  readonly subnets: readonly Prefix[];
  readonly maps: readonly MapConfig[];
  /** Where it reaches the hub, `HOST:PORT` each. */
  readonly endpoints: readonly string[];
  /** As {@link endpoints}, where UDP does not get through: URLs. None without a certificate. */
  readonly fallbacks: readonly string[];
  /**
   * SHA-256 of the public key for TLS that its token holds, 32 bytes: by that it is let in where UDP does
   * not get through. Missing: it has none.
   */
  readonly tlsPin?: Uint8Array;
  /** 32 bytes, once it was handed in. */
  readonly publicKey?: Uint8Array;
  readonly joinedAt?: number;
  readonly usedAt?: number;
  readonly revokedAt?: number;
  /** PEM. */
  readonly certificate?: string;
  /** When it got that, if it was not when it joined. */
  readonly certifiedAt?: number;
}

/** A hub's and a machine's clocks differ, and who comes late is told so for this long. */
export const LINGER_MS = 600_000;

/** Whether who comes with the token gets an answer, be it a refusal. */
export function isTokenHeard({ expiresAt }: Member, now: number): boolean {
  return now < expiresAt + LINGER_MS;
}

/** Whether it is a peer of the hub, by a key of its own. */
export function isEnrolled(
  member: Member,
): member is Member & { readonly publicKey: Uint8Array } {
  return member.publicKey !== undefined && member.state !== "revoked";
}

/** How long a certificate is good for, of a machine that asks for another in time. */
export const RENEWED_CERTIFICATE_MS = 365 * 86_400_000;
/**
 * The longest that one is good for, of a machine that does not: it was made by an earlier version. It lasts
 * as long as a new authority.
 */
export const CERTIFICATE_MS = 3650 * 86_400_000;

/** Whether there is anything to say of it to people. */
export function isWorthListing(member: Member, now: number): boolean {
  return isEnrolled(member) || isTokenHeard(member, now);
}

/** Whether there is any need to remember it: its certificate would be good again if it were not. */
export function isWorthKeeping(member: Member, now: number): boolean {
  const { state, certificate, joinedAt = 0, certifiedAt = joinedAt } = member;
  const isOut = state === "revoked" && certificate !== undefined;
  return isWorthListing(member, now) || isOut && now < certifiedAt + CERTIFICATE_MS;
}

/** Whether its name and addresses are nobody else's. */
export function isHolding(member: Member, now: number): boolean {
  return isEnrolled(member) || member.state === "invited" && now < member.expiresAt;
}

export function statusOf(member: Member, now: number): MemberStatus {
  switch (member.state) {
    case "invited":
      return now < member.expiresAt ? "invited" : "expired";
    case "bound":
      return "joined";
    case "used":
      return "enrolled";
    case "revoked":
      return "revoked";
  }
}

/** What others reach by it, as they ask for it. */
export function servedPrefixes({ subnets, maps }: Pick<Member, "subnets" | "maps">): Prefix[] {
  return subnets.map((subnet) => maps.find(({ to }) => to.equals(subnet))?.from ?? subnet);
}

/** The peer that the hub has for it. */
export function peerOf(member: Member & { readonly publicKey: Uint8Array }): PeerConfig {
  return {
    publicKey: member.publicKey,
    name: member.name,
    allowedIps: [...member.addresses.map(Prefix.of), ...servedPrefixes(member)],
    persistentKeepalive: 0,
  };
}

/** The peer that its token is. */
export function tokenPeerOf({ tokenKey, name, link }: Member): PeerConfig {
  return {
    publicKey: tokenKey,
    // A used or revoked token still answers while the name is invited again, and a name has one peer.
    name: `invite@${name}#${tokenKey.toHex().slice(0, 8)}`,
    allowedIps: [Prefix.of(link)],
    persistentKeepalive: 0,
  };
}
