/**
 * Accepts carriers in TLS.
 *
 * @module
 */

import type { Certificate } from "../../certificates/certificate.ts";
import type { Carrier, CarrierListener } from "../carrier.ts";
import { farewellFrame } from "../farewell.ts";
import { TlsCarrier } from "./carrier.ts";
import { PROTOCOL, type Secured } from "./secured.ts";
import { TlsServer, type TlsServerOptions } from "./server.ts";
import type { ServerTrustOptions } from "./server_trust.ts";

export class TlsListener implements CarrierListener {
  readonly description: string;
  readonly server: TlsServer;
  /** Carriers that are there, and what their other ends have shown. */
  readonly #carriers = new Map<TlsCarrier, Certificate>();
  #accepted: ((carrier: Carrier) => void) | undefined;

  private constructor(server: TlsServer, description: string) {
    this.server = server;
    this.description = description;
    server.onChanged = () => this.#review();
  }

  /** @throws As {@link TlsServer.start} does. */
  static async start(options: Omit<TlsServerOptions, "protocols">): Promise<TlsListener> {
    let listener: TlsListener | undefined;
    const take = (secured: Secured) => {
      if (listener === undefined) secured.socket.destroy();
      else listener.#take(secured);
    };
    const server = await TlsServer.start({ ...options, protocols: { [PROTOCOL]: take } });
    return listener = new TlsListener(server, options.description);
  }

  get port(): number {
    return this.server.port;
  }

  start(accepted: (carrier: Carrier) => void): void {
    this.#accepted = accepted;
  }

  /** As {@link ServerTrust.reload}. Who would not be let in any more has to go. */
  reload(options: ServerTrustOptions): void {
    this.server.reload(options);
  }

  close(): Promise<void> {
    return this.server.close();
  }

  #take(secured: Secured): void {
    const carrier = new TlsCarrier(secured);
    if (this.#accepted === undefined) {
      carrier.close();
      return;
    }
    this.#carriers.set(carrier, secured.certificate);
    secured.socket.once("close", () => this.#carriers.delete(carrier));
    this.#accepted(carrier);
  }

  #review(): void {
    for (const [carrier, certificate] of this.#carriers) {
      const refusal = this.server.refuse(certificate);
      if (refusal !== undefined) carrier.expel(farewellFrame(refusal.farewell), refusal.reason);
    }
  }
}
