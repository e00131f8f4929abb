/**
 * Who one is who is connected to, and whom it lets in, as the files are whenever somebody comes.
 *
 * @module
 */

import { createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import { getLogger } from "../../../log/logger.ts";
import type { Certificate } from "../../certificates/certificate.ts";
import { type Refusal, refuseClient } from "../../certificates/check.ts";
import { Farewell } from "../farewell.ts";
import { fingerprint, readServerFiles, type ServerFiles, type ServerIdentity } from "./files.ts";
import { type Guest, refuseGuest } from "./guest.ts";
import { Reading } from "./reading.ts";
import { certificateOf, TLS_VERSION } from "./secured.ts";

const log = getLogger(["wirestack", "relay"]);

/** How often the files are looked at, while somebody comes or is there. */
export const LOOK_MS = 10_000;

/** Who is let in, beside having a certificate of the authority. */
export type AllowedClients = readonly (string | Uint8Array)[];

export interface ServerTrustOptions extends ServerFiles {
  readonly allowed: AllowedClients;
  /** Whether a certificate that is good otherwise was put out of use here. Default: none was. */
  readonly isRevoked?: (certificate: Certificate) => boolean;
  /** Whose key is known here, and why whose is not let in. Default: nobody's is. */
  readonly guestOf?: (certificate: Certificate) => Guest | Refusal | undefined;
}

/** A certificate that is good, or the key of a guest. */
export interface Admitted {
  readonly certificate: Certificate;
  readonly guest?: Guest;
}

export class ServerTrust {
  /** Called when files, or who is allowed, have changed. */
  onChanged: () => void = () => {};
  readonly #listener: string;
  #options: ServerTrustOptions;
  #reading: Reading;
  #identity: ServerIdentity;
  #context: SecureContext;
  #fingerprint: string;
  #lookedAt = performance.now();

  /**
   * @param listener What to call it in lines of the log: `tls:0.0.0.0:443`.
   * @throws {CertificateFileError} if a file is not what it should be.
   */
  constructor(listener: string, options: ServerTrustOptions) {
    this.#listener = listener;
    this.#options = options;
    this.#fingerprint = fingerprintOf(options);
    this.#reading = new Reading();
    this.#identity = readServerFiles(options, this.#reading);
    this.#context = contextOf(this.#identity);
  }

  /** What TLS needs to know. */
  get context(): SecureContext {
    return this.#context;
  }

  /**
   * Takes other files, or the same again. Of those that it may not read any more it keeps what it has, and
   * says so.
   *
   * @throws {CertificateFileError} if one is not what it should be; then nothing has changed.
   */
  reload(options: ServerTrustOptions): void {
    const print = fingerprintOf(options);
    const reading = this.#reading.again();
    const identity = readServerFiles(options, reading);
    this.#options = options;
    this.#fingerprint = print;
    this.#use(identity, reading);
  }

  /** To be called when somebody comes: as {@link look}, now and then. */
  lookSometimes(): void {
    if (performance.now() - this.#lookedAt >= LOOK_MS) this.look();
  }

  /** Files that have changed are read. */
  look(): void {
    this.#lookedAt = performance.now();
    try {
      const print = fingerprintOf(this.#options, this.#fingerprint);
      if (print === this.#fingerprint) return;
      this.#fingerprint = print; // a file that is wrong is said to be once
      const reading = this.#reading.again();
      this.#use(readServerFiles(this.#options, reading), reading);
      if (reading.kept !== undefined) return;
      log.info("{listener}: certificates have changed, and were read again", {
        listener: this.#listener,
      });
    } catch (error) {
      this.#stay(error as Error);
    }
  }

  /** The certificate that was shown, if it is good. */
  check(socket: TLSSocket): Admitted | Refusal {
    let certificate: Certificate | undefined;
    try {
      certificate = certificateOf(socket);
    } catch {
      return { farewell: Farewell.BadCertificate, reason: "its certificate cannot be read" };
    }
    if (certificate === undefined) {
      return { farewell: Farewell.NoCertificate, reason: "it has shown no certificate" };
    }
    const refusal = this.refuse(certificate, problemOf(socket));
    if (refusal === undefined) {
      const guest = this.#options.guestOf?.(certificate);
      return guest === undefined || "reason" in guest ? { certificate } : { certificate, guest };
    }
    const { description } = certificate;
    return { ...refusal, reason: `its certificate, ${description}, ${refusal.reason}` };
  }

  /** Why a client is not let in, or not any more; undefined if it is. @param problem What the runtime found. */
  refuse(certificate: Certificate, problem?: string): Refusal | undefined {
    const { authorities, revoked } = this.#identity;
    const { allowed, isRevoked, guestOf } = this.#options;
    const guest = guestOf?.(certificate);
    // Nobody vouches for a guest's certificate: whoever is there has proved by it to have the key.
    if (guest !== undefined) return "reason" in guest ? guest : refuseGuest(guest, allowed);
    const rules = {
      authorities,
      allowed,
      isRevoked: (one: Certificate) => revoked?.has(one) === true || isRevoked?.(one) === true,
    };
    return refuseClient(certificate, problem, rules, new Date());
  }

  /** A list that is out of date still counts: whom it names stays out. */
  warnOfList(): void {
    const until = this.#identity.revoked?.nextUpdate;
    if (until === undefined || until > new Date()) return;
    log.warn("{listener}: the list of revoked certificates should have been renewed by {until}", {
      listener: this.#listener,
      until: until.toISOString(),
    });
  }

  #use(identity: ServerIdentity, reading: Reading): void {
    this.#reading = reading;
    this.#identity = identity;
    this.#context = contextOf(identity);
    this.warnOfList();
    if (reading.kept !== undefined) this.#stay(reading.kept);
    this.onChanged();
  }

  #stay({ message }: Error): void {
    log.warn("{listener}: certificates stay as they were: {error}", {
      listener: this.#listener,
      error: message,
    });
  }
}

/** What the runtime has found wrong with the other side's certificate; undefined for nothing. */
function problemOf(socket: TLSSocket): string | undefined {
  // Of Node, undocumented, but what its own server decides by.
  const handle = (socket as { _handle?: { verifyError?(): { code?: string } | string | null } })
    ._handle;
  if (typeof handle?.verifyError !== "function") return "this runtime does not verify it";
  const problem = handle.verifyError();
  if (!problem) return undefined;
  return typeof problem === "string" ? problem : problem.code ?? String(problem);
}

function contextOf({ cert, key, ca }: ServerIdentity): SecureContext {
  return createSecureContext({ cert, key, ca, minVersion: TLS_VERSION });
}

function fingerprintOf(
  { certPath, keyPath, clientCaPath, crlPath }: ServerFiles,
  last?: string,
): string {
  return fingerprint([certPath, keyPath, clientCaPath, crlPath], last);
}
