/**
 * Whether files of certificates are what they should be, before anybody connects: with UDP in the way a
 * wrong one would be noticed on the day when UDP does not get through.
 *
 * @module
 */

import type { Certificate } from "../../certificates/certificate.ts";
import { CLIENT_AUTH, readCertificates, SERVER_AUTH } from "../../certificates/certificate.ts";
import { refuseDates } from "../../certificates/check.ts";
import { type ClientFiles, keyOf, readClientFiles, readServerFiles, spki } from "./files.ts";
import type { ServerFiles } from "./files.ts";
import { CertificateFileError, type FileSetting, Reading } from "./reading.ts";

/** What does not work now, and may later. */
export interface FileWarning {
  readonly setting: FileSetting;
  /** With the path. */
  readonly message: string;
}

/**
 * @returns what a hub may refuse.
 * @throws {CertificateFileError} for what no hub would take.
 */
export function checkClientFiles(files: ClientFiles, now: Date): FileWarning[] {
  const { cert, certificate, authorities } = readClientFiles(files);
  const { certPath, caPath = "" } = files;
  if (!certificate.isFor(CLIENT_AUTH)) {
    throw new CertificateFileError(
      "cert",
      `${certPath} is not one for clients, expected a client's certificate`,
    );
  }
  const warnings = ofDates("cert", certPath, certificate, now);
  if (authorities === undefined) return warnings;
  // Mostly hub and clients have one authority; but a hub may let in those of another.
  const chain = readCertificates(cert);
  if (!chain.some((one) => authorities.some((authority) => one.isSignedBy(authority)))) {
    warnings.push({
      setting: "cert",
      message: `${certPath} is of another authority than ${caPath}, ` +
        `${
          JSON.stringify(certificate.issuerName ?? "")
        }, expected one that the hub has as ClientCa`,
    });
  }
  return [...warnings, ...ofAuthorities("ca", caPath, authorities, now)];
}

/**
 * @param files With the key of the authority, where the hub signs for machines that enrol.
 * @returns what clients may refuse.
 * @throws {CertificateFileError} for what no client would take, or what cannot sign.
 */
export function checkServerFiles(
  files: ServerFiles & { readonly clientCaKeyPath?: string },
  now: Date,
): FileWarning[] {
  const { certificate, authorities } = readServerFiles(files);
  const { certPath, clientCaPath, clientCaKeyPath } = files;
  if (!certificate.isFor(SERVER_AUTH)) {
    throw new CertificateFileError(
      "cert",
      `${certPath} is not one for servers, expected a server's certificate`,
    );
  }
  return [
    ...clientCaKeyPath === undefined
      ? []
      : ofAuthorityKey(clientCaKeyPath, clientCaPath, authorities),
    ...ofDates("cert", certPath, certificate, now),
    ...ofAuthorities("clientCa", clientCaPath, authorities, now),
  ];
}

/** It may lie elsewhere until somebody is invited: then it is read. */
function ofAuthorityKey(
  path: string,
  authorityPath: string,
  authorities: readonly Certificate[],
): FileWarning[] {
  const setting = "clientCaKey";
  let pem: string;
  try {
    pem = new Reading().text(setting, path);
  } catch (error) {
    return [{ setting, message: (error as Error).message }];
  }
  const key = spki(keyOf(setting, path, pem));
  if (authorities.some(({ x509 }) => spki(x509.publicKey).equals(key))) return [];
  throw new CertificateFileError(
    setting,
    `${path} is not the key of ${authorityPath}, expected the one that belongs to it`,
  );
}

function ofDates(
  setting: FileSetting,
  path: string,
  certificate: Certificate,
  now: Date,
): FileWarning[] {
  const refusal = refuseDates(certificate, now);
  return refusal === undefined ? [] : [{ setting, message: `${path} ${refusal.reason}` }];
}

/** One that is valid will do. */
function ofAuthorities(
  setting: FileSetting,
  path: string,
  authorities: readonly Certificate[],
  now: Date,
): FileWarning[] {
  const warnings = authorities.map((authority) => ofDates(setting, path, authority, now));
  return warnings.some(({ length }) => length === 0) ? [] : warnings[0]!;
}
