/**
 * An HTTP server for a few questions, that nobody can occupy: its connections, the size of a request's
 * head and the time for it are bounded, who has never asked anything gives way to whoever does, and who
 * asks on without waiting is answered one request at a time.
 *
 * Over `node:net`: `Deno.serve` waits for a slow head for ever and has no bound on connections, and
 * `node:http` takes all that a connection has sent, thousands of requests, before anybody has a turn.
 *
 * @module
 */

import { createServer, type Server, type Socket } from "node:net";
import { type HttpHead, parseHttpHead } from "./http_head.ts";

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

/** What is answered. A status of 400 and above, but for 503, ends the connection. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export type HttpRequest = Omit<HttpHead, "isLast">;

/** How long who has been answered for the last time may take to notice, ms. */
const LINGER_MS = 1_000;
/** What may be read from it meanwhile, to be thrown away: with it unread the answer would be lost. */
const LINGER_BYTES = 256 << 10;
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  405: "Method Not Allowed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  503: "Service Unavailable",
};

interface Connection {
  readonly socket: Socket;
  /** What has come and has no answer yet: a head and a read or two at most. */
  input: Buffer;
  /** Whether it has been given an answer that was no refusal. */
  isServed: boolean;
  /** `asking` until there is a head, `answered` while there is an answer to be taken. */
  state: "asking" | "answered" | "over";
  /** The other side has sent all that it will. */
  hasEnded: boolean;
  discarded: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export class HttpServer {
  readonly #server: Server;
  readonly #limits: HttpLimits;
  readonly #answer: (request: HttpRequest) => Answer | Promise<Answer>;
  /** In the order in which they came. */
  readonly #connections = new Set<Connection>();
  /** Connections that were closed to make room. */
  displaced = 0;

  /** @param answer Must not throw, nor reject. */
  constructor(
    answer: (request: HttpRequest) => Answer | Promise<Answer>,
    limits: HttpLimits = HTTP_LIMITS,
  ) {
    this.#answer = answer;
    this.#limits = limits;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#connected(socket));
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
    for (const { socket } of this.#connections) socket.destroy();
  }

  #connected(socket: Socket): void {
    while (this.#connections.size >= this.#limits.connections) this.#displace();
    const connection: Connection = {
      socket,
      input: Buffer.alloc(0),
      isServed: false,
      state: "asking",
      hasEnded: false,
      discarded: 0,
      timer: undefined,
    };
    this.#connections.add(connection);
    this.#giveTime(connection, this.#limits.headMs);
    socket.on("data", (bytes: Buffer) => this.#received(connection, bytes));
    socket.on("end", () => {
      connection.hasEnded = true;
      if (connection.state === "over") socket.destroySoon();
      else this.#look(connection);
    });
    socket.on("close", () => {
      clearTimeout(connection.timer);
      this.#connections.delete(connection);
    });
    socket.on("error", () => socket.destroy());
  }

  /** The oldest that neither has been served nor is being answered, or else the oldest. */
  #displace(): void {
    let oldest: Connection | undefined;
    for (const connection of this.#connections) {
      oldest ??= connection;
      if (connection.isServed || connection.state === "answered") continue;
      oldest = connection;
      break;
    }
    this.#connections.delete(oldest!);
    oldest!.socket.destroy();
    this.displaced++;
  }

  /** Ends a connection that is in the same state for longer. */
  #giveTime(connection: Connection, ms: number): void {
    clearTimeout(connection.timer);
    connection.timer = setTimeout(() => connection.socket.destroy(), ms);
  }

  #received(connection: Connection, bytes: Buffer): void {
    if (connection.state === "over") {
      connection.discarded += bytes.length;
      if (connection.discarded > LINGER_BYTES) connection.socket.destroy();
      return;
    }
    const isFirst = connection.state === "asking" && connection.input.length === 0;
    if (isFirst && connection.isServed) this.#giveTime(connection, this.#limits.headMs);
    connection.input = Buffer.concat([connection.input, bytes]);
    this.#look(connection);
  }

  /** Answers the next request, if all of its head is there and nobody is being answered. */
  #look(connection: Connection): void {
    if (connection.state !== "asking") return;
    const { headBytes } = this.#limits;
    // RFC 9112 §2.2: an empty line in front is passed over.
    const { input: all } = connection;
    const input = all.subarray(0, 2).equals(CRLF) ? all.subarray(2) : all;
    const end = input.subarray(0, headBytes).indexOf("\r\n\r\n");
    if (end < 0) {
      if (input.length >= headBytes) this.#send(connection, refusal(431), true);
      else if (connection.hasEnded) connection.socket.destroy();
      return;
    }
    connection.input = input.subarray(end + 4);
    const head = parseHttpHead(input.toString("latin1", 0, end));
    if (head === undefined) this.#send(connection, refusal(400), true);
    else this.#respond(connection, head);
  }

  /** There is an answer to be made, or taken. What comes meanwhile waits where it costs nothing. */
  #hold(connection: Connection): void {
    connection.state = "answered";
    connection.socket.pause();
  }

  async #respond(connection: Connection, { isLast, ...request }: HttpHead): Promise<void> {
    this.#hold(connection);
    clearTimeout(connection.timer);
    const answer = await this.#answer(request);
    const stays = answer.status < 400 || answer.status === 503;
    if (stays) connection.isServed = true;
    this.#send(connection, answer, !stays || isLast, request.method === "HEAD");
  }

  #send(
    connection: Connection,
    { status, type, text, headers }: Answer,
    isLast: boolean,
    isHead = false,
  ): void {
    const { socket } = connection;
    if (socket.destroyed) return;
    this.#hold(connection);
    const fields = {
      "Content-Type": type,
      "Content-Length": Buffer.byteLength(text),
      "Cache-Control": "no-store",
      "Date": new Date().toUTCString(),
      ...headers,
      ...(isLast && { "Connection": "close" }),
    };
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    const head = `HTTP/1.1 ${status} ${REASONS[status] ?? ""}\r\n${lines.join("")}\r\n`;
    this.#giveTime(connection, this.#limits.answerMs);
    socket.write(isHead ? head : head + text, () => this.#sent(connection, isLast));
  }

  #sent(connection: Connection, isLast: boolean): void {
    const { socket } = connection;
    if (socket.destroyed) return;
    socket.resume();
    if (isLast) {
      connection.state = "over";
      this.#giveTime(connection, LINGER_MS);
      socket.end();
      if (connection.hasEnded) socket.destroySoon();
      return;
    }
    connection.state = "asking";
    const isAsking = connection.input.length > 0;
    this.#giveTime(connection, isAsking ? this.#limits.headMs : this.#limits.idleMs);
    // Others have their turn before the next of many that came at once.
    if (isAsking || connection.hasEnded) setImmediate(() => this.#look(connection));
  }
}

const CRLF = Buffer.from("\r\n");

function refusal(status: 400 | 431): Answer {
  return { status, type: "text/plain; charset=utf-8", text: `${REASONS[status]}\n` };
}
