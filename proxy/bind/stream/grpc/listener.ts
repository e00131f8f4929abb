/**
 * Accepts carriers in gRPC: HTTP/2 on connections of a server in TLS.
 *
 * @module
 */

import { farewellText } from "../farewell.ts";
import { type Secured, SecuredListener, TlsServer, type TlsServerOptions } from "../tls/mod.ts";
import { GrpcAcceptor } from "./acceptor.ts";
import { PROTOCOL } from "./limits.ts";

export type GrpcListenerOptions =
  & Omit<TlsServerOptions, "protocols" | "tellRefused">
  & { readonly callLimitMs?: number };

export class GrpcListener extends SecuredListener {
  readonly #acceptor: GrpcAcceptor;

  private constructor(server: TlsServer, acceptor: GrpcAcceptor, description: string) {
    super(server, description);
    this.#acceptor = acceptor;
  }

  /** @throws As {@link TlsServer.start} does. */
  static async start(options: GrpcListenerOptions): Promise<GrpcListener> {
    const acceptor = await GrpcAcceptor.start(options.callLimitMs);
    let listener: GrpcListener | undefined;
    const take = (secured: Secured) => {
      if (listener === undefined) secured.socket.destroy();
      else listener.#take(secured);
    };
    const server = await TlsServer.start({
      ...options,
      protocols: { [PROTOCOL]: take },
      tellRefused: (socket, farewell) => acceptor.refuse(socket, farewellText(farewell)),
    });
    return listener = new GrpcListener(server, acceptor, options.description);
  }

  /** Connections, with a carrier or without. */
  get connections(): number {
    return this.#acceptor.size;
  }

  override async close(): Promise<void> {
    await super.close();
    this.#acceptor.close();
  }

  #take(secured: Secured): void {
    this.#acceptor.accept(secured, secured.remote, (carrier) => this.accept(carrier, secured));
  }
}
