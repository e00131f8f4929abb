/**
 * Certificates of every kind, good and bad, for tests.
 *
 * @module
 */

import "npm:reflect-metadata@0.2.2";
import * as x509 from "npm:@peculiar/x509@2.2.0";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY = 86_400_000;

/** In PEM. */
export interface MadePair {
  readonly cert: string;
  readonly key: string;
}

export interface LeafOptions {
  readonly name?: string;
  /** Default: a client's. */
  readonly usage?: "serverAuth" | "clientAuth" | "none";
  /** Of a server. */
  readonly hosts?: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Of the one made before: the key stays. */
  readonly keys?: CryptoKeyPair;
}

export interface Leaf extends MadePair {
  readonly keys: CryptoKeyPair;
  readonly serial: string;
}

/** An authority. */
export class MadeAuthority {
  readonly cert: string;
  readonly #certificate: x509.X509Certificate;
  readonly #keys: CryptoKeyPair;
  #serial = 0x40;

  private constructor(certificate: x509.X509Certificate, keys: CryptoKeyPair) {
    this.#certificate = certificate;
    this.#keys = keys;
    this.cert = certificate.toString("pem");
  }

  static async make(name = "an authority", notAfter = daysFromNow(100)): Promise<MadeAuthority> {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: "01",
      name: `CN=${name}`,
      notBefore: daysFromNow(-1000),
      notAfter,
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(
          x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
          true,
        ),
      ],
    });
    return new MadeAuthority(certificate, keys);
  }

  async leaf(options: LeafOptions = {}): Promise<Leaf> {
    const { name = "laptop", usage = "clientAuth", hosts = [] } = options;
    const keys = options.keys ?? await newKeys();
    const serial = (this.#serial++).toString(16);
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial,
      subject: [{ CN: [name] }],
      issuer: this.#certificate.subject,
      notBefore: options.notBefore ?? daysFromNow(-1),
      notAfter: options.notAfter ?? daysFromNow(10),
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        ...usage === "none"
          ? []
          : [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage[usage]])],
        ...hosts.length === 0 ? [] : [
          new x509.SubjectAlternativeNameExtension(
            hosts.map((value) => ({
              type: /^[\d.]+$|:/.test(value) ? "ip" as const : "dns" as const,
              value,
            })),
          ),
        ],
      ],
    });
    return {
      cert: certificate.toString("pem"),
      key: await privateKeyOf(keys),
      keys,
      serial,
    };
  }

  /** Its own, in PEM. */
  key(): Promise<string> {
    return privateKeyOf(this.#keys);
  }

  /** A list of these as revoked, in PEM. */
  async revoke(serials: readonly string[], nextUpdate = daysFromNow(30)): Promise<string> {
    const list = await x509.X509CrlGenerator.create({
      issuer: this.#certificate.subject,
      thisUpdate: daysFromNow(-1),
      nextUpdate,
      signingAlgorithm: ALGORITHM,
      signingKey: this.#keys.privateKey,
      entries: serials.map((serialNumber) => ({
        serialNumber,
        revocationDate: daysFromNow(-1),
      })),
    });
    // RFC 7468 §6 has another label than the library.
    return list.toString("pem").replaceAll(/(BEGIN|END) CRL/g, "$1 X509 CRL");
  }
}

/** Of a key in PEM. */
export async function keysOf(pem: string): Promise<CryptoKeyPair> {
  const { subtle } = crypto;
  const der = x509.PemConverter.decodeFirst(pem);
  const privateKey = await subtle.importKey("pkcs8", der, ALGORITHM, true, ["sign"]);
  const { d: _secret, key_ops: _uses, ...half } = await subtle.exportKey("jwk", privateKey);
  return {
    privateKey,
    publicKey: await subtle.importKey("jwk", half, ALGORITHM, true, ["verify"]),
  };
}

/** In whole seconds, as certificates have them. */
export function daysFromNow(days: number): Date {
  return new Date(Math.floor((Date.now() + days * DAY) / 1000) * 1000);
}

async function privateKeyOf(keys: CryptoKeyPair): Promise<string> {
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return x509.PemConverter.encode(pkcs8, "PRIVATE KEY");
}

async function newKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]) as CryptoKeyPair;
}
