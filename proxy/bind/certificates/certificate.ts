/**
 * What a certificate says (RFC 5280), as far as it matters to who is shown one. Whether it is genuine is
 * for {@link X509Certificate} and TLS to say.
 *
 * @module
 */

import { X509Certificate } from "node:crypto";
import { createHash } from "node:crypto";
import { at, type Der, inside, readDer, readObjectIdentifier, readTime, Tag } from "./der.ts";

const COMMON_NAME = "2.5.4.3";
const ALTERNATIVE_NAMES = "2.5.29.17";
const EXTENDED_KEY_USAGE = "2.5.29.37";
const ANY_USAGE = "2.5.29.37.0";
export const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
export const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
/** GeneralName: an address of mail, a name in DNS, a URI. */
const TEXT_NAMES = [0x81, 0x82, 0x86];
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;

export class Certificate {
  readonly x509: X509Certificate;
  /** The common name, then what stands in SubjectAltName as text. */
  readonly names: readonly string[];
  /** Of DER: the names of who issued it, and whom it is for. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** SHA-256 of its public key (SPKI). */
  readonly pin: Uint8Array;
  /** The common name of who issued it. */
  readonly issuerName: string | undefined;
  readonly #usages: readonly string[] | undefined;
  readonly #commonName: string | undefined;

  /** @throws {SyntaxError} if it is none. */
  constructor(der: Uint8Array) {
    this.x509 = parsed(der);
    const tbs = inside(at(inside(at(readDer(der), 0, Tag.Sequence)), 0, Tag.Sequence));
    const from = tbs[0]?.tag === VERSION ? 1 : 0;
    this.serial = at(tbs, from, Tag.Integer).content.toHex();
    this.issuer = at(tbs, from + 2, Tag.Sequence).whole;
    const validity = inside(at(tbs, from + 3, Tag.Sequence));
    this.notBefore = readTime(at(validity, 0));
    this.notAfter = readTime(at(validity, 1));
    const subject = at(tbs, from + 4, Tag.Sequence);
    this.subject = subject.whole;
    this.pin = new Uint8Array(createHash("sha256").update(at(tbs, from + 5).whole).digest());
    const extensions = extensionsOf(tbs.find(({ tag }) => tag === EXTENSIONS));
    const usage = extensions.get(EXTENDED_KEY_USAGE);
    this.#usages = usage && inside(at(readDer(usage), 0)).map(readObjectIdentifier);
    const common = this.#commonName = commonName(subject);
    this.names = [common ?? "", ...textNames(extensions)].filter((name) => name !== "");
    this.issuerName = commonName(at(tbs, from + 2));
  }

  /** What to call it in a line of the log. */
  get description(): string {
    return this.names[0] ?? `no name, serial ${this.serial}`;
  }

  /**
   * Whom it is for, as no other certificate says it: one that replaces it is the same holder's, with the
   * same key or another. Without a common name it is the key that tells.
   */
  get holder(): string {
    return this.#commonName === undefined
      ? this.pinText
      : `${this.issuer.toHex()} ${this.subject.toHex()}`;
  }

  /** The pin as it is configured. */
  get pinText(): string {
    return `sha256/${this.pin.toBase64()}`;
  }

  /** Whether it may be used so: a certificate that says nothing of it may be used for anything. */
  isFor(usage: string): boolean {
    return this.#usages === undefined || this.#usages.includes(usage) ||
      this.#usages.includes(ANY_USAGE);
  }

  /** Whether `authority` has signed it. */
  isSignedBy(authority: Certificate): boolean {
    if (authority.subject.toHex() !== this.issuer.toHex()) return false;
    try {
      return this.x509.verify(authority.x509.publicKey);
    } catch {
      return false; // a key of another kind
    }
  }
}

/**
 * The certificates of a PEM file.
 *
 * @throws {SyntaxError} if one cannot be read.
 */
export function readCertificates(pem: string): Certificate[] {
  return pemBlocks(pem, "CERTIFICATE").map((der) => new Certificate(der));
}

/** The contents of the blocks of a kind. @throws {SyntaxError} if one is not base64. */
export function pemBlocks(pem: string, kind: string): Uint8Array[] {
  const blocks = pem.matchAll(
    new RegExp(`-----BEGIN ${kind}-----([A-Za-z0-9+/=\\s]*)-----END ${kind}-----`, "g"),
  );
  return Array.from(blocks, ([, text]) => Uint8Array.fromBase64(text!));
}

function parsed(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (error) {
    throw new SyntaxError("no certificate", { cause: error });
  }
}

function extensionsOf(value: Der | undefined): Map<string, Uint8Array> {
  if (value === undefined) return new Map();
  return new Map(
    inside(at(inside(value), 0, Tag.Sequence)).map((extension) => {
      const parts = inside(extension);
      const octets = at(parts, parts.length - 1, Tag.OctetString);
      return [readObjectIdentifier(at(parts, 0)), octets.content];
    }),
  );
}

function textNames(extensions: ReadonlyMap<string, Uint8Array>): string[] {
  const names = extensions.get(ALTERNATIVE_NAMES);
  if (names === undefined) return [];
  return inside(at(readDer(names), 0)).filter(({ tag }) => TEXT_NAMES.includes(tag)).map(textOf);
}

function commonName(name: Der): string | undefined {
  for (const set of inside(name)) {
    for (const attribute of inside(set)) {
      const [type, value] = inside(attribute);
      if (type !== undefined && value && readObjectIdentifier(type) === COMMON_NAME) {
        return textOf(value);
      }
    }
  }
  return undefined;
}

/** Fit for a line: whoever has a certificate made may write into it what they like. */
function textOf({ content }: Der): string {
  return new TextDecoder().decode(content).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?").slice(
    0,
    100,
  );
}
