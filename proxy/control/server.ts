/**
 * The control socket: a Unix socket that only its owner can reach from the moment it exists.
 *
 * @module
 */

import { listenPrivately } from "../gateway/private_socket.ts";
import { getLogger } from "../log/logger.ts";
import { type ControlTimeouts, serve } from "./connection.ts";
import type { ControlHandlers } from "./operations.ts";
import { prepareDirectory, socketPath } from "./socket_path.ts";

export { isAlive, NameInUseError } from "../gateway/private_socket.ts";

const log = getLogger(["wirestack", "control"]);

/** Beyond these a connection is closed at once. */
export const MAX_CONNECTIONS = 16;

export class ControlServer {
  readonly path: string;
  readonly #listener: Deno.UnixListener;
  readonly #inode: number | null;
  #handlers: ControlHandlers | undefined;
  readonly #timeouts: ControlTimeouts | undefined;
  readonly #open = new Set<Deno.Conn>();
  readonly #directory: string;
  /** A descriptor for one connection when there is no other: who looks why nothing works gets an answer. */
  #spare: Deno.FsFile | undefined;
  #isFull = false;
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
    const { listener, inode } = await listenPrivately(
      path,
      0o700,
      (path) => Deno.listen({ transport: "unix", path }),
      (listener) => listener.close(),
    );
    const server = new ControlServer(directory, path, listener, inode, timeouts);
    if (handlers !== undefined) server.serve(handlers);
    return server;
  }

  private constructor(
    directory: string,
    path: string,
    listener: Deno.UnixListener,
    inode: number | null,
    timeouts: ControlTimeouts | undefined,
  ) {
    this.#directory = directory;
    this.path = path;
    this.#listener = listener;
    this.#inode = inode;
    this.#timeouts = timeouts;
  }

  /** Answers from now on, including clients that are waiting already. */
  serve(handlers: ControlHandlers): void {
    if (this.#handlers !== undefined || this.#isClosed) return;
    this.#handlers = handlers;
    this.#keepSpare();
    this.#accept(handlers);
  }

  /**
   * Removes the socket, unless another process has put its own there, or the permission was given up:
   * the next gateway then replaces it. Idempotent.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#giveSpare();
    this.#listener.close();
    for (const conn of this.#open) {
      try {
        conn.close();
      } catch { /* it is closed */ }
    }
    try {
      if (Deno.lstatSync(this.path).ino === this.#inode) Deno.removeSync(this.path);
    } catch (error) {
      if (
        error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied
      ) {
        log.debug("{path} stays behind: the right to remove it is given up", { path: this.path });
      } else if (!(error instanceof Deno.errors.NotFound)) {
        log.warn("{path} stays behind: {error}", { path: this.path, error });
      }
    }
  }

  async #accept(handlers: ControlHandlers): Promise<void> {
    let isFailing = false;
    while (!this.#isClosed) {
      try {
        const conn = await this.#listener.accept();
        if (this.#spare !== undefined) isFailing = false;
        if (this.#open.size >= MAX_CONNECTIONS) {
          // Said once until there is room again: who does not stop asking would fill the log.
          if (!this.#isFull) {
            log.warn("{count} connections are open, refusing another", {
              count: this.#open.size,
            });
          }
          this.#isFull = true;
          conn.close();
          continue;
        }
        this.#isFull = false;
        this.#open.add(conn);
        serve(conn, handlers, this.#timeouts).finally(() => {
          this.#open.delete(conn);
          this.#keepSpare();
        });
      } catch (error) {
        if (this.#isClosed) return;
        if (this.#giveSpare()) continue; // no descriptor left, most likely
        if (!isFailing) log.warn("{error}", { error }); // once: it may be so for long
        isFailing = true;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  #keepSpare(): void {
    if (this.#spare !== undefined || this.#isClosed) return;
    try {
      this.#spare = Deno.openSync(this.#directory);
    } catch { /* there is none; the next connection's end tries again */ }
  }

  /** @returns whether there was one. */
  #giveSpare(): boolean {
    const spare = this.#spare;
    this.#spare = undefined;
    spare?.close();
    return spare !== undefined;
  }
}
