/**
 * The last good list of peers, kept for the next start: it works without the list's server, and takes no
 * older list. As it was signed, so that nobody who can write there can change it.
 *
 * @module
 */

import { getLogger } from "../../log/logger.ts";
import { prepareStateDirectory } from "../../state/directory.ts";
import { replaceFile } from "../../state/replace_file.ts";
import { MAX_LIST_BYTES } from "./text.ts";

const log = getLogger(["wirestack", "config"]);

export class PeerListStore {
  readonly #path: string | undefined;

  /**
   * @param directories The first that can be written to is used.
   * @param publicKey The gateway's: several may keep theirs in one folder.
   */
  constructor(directories: readonly string[], publicKey: Uint8Array) {
    const directory = prepareStateDirectory(directories);
    this.#path = directory && `${directory}/peers-${publicKey.subarray(0, 8).toHex()}.list`;
    if (directory === undefined && directories.length > 0) {
      this.#giveUp(new Error("no folder can be written to"));
    }
  }

  /** Undefined if there is none. */
  load(): Uint8Array | undefined {
    if (this.#path === undefined) return undefined;
    try {
      if (Deno.statSync(this.#path).size > MAX_LIST_BYTES) return undefined;
      return Deno.readFileSync(this.#path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) this.#giveUp(error as Error);
      return undefined;
    }
  }

  /** Replaces it by one that only this user can read: there may be preshared keys in it. */
  save(bytes: Uint8Array): void {
    if (this.#path === undefined) return;
    try {
      replaceFile(this.#path, bytes, { isDurable: true });
    } catch (error) {
      this.#giveUp(error as Error);
    }
  }

  #giveUp({ message }: Error): void {
    log.warn(
      "the list of peers is not kept for the next start, which will need it from its place and may " +
        "take an older one, expected a writable folder in STATE_DIRECTORY, XDG_STATE_HOME or HOME: " +
        "{reason}",
      { reason: message },
    );
  }
}
