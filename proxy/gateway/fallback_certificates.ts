/**
 * The certificates that fallbacks show. Those with the same files share what was read of them, also one
 * that comes by a reload when the files may not be read any more.
 *
 * @module
 */

import { ClientFilesReader } from "../bind/stream/tls/mod.ts";
import type { FallbackConfig } from "../config/checked.ts";
import { getLogger } from "../log/logger.ts";

const log = getLogger(["wirestack", "relay"]);

interface Entry {
  readonly reader: ClientFilesReader;
  uses: number;
}

export class FallbackCertificates {
  readonly #entries = new Map<string, Entry>();

  /** @returns what reads them, and what is to be called once when it is needed no more. */
  of({ url, certPath, keyPath, caPath }: FallbackConfig): {
    readonly reader: ClientFilesReader;
    release(): void;
  } {
    const key = JSON.stringify([certPath, keyPath, caPath]);
    const files = { certPath, keyPath, ...(caPath !== undefined && { caPath }) };
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { reader: new ClientFilesReader(files, logKept), uses: 0 };
      const { problem } = entry.reader;
      if (problem !== undefined) log.warn("{url} cannot be dialled: {problem}", { url, problem });
    }
    entry.uses++;
    // A reload releases before it takes: nobody's files stay until others are wanted.
    for (const [other, { uses }] of this.#entries) if (uses === 0) this.#entries.delete(other);
    this.#entries.set(key, entry);
    return { reader: entry.reader, release: () => void entry.uses-- };
  }

  /** Says of which files that are in use what was read earlier counts on. */
  review(): void {
    for (const { reader, uses } of this.#entries.values()) if (uses > 0) reader.review();
  }
}

function logKept({ message }: Error): void {
  log.warn("certificates of fallbacks stay as they were: {error}", { error: message });
}
