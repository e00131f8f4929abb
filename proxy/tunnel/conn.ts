/**
 * TCP connections inside the tunnel, in the shape of Deno's own.
 *
 * @module
 */

import type { IpAddress, TcpEndpoint, TcpError, TcpHandler } from "../../netstack/mod.ts";

const CHUNK = 65536;

/**
 * A TCP connection inside the tunnel, shaped like `Deno.TcpConn`.
 *
 * As there, `read` and `write` may move fewer bytes than asked for, and a closed connection rejects
 * with `Deno.errors.BadResource`. What `write` took is delivered however the connection is closed,
 * as long as the gateway runs or is being closed; {@link reset} alone breaks it off.
 */
export class TunnelConn implements Deno.Conn<Deno.NetAddr> {
  /** This end, inside the tunnel. */
  readonly localAddr: Deno.NetAddr;
  /** The other end: inside the tunnel, or as a header of the PROXY protocol has it. */
  readonly remoteAddr: Deno.NetAddr;
  readonly #endpoint: TcpEndpoint;
  readonly #waiters = new Waiters();
  #error: TcpError | undefined;
  #isOver = false;
  #isClosed = false;
  #isWriteClosed = false;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #writable: WritableStream<Uint8Array<ArrayBufferLike>> | undefined;

  /**
   * Made by `Wirestack.connect` and {@link TunnelListener}.
   *
   * @param onOver Called once nothing can come or go any more.
   * @param remoteAddr If another end is meant than the connection's own.
   */
  constructor(
    endpoint: TcpEndpoint,
    onOver?: (conn: TunnelConn) => void,
    remoteAddr: Deno.NetAddr = netAddr("tcp", endpoint.remote, endpoint.remotePort),
  ) {
    this.#endpoint = endpoint;
    this.localAddr = netAddr("tcp", endpoint.local, endpoint.localPort);
    this.remoteAddr = remoteAddr;
    const waiters = this.#waiters;
    const handler: TcpHandler = {
      connected: () => waiters.wake(),
      readable: () => waiters.wake(),
      writable: () => waiters.wake(),
      broken: (error) => {
        this.#error = error;
        waiters.wake();
      },
      closed: (error) => {
        this.#isOver = true;
        this.#error = error;
        waiters.wake();
        onOver?.(this);
      },
    };
    endpoint.handler = handler;
  }

  /** @internal Resolves when the handshake is complete. */
  async connected(signal?: AbortSignal): Promise<void> {
    const abort = () => {
      this.#endpoint.abort();
      this.#waiters.wake();
    };
    signal?.addEventListener("abort", abort);
    try {
      while (this.#endpoint.state === "syn-sent" || this.#endpoint.state === "syn-received") {
        await this.#waiters.wait();
        signal?.throwIfAborted();
      }
      if (this.#isClosed) throw new Deno.errors.ConnectionAborted("the gateway is closing");
      if (this.#error !== undefined) throw this.#failure("connect");
      if (this.#isOver) throw new Deno.errors.ConnectionAborted("the gateway is closing");
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /**
   * Reads at least one byte into `into`.
   *
   * @returns how many, or null at the end of file.
   */
  async read(into: Uint8Array): Promise<number | null> {
    checkBytes("read", into);
    for (;;) {
      if (into.length === 0) return 0; // from the start, or given to somebody else meanwhile
      this.#checkOpen();
      const length = this.#endpoint.read(into, 0, into.length);
      if (length > 0) return length;
      if (this.#error !== undefined) throw this.#failure("read");
      if (this.#endpoint.endOfFile || this.#isOver) return null;
      await this.#waiters.wait();
    }
  }

  /**
   * Writes at least one byte of `from`; they are copied.
   *
   * @returns how many.
   */
  async write(from: Uint8Array): Promise<number> {
    checkBytes("write", from);
    for (;;) {
      this.#checkOpen();
      if (this.#error !== undefined) throw this.#failure("write");
      if (this.#isWriteClosed || this.#isOver) throw new Deno.errors.BrokenPipe("write: closed");
      const length = this.#endpoint.write(from, 0, from.length);
      if (length > 0 || from.length === 0) return length;
      await this.#waiters.wait();
    }
  }

  /** Sends FIN after what was written. Reading goes on. */
  // deno-lint-ignore require-await -- the shape of Deno.Conn
  async closeWrite(): Promise<void> {
    this.#checkOpen();
    this.#isWriteClosed = true;
    this.#endpoint.shutdownWrite();
  }

  /** Sends FIN after what was written, and reads no more: unread bytes are discarded. */
  close(): void {
    this.#checkOpen();
    this.#isClosed = true;
    if (!this.#isOver) this.#endpoint.close({ lingering: true });
    this.#waiters.wake();
  }

  /** Sends RST: the other side sees that the connection was broken off. */
  reset(): void {
    this.#checkOpen();
    this.#isClosed = true;
    if (!this.#isOver) this.#endpoint.abort();
    this.#waiters.wake();
  }

  /** The end of the stream is the end of file; cancelling it closes the connection. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#readable ??= new ReadableStream<Uint8Array<ArrayBuffer>>({
      type: "bytes",
      autoAllocateChunkSize: CHUNK,
      pull: async (controller) => {
        const request = (controller as ReadableByteStreamController).byobRequest!;
        const view = request.view as Uint8Array<ArrayBuffer>;
        const length = await this.read(view);
        if (length !== null) {
          request.respond(length);
          return;
        }
        controller.close();
        request.respond(0);
        if (this.#isWriteClosed) this.#tryClose();
      },
      cancel: () => this.#tryClose(),
    }, { highWaterMark: 0 });
    return this.#readable;
  }

  /**
   * Closing the stream sends FIN, and reading goes on. Aborting it closes the connection, as for
   * `Deno.TcpConn`: what was written is delivered, and the other side sees its end.
   */
  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    this.#writable ??= new WritableStream<Uint8Array<ArrayBufferLike>>({
      write: async (chunk) => {
        checkBytes("write", chunk);
        for (let sent = 0; sent < chunk.length;) sent += await this.write(chunk.subarray(sent));
      },
      close: async () => {
        if (this.#isClosed) return;
        await this.closeWrite();
        if (this.#endpoint.endOfFile) this.#tryClose();
      },
      abort: () => this.#tryClose(),
    });
    return this.#writable;
  }

  /** Whether small segments go at once; if not, one at a time (Nagle). */
  setNoDelay(on = true): void {
    this.#endpoint.setNoDelay(on);
  }

  /** Probes a silent peer after a minute, nine times half a minute apart. */
  setKeepAlive(on = true): void {
    this.#endpoint.setKeepAlive(on ? { idle: 60_000, interval: 30_000, count: 9 } : undefined);
  }

  /** The gateway's socket keeps the program running, not a connection: no effect. */
  ref(): void {}
  /** As {@link ref}: no effect. */
  unref(): void {}

  /** {@link close}, unless that was done. */
  [Symbol.dispose](): void {
    this.#tryClose();
  }

  #tryClose(): void {
    if (!this.#isClosed) this.close();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new Deno.errors.BadResource("the connection is closed");
  }

  #failure(operation: string): Error {
    const { kind, message } = this.#error!;
    return new ERRORS[kind](`${operation}: ${message}`);
  }
}

const ERRORS = {
  refused: Deno.errors.ConnectionRefused,
  reset: Deno.errors.ConnectionReset,
  timeout: Deno.errors.TimedOut,
  unreachable: Deno.errors.NetworkUnreachable,
  aborted: Deno.errors.ConnectionAborted,
  memory: Deno.errors.ConnectionAborted,
} satisfies Record<TcpError["kind"], new (message: string) => Error>;

/** @internal Callers that wait for the next event, and then check again for themselves. */
export class Waiters {
  #next: PromiseWithResolvers<void> | undefined;

  wait(): Promise<void> {
    this.#next ??= Promise.withResolvers();
    return this.#next.promise;
  }

  wake(): void {
    const next = this.#next;
    this.#next = undefined;
    next?.resolve();
  }
}

/** @internal */
export function netAddr(
  transport: "tcp" | "udp",
  address: IpAddress,
  port: number,
): Deno.NetAddr {
  return { transport, hostname: address.toString(), port };
}

/** @throws {TypeError} for text and the like, of which a length would be sent, but no bytes. */
export function checkBytes(operation: string, bytes: unknown): void {
  if (bytes instanceof Uint8Array) return;
  const got = bytes === null ? "null" : typeof bytes;
  throw new TypeError(`${operation}: expected bytes (Uint8Array), got ${got}`);
}
