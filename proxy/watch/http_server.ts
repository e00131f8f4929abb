/**
 * An HTTP server for a few questions, that nobody can occupy: its connections, the size of a request's
 * head and the time for it are bounded, and who has never asked anything gives way to whoever does.
 *
 * `node:http`, since `Deno.serve` waits for a slow head for ever and has no bound on connections.
 *
 * @module
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";

export interface HttpLimits {
  readonly connections: number;
  /** Of a request's line and headers. */
  readonly headBytes: number;
  /** For them to arrive. */
  readonly headMs: number;
  /** For an answer to be taken. */
  readonly answerMs: number;
  /** Between two requests of a connection. */
  readonly idleMs: number;
}

export const HTTP_LIMITS: HttpLimits = {
  connections: 64,
  headBytes: 8 << 10,
  headMs: 5_000,
  answerMs: 10_000,
  idleMs: 60_000,
};

/** What is answered. A status of 400 and above ends the connection. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly host: string | undefined;
  readonly authorization: string | undefined;
}

export class HttpServer {
  readonly #server: Server;
  readonly #limits: HttpLimits;
  /** In the order in which they came, and whether they have been given an answer that was no refusal. */
  readonly #connections = new Map<Socket, { isServed: boolean }>();
  /** Connections that were closed to make room. */
  displaced = 0;

  /** @param answer Must not throw, nor reject. */
  constructor(
    answer: (request: HttpRequest) => Answer | Promise<Answer>,
    limits: HttpLimits = HTTP_LIMITS,
  ) {
    this.#limits = limits;
    const { headBytes, headMs, idleMs } = limits;
    this.#server = createServer({
      maxHeaderSize: headBytes,
      headersTimeout: headMs,
      requestTimeout: headMs,
      connectionsCheckingInterval: Math.ceil(headMs / 5),
      keepAliveTimeout: idleMs,
    }, (request, response) => this.#respond(request, response, answer));
    this.#server.on("connection", (socket: Socket) => this.#connected(socket));
    this.#server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
      if (error.code === "HPE_HEADER_OVERFLOW" && socket.writable) {
        socket.end("HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n");
      } else socket.destroy();
    });
  }

  get connections(): number {
    return this.#connections.size;
  }

  /**
   * @param where A path, or an address.
   * @returns the port; 0 for a path.
   * @throws {Error} of the system, with its `code`.
   */
  listen(where: { path: string } | { host: string; port: number }): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(where, () => {
        this.#server.removeListener("error", reject);
        this.#server.on("error", () => {}); // a connection that could not be accepted
        const address = this.#server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
  }

  /** Ends all of it at once. Idempotent. */
  close(): void {
    this.#server.close();
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #connected(socket: Socket): void {
    while (this.#connections.size >= this.#limits.connections) this.#displace();
    this.#connections.set(socket, { isServed: false });
    socket.on("close", () => this.#connections.delete(socket));
    socket.on("error", () => socket.destroy());
  }

  /** The oldest that has never been served, or else the oldest. */
  #displace(): void {
    let oldest: Socket | undefined;
    for (const [socket, { isServed }] of this.#connections) {
      oldest ??= socket;
      if (isServed) continue;
      oldest = socket;
      break;
    }
    this.#connections.delete(oldest!);
    oldest!.destroy();
    this.displaced++;
  }

  async #respond(
    request: IncomingMessage,
    response: ServerResponse,
    answer: (request: HttpRequest) => Answer | Promise<Answer>,
  ): Promise<void> {
    const { socket, headers } = request;
    // RFC 9112 §3.2.2: a target may be a whole URI, whose host then counts.
    const [, authority, rest = request.url ?? ""] =
      /^http:\/\/([^/?#]*)(.*)$/is.exec(request.url ?? "") ?? [];
    // RFC 9112 §3.2: two of them are for two readers, a proxy in front of this server for one.
    const hosts = request.rawHeaders.filter((name, i) => i % 2 === 0 && /^host$/i.test(name));
    const host = hosts.length > 1 ? undefined : authority ?? headers.host;
    const { status, type, text, headers: more } = await answer({
      method: request.method ?? "",
      path: rest.replace(/\?.*$/s, "") || "/",
      host,
      authorization: headers.authorization,
    });
    const connection = this.#connections.get(socket);
    const stays = status < 400 || status === 503;
    if (stays && connection !== undefined) connection.isServed = true;
    const timer = setTimeout(() => socket.destroy(), this.#limits.answerMs);
    response.on("close", () => clearTimeout(timer));
    response.writeHead(status, {
      "Content-Type": type,
      "Content-Length": Buffer.byteLength(text),
      "Cache-Control": "no-store",
      ...more,
      ...(!stays && { "Connection": "close" }),
    });
    response.end(request.method === "HEAD" ? undefined : text);
  }
}
