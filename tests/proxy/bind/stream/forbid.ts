/**
 * Files that may not be read, in one process. Under another user, by the system: tests/e2e.
 *
 * @module
 */

/** Until it is disposed of, that is what the system says of these. */
export function forbid(...paths: string[]): Disposable {
  const { readTextFileSync } = Deno;
  Deno.readTextFileSync = (path) => {
    if (paths.includes(`${path}`)) throw new Deno.errors.PermissionDenied(`${path}`);
    return readTextFileSync(path);
  };
  return { [Symbol.dispose]: () => void (Deno.readTextFileSync = readTextFileSync) };
}

/** The same where the folder that they are in may not be looked into either. */
export function hide(...paths: string[]): Disposable {
  const { statSync } = Deno;
  const forbidden = forbid(...paths);
  Deno.statSync = (path) => {
    if (paths.includes(`${path}`)) throw new Deno.errors.PermissionDenied(`${path}`);
    return statSync(path);
  };
  return {
    [Symbol.dispose]() {
      forbidden[Symbol.dispose]();
      Deno.statSync = statSync;
    },
  };
}
