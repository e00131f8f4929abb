/**
 * The certificates that a configuration names, looked at before a gateway starts: those of `[Relay]`, and
 * of the fallbacks of peers.
 *
 * @module
 */

import {
  CertificateFileError,
  checkClientFiles,
  checkServerFiles,
  type FileWarning,
} from "../bind/stream/tls/mod.ts";
import type { GatewayConfig } from "../config/checked.ts";
import { type ConfigPath, SettingError } from "../config/error.ts";
import { getLogger } from "../log/logger.ts";

const log = getLogger(["wirestack", "relay"]);

/** What there is to say of a file, and of which key. */
export interface CertificateFinding {
  readonly path: ConfigPath;
  readonly message: string;
}

export interface CertificateFindings {
  /** What can never work. */
  readonly problems: readonly CertificateFinding[];
  /** What does not work now: a gateway starts all the same. */
  readonly warnings: readonly CertificateFinding[];
}

/** Files that several peers have are looked at once. */
export function checkCertificateFiles(
  { relay, peers }: Pick<GatewayConfig, "relay" | "peers">,
  now = new Date(),
): CertificateFindings {
  const problems: CertificateFinding[] = [];
  const warnings: CertificateFinding[] = [];
  const look = (path: ConfigPath, check: () => FileWarning[]) => {
    const finding = ({ setting, message }: FileWarning) => ({ path: [...path, setting], message });
    try {
      warnings.push(...check().map(finding));
    } catch (error) {
      if (!(error instanceof CertificateFileError)) throw error;
      problems.push(finding(error));
    }
  };
  if (relay !== undefined) look(["relay"], () => checkServerFiles(relay, now));
  const seen = new Set<string>();
  peers.forEach(({ fallbacks = [] }, i) => {
    for (const { certPath, keyPath, caPath } of fallbacks) {
      const key = JSON.stringify([certPath, keyPath, caPath]);
      if (seen.has(key)) continue;
      seen.add(key);
      const files = { certPath, keyPath, ...(caPath !== undefined && { caPath }) };
      look(["peers", i], () => checkClientFiles(files, now));
    }
  });
  return { problems, warnings };
}

/**
 * For a gateway that starts: says in the log what does not work now.
 *
 * @throws {SettingError} for the first that can never work.
 */
export function requireCertificates(config: Pick<GatewayConfig, "relay" | "peers">): void {
  const { problems: [problem], warnings } = checkCertificateFiles(config);
  if (problem !== undefined) throw new SettingError(problem.path, problem.message);
  for (const { message } of warnings) log.warn("{certificate}", { certificate: message });
}
