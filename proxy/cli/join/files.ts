/**
 * The files of a machine that joins. Its key is on the disk before the hub hears of it: if anything goes
 * wrong after that, the next try comes with the same key, and is the same machine to the hub.
 *
 * @module
 */

import { decodeKey, encodeKey, generatePrivateKey, isSameKey } from "../../base64.ts";
import type { Requested } from "../../certificates/request.ts";
import { ConfigError } from "../../config/error.ts";
import { writeNewFile } from "../../state/new_file.ts";

/** A machine's own keys. */
export interface MachineKeys {
  /** WireGuard's. */
  readonly privateKey: Uint8Array;
  /** For TLS, if it is to have a certificate: the key in PEM, and the request. */
  readonly tls?: Requested;
}

/** A join that has begun. */
export class PendingJoin {
  readonly keys: MachineKeys;
  readonly #out: string;
  readonly #path: string;
  /** Whether an earlier try has left it. */
  readonly isResumed: boolean;

  private constructor(out: string, keys: MachineKeys, isResumed: boolean) {
    this.#out = out;
    this.#path = pathOf(out);
    this.keys = keys;
    this.isResumed = isResumed;
  }

  /**
   * Makes keys, or takes those of an earlier try with the same token.
   *
   * @param out Where the configuration is to go: a new file.
   * @param tokenKey The token's public key.
   * @param makeTls What makes a key for TLS; undefined if there is to be none.
   * @throws {ConfigError} if it cannot be written there.
   */
  static async begin(
    out: string,
    tokenKey: Uint8Array,
    makeTls?: () => Promise<Requested>,
  ): Promise<PendingJoin> {
    if (isThere(out)) throw alreadyThere(out);
    const path = pathOf(out);
    const known = isThere(path) ? readPending(path, tokenKey) : undefined;
    const { key, cert } = certificateFiles(out);
    if (makeTls !== undefined && !isText(key, known?.tls?.key)) {
      for (const file of [key, cert]) if (isThere(file)) throw alreadyThere(file);
    }
    if (known !== undefined) return new PendingJoin(out, known, true);
    const privateKey = generatePrivateKey();
    const tls = await makeTls?.();
    const text = JSON.stringify({
      tokenKey: encodeKey(tokenKey),
      privateKey: encodeKey(privateKey),
      ...(tls && { tls }),
    });
    try {
      writeNew(path, `${text}\n`);
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) {
        throw new ConfigError([`${path}: another join has begun there, expected it to end first`]);
      }
      remove(path); // what there was room for
      throw new ConfigError([`--out: ${out}: ${whyNot(error)}`]);
    }
    return new PendingJoin(out, { privateKey, ...(tls && { tls }) }, false);
  }

  /**
   * Puts the configuration in its place, whole or not at all; before it what it names.
   *
   * @param certificate PEM, if there is one.
   * @throws {ConfigError} if somebody else has put something there, or it cannot be written.
   */
  finish(text: string, certificate?: string): void {
    const { key, cert } = certificateFiles(this.#out);
    const placed: string[] = [];
    const place = (path: string, text: string) => {
      this.#place(path, text);
      placed.push(path);
    };
    try {
      if (certificate !== undefined && isText(key, this.keys.tls!.key)) {
        this.#place(cert, certificate, true); // a try that was ended here had come so far
      } else if (certificate !== undefined) {
        place(key, this.keys.tls!.key);
        place(cert, certificate);
      }
      place(this.#out, text);
    } catch (error) {
      placed.forEach(remove);
      throw error;
    }
    remove(this.#path);
  }

  #place(path: string, text: string, replaces = false): void {
    const next = `${this.#path}-new`;
    try {
      if (isThere(next)) Deno.removeSync(next);
      writeNew(next, text);
      if (replaces) Deno.renameSync(next, path);
      else Deno.linkSync(next, path); // which replaces nothing
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists && isThere(path)) throw alreadyThere(path);
      throw new ConfigError([`--out: ${path}: ${whyNot(error)}`]);
    } finally {
      remove(next);
    }
  }

  /** As if it had never begun. */
  abandon(): void {
    remove(this.#path);
  }
}

/** Beside the configuration, and named by it. */
export function certificateFiles(out: string): { readonly key: string; readonly cert: string } {
  const stem = out.replace(/\.conf$/, "");
  return { key: `${stem}.key.pem`, cert: `${stem}.cert.pem` };
}

/** Whether a file is there and says that. */
function isText(path: string, text: string | undefined): boolean {
  try {
    return text !== undefined && Deno.readTextFileSync(path) === text;
  } catch {
    return false;
  }
}

function pathOf(out: string): string {
  return `${out}.joining`;
}

/**
 * @returns undefined if it had not begun to be written when its try was ended: no hub knows its key then.
 * @throws {ConfigError} if it is another token's, or nothing of this program's.
 */
function readPending(path: string, tokenKey: Uint8Array): MachineKeys | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    throw new ConfigError([`${path}: ${whyNot(error)}`]);
  }
  if (text === "") {
    remove(path);
    return undefined;
  }
  const pending = parsePending(text);
  if (pending === undefined) {
    throw new ConfigError([
      `${path}: is there and is no join that has begun, expected another --out`,
    ]);
  }
  if (isSameKey(pending.tokenKey, tokenKey)) return pending;
  throw new ConfigError([
    `${path}: a join with another token has begun there, expected that token again, another --out, or ` +
    "the file removed",
  ]);
}

function parsePending(
  text: string,
): MachineKeys & { readonly tokenKey: Uint8Array } | undefined {
  try {
    const { tokenKey, privateKey, tls } = Object(JSON.parse(text));
    const [token, key] = [tokenKey, privateKey].map((key) =>
      typeof key === "string" ? decodeKey(key) : undefined
    );
    if (token === undefined || key === undefined) return undefined;
    if (typeof tls?.key !== "string" || typeof tls?.request !== "string") {
      return { tokenKey: token, privateKey: key };
    }
    return { tokenKey: token, privateKey: key, tls: { key: tls.key, request: tls.request } };
  } catch {
    return undefined;
  }
}

/** Only this user can read it, and it is on the disk when this returns. */
function writeNew(path: string, text: string): void {
  writeNewFile(path, text, { isDurable: true });
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
