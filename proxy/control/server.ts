/**
 * The control socket: a Unix socket that only its owner can reach from the moment it exists.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import { type ControlTimeouts, serve } from "./connection.ts";
import type { ControlHandlers } from "./operations.ts";
import { prepareDirectory, socketPath } from "./socket_path.ts";

const log = getLogger(["wirestack", "control"]);

/** Another process answers at the socket of this name. */
export class NameInUseError extends Error {
  override readonly name = "NameInUseError";
}

/** Beyond these a connection is closed at once. */
export const MAX_CONNECTIONS = 16;

export class ControlServer {
  readonly path: string;
  readonly #listener: Deno.UnixListener;
  readonly #inode: number | null;
  #handlers: ControlHandlers | undefined;
  readonly #timeouts: ControlTimeouts | undefined;
  readonly #open = new Set<Deno.Conn>();
  #isClosed = false;

  /**
   * @param directory Made if it is missing, but not its parents.
   * @param handlers Missing: requests wait until {@link serve}.
   * @throws {NameInUseError} if another process listens there.
   * @throws {Error} of the system, if there can be no socket.
   */
  static async open(
    directory: string,
    name: string,
    handlers?: ControlHandlers,
    timeouts?: ControlTimeouts,
  ): Promise<ControlServer> {
    prepareDirectory(directory);
    const path = socketPath(directory, name);
    const { listener, inode } = await listen(directory, path);
    const server = new ControlServer(path, listener, inode, timeouts);
    if (handlers !== undefined) server.serve(handlers);
    return server;
  }

  private constructor(
    path: string,
    listener: Deno.UnixListener,
    inode: number | null,
    timeouts: ControlTimeouts | undefined,
  ) {
    this.path = path;
    this.#listener = listener;
    this.#inode = inode;
    this.#timeouts = timeouts;
  }

  /** Answers from now on, including clients that are waiting already. */
  serve(handlers: ControlHandlers): void {
    if (this.#handlers !== undefined || this.#isClosed) return;
    this.#handlers = handlers;
    this.#accept(handlers);
  }

  /**
   * Removes the socket, unless another process has put its own there, or the permission was given up:
   * the next gateway then replaces it. Idempotent.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#listener.close();
    for (const conn of this.#open) {
      try {
        conn.close();
      } catch { /* it is closed */ }
    }
    try {
      if (Deno.lstatSync(this.path).ino === this.#inode) Deno.removeSync(this.path);
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) {
        log.debug("{path} stays behind: the right to remove it is given up", { path: this.path });
      } else if (!(error instanceof Deno.errors.NotFound)) {
        log.warn("{path} stays behind: {error}", { path: this.path, error });
      }
    }
  }

  async #accept(handlers: ControlHandlers): Promise<void> {
    while (!this.#isClosed) {
      try {
        const conn = await this.#listener.accept();
        if (this.#open.size >= MAX_CONNECTIONS) {
          log.warn("{count} connections are open, refusing another", {
            count: this.#open.size,
          });
          conn.close();
          continue;
        }
        this.#open.add(conn);
        serve(conn, handlers, this.#timeouts).finally(() => this.#open.delete(conn));
      } catch (error) {
        if (this.#isClosed) return;
        log.warn("{error}", { error });
        await new Promise((resolve) => setTimeout(resolve, 100)); // no descriptor left, say
      }
    }
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

/**
 * A socket gets its mode from umask, which is the whole process's and takes a permission of its own.
 * So it is bound inside a directory that nobody else can enter, and moved out with its mode right.
 */
async function listen(directory: string, path: string) {
  const hidden = await Deno.makeTempDir({ dir: directory, prefix: ".ws-" }); // mode 0700
  const born = `${hidden}/sock`;
  try {
    const listener = Deno.listen({ transport: "unix", path: born });
    try {
      await Deno.chmod(born, 0o700);
      await place(born, path);
      return { listener, inode: (await Deno.lstat(path)).ino };
    } catch (error) {
      listener.close();
      throw error;
    }
  } finally {
    await Deno.remove(hidden, { recursive: true });
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
