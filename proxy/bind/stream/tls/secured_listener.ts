/**
 * What listeners in TLS have in common, whatever their carriers are: who is let in, for as long as it
 * would be again.
 *
 * @module
 */

import { IpAddress } from "../../../../netstack/mod.ts";
import { socketAddress } from "../../../address.ts";
import { getLogger } from "../../../log/logger.ts";
import type { Certificate } from "../../certificates/certificate.ts";
import type { Carrier, CarrierListener } from "../carrier.ts";
import { farewellFrame } from "../farewell.ts";
import type { Secured } from "./secured.ts";
import type { TlsServer } from "./server.ts";
import type { ServerTrustOptions } from "./server_trust.ts";

const log = getLogger(["wirestack", "relay"]);

/** A carrier whose other end has shown a certificate. */
export interface SecuredCarrier extends Carrier {
  /** Ends it, and says so to its user. @param reason Behind `its certificate`. */
  expel(last: Uint8Array, reason: string): void;
}

export abstract class SecuredListener implements CarrierListener {
  /** As configured: `tls:0.0.0.0:443`. */
  readonly description: string;
  readonly server: TlsServer;
  /** Carriers that are there, and what their other ends have shown. */
  readonly #carriers = new Map<SecuredCarrier, Certificate>();
  #accepted: ((carrier: Carrier) => void) | undefined;
  /** While somebody is there: who was revoked may not stay because nobody else comes. */
  #looks: ReturnType<typeof setInterval> | undefined;

  protected constructor(server: TlsServer, description: string) {
    this.server = server;
    this.description = description;
    server.onChanged = () => this.review();
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

  /** Hands over a carrier on a connection of the server's. */
  protected accept(carrier: SecuredCarrier, { socket, certificate }: Secured): void {
    if (this.#accepted === undefined) {
      carrier.close();
      return;
    }
    this.#carriers.set(carrier, certificate);
    this.#looks ??= setInterval(() => this.server.look(), this.server.lookMs);
    socket.once("close", () => this.#left(carrier));
    this.#accepted(carrier);
  }

  #left(carrier: SecuredCarrier): void {
    this.#carriers.delete(carrier);
    if (this.#carriers.size > 0) return;
    clearInterval(this.#looks);
    this.#looks = undefined;
  }

  /** Ends the carriers of those who would not be let in any more. */
  review(): void {
    for (const [carrier, certificate] of this.#carriers) {
      const refusal = this.server.refuse(certificate);
      if (refusal === undefined) continue;
      const { farewell, reason } = refusal;
      this.#left(carrier);
      carrier.expel(farewellFrame(farewell), reason);
      this.server.counters.expelled++;
      const { address, port, description } = carrier.remote;
      log.info("{listener}: {name} from {from} had to go: its certificate {reason}", {
        listener: this.description,
        name: description,
        from: socketAddress(new IpAddress(address), port),
        reason,
      });
    }
  }
}
