/**
 * Certificates and keys from files, checked before they are renewed or sign anything. Messages say
 * which file; none has a key in it.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { basename, dirname } from "node:path";
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { ConfigError } from "../config/error.ts";
import { timeText } from "../log/time_text.ts";
import { ALGORITHM, type Authority, type Pair } from "./issue.ts";
import type { X509Certificate } from "./x509.ts";

const x509 = await import("./x509.ts");

/** Where a pair is, for messages. */
export interface PairPaths {
  readonly certificate: string;
  readonly key: string;
}

/** As `gencerts` lays them. */
export function pathsIn(folder: string): PairPaths {
  return { certificate: `${folder}/cert.pem`, key: `${folder}/key.pem` };
}

/** A certificate that was made before, and the public key it is for. */
export interface Stored {
  readonly certificate: X509Certificate;
  /** SubjectPublicKeyInfo in DER. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
}

/**
 * @throws {ConfigError} if the two are not a certificate and its key.
 */
export function readStored(pair: Pair, paths: PairPaths): Stored {
  return checkPair(pair, paths);
}

/**
 * @param now Milliseconds since 1970.
 * @throws {ConfigError} if the pair cannot sign certificates that hold now.
 */
export async function readAuthority(
  pair: Pair,
  paths: PairPaths,
  now: number,
): Promise<Authority> {
  const { certificate, key } = checkPair(pair, paths);
  const refuse = (what: string) => new ConfigError([`${paths.certificate}: ${what}`]);
  const usages = certificate.getExtension(x509.KeyUsagesExtension)?.usages;
  if (
    !certificate.getExtension(x509.BasicConstraintsExtension)?.ca ||
    usages !== undefined && (usages & x509.KeyUsageFlags.keyCertSign) === 0
  ) {
    throw refuse("is not an authority's, expected one that may sign certificates");
  }
  const { notBefore, notAfter } = certificate;
  if (now >= notAfter.getTime()) {
    throw refuse(
      `expired at ${timeText(notAfter)}, expected an authority that is valid: a new one is a new ` +
        "folder (--out), and every machine needs its ca/cert.pem and new certificates",
    );
  }
  if (now < notBefore.getTime()) {
    throw refuse(`is not valid before ${timeText(notBefore)}, expected this host's clock later`);
  }
  if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw new ConfigError([
      `${paths.key}: is not a key of P-256, expected one that gencerts has made`,
    ]);
  }
  const bytes = new Uint8Array(key.export({ type: "pkcs8", format: "der" }));
  const signingKey = await crypto.subtle.importKey("pkcs8", bytes, ALGORITHM, false, ["sign"]);
  bytes.fill(0);
  return { certificate, signingKey };
}

function checkPair(pair: Pair, paths: PairPaths): Stored & { readonly key: KeyObject } {
  const certificate = parseCertificate(pair.certificate, paths.certificate);
  const key = parseKey(pair.key, paths.key);
  const publicKey = new Uint8Array(
    createPublicKey(key as unknown as string).export({ type: "spki", format: "der" }),
  );
  if (!Buffer.from(certificate.publicKey.rawData).equals(publicKey)) {
    const isBeside = dirname(paths.certificate) === dirname(paths.key);
    const what = isBeside ? `${basename(paths.certificate)} beside it` : paths.certificate;
    throw new ConfigError([`${paths.key}: is not the key of ${what}`]);
  }
  return { certificate, publicKey, key };
}

function parseCertificate(text: string, file: string): X509Certificate {
  try {
    const blocks = x509.PemConverter.decodeWithHeaders(text);
    if (blocks.length === 1 && blocks[0]!.type === "CERTIFICATE") {
      return new x509.X509Certificate(blocks[0]!.rawData);
    }
  } catch { /* said below */ }
  throw new ConfigError([`${file}: is not a certificate, expected one in PEM`]);
}

function parseKey(text: string, file: string): KeyObject {
  if (text.includes("ENCRYPTED")) {
    throw new ConfigError([`${file}: has a password, expected a private key without one`]);
  }
  try {
    return createPrivateKey(text);
  } catch {
    throw new ConfigError([`${file}: is not a private key, expected one in PEM`]);
  }
}
