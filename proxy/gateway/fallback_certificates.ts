/**
 * The certificates that fallbacks show. Those with the same files share what was read of them, also one
 * that comes by a reload when the files may not be read any more.
 *
 * @module
 */

import { ClientFilesReader } from "../bind/stream/tls/mod.ts";
import type { FallbackConfig, TunnelPlace } from "../config/checked.ts";
import { getLogger } from "../log/logger.ts";

const log = getLogger(["wirestack", "relay"]);

interface Entry {
  readonly reader: ClientFilesReader;
  readonly certPath: string;
  /** Of those that use it. */
  readonly places: Set<TunnelPlace>;
  uses: number;
}

/** A certificate that is in use, and where there is another in time. */
export type Renewable = Pick<Entry, "reader" | "certPath"> & {
  readonly places: readonly TunnelPlace[];
};

export class FallbackCertificates {
  readonly #entries = new Map<string, Entry>();

  /** @returns what reads them, and what is to be called once when it is needed no more. */
  of({ url, certPath, keyPath, caPath, renewAt }: FallbackConfig): {
    readonly reader: ClientFilesReader;
    release(): void;
  } {
    const key = JSON.stringify([certPath, keyPath, caPath]);
    const files = { certPath, keyPath, ...(caPath !== undefined && { caPath }) };
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      const reader = new ClientFilesReader(files, logKept);
      entry = { reader, certPath, places: new Set(), uses: 0 };
      const { problem } = entry.reader;
      if (problem !== undefined) log.warn("{url} cannot be dialled: {problem}", { url, problem });
    }
    entry.uses++;
    const { places } = entry;
    if (renewAt !== undefined) places.add(renewAt);
    // A reload releases before it takes: nobody's files stay until others are wanted.
    for (const [other, { uses }] of this.#entries) if (uses === 0) this.#entries.delete(other);
    this.#entries.set(key, entry);
    const release = () => {
      entry.uses--;
      if (renewAt !== undefined) places.delete(renewAt);
    };
    return { reader: entry.reader, release };
  }

  /** Those that are in use and can be renewed. */
  get renewable(): Renewable[] {
    return [...this.#entries.values()].filter(({ uses, places }) => uses > 0 && places.size > 0)
      .map(({ reader, certPath, places }) => ({ reader, certPath, places: [...places] }));
  }

  /** Says of which files that are in use what was read earlier counts on. */
  review(): void {
    for (const { reader, uses } of this.#entries.values()) if (uses > 0) reader.review();
  }
}

function logKept({ message }: Error): void {
  log.warn("certificates of fallbacks stay as they were: {error}", { error: message });
}
