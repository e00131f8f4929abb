/**
 * Who is let in, and who is believed: what is wrong with a certificate, in a line. The runtime has one
 * reason for an expired certificate, one that is not valid yet, one of another authority and one for
 * another purpose, so the reason is looked for here; but nothing passes that the runtime refuses.
 *
 * @module
 */

import { timeText } from "../../log/time_text.ts";
import { Farewell } from "../stream/farewell.ts";
import { type Certificate, CLIENT_AUTH, SERVER_AUTH } from "./certificate.ts";

/** Why a certificate is refused. */
export interface Refusal {
  readonly farewell: Farewell;
  /** Behind `its certificate`: `has expired on 2026-01-01`. */
  readonly reason: string;
}

/** Whom a hub lets in. */
export interface ClientRules {
  readonly authorities: readonly Certificate[];
  /** Default: none is. */
  isRevoked?(certificate: Certificate): boolean;
  /** Names in small letters, and SHA-256 of public keys. None: all. */
  readonly allowed: readonly (string | Uint8Array)[];
}

/**
 * @param problem What the runtime found; undefined or empty if it found the certificate good.
 * @returns undefined if the client is to be let in.
 */
export function refuseClient(
  certificate: Certificate,
  problem: string | undefined,
  rules: ClientRules,
  now: Date,
): Refusal | undefined {
  const { authorities, allowed } = rules;
  const wrong = refuse(certificate, problem, authorities, CLIENT_AUTH, now);
  if (wrong !== undefined) return wrong;
  if (rules.isRevoked?.(certificate)) {
    return { farewell: Farewell.Revoked, reason: "has been revoked" };
  }
  if (allowed.length > 0 && !allowed.some((one) => isIt(certificate, one))) {
    return { farewell: Farewell.NotAllowed, reason: "is not among AllowedClients" };
  }
  return undefined;
}

/**
 * @param authorities None: a pin alone tells who it is.
 * @param pins SHA-256 of public keys. None: any will do.
 * @returns undefined if the server is who it should be, as far as its certificate is concerned.
 */
export function refuseServer(
  certificate: Certificate,
  problem: string | undefined,
  authorities: readonly Certificate[] | undefined,
  pins: readonly Uint8Array[],
  now: Date,
): Refusal | undefined {
  const wrong = authorities === undefined
    ? refuseDates(certificate, now)
    : refuse(certificate, problem, authorities, SERVER_AUTH, now);
  if (wrong !== undefined) return wrong;
  if (authorities === undefined && pins.length === 0) {
    return { farewell: Farewell.OtherAuthority, reason: "is vouched for by nobody" };
  }
  if (pins.length === 0 || pins.some((pin) => isIt(certificate, pin))) return undefined;
  return {
    farewell: Farewell.OtherKey,
    reason: `has a key that is not pinned, ${certificate.pinText}`,
  };
}

function isIt({ names, pin }: Certificate, one: string | Uint8Array): boolean {
  if (typeof one === "string") return names.some((name) => name.toLowerCase() === one);
  return one.length === pin.length && one.every((byte, i) => byte === pin[i]);
}

function refuse(
  certificate: Certificate,
  problem: string | undefined,
  authorities: readonly Certificate[],
  usage: string,
  now: Date,
): Refusal | undefined {
  const dates = refuseDates(certificate, now);
  if (dates !== undefined) return dates;
  if (!certificate.isFor(usage)) {
    const reason = usage === CLIENT_AUTH ? "is not one for clients" : "is not one for servers";
    return { farewell: Farewell.OtherPurpose, reason };
  }
  if (!problem) return undefined;
  const signer = authorities.find((authority) => certificate.isSignedBy(authority));
  if (signer !== undefined && signer.notAfter < now) {
    return {
      farewell: Farewell.OtherAuthority,
      reason: `is of an authority that has expired on ${day(signer.notAfter)}`,
    };
  }
  if (signer !== undefined) {
    return { farewell: Farewell.BadCertificate, reason: `is not accepted: ${problem}` };
  }
  const issuer = JSON.stringify(certificate.issuerName ?? "");
  return { farewell: Farewell.OtherAuthority, reason: `is of another authority, ${issuer}` };
}

/** Why it is not accepted today. */
export function refuseDates({ notBefore, notAfter }: Certificate, now: Date): Refusal | undefined {
  if (now < notBefore) {
    return {
      farewell: Farewell.NotYetValid,
      // A clock that is behind is told by the hour.
      reason: `is not valid before ${timeText(notBefore)}`,
    };
  }
  if (now > notAfter) {
    return { farewell: Farewell.Expired, reason: `has expired on ${day(notAfter)}` };
  }
  return undefined;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
