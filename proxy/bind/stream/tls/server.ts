/**
 * TLS as the one who is connected to: many who come are strangers, and none of them may cost much.
 *
 * @module
 */

import { createServer, type Server, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { getLogger } from "../../../log/logger.ts";
import { BindError } from "../../bind.ts";
import type { Certificate } from "../../certificates/certificate.ts";
import type { Refusal } from "../../certificates/check.ts";
import { Farewell, farewellFrame, refusalOfServer } from "../farewell.ts";
import { Gate } from "./gate.ts";
import { limitKernelQueue } from "./kernel_queue.ts";
import { Refusals } from "./refusals.ts";
import { LOOK_MS, ServerTrust, type ServerTrustOptions } from "./server_trust.ts";
import { type Stranger, STRANGER_LIMITS, type StrangerLimits, Strangers } from "./strangers.ts";
import { handshakeProblem, PROTOCOL, type Secured, secured, TLS_VERSION } from "./secured.ts";

const log = getLogger(["wirestack", "relay"]);

/** How long a refused connection stays, for its end to be heard. */
const REFUSED_MS = 1_000;

/** What a refused connection may still bring, bytes. */
const MOST_DISCARDED = 256 << 10;

export interface TlsServerOptions extends ServerTrustOptions {
  /** An address of this host. */
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  /** ALPN, and who takes the connections that speak it. */
  readonly protocols: Readonly<Record<string, (secured: Secured) => void>>;
  /**
   * Tells somebody who is refused, and speaks a protocol that is none of frames, why. The connection
   * ends a second later.
   */
  readonly tellRefused?: (socket: TLSSocket, farewell: Farewell) => void;
  /** What to call it in lines of the log: `tls:0.0.0.0:443`. */
  readonly description: string;
  readonly limits?: Partial<StrangerLimits>;
  /** How often the files are looked at while somebody is there, ms. Default {@link LOOK_MS}. */
  readonly lookMs?: number;
}

export interface TlsServerCounters {
  /** Connections of TCP. */
  connections: number;
  /** Those that have shown a good certificate. */
  secured: number;
  /** Those that were refused for their certificate, or its lack. */
  refused: number;
  /** Those whose handshake came to nothing. */
  failed: number;
  /** Those that were let in, and had to go: their certificate would not be accepted any more. */
  expelled: number;
}

export class TlsServer {
  readonly counters: TlsServerCounters = {
    connections: 0,
    secured: 0,
    refused: 0,
    failed: 0,
    expelled: 0,
  };
  readonly #options: TlsServerOptions;
  readonly #trust: ServerTrust;
  readonly #server: Server;
  readonly #strangers: Strangers;
  readonly #refusals: Refusals;
  readonly #failures: Refusals;
  readonly #refusing: Refusals;
  #isClosed = false;

  private constructor(options: TlsServerOptions, trust: ServerTrust, server: Server) {
    const { limits = {}, description } = options;
    this.#options = options;
    this.#trust = trust;
    this.#server = server;
    this.#refusals = new Refusals(description);
    this.#failures = new Refusals(description);
    this.#refusing = new Refusals(description);
    this.#strangers = new Strangers(
      { ...STRANGER_LIMITS, ...limits },
      (from, reason) => {
        this.counters.failed++;
        this.#failures.say(from, reason);
      },
      (stranger, first) => this.#secure(stranger, first),
    );
    server.on("connection", (socket) => this.#connected(socket));
    server.on("error", (error) => {
      log.warn("{listener}: {error}", { listener: description, error: error.message });
    });
    trust.warnOfList();
  }

  /**
   * Listens.
   *
   * @throws {BindError} if the system does not give that port or address.
   * @throws {CertificateFileError} if a file is not what it should be.
   */
  static async start(options: TlsServerOptions): Promise<TlsServer> {
    const trust = new ServerTrust(options.description, options);
    const server = createServer({ noDelay: true });
    await listening(server, options);
    return new TlsServer(options, trust, server);
  }

  get lookMs(): number {
    return this.#options.lookMs ?? LOOK_MS;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : this.#options.port;
  }

  /** Connections that have not shown who they are. */
  get pending(): number {
    return this.#strangers.size;
  }

  /** Connections that had to go, for others to come. */
  get evicted(): number {
    return this.#strangers.evicted;
  }

  /** Called when files, or who is allowed, have changed: those who are there are looked at again. */
  set onChanged(run: () => void) {
    this.#trust.onChanged = run;
  }

  /** As {@link ServerTrust.reload}. Connections that there are stay. */
  reload(options: ServerTrustOptions): void {
    this.#trust.reload(options);
  }

  /** Files that have changed are read. */
  look(): void {
    this.#trust.look();
  }

  /** Why a client is not let in any more; undefined if it is. */
  refuse(certificate: Certificate): Refusal | undefined {
    return this.#trust.refuse(certificate);
  }

  /** Accepts nothing more. Connections that were handed over stay. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#strangers.close();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    // Node waits for all connections; Deno does not.
    await Promise.race([promise, new Promise((resolve) => setImmediate(resolve))]);
  }

  #connected(socket: Socket): void {
    this.counters.connections++;
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    this.#trust.lookSometimes();
    this.#strangers.add(socket);
  }

  #secure({ socket, from, over, fail }: Stranger, first: Uint8Array): void {
    limitKernelQueue(socket);
    const gate = new Gate(socket, first);
    const tls = new TLSSocket(gate as unknown as Socket, {
      isServer: true,
      secureContext: this.#trust.context,
      requestCert: true,
      // Looked at by #check(), which says what is wrong. Nothing is read before.
      rejectUnauthorized: false,
      ALPNProtocols: Object.keys(this.#options.protocols),
    } as object);
    setImmediate(() => gate.setOpen(true)); // when TLS has begun
    let isOver = false;
    const failed = (error: Error) => {
      if (isOver) return;
      isOver = true;
      fail(handshakeProblem(error));
    };
    tls.on("error", failed);
    gate.on("error", failed);
    tls.once("close", () => isOver = true);
    tls.once("secure", () => {
      if (isOver) return;
      isOver = true;
      over();
      this.#check(tls, gate, from);
    });
  }

  #check(socket: TLSSocket, gate: Gate, from: string): void {
    const found = this.#trust.check(socket);
    if (!("certificate" in found)) {
      this.#refuse(socket, from, found);
      return;
    }
    const { certificate, guest } = found;
    const take = this.#options.protocols[socket.alpnProtocol || ""];
    if (take === undefined || socket.getProtocol() !== TLS_VERSION) {
      const expected = Object.keys(this.#options.protocols).join(" or ");
      const reason = `it does not speak ${expected}`;
      this.#refuse(socket, from, { farewell: Farewell.OtherProtocol, reason });
      return;
    }
    this.counters.secured++;
    socket.once("data", (bytes: Uint8Array) => {
      const reason = refusalOfServer(bytes);
      if (reason === undefined) return;
      this.#refusing.sayRefusing(from, certificate.description, reason);
      socket.destroy();
    });
    take(secured(socket, gate, certificate, guest));
  }

  #refuse(socket: TLSSocket, from: string, { farewell, reason }: Refusal): void {
    this.counters.refused++;
    this.#refusals.say(from, reason);
    const timer = setTimeout(() => socket.destroy(), REFUSED_MS);
    socket.once("close", () => clearTimeout(timer));
    const { tellRefused, protocols } = this.#options;
    if (tellRefused !== undefined && (socket.alpnProtocol || "") in protocols) {
      tellRefused(socket, farewell);
      return;
    }
    // What has come is read, though not looked at: a connection with something unread ends in a reset,
    // and what was told is lost.
    let left = MOST_DISCARDED;
    socket.on("data", ({ length }) => (left -= length) < 0 && socket.destroy());
    // Who speaks our protocol, or none, is told why.
    if (socket.alpnProtocol === PROTOCOL || !socket.alpnProtocol) {
      socket.end(farewellFrame(farewell));
    } else socket.end();
  }
}

async function listening(server: Server, { hostname, port }: TlsServerOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ host: hostname, port, backlog: 511 }, resolve);
  try {
    await promise;
  } catch (error) {
    throw listenError(error as Error & { code?: string }, hostname, port);
  } finally {
    server.off("error", reject);
  }
}

function listenError(error: Error & { code?: string }, hostname: string, port: number): Error {
  const options = { cause: error };
  switch (error.code) {
    case "EADDRINUSE":
      return new BindError("port", `port ${port} is in use, expected a free TCP port`, options);
    case "EACCES":
      return new BindError(
        "port",
        `port ${port} is not permitted to this user, expected one from 1024`,
        options,
      );
    case "EADDRNOTAVAIL": {
      const message = `${hostname} is not an address of this host, expected one that is`;
      return new BindError("address", message, options);
    }
  }
  return error;
}
