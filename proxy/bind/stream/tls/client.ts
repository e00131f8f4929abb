/**
 * TLS as the one who connects.
 *
 * @module
 */

import { connect, type LookupFunction, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { IpAddress } from "../../../../netstack/mod.ts";
import { hostAndPort, parseIpAddress } from "../../../address.ts";
import { refuseServer } from "../../certificates/check.ts";
import type { Carrier, CarrierDialer } from "../carrier.ts";
import { Farewell, farewellFrame } from "../farewell.ts";
import { connectThrough, type HttpProxy } from "../http_proxy.ts";
import { TlsCarrier } from "./carrier.ts";
import { type ClientFiles, type ClientIdentity, readClientFiles } from "./files.ts";
import { Gate } from "./gate.ts";
import { limitKernelQueue } from "./kernel_queue.ts";
import {
  certificateOf,
  handshakeProblem,
  PROTOCOL,
  type Secured,
  secured,
  TLS_VERSION,
} from "./secured.ts";

/** How long a refused server may take to hear why, and to go. */
const REFUSED_MS = 1_000;

/** A server whose certificate is not accepted. */
class ServerRefused extends Error {
  readonly farewell: Farewell;

  /** @param problem One clear line, behind `refused: the server's certificate`. */
  constructor(problem: string, farewell: Farewell) {
    super(`refused: the server's certificate${problem}`);
    this.farewell = farewell;
  }
}

export interface SecureOptions extends ClientFiles {
  /** The name that the server's certificate must have, or the address. */
  readonly host: string;
  /** SHA-256 of public keys (SPKI), one of which must be the server's. None: any. */
  readonly pins: readonly Uint8Array[];
  /** ALPN. */
  readonly protocol: string;
  /** Reads the files. Default: as they are then. @throws {CertificateFileError} */
  readonly identity?: () => ClientIdentity;
}

/**
 * Speaks TLS on a connection until both sides have shown who they are. Whether the server takes this
 * side's certificate is known only when it says something.
 *
 * @param socket Connected. When this fails it is destroyed.
 * @throws {Error} with one clear line.
 */
export async function secure(
  socket: Socket,
  options: SecureOptions,
  signal: AbortSignal,
): Promise<Secured> {
  let tls: TLSSocket | undefined;
  const { promise: ended, reject } = Promise.withResolvers<never>();
  ended.catch(() => {}); // it may come too late for anybody to listen
  const onAbort = () => reject(new Error("called off"));
  const onClose = () => reject(new Error("the connection ended during the TLS handshake"));
  signal.addEventListener("abort", onAbort);
  socket.once("close", onClose);
  try {
    if (signal.aborted) throw new Error("called off");
    // Each time: they may have been renewed.
    const identity = options.identity?.() ?? readClientFiles(options);
    limitKernelQueue(socket);
    const gate = new Gate(socket);
    tls = open(gate, identity, options);
    await Promise.race([handshake(tls), ended]);
    return check(tls, gate, identity, options);
  } catch (error) {
    if (tls !== undefined && error instanceof ServerRefused) await tell(tls, error.farewell);
    tls?.destroy();
    socket.destroy();
    throw signal.aborted ? new Error("called off") : error;
  } finally {
    signal.removeEventListener("abort", onAbort);
    socket.off("close", onClose);
  }
}

/** Says in a frame, whatever the protocol is, why the server is refused: TLS itself has shaken hands. */
async function tell(tls: TLSSocket, farewell: Farewell): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, REFUSED_MS);
  tls.once("close", resolve);
  tls.resume(); // what it says is read, and not looked at: a reset would take away what it is told
  tls.end(farewellFrame(farewell));
  await promise;
  clearTimeout(timer);
}

function open(gate: Gate, identity: ClientIdentity, { host, protocol }: SecureOptions): TLSSocket {
  return connectTls({
    socket: gate,
    host,
    // RFC 6066 §3: an address is no server name.
    ...(parseIpAddress(host) === undefined && { servername: host }),
    cert: identity.cert,
    key: identity.key,
    ...(identity.ca !== undefined && { ca: identity.ca }),
    minVersion: TLS_VERSION,
    ALPNProtocols: [protocol],
    // Looked at by check(), which says what is wrong. Nothing else is sent before.
    rejectUnauthorized: false,
  });
}

async function handshake(socket: TLSSocket): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once("secureConnect", resolve);
  socket.on("error", (error) => reject(new Error(handshakeProblem(error))));
  await promise;
}

/** @throws {Error} unless the server is who it should be. */
function check(
  socket: TLSSocket,
  gate: Gate,
  { authorities }: ClientIdentity,
  { pins, protocol, host }: SecureOptions,
): Secured {
  const certificate = certificateOf(socket);
  if (certificate === undefined) throw new Error("the server has shown no certificate");
  const problem = socket.authorized ? undefined : `${socket.authorizationError ?? "not verified"}`;
  const isOtherName = problem === "ERR_TLS_CERT_ALTNAME_INVALID";
  const refusal = refuseServer(
    certificate,
    isOtherName ? undefined : problem,
    authorities,
    pins,
    new Date(),
  );
  if (refusal !== undefined) {
    const { description } = certificate;
    throw new ServerRefused(`, ${description}, ${refusal.reason}`, refusal.farewell);
  }
  if (isOtherName && authorities !== undefined) {
    const names = certificate.x509.subjectAltName ?? "no name";
    throw new ServerRefused(` is not for ${host}, but for ${names}`, Farewell.OtherName);
  }
  if (socket.alpnProtocol !== protocol) {
    throw new Error(`refused: the server does not speak ${protocol}`);
  }
  if (socket.getProtocol() !== TLS_VERSION) {
    throw new Error(`refused: the server speaks ${socket.getProtocol()}, expected ${TLS_VERSION}`);
  }
  return secured(socket, gate, certificate);
}

export interface TlsDialerOptions extends Omit<SecureOptions, "protocol"> {
  /** As configured, for people. */
  readonly url: string;
  readonly port: number;
  /** What connections go through, if not directly: asked for each. @throws {Error} with one line. */
  readonly proxy?: () => HttpProxy | undefined;
  /** Where the host, or the proxy, is. Missing, or none: looked up as the system does. */
  readonly addresses?: (host: string) => readonly IpAddress[];
  /** For all of an attempt. */
  readonly limitMs?: number;
}

const DIAL_LIMIT_MS = 10_000;
/** Between the addresses of a name, as Happy Eyeballs has it (RFC 8305 §5). */
const NEXT_ADDRESS_MS = 250;

export class TlsDialer implements CarrierDialer {
  readonly #options: TlsDialerOptions;

  constructor(options: TlsDialerOptions) {
    this.#options = options;
  }

  get url(): string {
    return this.#options.url;
  }

  get port(): number {
    return this.#options.port;
  }

  async dial(signal: AbortSignal): Promise<Carrier> {
    const { limitMs = DIAL_LIMIT_MS, host, port } = this.#options;
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), limitMs);
    const either = AbortSignal.any([signal, limit.signal]);
    try {
      const proxy = this.#options.proxy?.();
      const known = this.#options.addresses?.(proxy?.host ?? host);
      const socket = proxy === undefined
        ? await connectTcp(host, port, either, known)
        : await connectBy(proxy, host, port, either, known);
      return new TlsCarrier(
        await secure(socket, { ...this.#options, protocol: PROTOCOL }, either),
      );
    } catch (error) {
      if (!limit.signal.aborted) throw error;
      throw new Error(`no answer within ${Math.ceil(limitMs / 1000)} s`);
    } finally {
      clearTimeout(timer);
    }
  }
}

async function connectBy(
  proxy: HttpProxy,
  host: string,
  port: number,
  signal: AbortSignal,
  known?: readonly IpAddress[],
): Promise<Socket> {
  let socket: Socket;
  try {
    socket = await connectTcp(proxy.host, proxy.port, signal, known);
  } catch (error) {
    const name = hostAndPort(proxy.host, proxy.port);
    throw new Error(`the proxy ${name}: ${(error as Error).message}`, { cause: error });
  }
  try {
    await connectThrough(socket, proxy, host, port, { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/**
 * A connection of TCP.
 *
 * @param host A name, whose addresses are tried one beside the other, or an address.
 * @param known Its addresses. None: looked up.
 * @throws {Error} with one clear line.
 */
export async function connectTcp(
  host: string,
  port: number,
  signal: AbortSignal,
  known: readonly IpAddress[] = [],
): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({
    host,
    port,
    noDelay: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
    ...(known.length > 0 && { lookup: lookupIn(known) }),
  });
  const onAbort = () => reject(new Error("called off"));
  const onError = (error: { code?: string; message: string }) =>
    reject(new Error(connectProblem(host, error)));
  signal.addEventListener("abort", onAbort);
  socket.once("connect", resolve);
  socket.on("error", onError);
  try {
    await promise;
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
    socket.off("error", onError);
  }
}

/** As dns.lookup() would answer. */
function lookupIn(addresses: readonly IpAddress[]): LookupFunction {
  const all = addresses.map((address) => ({ address: `${address}`, family: address.version }));
  return (_host, options, callback) =>
    queueMicrotask(() =>
      options.all ? callback(null, all) : callback(null, all[0]!.address, all[0]!.family)
    );
}

/** Why there is no connection of TCP, by the system's code. */
export const CONNECT_PROBLEMS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nobody listens there",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network cannot be reached",
  ETIMEDOUT: "no answer",
};

function connectProblem(host: string, { code, message }: { code?: string; message: string }) {
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return `${host} is not found`;
  return CONNECT_PROBLEMS[code ?? ""] ?? `no connection: ${message.replace(/\s+/g, " ")}`;
}
