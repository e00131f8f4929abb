/**
 * Accepts carriers in gRPC: HTTP/2 on connections of a server in TLS.
 *
 * @module
 */

import type { Certificate } from "../../certificates/certificate.ts";
import type { Carrier, CarrierListener } from "../carrier.ts";
import { farewellFrame, farewellText } from "../farewell.ts";
import {
  type Secured,
  type ServerTrustOptions,
  TlsServer,
  type TlsServerOptions,
} from "../tls/mod.ts";
import { GrpcAcceptor } from "./acceptor.ts";
import type { GrpcCarrier } from "./carrier.ts";
import { PROTOCOL } from "./limits.ts";

export type GrpcListenerOptions =
  & Omit<TlsServerOptions, "protocols" | "tellRefused">
  & { readonly callLimitMs?: number };

export class GrpcListener implements CarrierListener {
  readonly description: string;
  readonly server: TlsServer;
  readonly #acceptor: GrpcAcceptor;
  /** Carriers that are there, and what their other ends have shown. */
  readonly #carriers = new Map<GrpcCarrier, Certificate>();
  #accepted: ((carrier: Carrier) => void) | undefined;

  private constructor(server: TlsServer, acceptor: GrpcAcceptor, description: string) {
    this.server = server;
    this.#acceptor = acceptor;
    this.description = description;
    server.onChanged = () => this.#review();
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

  get port(): number {
    return this.server.port;
  }

  /** Connections, with a carrier or without. */
  get connections(): number {
    return this.#acceptor.size;
  }

  start(accepted: (carrier: Carrier) => void): void {
    this.#accepted = accepted;
  }

  /** As {@link ServerTrust.reload}. Who would not be let in any more has to go. */
  reload(options: ServerTrustOptions): void {
    this.server.reload(options);
  }

  async close(): Promise<void> {
    await this.server.close();
    this.#acceptor.close();
  }

  #take({ socket, remote, certificate }: Secured): void {
    this.#acceptor.accept(socket, remote, (carrier) => {
      if (this.#accepted === undefined) {
        carrier.close();
        return;
      }
      this.#carriers.set(carrier, certificate);
      socket.once("close", () => this.#carriers.delete(carrier));
      this.#accepted(carrier);
    });
  }

  #review(): void {
    for (const [carrier, certificate] of this.#carriers) {
      const refusal = this.server.refuse(certificate);
      if (refusal !== undefined) carrier.expel(farewellFrame(refusal.farewell), refusal.reason);
    }
  }
}
