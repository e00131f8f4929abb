/**
 * Machines that were invited and come where UDP does not get through: by a key for TLS that their token
 * holds, and that this hub knows by its hash. What is spent, revoked or over opens nothing.
 *
 * @module
 */

import type { Certificate } from "../../bind/certificates/certificate.ts";
import type { Refusal } from "../../bind/certificates/check.ts";
import { Farewell } from "../../bind/stream/farewell.ts";
import type { Guest } from "../../bind/stream/tls/mod.ts";
import type { Member } from "../../enrol/member.ts";

const USED: Refusal = {
  farewell: Farewell.TokenUsed,
  reason: "is of an invitation that was used",
};
const EXPIRED: Refusal = {
  farewell: Farewell.TokenExpired,
  reason: "is of an invitation that has expired",
};
const REVOKED: Refusal = {
  farewell: Farewell.TokenRevoked,
  reason: "is of an invitation that was revoked",
};

export class Guests {
  /** By the pin, as text. */
  #members = new Map<string, Member>();
  /** Those of them who are let in, when that was looked at last. */
  #welcome = new Set<string>();

  /**
   * @param members Whose tokens are heard.
   * @param now ms since the Unix epoch.
   * @returns whether others are let in than before.
   */
  update(members: Iterable<Member>, now: number): boolean {
    const known = new Map<string, Member>();
    for (const member of members) {
      if (member.tlsPin !== undefined) known.set(`sha256/${member.tlsPin.toBase64()}`, member);
    }
    const welcome = new Set(
      [...known].filter(([, member]) => refusalOf(member, now) === undefined).map(([pin]) => pin),
    );
    const isChanged = welcome.symmetricDifference(this.#welcome).size > 0;
    this.#members = known;
    this.#welcome = welcome;
    return isChanged;
  }

  /** @returns undefined for who is none of them. */
  find({ pinText }: Certificate, now: number): Guest | Refusal | undefined {
    const member = this.#members.get(pinText);
    return member && (refusalOf(member, now) ?? { name: member.name, only: member.tokenKey });
  }
}

/** Who has handed a key in and got no answer may ask again; see `Roster.decide`. */
function refusalOf({ state, expiresAt }: Member, now: number): Refusal | undefined {
  switch (state) {
    case "invited":
      return now < expiresAt ? undefined : EXPIRED;
    case "bound":
      return undefined;
    case "used":
      return USED;
    case "revoked":
      return REVOKED;
  }
}
