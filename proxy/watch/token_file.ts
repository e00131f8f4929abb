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
    if (!Deno.statSync(path).isFile) throw new NoFileError("is no file");
    bytes = Deno.readFileSync(path);
  } catch (error) {
    throw new TypeError(`${path}: ${whyUnreadable(error)}, expected a file with a token`);
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

/** As of other files: the system's own text says the name twice. */
function whyUnreadable(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.NotCapable) return "not covered by --allow-read";
  if (error instanceof NoFileError) return error.message;
  return `cannot be read (${(error as Error).message})`;
}

class NoFileError extends Error {}
