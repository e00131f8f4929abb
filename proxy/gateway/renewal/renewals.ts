/**
 * Certificates that fallbacks show are renewed in time, when two thirds of their life are over: which of
 * them, when, and what is made of the answer. Who is asked, and how, is given to it.
 *
 * The key stays: the file of the certificate alone is replaced, whole, so that the two belong to each other
 * at any moment, and a hub that has revoked the key knows it again.
 *
 * @module
 */

import { Backoff } from "../../bind/stream/backoff.ts";
import {
  type Certificate,
  CLIENT_AUTH,
  readCertificates,
} from "../../bind/certificates/certificate.ts";
import type { ClientIdentity } from "../../bind/stream/tls/mod.ts";
import type { TunnelPlace } from "../../config/checked.ts";
import type { TimeoutSource } from "../../engine/engine.ts";
import { getLogger } from "../../log/logger.ts";
import { isWorthALine } from "../../log/thinning.ts";
import { timeText } from "../../log/time_text.ts";

const log = getLogger(["wirestack", "relay"]);

/** Of its life, when it is time for another. */
const USED_SHARE = 2 / 3;
/** How often to look at the clock, which may be set, and at files, which may be replaced. */
const LOOK_MS = 3_600_000;
/** For the tunnel to be there. */
const START_MS = 10_000;
/** Between tries. */
const FIRST_MS = 60_000;
const LAST_MS = 6 * 3_600_000;

/** One that can be renewed. */
export interface RenewableCertificate {
  /** Its file. */
  readonly certPath: string;
  readonly places: readonly TunnelPlace[];
  readonly reader: {
    /** @throws {Error} if it cannot be read. */
    read(): ClientIdentity;
    renew(cert: string): void;
  };
}

export interface RenewalsOptions {
  /** Those that are in use. */
  certificates(): readonly RenewableCertificate[];
  /**
   * Asks for another, for the same key.
   *
   * @returns PEM.
   * @throws {Error} with one clear line.
   */
  ask(place: TunnelPlace, identity: ClientIdentity, signal: AbortSignal): Promise<string>;
  /** Replaces a file. @throws {Error} of the system. */
  write(path: string, text: string): void;
  /** ms, monotonic. */
  now(): number;
  /** ms since the Unix epoch. */
  wallClock(): number;
  /** A deadline has come nearer. */
  wake(): void;
  /** At least 0, less than 1. Default: chance. */
  readonly random?: () => number;
}

interface Trial {
  readonly backoff: Backoff;
  failures: number;
  /** When it may be tried next, of the monotonic clock. */
  at: number;
  isUnderWay: boolean;
}

export class Renewals implements TimeoutSource {
  readonly #options: RenewalsOptions;
  readonly #end = new AbortController();
  /** By the certificate's file. */
  readonly #trials = new Map<string, Trial>();
  #lookAt = Infinity;

  constructor(options: RenewalsOptions) {
    this.#options = options;
  }

  /** Those that are in use. */
  get certificates(): readonly RenewableCertificate[] {
    return this.#options.certificates();
  }

  /** There is another certificate. */
  changed(): void {
    this.#lookAt = Math.min(this.#lookAt, this.#options.now() + START_MS);
    this.#options.wake();
  }

  pollTimeout(): number {
    return this.#lookAt;
  }

  handleTimeout(now: number): void {
    if (now < this.#lookAt) return;
    this.#lookAt = Infinity;
    const certificates = this.#options.certificates();
    for (const path of this.#trials.keys()) {
      if (!certificates.some(({ certPath }) => certPath === path)) this.#trials.delete(path);
    }
    for (const certificate of certificates) {
      this.#lookAt = Math.min(this.#lookAt, this.#look(certificate, now));
    }
  }

  close(): void {
    this.#lookAt = Infinity;
    this.#end.abort(new Error("called off"));
  }

  /** @returns when to look again. */
  #look(renewable: RenewableCertificate, now: number): number {
    const { random = Math.random } = this.#options;
    const trial = this.#trials.get(renewable.certPath) ?? {
      backoff: new Backoff({
        firstMs: FIRST_MS,
        lastMs: LAST_MS,
        random: () => (1 + random()) / 2,
      }),
      failures: 0,
      at: now,
      isUnderWay: false,
    };
    this.#trials.set(renewable.certPath, trial);
    if (trial.isUnderWay) return now + LOOK_MS;
    let identity: ClientIdentity;
    try {
      identity = renewable.reader.read();
    } catch {
      return now + LOOK_MS; // said by who wants to show it
    }
    const left = dueAt(identity.certificate) - this.#options.wallClock();
    if (left > 0) return now + Math.min(left, LOOK_MS);
    if (now < trial.at) return Math.min(trial.at, now + LOOK_MS);
    trial.isUnderWay = true;
    void this.#renew(renewable, identity, trial);
    return now + LOOK_MS;
  }

  async #renew(
    renewable: RenewableCertificate,
    identity: ClientIdentity,
    trial: Trial,
  ): Promise<void> {
    const { certPath, places } = renewable;
    const { signal } = this.#end;
    try {
      const place = places[trial.failures % places.length]!;
      const cert = await this.#options.ask(place, identity, signal);
      if (signal.aborted) return;
      const certificate = newer(cert, identity.certificate);
      this.#keep(renewable, cert, certificate);
      trial.failures = 0;
      trial.backoff.reset();
      // One that is over as early as before is no reason to ask at once.
      trial.at = this.#options.now() + FIRST_MS;
    } catch (error) {
      if (signal.aborted) return;
      const delay = trial.backoff.next();
      trial.at = this.#options.now() + delay;
      trial.failures++;
      if (isWorthALine(trial.failures)) {
        log.warn("{certificate} cannot be renewed: {error}; trying again in {minutes} min", {
          certificate: certPath,
          error: (error as Error).message,
          minutes: Math.ceil(delay / 60_000),
        });
      }
    } finally {
      trial.isUnderWay = false;
      if (!signal.aborted) {
        this.#lookAt = Math.min(this.#lookAt, trial.at);
        this.#options.wake();
      }
    }
  }

  /** In use at once; written down if it can be. */
  #keep({ reader, certPath }: RenewableCertificate, cert: string, certificate: Certificate): void {
    reader.renew(cert);
    const until = timeText(certificate.notAfter);
    try {
      this.#options.write(certPath, cert);
      log.info("{certificate} is renewed, until {until}", { certificate: certPath, until });
    } catch (error) {
      log.warn(
        "{certificate} is renewed, until {until}, and cannot be written: {error}; the next start renews it again",
        { certificate: certPath, until, error: (error as Error).message },
      );
    }
  }
}

/** When it is time for another, ms since the Unix epoch. */
export function dueAt(
  { notBefore, notAfter }: Pick<Certificate, "notBefore" | "notAfter">,
): number {
  const from = notBefore.getTime();
  return from + USED_SHARE * (notAfter.getTime() - from);
}

/** @throws {Error} unless it is good for longer, for the same key. */
function newer(cert: string, before: Certificate): Certificate {
  let certificate: Certificate | undefined;
  try {
    [certificate] = readCertificates(cert);
  } catch { /* said below */ }
  if (certificate?.pinText !== before.pinText || !certificate.isFor(CLIENT_AUTH)) {
    throw new Error("what the hub gives is no certificate for this machine's key");
  }
  if (certificate.notAfter <= before.notAfter) {
    throw new Error(
      `what the hub gives is over as early, at ${
        timeText(certificate.notAfter)
      }: its authority is, most likely`,
    );
  }
  return certificate;
}
