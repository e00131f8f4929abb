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
const WORDS = /^(?:stderr|stdout|off|)$/i;
/** What stands before a path in `[Status] Listen`. */
const SOCKET = "unix:";

/** The value of a key that names a file, or may: relative to the folder of the file it stands in. */
export function pathBeside(file: string, value: string): string {
  if (WORDS.test(value)) return value;
  return value.startsWith(SOCKET)
    ? SOCKET + beside(file, value.slice(SOCKET.length))
    : beside(file, value);
}
