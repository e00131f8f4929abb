/**
 * The token of `[Status] TokenFile`.
 *
 * @module
 */

/** Fewer characters can be tried out. */
const MIN_LENGTH = 16;
const MAX_BYTES = 4096;

/** Whether others than its owner and group may read it. */
export function isReadableByAll(path: string): boolean {
  try {
    return ((Deno.statSync(path).mode ?? 0) & 0o004) !== 0;
  } catch {
    return false;
  }
}

/**
 * @returns its first line. Nothing of it is ever shown.
 * @throws {TypeError} `what is wrong, what was expected`.
 */
export function readToken(path: string): string {
  let bytes: Uint8Array;
  try {
    // A pipe would be waited for, by the whole gateway, and a device may have no end.
    if (!Deno.statSync(path).isFile) throw new TypeError("is no file");
    bytes = Deno.readFileSync(path);
  } catch (error) {
    throw new TypeError(`${path}: ${(error as Error).message}, expected a file with a token`);
  }
  const token = bytes.length > MAX_BYTES ? "" : new TextDecoder().decode(bytes).trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new TypeError(`${path}: holds no token, expected one line of visible ASCII`);
  }
  if (token.length < MIN_LENGTH) {
    throw new TypeError(
      `${path}: the token has ${token.length} characters, expected ${MIN_LENGTH} or more`,
    );
  }
  return token;
}
