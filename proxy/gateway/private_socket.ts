/**
 * A Unix socket that only its owner can reach, from the moment it exists.
 *
 * @module
 */

/** Another process answers at the socket of this name. */
export class NameInUseError extends Error {
  override readonly name = "NameInUseError";
}

/**
 * A socket gets its mode from umask, which is the whole process's and takes a permission of its own.
 * So it is bound inside a directory that nobody else can enter, and moved out with its mode right.
 * One that a dead process has left is replaced.
 *
 * @param listen Binds the path that it is given.
 * @param close Undoes that.
 * @throws {NameInUseError} if another process listens at `path`.
 * @throws {Error} of the system.
 */
export async function listenPrivately<Listener>(
  path: string,
  mode: number,
  listen: (path: string) => Listener | Promise<Listener>,
  close: (listener: Listener) => void,
): Promise<{ readonly listener: Listener; readonly inode: number | null }> {
  const directory = path.replace(/[^/]*$/, "") || ".";
  const hidden = await Deno.makeTempDir({ dir: directory, prefix: ".ws-" }); // mode 0700
  const born = `${hidden}/sock`;
  try {
    const listener = await listen(born);
    try {
      await Deno.chmod(born, mode);
      await place(born, path);
      return { listener, inode: (await Deno.lstat(path)).ino };
    } catch (error) {
      close(listener);
      throw error;
    }
  } finally {
    await Deno.remove(hidden, { recursive: true });
  }
}

/** Whether a process answers. A socket that cannot be reached for another reason counts as alive. */
export async function isAlive(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (error) {
    return !(error instanceof Deno.errors.ConnectionRefused ||
      error instanceof Deno.errors.NotFound);
  }
}

/** Gives the socket its name, which must be free or a dead process's. */
async function place(born: string, path: string): Promise<void> {
  try {
    await Deno.link(born, path);
    return;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  if (!(await Deno.lstat(path)).isSocket) {
    throw new Deno.errors.AlreadyExists(`${path} is there and is no socket`);
  }
  if (await isAlive(path)) throw new NameInUseError(`${path} is another process's`);
  await Deno.remove(path);
  await Deno.link(born, path);
}
