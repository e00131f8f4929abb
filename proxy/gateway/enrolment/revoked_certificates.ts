/**
 * The certificates of machines that were revoked: by the key, which a machine keeps.
 *
 * @module
 */

import { type Certificate, readCertificates } from "../../bind/certificates/certificate.ts";
import type { Member } from "../../enrol/member.ts";

export class RevokedCertificates {
  /** By the token's key, in hexadecimal digits: the pin, or undefined for what cannot be read. */
  #pins = new Map<string, string | undefined>();

  /** @returns whether others are revoked than before. */
  update(members: Iterable<Member>): boolean {
    const pins = new Map<string, string | undefined>();
    let isChanged = false;
    for (const { state, tokenKey, certificate } of members) {
      if (state !== "revoked" || certificate === undefined) continue;
      const key = tokenKey.toHex();
      isChanged ||= !this.#pins.has(key);
      pins.set(key, this.#pins.get(key) ?? pinOf(certificate));
    }
    this.#pins = pins;
    return isChanged;
  }

  has({ pinText }: Certificate): boolean {
    for (const pin of this.#pins.values()) if (pin === pinText) return true;
    return false;
  }
}

function pinOf(pem: string): string | undefined {
  try {
    return readCertificates(pem)[0]?.pinText;
  } catch {
    return undefined; // it lets nobody in either
  }
}
