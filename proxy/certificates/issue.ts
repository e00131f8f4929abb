/**
 * Makes certificates (RFC 5280): an authority, and what it signs. Keys are of P-256, which every TLS
 * library has.
 *
 * @module
 */

import type { SubjectName } from "./names.ts";
import type { SubjectAlternativeNameExtension, X509Certificate } from "./x509.ts";

const x509 = await import("./x509.ts");

/** A certificate and its private key, in PEM; the key as PKCS #8. */
export interface Pair {
  readonly certificate: string;
  readonly key: string;
}

/** What signs. */
export interface Authority {
  readonly certificate: X509Certificate;
  readonly signingKey: CryptoKey;
}

/** From when to when, both included. Seconds count (RFC 5280 §4.1.2.5). */
export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** What stands in a certificate that an authority signs. */
export interface LeafFields extends Validity {
  /** The subject's common name. */
  readonly commonName: string;
  /** Which end of a TLS connection it is for. */
  readonly usage: "serverAuth" | "clientAuth";
  readonly names?: SubjectAlternativeNameExtension;
  /** SubjectPublicKeyInfo in DER. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
}

export const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** Makes an authority. It signs leaves, and no other authority. */
export async function makeAuthority(
  validity: Validity,
): Promise<{ authority: Authority; pair: Pair }> {
  const keys = await generateKeys();
  const serialNumber = randomSerial();
  // Its own name: a verifier that has two authorities looks for the issuer by name.
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity,
    serialNumber,
    name: `CN=Wirestack authority ${serialNumber.slice(-8)}`,
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const authority = { certificate, signingKey: keys.privateKey };
  return { authority, pair: { certificate: pemOf(certificate), key: await keyPem(keys) } };
}

/** A key for a leaf. */
export async function makeKey(): Promise<{ publicKey: Uint8Array<ArrayBuffer>; key: string }> {
  const keys = await generateKeys();
  const publicKey = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  return { publicKey, key: await keyPem(keys) };
}

/** Signs one certificate. @returns it in PEM. */
export async function issue(authority: Authority, fields: LeafFields): Promise<string> {
  const { commonName, usage, names, publicKey, notBefore, notAfter } = fields;
  return pemOf(
    await x509.X509CertificateGenerator.create({
      notBefore,
      notAfter,
      serialNumber: randomSerial(),
      subject: `CN=${commonName}`,
      issuer: authority.certificate.subjectName,
      publicKey,
      signingKey: authority.signingKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage[usage]]),
        ...(names === undefined ? [] : [names]),
        await x509.SubjectKeyIdentifierExtension.create(publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
      ],
    }),
  );
}

/**
 * A certificate that a key vouches for itself with, for those who know the key.
 *
 * @param pkcs8 The key, of P-256, in DER.
 * @param spki Its public half, in DER.
 * @returns both in PEM.
 */
export async function issueToItself(
  pkcs8: Uint8Array<ArrayBuffer>,
  spki: Uint8Array<ArrayBuffer>,
  { commonName, ...validity }: Validity & { readonly commonName: string },
): Promise<Pair> {
  const { subtle } = crypto;
  const keys = {
    privateKey: await subtle.importKey("pkcs8", pkcs8, ALGORITHM, true, ["sign"]),
    publicKey: await subtle.importKey("spki", spki, ALGORITHM, true, ["verify"]),
  };
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity,
    serialNumber: randomSerial(),
    name: `CN=${commonName}`,
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth])],
  });
  return { certificate: pemOf(certificate), key: await keyPem(keys) };
}

/** SubjectAltName of these names. */
export function alternativeNames(names: readonly SubjectName[]) {
  return new x509.SubjectAlternativeNameExtension(names.map((name) => ({ ...name })));
}

/** The names of a certificate as it has them, if it has any. */
export function alternativeNamesOf(certificate: X509Certificate) {
  return certificate.getExtension(x509.SubjectAlternativeNameExtension) ?? undefined;
}

/** Positive, 16 bytes (RFC 5280 §4.1.2.2), in hexadecimal. */
function randomSerial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = bytes[0]! & 0x3f | 0x40; // never negative, never shorter
  return bytes.toHex();
}

/** Of {@link ALGORITHM}, to be exported. */
export async function generateKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]) as CryptoKeyPair;
}

/** Of a private key, PKCS #8. */
export async function keyPem({ privateKey }: CryptoKeyPair): Promise<string> {
  const bytes = await crypto.subtle.exportKey("pkcs8", privateKey);
  return `${x509.PemConverter.encode(bytes, "PRIVATE KEY").trimEnd()}\n`;
}

/** A certificate, or a request for one, in PEM. */
export function pemOf(data: { toString(format: "pem"): string }): string {
  return `${data.toString("pem").trimEnd()}\n`;
}
