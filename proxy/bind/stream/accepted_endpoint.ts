/**
 * The other end of a carrier that came in. It lives as long as the carrier; who comes again is another.
 *
 * @module
 */

import { IpAddress } from "../../../netstack/mod.ts";
import { socketAddress } from "../../address.ts";
import { getLogger } from "../../log/logger.ts";
import type { Bind } from "../bind.ts";
import type { Carrier } from "./carrier.ts";
import type { Farewell } from "./farewell.ts";
import { StreamEndpoint, type StreamHost } from "./endpoint.ts";

const log = getLogger(["wirestack", "relay"]);

export class AcceptedEndpoint extends StreamEndpoint {
  readonly #text: string;

  constructor(bind: Bind, host: StreamHost, carrier: Carrier) {
    super(bind, host);
    const { address, port } = carrier.remote;
    this.#text = `${bind.name}:${socketAddress(new IpAddress(address), port)}`;
    log.debug("{endpoint}: {name} has connected", {
      endpoint: this.#text,
      name: carrier.remote.description,
    });
    this.attach(carrier);
  }

  /** Ends it: whoever is there may come again. */
  close(farewell: Farewell): void {
    this.end(farewell);
  }

  override toString(): string {
    return this.#text;
  }

  protected override lost(reason: string): void {
    log.debug("{endpoint}: {name} is gone: {reason}", {
      endpoint: this.#text,
      name: this.remote!.description,
      reason,
    });
  }
}
