/**
 * Other certificates for machines that are enrolled: for the key of the one before, which is how a revoked
 * machine is known, and only to the peer itself.
 *
 * @module
 */

import { type Certificate, readCertificates } from "../../bind/certificates/certificate.ts";
import { isSameKey } from "../../base64.ts";
import { isEnrolled, type Member, RENEWED_CERTIFICATE_MS } from "../../enrol/member.ts";
import type { EnrolAnswer, EnrolRequest } from "../../enrol/message.ts";
import type { Roster } from "../../enrol/roster.ts";
import { getLogger } from "../../log/logger.ts";
import { timeText } from "../../log/time_text.ts";
import type { ClientAuthority } from "./client_authority.ts";

const log = getLogger(["wirestack", "enrolment"]);

/** Who asks again sooner gets the same one: it has not had the answer, or asks for nothing. */
const SAME_MS = 3_600_000;

export interface CertificateRenewalOptions {
  readonly roster: Roster;
  /** Who signs for machines; undefined for nobody. */
  authority(): ClientAuthority | undefined;
  /** ms since the Unix epoch. */
  now(): number;
}

/** Whether it may come for another certificate. */
export function isRenewable(member: Member): boolean {
  return isEnrolled(member) && member.certificate !== undefined;
}

export class CertificateRenewal {
  readonly #options: CertificateRenewalOptions;

  constructor(options: CertificateRenewalOptions) {
    this.#options = options;
  }

  /**
   * @param member Whose tunnel the request has come by.
   * @param request Undefined if it could not be read.
   */
  async answer(member: Member, request: EnrolRequest | undefined): Promise<EnrolAnswer> {
    const answer = request === undefined
      ? { refused: "malformed" } as const
      : await this.#renew(member, request);
    if ("refused" in answer) {
      log.warn("{name}: its certificate is not renewed: {reason}", {
        name: member.name,
        reason: answer.refused,
      });
    }
    return answer;
  }

  async #renew(member: Member, request: EnrolRequest): Promise<EnrolAnswer> {
    const { roster, now } = this.#options;
    const { certificateRequest } = request;
    const authority = this.#options.authority();
    const before = certificateOf(member);
    if (authority === undefined || before === undefined || certificateRequest === undefined) {
      return { refused: "certificate" };
    }
    if (!isSameKey(request.publicKey, member.publicKey!)) return { refused: "key" };
    const { certifiedAt = -Infinity } = member;
    if (now() >= certifiedAt && now() < certifiedAt + SAME_MS) {
      return { renewed: member.certificate! };
    }
    let renewed: string | undefined;
    try {
      renewed = await authority.sign(
        ...[certificateRequest, member.name, now(), RENEWED_CERTIFICATE_MS] as const,
      );
    } catch (error) {
      log.error("no certificate for {name}: {error}", {
        name: member.name,
        error: (error as Error).message,
      });
    }
    const [certificate] = renewed === undefined ? [] : readCertificates(renewed);
    if (renewed === undefined || certificate === undefined) return { refused: "certificate" };
    if (certificate.pinText !== before.pinText) return { refused: "key" };
    // Signing takes time: it may have been revoked since. From here on nothing is waited for.
    const known = roster.byTokenKey(member.tokenKey);
    if (known === undefined || !isRenewable(known)) return { refused: "revoked" };
    try {
      roster.certify(known, renewed);
    } catch {
      return { refused: "state" };
    }
    log.info("{name}: its certificate is renewed, until {until}", {
      name: member.name,
      until: timeText(certificate.notAfter),
    });
    return { renewed };
  }
}

function certificateOf({ certificate }: Member): Certificate | undefined {
  try {
    return certificate === undefined ? undefined : readCertificates(certificate)[0];
  } catch {
    return undefined;
  }
}
