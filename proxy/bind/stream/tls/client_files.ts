/**
 * The certificate of one who connects, as its files are whenever it connects.
 *
 * @module
 */

import { type Certificate, readCertificates } from "../../certificates/certificate.ts";
import { type ClientFiles, type ClientIdentity, fingerprint, readClientFiles } from "./files.ts";
import { type CertificateFileError, Reading } from "./reading.ts";

export class ClientFilesReader {
  readonly #files: ClientFiles;
  readonly #onKept: (problem: CertificateFileError) => void;
  #last = new Reading();
  /** Newer than the file's, if that could not be written. */
  #renewed: { readonly cert: string; readonly certificate: Certificate } | undefined;
  /** Of the files when it was last said, or needed not be said, that they may not be read. */
  #print = "";
  /** What was wrong with them at first; undefined for nothing. They may be right when they are used. */
  readonly problem: string | undefined;

  /**
   * Reads them, for later they may be out of reach.
   *
   * @param onKept Called with why what was read earlier counts on, when that may matter: the files have
   * changed.
   */
  constructor(files: ClientFiles, onKept: (problem: CertificateFileError) => void) {
    this.#files = files;
    this.#onKept = onKept;
    this.#print = this.#fingerprint();
    try {
      this.#read();
    } catch (error) {
      this.problem = (error as Error).message;
    }
  }

  /** @throws {CertificateFileError} if one is not what it should be. */
  read(): ClientIdentity {
    const print = this.#fingerprint();
    const { identity, kept } = this.#read();
    if (kept !== undefined && print !== this.#print) this.#onKept(kept);
    this.#print = print;
    const renewed = this.#renewed;
    const isNewer = renewed !== undefined &&
      renewed.certificate.pinText === identity.certificate.pinText &&
      renewed.certificate.notAfter > identity.certificate.notAfter;
    if (isNewer) return { ...identity, ...renewed };
    this.#renewed = undefined;
    return identity;
  }

  /**
   * Shows another certificate for the same key from now on, whether its file could be written or not.
   *
   * @param cert PEM.
   * @throws {SyntaxError} if it is none.
   */
  renew(cert: string): void {
    const [certificate] = readCertificates(cert);
    if (certificate === undefined) throw new SyntaxError("no certificate");
    this.#renewed = { cert, certificate };
  }

  /** Says it if they may not be read any more, changed or not. */
  review(): void {
    this.#print = this.#fingerprint();
    try {
      const { kept } = this.#read();
      if (kept !== undefined) this.#onKept(kept);
    } catch { /* said when it is needed */ }
  }

  #read() {
    const reading = this.#last.again();
    const identity = readClientFiles(this.#files, reading);
    this.#last = reading;
    return { identity, kept: reading.kept };
  }

  #fingerprint(): string {
    const { certPath, keyPath, caPath } = this.#files;
    return fingerprint([certPath, keyPath, caPath], this.#print);
  }
}
