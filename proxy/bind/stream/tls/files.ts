/**
 * Certificates and keys from files, for either side. They are read again when they have changed, so that
 * a renewed certificate needs nobody's doing.
 *
 * @module
 */

import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { Certificate, readCertificates } from "../../certificates/certificate.ts";
import { RevocationList } from "../../certificates/revocation_list.ts";

/** Which of the files, as its key in the configuration is called. */
export type FileSetting = "cert" | "key" | "ca" | "clientCa" | "crl";

/** A file is not there, or not what it should be. */
export class CertificateFileError extends Error {
  override readonly name = "CertificateFileError";
  readonly setting: FileSetting;

  /** @param message `what is wrong, what was expected`, with the path. */
  constructor(setting: FileSetting, message: string, options?: ErrorOptions) {
    super(message, options);
    this.setting = setting;
  }
}

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

/** Content of files, in PEM, fit for each other. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly certificate: Certificate;
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
export function readClientFiles(files: ClientFiles): ClientIdentity {
  const identity = readIdentity(files);
  if (files.caPath === undefined) return identity;
  return { ...identity, ...readAuthorities("ca", files.caPath) };
}

/**
 * What reads them, now and whenever it is called. Who may not read them any more, as a tunnel that has
 * become another user, keeps what it read last.
 *
 * @throws {CertificateFileError} when it is called, not before.
 */
export function clientFilesReader(files: ClientFiles): () => ClientIdentity {
  let last: ClientIdentity | undefined;
  const read = () => {
    try {
      return last = readClientFiles(files);
    } catch (error) {
      if (last === undefined || !isForbidden(error)) throw error;
      return last;
    }
  };
  try {
    read();
  } catch { /* said when it is needed */ }
  return read;
}

function isForbidden(error: unknown): boolean {
  return error instanceof CertificateFileError &&
    (error.cause instanceof Deno.errors.PermissionDenied ||
      error.cause instanceof Deno.errors.NotCapable);
}

/** @throws {CertificateFileError} */
export function readServerFiles(files: ServerFiles): ServerIdentity {
  const identity = readIdentity(files);
  const { ca, authorities } = readAuthorities("clientCa", files.clientCaPath);
  const { crlPath } = files;
  if (crlPath === undefined) return { ...identity, ca, authorities };
  const text = read("crl", crlPath);
  const expected = "expected one in PEM, signed by ClientCa";
  const revoked = made("crl", crlPath, expected, () => new RevocationList(text, authorities));
  return { ...identity, ca, authorities, revoked };
}

/** Of files: another text after a change. */
export function fingerprint(paths: readonly (string | undefined)[]): string {
  return paths.map((path) => {
    if (path === undefined) return "";
    try {
      const { ino, size, mtime } = Deno.statSync(path);
      return `${ino} ${size} ${mtime?.getTime()}`;
    } catch {
      return "none";
    }
  }).join("; ");
}

function readIdentity(
  { certPath, keyPath }: { readonly certPath: string; readonly keyPath: string },
): Identity {
  const [cert, key] = [read("cert", certPath), read("key", keyPath)];
  const certificate = certificates("cert", certPath, cert)[0]!;
  const own = made("key", keyPath, "expected one in PEM, without a password", () => parseKey(key));
  if (!spki(own).equals(spki(certificate.x509.publicKey))) {
    throw new CertificateFileError(
      "key",
      `${keyPath} is not the key of ${certPath}, expected the one that belongs to it`,
    );
  }
  return { cert, key, certificate };
}

function readAuthorities(setting: "ca" | "clientCa", path: string) {
  const ca = read(setting, path);
  return { ca, authorities: certificates(setting, path, ca) };
}

function read(setting: FileSetting, path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "is not there"
      : error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable
      ? "may not be read"
      : "cannot be read";
    throw new CertificateFileError(setting, `${path} ${reason}, expected a file in PEM`, {
      cause: error,
    });
  }
}

function certificates(setting: FileSetting, path: string, pem: string): Certificate[] {
  const expected = "expected a certificate in PEM";
  return made(setting, path, expected, () => {
    const found = readCertificates(pem);
    if (found.length === 0) throw new SyntaxError("no certificate");
    return found;
  });
}

/** Nothing of a key is ever in an error. */
function parseKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw new SyntaxError(/ENCRYPTED/.test(pem) ? "a key with a password" : "no private key");
  }
}

function spki(key: KeyObject) {
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
