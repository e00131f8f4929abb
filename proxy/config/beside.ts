/**
 * Paths that stand in a file.
 *
 * @module
 */

/** A name that stands in a file: relative to that file's folder. */
export function beside(file: string, name: string): string {
  if (name.startsWith("/") || !file.includes("/") || /^\/(?:dev|proc)\//.test(file)) return name;
  return file.replace(/[^/]*$/, "") + name;
}

/** Values of keys that name files, and are no paths. */
const NO_PATHS = /^(?:stderr|stdout|off|-|(?:tcp|udp|https?):.*|)$/i;
/** What stands before the path of a socket. */
const SOCKET = /^unix(?:gram)?:/;

/** The value of a key that names a file, or may: relative to the folder of the file it stands in. */
export function pathBeside(file: string, value: string): string {
  if (NO_PATHS.test(value)) return value;
  const scheme = SOCKET.exec(value)?.[0] ?? "";
  return scheme + beside(file, value.slice(scheme.length));
}

/** Whether it is the place of a socket with a path. */
export function isSocketPath(value: string): boolean {
  return SOCKET.test(value);
}
