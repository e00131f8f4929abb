/**
 * Reads files of certificates again and again, also when this process may not any more: a tunnel that
 * root has started becomes another user, and has what it read before.
 *
 * @module
 */

import type { Certificate } from "../../certificates/certificate.ts";

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

/** Content of files, in PEM, fit for each other. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly certificate: Certificate;
}

/** What one reading leaves to the next: {@link again}. */
export class Reading {
  /** The last pair whose halves belonged to each other. */
  identity: Identity | undefined;
  /** Why something is as it was read earlier; undefined if all is as it is now. */
  kept: CertificateFileError | undefined;
  readonly #before: ReadonlyMap<string, string>;
  readonly #texts = new Map<string, string>();

  constructor(before?: Reading) {
    this.#before = before === undefined ? new Map() : before.#texts;
    this.identity = before?.identity;
  }

  /** The next one. What this one has read stays if it may not be read then. */
  again(): Reading {
    return new Reading(this);
  }

  /** @throws {CertificateFileError} if the file cannot be read, and was not in the reading before. */
  text(setting: FileSetting, path: string): string {
    let text: string;
    try {
      text = Deno.readTextFileSync(path);
    } catch (error) {
      const problem = readError(setting, path, error);
      const before = isForbidden(error) ? this.#before.get(path) : undefined;
      if (before === undefined) throw problem;
      this.kept ??= problem;
      text = before;
    }
    this.#texts.set(path, text);
    return text;
  }
}

function readError(setting: FileSetting, path: string, error: unknown): CertificateFileError {
  const reason = error instanceof Deno.errors.NotFound
    ? "is not there"
    : isForbidden(error)
    ? "may not be read"
    : "cannot be read";
  const message = `${path} ${reason}, expected a file in PEM`;
  return new CertificateFileError(setting, message, { cause: error });
}

function isForbidden(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable;
}
