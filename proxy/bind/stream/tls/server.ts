/**
 * TLS as the one who is connected to: many who come are strangers, and none of them may cost much.
 *
 * @module
 */

import { createServer, type Server, type Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { getLogger } from "../../../log/logger.ts";
import { BindError } from "../../bind.ts";
import { type Certificate } from "../../certificates/certificate.ts";
import { type Refusal, refuseClient } from "../../certificates/check.ts";
import { Farewell, farewellFrame } from "../farewell.ts";
import { fingerprint, readServerFiles, type ServerFiles, type ServerIdentity } from "./files.ts";
import { Gate } from "./gate.ts";
import { limitKernelQueue } from "./kernel_queue.ts";
import { Reading } from "./reading.ts";
import { Refusals } from "./refusals.ts";
import { type Stranger, STRANGER_LIMITS, type StrangerLimits, Strangers } from "./strangers.ts";
import {
  certificateOf,
  handshakeProblem,
  PROTOCOL,
  type Secured,
  secured,
  TLS_VERSION,
} from "./secured.ts";

const log = getLogger(["wirestack", "relay"]);

/** How often the files are looked at, when somebody comes. */
const LOOK_MS = 10_000;
/** How long a refused connection stays, for its end to be heard. */
const REFUSED_MS = 1_000;

/** What a refused connection may still bring, bytes. */
const MOST_DISCARDED = 256 << 10;

/** Who is let in, beside having a certificate of the authority. */
export type AllowedClients = readonly (string | Uint8Array)[];

export interface TlsServerOptions extends ServerFiles {
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
  readonly allowed: AllowedClients;
  readonly limits?: Partial<StrangerLimits>;
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
}

export class TlsServer {
  readonly counters: TlsServerCounters = { connections: 0, secured: 0, refused: 0, failed: 0 };
  #options: TlsServerOptions;
  readonly #server: Server;
  readonly #strangers: Strangers;
  readonly #refusals: Refusals;
  readonly #failures: Refusals;
  #reading: Reading;
  #identity: ServerIdentity;
  #context: SecureContext;
  #fingerprint: string;
  #lookedAt = performance.now();
  #isClosed = false;
  /** Called when files, or who is allowed, have changed: those who are there are looked at again. */
  onChanged: () => void = () => {};

  private constructor(
    options: TlsServerOptions,
    server: Server,
    identity: ServerIdentity,
    reading: Reading,
    print: string,
  ) {
    const { limits = {}, description } = options;
    this.#options = options;
    this.#server = server;
    this.#reading = reading;
    this.#identity = identity;
    this.#context = contextOf(identity);
    this.#fingerprint = print;
    this.#refusals = new Refusals(description);
    this.#failures = new Refusals(description);
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
    warnOfList(description, identity);
  }

  /**
   * Listens.
   *
   * @throws {BindError} if the system does not give that port or address.
   * @throws {CertificateFileError} if a file is not what it should be.
   */
  static async start(options: TlsServerOptions): Promise<TlsServer> {
    const print = fingerprint(pathsOf(options));
    const reading = new Reading();
    const identity = readServerFiles(options, reading);
    const server = createServer({ noDelay: true });
    await listening(server, options);
    return new TlsServer(options, server, identity, reading, print);
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

  /**
   * Takes other files, or the same again. Connections that there are stay. Of those that it may not read
   * any more it keeps what it has, and says so.
   *
   * @throws {CertificateFileError} if one is not what it should be; then nothing has changed.
   */
  reload(options: ServerFiles & { readonly allowed: AllowedClients }): void {
    const print = fingerprint(pathsOf(options));
    const reading = this.#reading.again();
    const identity = readServerFiles(options, reading);
    this.#options = { ...this.#options, crlPath: undefined, ...options };
    this.#use(identity, reading, print);
  }

  /** Why a client is not let in any more; undefined if it is. */
  refuse(certificate: Certificate): Refusal | undefined {
    return refuseClient(certificate, undefined, this.#rules, new Date());
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

  get #rules() {
    const { authorities, revoked } = this.#identity;
    return { authorities, revoked, allowed: this.#options.allowed };
  }

  #use(identity: ServerIdentity, reading: Reading, print: string): void {
    this.#reading = reading;
    this.#identity = identity;
    this.#context = contextOf(identity);
    this.#fingerprint = print;
    warnOfList(this.#options.description, identity);
    if (reading.kept !== undefined) this.#stay(reading.kept);
    this.onChanged();
  }

  #stay({ message }: Error): void {
    log.warn("{listener}: certificates stay as they were: {error}", {
      listener: this.#options.description,
      error: message,
    });
  }

  /** Files that have changed are read, for whoever comes next. */
  #look(): void {
    if (performance.now() - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = performance.now();
    try {
      const print = fingerprint(pathsOf(this.#options));
      if (print !== this.#fingerprint) {
        this.#fingerprint = print; // a file that is wrong is said to be once
        const reading = this.#reading.again();
        this.#use(readServerFiles(this.#options, reading), reading, print);
        if (reading.kept !== undefined) return;
        log.info("{listener}: certificates have changed, and were read again", {
          listener: this.#options.description,
        });
      }
    } catch (error) {
      this.#stay(error as Error);
    }
  }

  #connected(socket: Socket): void {
    this.counters.connections++;
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    this.#look();
    this.#strangers.add(socket);
  }

  #secure({ socket, from, over, fail }: Stranger, first: Uint8Array): void {
    limitKernelQueue(socket);
    const gate = new Gate(socket, first);
    const tls = new TLSSocket(gate as unknown as Socket, {
      isServer: true,
      secureContext: this.#context,
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
    const found = this.#certificate(socket);
    if (!("certificate" in found)) {
      this.#refuse(socket, from, found);
      return;
    }
    const { certificate } = found;
    const take = this.#options.protocols[socket.alpnProtocol || ""];
    if (take === undefined || socket.getProtocol() !== TLS_VERSION) {
      const expected = Object.keys(this.#options.protocols).join(" or ");
      const reason = `it does not speak ${expected}`;
      this.#refuse(socket, from, { farewell: Farewell.OtherProtocol, reason });
      return;
    }
    this.counters.secured++;
    take(secured(socket, gate, certificate));
  }

  /** The certificate, if it is good. */
  #certificate(socket: TLSSocket): { readonly certificate: Certificate } | Refusal {
    let certificate: Certificate | undefined;
    try {
      certificate = certificateOf(socket);
    } catch {
      return { farewell: Farewell.BadCertificate, reason: "its certificate cannot be read" };
    }
    if (certificate === undefined) {
      return { farewell: Farewell.NoCertificate, reason: "it has shown no certificate" };
    }
    const refusal = refuseClient(certificate, problemOf(socket), this.#rules, new Date());
    if (refusal === undefined) return { certificate };
    const { description } = certificate;
    return { ...refusal, reason: `its certificate, ${description}, ${refusal.reason}` };
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

/** What the runtime has found wrong with the other side's certificate; undefined for nothing. */
function problemOf(socket: TLSSocket): string | undefined {
  // Of Node, undocumented, but what its own server decides by.
  const handle = (socket as { _handle?: { verifyError?(): { code?: string } | string | null } })
    ._handle;
  if (typeof handle?.verifyError !== "function") return "this runtime does not verify it";
  const problem = handle.verifyError();
  if (!problem) return undefined;
  return typeof problem === "string" ? problem : problem.code ?? String(problem);
}

function contextOf({ cert, key, ca }: ServerIdentity): SecureContext {
  return createSecureContext({ cert, key, ca, minVersion: TLS_VERSION });
}

function pathsOf(files: ServerFiles): (string | undefined)[] {
  return [files.certPath, files.keyPath, files.clientCaPath, files.crlPath];
}

/** A list that is out of date still counts: whom it names stays out. */
function warnOfList(listener: string, { revoked }: ServerIdentity): void {
  const until = revoked?.nextUpdate;
  if (until === undefined || until > new Date()) return;
  log.warn("{listener}: the list of revoked certificates should have been renewed by {until}", {
    listener,
    until: until.toISOString(),
  });
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
