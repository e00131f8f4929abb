/**
 * Both ends of gRPC on this machine, with certificates of an authority that is made once.
 *
 * @module
 */

import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import {
  alternativeNames,
  issue,
  makeAuthority,
  makeKey,
} from "../../../../../proxy/certificates/issue.ts";
import { GrpcAcceptor, GrpcDialer } from "../../../../../proxy/bind/stream/grpc/mod.ts";
import type { HttpProxy } from "../../../../../proxy/bind/stream/http_proxy.ts";
import type { Carrier, CarrierEvents } from "../../../../../proxy/bind/stream/mod.ts";

const REMOTE = { address: Uint8Array.of(127, 0, 0, 1), description: "somebody" };

const DAY_MS = 86_400_000;
const validity = {
  notBefore: new Date(Date.now() - DAY_MS),
  notAfter: new Date(Date.now() + DAY_MS),
};
const { authority, pair: { certificate: ca } } = await makeAuthority(validity);

async function leaf(usage: "serverAuth" | "clientAuth") {
  const { publicKey, key } = await makeKey();
  const names = alternativeNames([{ type: "ip", value: "127.0.0.1" }]);
  const fields = { ...validity, commonName: usage, usage, publicKey };
  return {
    key,
    cert: await issue(authority, usage === "serverAuth" ? { ...fields, names } : fields),
  };
}

const server = await leaf("serverAuth");
const client = await leaf("clientAuth");

/** Speaks TLS on a connection. */
export async function secure(
  socket: net.Socket,
): Promise<{ socket: net.Socket; remote: Carrier["remote"] }> {
  const options = {
    ...client,
    ca,
    host: "127.0.0.1",
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.3",
  };
  const secured = tls.connect({ socket, ...options } as tls.ConnectionOptions);
  await once(secured, "secureConnect");
  return { socket: secured, remote: { ...REMOTE, port: socket.remotePort! } };
}

/** A server in TLS. Disposing of it ends everything. */
export class Hub implements AsyncDisposable {
  readonly carriers: Carrier[] = [];
  readonly acceptor: GrpcAcceptor;
  readonly #server: tls.Server;
  readonly #sockets = new Set<tls.TLSSocket>();
  #waiting: (() => void) | undefined;

  private constructor(acceptor: GrpcAcceptor, server: tls.Server, carriers: Carrier[]) {
    this.acceptor = acceptor;
    this.#server = server;
    this.carriers = carriers;
  }

  static async start(options: { callLimitMs?: number } = {}): Promise<Hub> {
    const carriers: Carrier[] = [];
    let hub: Hub | undefined;
    const acceptor = await GrpcAcceptor.start((carrier) => {
      carriers.push(carrier);
      hub!.#waiting?.();
    }, options);
    const listener = tls.createServer({
      ...server,
      ca,
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ["h2"],
      minVersion: "TLSv1.3",
    }, (socket) => {
      hub!.#sockets.add(socket);
      acceptor.accept(socket, { ...REMOTE, port: socket.remotePort! });
    }).listen(0, "127.0.0.1");
    await once(listener, "listening");
    return hub = new Hub(acceptor, listener, carriers);
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** The carrier that came in as the n-th. */
  async carrier(n = 0): Promise<Carrier> {
    while (this.carriers.length <= n) {
      await new Promise<void>((resolve) => this.#waiting = resolve);
    }
    return this.carriers[n]!;
  }

  dialer(proxy?: HttpProxy): GrpcDialer {
    return dialerOf(this.port, { proxy });
  }

  /** A connection in TLS, on which nobody speaks HTTP/2. */
  async raw(): Promise<tls.TLSSocket> {
    const socket = net.connect(this.port, "127.0.0.1");
    await once(socket, "connect");
    const { socket: secured } = await secure(socket);
    secured.on("error", () => {});
    return secured as tls.TLSSocket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const carrier of this.carriers) carrier.close();
    this.acceptor.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

export function dialerOf(
  port: number,
  { proxy, limitMs, host = "127.0.0.1" }: { proxy?: HttpProxy; limitMs?: number; host?: string } =
    {},
): GrpcDialer {
  return new GrpcDialer({ url: `grpc://${host}:${port}`, host, port, proxy, limitMs, secure });
}

/** What a carrier tells. */
export class Told implements CarrierEvents {
  bytes = 0;
  readonly chunks: Uint8Array[] = [];
  writables = 0;
  isClosed = false;
  error: Error | undefined;
  #waiting: (() => void) | undefined;

  constructor(carrier: Carrier) {
    carrier.start(this);
  }

  chunk(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    this.chunks.push(bytes);
    this.#waiting?.();
  }

  writable(): void {
    this.writables++;
    this.#waiting?.();
  }

  closed(error?: Error): void {
    this.isClosed = true;
    this.error = error;
    this.#waiting?.();
  }

  async until(isSo: (told: this) => boolean): Promise<void> {
    while (!isSo(this)) await new Promise<void>((resolve) => this.#waiting = resolve);
  }
}

/** Both ends of a carrier. */
export async function pair(hub: Hub, proxy?: HttpProxy): Promise<[Carrier, Carrier]> {
  const count = hub.carriers.length;
  const carrier = await hub.dialer(proxy).dial(new AbortController().signal);
  return [carrier, await hub.carrier(count)];
}
