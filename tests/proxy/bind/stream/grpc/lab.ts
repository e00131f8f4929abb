/**
 * Both ends of gRPC on this machine, as carriers: without what a bind makes of them.
 *
 * @module
 */

import { once } from "node:events";
import net from "node:net";
import type { TLSSocket } from "node:tls";
import { GrpcDialer, GrpcListener } from "../../../../../proxy/bind/stream/grpc/mod.ts";
import type { HttpProxy } from "../../../../../proxy/bind/stream/http_proxy.ts";
import type { Carrier, CarrierEvents } from "../../../../../proxy/bind/stream/mod.ts";
import { secure } from "../../../../../proxy/bind/stream/tls/mod.ts";
import { type Leaf, MadeAuthority } from "../../certificates/made.ts";
import { within } from "../../../until.ts";

/** Certificates in files: made once, and gone with the process. */
const folder = await Deno.makeTempDir({ prefix: "wirestack-grpc-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const authority = await MadeAuthority.make("Ours");
await Deno.writeTextFile(`${folder}/ca.pem`, authority.cert);

async function leaf(usage: "serverAuth" | "clientAuth"): Promise<Leaf> {
  const made = await authority.leaf({ name: usage, usage, hosts: ["127.0.0.1", "localhost"] });
  await Deno.writeTextFile(`${folder}/${usage}.pem`, made.cert);
  await Deno.writeTextFile(`${folder}/${usage}.key`, made.key);
  return made;
}

/** Of both sides, in PEM. */
export const PEM: { readonly ca: string; readonly server: Leaf; readonly client: Leaf } = {
  ca: authority.cert,
  server: await leaf("serverAuth"),
  client: await leaf("clientAuth"),
};

const CLIENT = {
  certPath: `${folder}/clientAuth.pem`,
  keyPath: `${folder}/clientAuth.key`,
  caPath: `${folder}/ca.pem`,
  pins: [],
};

/** What accepts. Disposing of it ends everything. */
export class Hub implements AsyncDisposable {
  readonly carriers: Carrier[] = [];
  readonly listener: GrpcListener;
  #waiting: (() => void) | undefined;

  private constructor(listener: GrpcListener) {
    this.listener = listener;
    listener.start((carrier) => {
      this.carriers.push(carrier);
      this.#waiting?.();
    });
  }

  static async start(options: { callLimitMs?: number } = {}): Promise<Hub> {
    return new Hub(
      await GrpcListener.start({
        certPath: `${folder}/serverAuth.pem`,
        keyPath: `${folder}/serverAuth.key`,
        clientCaPath: `${folder}/ca.pem`,
        hostname: "127.0.0.1",
        port: 0,
        description: "grpc:127.0.0.1:0",
        allowed: [],
        ...options,
      }),
    );
  }

  get port(): number {
    return this.listener.port;
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
  async raw(): Promise<TLSSocket> {
    const socket = net.connect(this.port, "127.0.0.1");
    await once(socket, "connect");
    const options = { ...CLIENT, host: "127.0.0.1", protocol: "h2" };
    const secured = await secure(socket, options, new AbortController().signal);
    secured.socket.on("error", () => {});
    return secured.socket;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const carrier of this.carriers) carrier.close();
    await this.listener.close();
  }
}

export function dialerOf(
  port: number,
  { proxy, limitMs, host = "127.0.0.1" }: { proxy?: HttpProxy; limitMs?: number; host?: string } =
    {},
): GrpcDialer {
  return new GrpcDialer({
    ...{ ...CLIENT, url: `grpc://${host}:${port}`, host, port, limitMs },
    proxy: () => proxy,
  });
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
    while (!isSo(this)) {
      const told = new Promise<void>((resolve) => this.#waiting = resolve);
      await within(told, `${isSo}, with ${this.bytes} bytes, closed: ${this.isClosed}`);
    }
  }
}

/** Both ends of a carrier. */
export async function pair(hub: Hub, proxy?: HttpProxy): Promise<[Carrier, Carrier]> {
  const count = hub.carriers.length;
  const carrier = await hub.dialer(proxy).dial(new AbortController().signal);
  return [carrier, await hub.carrier(count)];
}
