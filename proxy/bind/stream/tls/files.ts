/**
 * Certificates and keys from files, for either side. They are read again when they have changed, so that
 * a renewed certificate needs nobody's doing.
 *
 * @module
 */

import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { Certificate, readCertificates } from "../../certificates/certificate.ts";
import { RevocationList } from "../../certificates/revocation_list.ts";
import { CertificateFileError, type FileSetting, type Identity, Reading } from "./reading.ts";

export { CertificateFileError, type FileSetting, type Identity };

/** Paths of PEM files. */
export interface ClientFiles {
  readonly certPath: string;
  readonly keyPath: string;
  /** Missing: a pin alone tells who the server is. */
  readonly caPath?: string;
}

/** As {@link ClientFiles}. */
export interface ServerFiles {
  readonly certPath: string;
  readonly keyPath: string;
  readonly clientCaPath: string;
  readonly crlPath?: string | undefined;
}

export interface ClientIdentity extends Identity {
  readonly ca?: string;
  readonly authorities?: readonly Certificate[];
}

export interface ServerIdentity extends Identity {
  readonly ca: string;
  readonly authorities: readonly Certificate[];
  readonly revoked?: RevocationList;
}

/** @throws {CertificateFileError} */
export function readClientFiles(
  files: ClientFiles,
  reading: Reading = new Reading(),
): ClientIdentity {
  const identity = readIdentity(files, reading);
  if (files.caPath === undefined) return identity;
  return { ...identity, ...readAuthorities("ca", files.caPath, reading) };
}

/** @throws {CertificateFileError} */
export function readServerFiles(
  files: ServerFiles,
  reading: Reading = new Reading(),
): ServerIdentity {
  const identity = readIdentity(files, reading);
  const { ca, authorities } = readAuthorities("clientCa", files.clientCaPath, reading);
  const { crlPath } = files;
  if (crlPath === undefined) return { ...identity, ca, authorities };
  const text = reading.text("crl", crlPath);
  const expected = "expected one in PEM, signed by ClientCa";
  const revoked = made("crl", crlPath, expected, () => new RevocationList(text, authorities));
  return { ...identity, ca, authorities, revoked };
}

/**
 * Of files: another text after a change. Of those in a folder that may not be looked into nothing is
 * known, so they are as they were.
 *
 * @param last What this gave the time before.
 */
export function fingerprint(paths: readonly (string | undefined)[], last = ""): string {
  const before = last.split("; ");
  return paths.map((path, i) => {
    if (path === undefined) return "";
    try {
      const { ino, size, mtime } = Deno.statSync(path);
      return `${ino} ${size} ${mtime?.getTime()}`;
    } catch (error) {
      const isHidden = error instanceof Deno.errors.PermissionDenied ||
        error instanceof Deno.errors.NotCapable;
      return isHidden ? before[i] || "none" : "none";
    }
  }).join("; ");
}

function readIdentity(
  { certPath, keyPath }: { readonly certPath: string; readonly keyPath: string },
  reading: Reading,
): Identity {
  const [cert, key] = [reading.text("cert", certPath), reading.text("key", keyPath)];
  const certificate = certificates("cert", certPath, cert)[0]!;
  const own = keyOf("key", keyPath, key);
  if (spki(own).equals(spki(certificate.x509.publicKey))) {
    return reading.identity = { cert, key, certificate };
  }
  // One of them is new, and the other may not be read any more.
  if (reading.kept !== undefined && reading.identity !== undefined) return reading.identity;
  throw new CertificateFileError(
    "key",
    `${keyPath} is not the key of ${certPath}, expected the one that belongs to it`,
  );
}

function readAuthorities(setting: "ca" | "clientCa", path: string, reading: Reading) {
  const ca = reading.text(setting, path);
  return { ca, authorities: certificates(setting, path, ca) };
}

function certificates(setting: FileSetting, path: string, pem: string): Certificate[] {
  const expected = "expected a certificate in PEM";
  return made(setting, path, expected, () => {
    const found = readCertificates(pem);
    if (found.length === 0) throw new SyntaxError("no certificate");
    return found;
  });
}

/** @throws {CertificateFileError} */
export function keyOf(setting: FileSetting, path: string, pem: string): KeyObject {
  return made(setting, path, "expected one in PEM, without a password", () => parseKey(pem));
}

/** Nothing of a key is ever in an error. */
function parseKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw new SyntaxError(/ENCRYPTED/.test(pem) ? "a key with a password" : "no private key");
  }
}

/** Of a key's public half. */
export function spki(key: KeyObject) {
  const half = key.type === "private" ? createPublicKey(key) : key;
  return half.export({ type: "spki", format: "der" });
}

function made<T>(setting: FileSetting, path: string, expected: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new CertificateFileError(setting, `${path}: ${error.message}, ${expected}`);
  }
}
