/**
 * The files of a machine that joins. Its key is on the disk before the hub hears of it: if anything goes
 * wrong after that, the next try comes with the same key, and is the same machine to the hub.
 *
 * @module
 */

import { decodeKey, encodeKey, generatePrivateKey, isSameKey } from "../../base64.ts";
import { ConfigError } from "../../config/error.ts";

/** A join that has begun. */
export class PendingJoin {
  /** The machine's own. */
  readonly privateKey: Uint8Array;
  readonly #out: string;
  readonly #path: string;
  /** Whether an earlier try has left it. */
  readonly isResumed: boolean;

  private constructor(out: string, privateKey: Uint8Array, isResumed: boolean) {
    this.#out = out;
    this.#path = pathOf(out);
    this.privateKey = privateKey;
    this.isResumed = isResumed;
  }

  /**
   * Makes a key, or takes that of an earlier try with the same token.
   *
   * @param out Where the configuration is to go: a new file.
   * @param tokenKey The token's public key.
   * @throws {ConfigError} if it cannot be written there.
   */
  static begin(out: string, tokenKey: Uint8Array): PendingJoin {
    if (isThere(out)) throw alreadyThere(out);
    const path = pathOf(out);
    const known = isThere(path) ? readPending(path, tokenKey) : undefined;
    if (known !== undefined) return new PendingJoin(out, known, true);
    const privateKey = generatePrivateKey();
    const text = JSON.stringify({
      tokenKey: encodeKey(tokenKey),
      privateKey: encodeKey(privateKey),
    });
    try {
      writeNew(path, `${text}\n`);
    } catch (error) {
      throw new ConfigError([`--out: ${out}: ${whyNot(error)}`]);
    }
    return new PendingJoin(out, privateKey, false);
  }

  /**
   * Puts the configuration in its place, whole or not at all.
   *
   * @throws {ConfigError} if somebody else has put something there, or it cannot be written.
   */
  finish(text: string): void {
    const next = `${this.#path}-new`;
    try {
      if (isThere(next)) Deno.removeSync(next);
      writeNew(next, text);
      Deno.linkSync(next, this.#out); // which replaces nothing
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists && isThere(this.#out)) {
        throw alreadyThere(this.#out);
      }
      throw new ConfigError([`--out: ${this.#out}: ${whyNot(error)}`]);
    } finally {
      remove(next);
    }
    remove(this.#path);
  }

  /** As if it had never begun. */
  abandon(): void {
    remove(this.#path);
  }
}

function pathOf(out: string): string {
  return `${out}.joining`;
}

/** @throws {ConfigError} if it is another token's, or nothing of this program's. */
function readPending(path: string, tokenKey: Uint8Array): Uint8Array {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    throw new ConfigError([`${path}: ${whyNot(error)}`]);
  }
  const [token, key] = parsePending(text);
  if (token === undefined || key === undefined) {
    throw new ConfigError([
      `${path}: is there and is no join that has begun, expected another --out`,
    ]);
  }
  if (isSameKey(token, tokenKey)) return key;
  throw new ConfigError([
    `${path}: a join with another token has begun there, expected that token again, another --out, or ` +
    "the file removed",
  ]);
}

function parsePending(text: string): (Uint8Array | undefined)[] {
  try {
    const { tokenKey, privateKey } = Object(JSON.parse(text));
    return [tokenKey, privateKey].map((key) =>
      typeof key === "string" ? decodeKey(key) : undefined
    );
  } catch {
    return [];
  }
}

/** Only this user can read it, and it is on the disk when this returns. */
export function writeNew(path: string, text: string): void {
  using file = Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) sent += file.writeSync(bytes.subarray(sent));
  file.syncSync();
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw new ConfigError([`--out: ${path}: ${whyNot(error)}`]);
  }
}

function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch { /* it is not there */ }
}

function alreadyThere(out: string): ConfigError {
  return new ConfigError([`--out: ${out} is there already, expected a new file`]);
}

function whyNot(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "its folder is not there, expected one that is";
  if (error instanceof Deno.errors.NotCapable) {
    return "is not covered by --allow-read and --allow-write, expected it to be";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied, expected a folder that this user may write to";
  }
  return `cannot be written (${error instanceof Error ? error.message : error})`;
}
