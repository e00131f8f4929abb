/**
 * A certificate and its key lie in a folder of their own: `OUT/NAME/cert.pem` and `OUT/NAME/key.pem`.
 *
 * New folders are made aside, whole, and then renamed into place: whoever looks sees both files or
 * neither, and nothing that was there is overwritten.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { ConfigError } from "../../config/error.ts";
import { writeNewFile } from "../../state/new_file.ts";
import { readText } from "../read.ts";
import type { Pair } from "../../certificates/issue.ts";

/** @throws {ConfigError} if there is a folder of one of the names, and something in it. */
export function refuseExisting(out: string, names: readonly string[]): void {
  for (const name of names) {
    const folder = join(out, name);
    if (!isFree(folder)) throw taken(folder);
  }
}

/**
 * @returns undefined where there is no folder, or nothing in it.
 * @throws {ConfigError} if one of the files is not there, or cannot be read.
 */
export async function readPair(folder: string): Promise<Pair | undefined> {
  if (isFree(folder)) return undefined;
  return {
    certificate: await readText(join(folder, "cert.pem"), "a certificate, with key.pem beside it"),
    key: await readText(join(folder, "key.pem"), "the key of cert.pem beside it"),
  };
}

/** Folders with a new pair each. All of them come into place, or none. */
export class NewFolders implements Disposable {
  readonly #out: string;
  /** What was made on the way to `out`, from the top down. */
  readonly #parents: string[] = [];
  #stage: string | undefined;
  #placed: string[] = [];

  private constructor(out: string) {
    this.#out = out;
  }

  /**
   * Writes them aside. Disposing takes everything back that is not kept.
   *
   * @throws {ConfigError} if they cannot be written there.
   */
  static stage(out: string, pairs: ReadonlyMap<string, Pair>): NewFolders {
    const folders = new NewFolders(out);
    if (pairs.size === 0) return folders;
    try {
      folders.#makeOut();
      // Nobody else may look into it, as into the folders in it.
      folders.#stage = Deno.makeTempDirSync({ dir: out, prefix: ".new-" });
      for (const [name, pair] of pairs) folders.#write(name, pair);
      return folders;
    } catch (error) {
      folders[Symbol.dispose]();
      throw new ConfigError([`--out: ${out}: ${whyNot(error)}`]);
    }
  }

  /** @throws {ConfigError} if something is in the way, or has come there since. */
  place(names: Iterable<string>): void {
    for (const name of names) {
      const folder = join(this.#out, name);
      try {
        Deno.renameSync(join(this.#stage!, name), folder); // over an empty one at most
      } catch (error) {
        if (!isFree(folder)) throw taken(folder);
        throw new ConfigError([`--out: ${folder}: ${whyNot(error)}`]);
      }
      this.#placed.push(folder);
    }
  }

  /** What is in place stays. */
  keep(): void {
    this.#placed = [];
    this.#parents.length = 0;
  }

  [Symbol.dispose](): void {
    for (const folder of this.#placed) Deno.removeSync(folder, { recursive: true });
    if (this.#stage !== undefined) Deno.removeSync(this.#stage, { recursive: true });
    try {
      for (const parent of this.#parents.reverse()) Deno.removeSync(parent);
    } catch { /* somebody else has put something there */ }
  }

  #makeOut(): void {
    const missing = [];
    for (let path = this.#out; isMissing(path); path = dirname(path)) missing.push(path);
    for (const path of missing.reverse()) {
      Deno.mkdirSync(path, { mode: 0o700 });
      this.#parents.push(path);
    }
  }

  #write(name: string, { certificate, key }: Pair): void {
    const folder = join(this.#stage!, name);
    Deno.mkdirSync(folder, { mode: 0o700 });
    for (
      const [file, text, mode] of [["key.pem", key, 0o600], [
        "cert.pem",
        certificate,
        0o644,
      ]] as const
    ) {
      writeNewFile(join(folder, file), text, { mode, isDurable: true });
    }
  }
}

function taken(folder: string): ConfigError {
  return new ConfigError([
    `${folder}: is there already, expected a new folder (--out), or --renew for new certificates of ` +
    "the authority in it",
  ]);
}

/** Nothing there, or an empty folder. */
function isFree(folder: string): boolean {
  try {
    return isMissing(folder) ||
      Deno.lstatSync(folder).isDirectory &&
        Deno.readDirSync(folder)[Symbol.iterator]().next().done!;
  } catch (error) {
    throw new ConfigError([`${folder}: ${whyNot(error)}`]);
  }
}

function isMissing(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
}

function whyNot(error: unknown): string {
  if (error instanceof Deno.errors.NotCapable) {
    return "is not covered by --allow-read and --allow-write, expected it to be";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied, expected a folder that this user may write to";
  }
  if (error instanceof Deno.errors.NotADirectory || error instanceof Deno.errors.AlreadyExists) {
    return "is not a folder, expected one, or a name for a new one";
  }
  return error instanceof Error ? error.message : String(error);
}
