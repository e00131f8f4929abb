/**
 * Changes a file atomically: other readers see all of the change or nothing.
 *
 * @module
 */

import { ConfigError } from "../config/error.ts";

/** A file that this process alone is changing. */
export class FileEdit implements Disposable {
  /** Symbolic links followed: a link stays one. */
  readonly path: string;
  readonly #next: string;

  private constructor(path: string) {
    this.path = path;
    this.#next = path.replace(/[^/]*$/, (name) => `.${name}.wirestack-new`);
  }

  /**
   * Keeps other edits of the same file out until it is disposed.
   *
   * @throws {ConfigError} if the file is not there, or cannot be changed now.
   */
  static begin(file: string): FileEdit {
    let edit: FileEdit | undefined;
    try {
      edit = new FileEdit(Deno.realPathSync(file));
      // Nobody else may read it, whatever the umask is: it gets the old one's mode when it is whole.
      Deno.openSync(edit.#next, { write: true, createNew: true, mode: 0o600 }).close();
      return edit;
    } catch (error) {
      throw new ConfigError([`${file}: ${whyNot(error, edit && edit.#next)}`]);
    }
  }

  /** Replaces the file. Mode and owner stay. */
  replace(text: string): void {
    this.write(text);
    this.commit();
  }

  /** Writes what {@link commit} puts in the file's place: with several files, all before the first. */
  write(text: string): void {
    const { mode, uid, gid } = Deno.statSync(this.path);
    const file = Deno.openSync(this.#next, { write: true, truncate: true });
    try {
      const bytes = new TextEncoder().encode(text);
      for (let sent = 0; sent < bytes.length;) sent += file.writeSync(bytes.subarray(sent));
      file.syncSync();
    } finally {
      file.close();
    }
    this.#giveTo(uid, gid, mode ?? 0o600);
    if (mode !== null) Deno.chmodSync(this.#next, mode & 0o7777);
  }

  /** The file is what was written last. */
  commit(): void {
    Deno.renameSync(this.#next, this.path);
  }

  #giveTo(uid: number | null, gid: number | null, mode: number): void {
    const now = Deno.statSync(this.#next);
    if (uid === null || uid === now.uid && gid === now.gid) return;
    try {
      Deno.chownSync(this.#next, uid, gid);
    } catch (error) {
      // Where nobody but the owner has any right, the group means nothing.
      if (uid === now.uid && (mode & 0o077) === 0) return;
      throw new Error(
        `owner ${uid} and group ${gid} are not this user's to give, expected to be run by its owner, ` +
          `a member of that group`,
        { cause: error },
      );
    }
  }

  [Symbol.dispose](): void {
    try {
      Deno.removeSync(this.#next);
    } catch { /* it is the file now */ }
  }
}

function whyNot(error: unknown, next: string | undefined): string {
  if (error instanceof Deno.errors.NotFound) return "no such file, expected a wg-quick file";
  if (error instanceof Deno.errors.AlreadyExists) {
    return `somebody else is changing it, expected nobody (if that is long over, remove ${next})`;
  }
  if (error instanceof Deno.errors.NotCapable) {
    return "its folder is not covered by --allow-write, expected it to be";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "its folder is not writable, expected to be allowed to change it";
  }
  return error instanceof Error ? error.message : String(error);
}
