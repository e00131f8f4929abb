/**
 * What is shown of machines that were invited.
 *
 * @module
 */

import { type Member, type MemberStatus, servedPrefixes, statusOf } from "../../enrol/member.ts";

/** A machine that was invited, as plain values. */
export interface MemberStats {
  readonly name: string;
  readonly kind: "agent" | "client";
  readonly status: MemberStatus;
  readonly addresses: readonly string[];
  /** What others reach by it. */
  readonly prefixes: readonly string[];
  readonly subnets: readonly string[];
  /** As `Date.toISOString` writes them. */
  readonly invitedAt: string;
  readonly expiresAt: string;
  /** When it handed its key in; null before. */
  readonly joinedAt: string | null;
  /** In base64; null before it joined. */
  readonly publicKey: string | null;
}

/** @param now ms since the Unix epoch. */
export function memberStats(member: Member, now: number): MemberStats {
  return {
    name: member.name,
    kind: member.isClient ? "client" : "agent",
    status: statusOf(member, now),
    addresses: member.addresses.map(String),
    prefixes: servedPrefixes(member).map(String),
    subnets: member.subnets.map(String),
    invitedAt: new Date(member.invitedAt).toISOString(),
    expiresAt: new Date(member.expiresAt).toISOString(),
    joinedAt: member.joinedAt === undefined ? null : new Date(member.joinedAt).toISOString(),
    publicKey: member.publicKey?.toBase64() ?? null,
  };
}
