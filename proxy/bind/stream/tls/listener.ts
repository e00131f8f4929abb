/**
 * Accepts carriers in TLS.
 *
 * @module
 */

import { TlsCarrier } from "./carrier.ts";
import { PROTOCOL, type Secured } from "./secured.ts";
import { SecuredListener } from "./secured_listener.ts";
import { TlsServer, type TlsServerOptions } from "./server.ts";

export class TlsListener extends SecuredListener {
  /** @throws As {@link TlsServer.start} does. */
  static async start(options: Omit<TlsServerOptions, "protocols">): Promise<TlsListener> {
    let listener: TlsListener | undefined;
    const take = (secured: Secured) => {
      if (listener === undefined) secured.socket.destroy();
      else listener.accept(new TlsCarrier(secured), secured);
    };
    const server = await TlsServer.start({ ...options, protocols: { [PROTOCOL]: take } });
    return listener = new TlsListener(server, options.description);
  }
}
