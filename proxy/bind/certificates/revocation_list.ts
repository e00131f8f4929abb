/**
 * A list of revoked certificates (RFC 5280 §5). `node:tls` takes one and does not look at it.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { verify } from "node:crypto";
import { type Certificate, pemBlocks } from "./certificate.ts";
import { at, type Der, inside, readDer, readObjectIdentifier, readTime, Tag } from "./der.ts";

/** Algorithms of signatures, and the hash that `node:crypto` is told; Ed25519 has its own. */
const HASHES: Readonly<Record<string, string | null>> = {
  "1.2.840.10045.4.3.2": "sha256",
  "1.2.840.10045.4.3.3": "sha384",
  "1.2.840.10045.4.3.4": "sha512",
  "1.2.840.113549.1.1.11": "sha256",
  "1.2.840.113549.1.1.12": "sha384",
  "1.2.840.113549.1.1.13": "sha512",
  "1.3.101.112": null,
};

export class RevocationList {
  /** Of the earliest list: when there should be a newer one. */
  readonly nextUpdate: Date | undefined;
  /** Issuer and serial number, in hexadecimal digits. */
  readonly #revoked = new Set<string>();

  /**
   * @param pem One list or several.
   * @param authorities Who may have signed them.
   * @throws {SyntaxError} `what is wrong`, if one cannot be read, or none of them has signed it.
   */
  constructor(pem: string, authorities: readonly Certificate[]) {
    const lists = pemBlocks(pem, "X509 CRL");
    if (lists.length === 0) throw new SyntaxError("no list of revoked certificates in PEM");
    for (const der of lists) {
      const next = this.#add(der, authorities);
      if (next && (this.nextUpdate === undefined || next < this.nextUpdate)) this.nextUpdate = next;
    }
  }

  get size(): number {
    return this.#revoked.size;
  }

  has({ issuer, serial }: Certificate): boolean {
    return this.#revoked.has(`${issuer.toHex()} ${serial}`);
  }

  #add(der: Uint8Array, authorities: readonly Certificate[]): Date | undefined {
    const [list, algorithm, signature] = inside(at(readDer(der), 0, Tag.Sequence));
    if (list === undefined || algorithm === undefined || signature?.tag !== Tag.BitString) {
      throw new SyntaxError("no list of revoked certificates");
    }
    const values = inside(list);
    let index = values[0]?.tag === Tag.Integer ? 1 : 0; // a version
    index++; // the algorithm again
    const issuer = at(values, index++, Tag.Sequence).whole.toHex();
    index++; // this update
    const isTime = ({ tag }: Der) => tag === Tag.UtcTime || tag === Tag.GeneralizedTime;
    const next = values[index] && isTime(values[index]!) ? readTime(values[index++]!) : undefined;
    const entries = values[index]?.tag === Tag.Sequence ? inside(values[index]!) : [];
    const signers = authorities.filter(({ subject }) => subject.toHex() === issuer);
    const hash = HASHES[readObjectIdentifier(at(inside(algorithm), 0))];
    if (hash === undefined) throw new SyntaxError("signed in a way that is not known here");
    const isSigned = signers.some(({ x509 }) => {
      try {
        const bytes = Buffer.from(signature.content.subarray(1)); // behind the count of unused bits
        return verify(hash, list.whole, x509.publicKey, bytes);
      } catch {
        return false; // a key of another kind
      }
    });
    if (!isSigned) throw new SyntaxError("not signed by the authority");
    for (const entry of entries) {
      this.#revoked.add(`${issuer} ${at(inside(entry), 0, Tag.Integer).content.toHex()}`);
    }
    return next;
  }
}
