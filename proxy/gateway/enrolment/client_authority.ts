/**
 * Certificates for machines that enrol: signed by the authority whose clients `[Relay]` lets in.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { readCertificates } from "../../bind/certificates/certificate.ts";
import type { RelayConfig } from "../../config/checked.ts";
import { ConfigError } from "../../config/error.ts";

/** Milliseconds. Clocks of other machines may be behind. */
const BACKDATED = 5 * 60_000;

/** Files by their path, in PEM. */
export type KeptFiles = ReadonlyMap<string, string>;

/** What it takes to sign, for a process that is about to lose the right to read it. */
export function readKept(relay: RelayConfig | undefined): KeptFiles {
  const { clientCaKeyPath, clientCaPath, certPath } = relay ?? {};
  const paths = clientCaKeyPath === undefined ? [] : [clientCaKeyPath, clientCaPath, certPath];
  return new Map(paths.flatMap((path) => {
    try {
      return path === undefined ? [] : [[path, readFileSync(path, "utf8")] as const];
    } catch {
      return []; // who invites is told
    }
  }));
}

export class ClientAuthority {
  readonly #relay: RelayConfig;
  readonly #keyPath: string;
  readonly #kept: KeptFiles;

  private constructor(relay: RelayConfig, keyPath: string, kept: KeptFiles) {
    this.#relay = relay;
    this.#keyPath = keyPath;
    this.#kept = kept;
  }

  /**
   * @param kept What counts where a file may not be read any more.
   * @returns undefined without a ClientCaKey.
   */
  static of(relay: RelayConfig | undefined, kept: KeptFiles): ClientAuthority | undefined {
    const { clientCaKeyPath } = relay ?? {};
    return relay === undefined || clientCaKeyPath === undefined
      ? undefined
      : new ClientAuthority(relay, clientCaKeyPath, kept);
  }

  /**
   * What tells machines that it is this hub.
   *
   * @returns `sha256/…`.
   * @throws {ConfigError} if the hub's certificate cannot be read.
   */
  get pin(): string {
    const { certPath } = this.#relay;
    try {
      const [certificate] = readCertificates(this.#read(certPath));
      if (certificate !== undefined) return certificate.pinText;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw new ConfigError([`${certPath}: is no certificate, expected one in PEM`]);
  }

  /**
   * @param request PEM.
   * @param now ms since the Unix epoch.
   * @param lifetimeMs How long it is good for, at most.
   * @returns a certificate in PEM; undefined if the request is none.
   * @throws {ConfigError} if the authority cannot sign.
   */
  async sign(
    request: string,
    name: string,
    now: number,
    lifetimeMs: number,
  ): Promise<string | undefined> {
    const [{ issue }, { keyOfRequest }] = await Promise.all([
      import("../../certificates/issue.ts"),
      import("../../certificates/request.ts"),
    ]);
    const authority = await this.#load(now);
    const publicKey = await keyOfRequest(request);
    if (publicKey === undefined) return undefined;
    const { notBefore, notAfter } = authority.certificate;
    const second = now - now % 1000;
    return await issue(authority, {
      commonName: name,
      usage: "clientAuth",
      publicKey,
      // Never beyond the authority's: a chain is valid where all of it is.
      notBefore: new Date(Math.max(second - BACKDATED, notBefore.getTime())),
      notAfter: new Date(Math.min(second + lifetimeMs, notAfter.getTime())),
    });
  }

  /** @throws {ConfigError} if it cannot sign now. */
  async check(now: number): Promise<void> {
    await this.#load(now);
  }

  /** Read every time: it is rare, and a key that is in no memory is in no dump of it. */
  async #load(now: number) {
    const { readAuthority } = await import("../../certificates/stored.ts");
    const { clientCaPath } = this.#relay;
    const paths = { certificate: clientCaPath, key: this.#keyPath };
    const key = this.#read(paths.key);
    const blocks = this.#read(clientCaPath).match(CERTIFICATE) ?? [];
    let problem: unknown;
    // There may be several whose clients are let in, as while one replaces another.
    for (const certificate of blocks) {
      try {
        return await readAuthority({ certificate, key }, paths, now);
      } catch (error) {
        problem ??= error;
      }
    }
    throw problem ?? new ConfigError([`${clientCaPath}: is no certificate, expected one in PEM`]);
  }

  /** @throws {ConfigError} */
  #read(path: string): string {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      const kept = this.#kept.get(path);
      if (kept !== undefined) return kept;
      const what = (error as { code?: string }).code === "ENOENT"
        ? "is not there"
        : "may not be read";
      throw new ConfigError([`${path}: ${what}, expected a file in PEM`]);
    }
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
