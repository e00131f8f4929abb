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
import type { BudgetedCarrier, CarrierBudget } from "./carrier_budget.ts";
import type { StreamState } from "./carrier_stats.ts";
import { isWorthALine } from "../../log/thinning.ts";
import { Farewell, farewellFrame } from "./farewell.ts";
import { StreamEndpoint, type StreamHost } from "./endpoint.ts";

const log = getLogger(["wirestack", "relay"]);

export class AcceptedEndpoint extends StreamEndpoint implements BudgetedCarrier {
  readonly #text: string;
  readonly #budget: CarrierBudget;

  /** Has a carrier, unless there is no room for one: then the other side is told so. */
  constructor(bind: Bind, host: StreamHost, carrier: Carrier, budget: CarrierBudget) {
    super(bind, host);
    this.#budget = budget;
    const { address, port, holder, most, description } = carrier.remote;
    this.#text = `${bind.name}:${socketAddress(new IpAddress(address), port)}`;
    const { counters, timers } = host;
    const place = budget.take(holder, carrier.rest, this, timers.now(), most);
    if (place === undefined) {
      counters.refused++;
      carrier.close(farewellFrame(Farewell.Full));
      if (!isWorthALine(counters.refused)) return;
      log.warn(
        "{endpoint}: {name} is refused, {carriers} carriers have {megabytes} MB ({refused} so far)",
        { ...this.#figures(description), refused: counters.refused },
      );
      return;
    }
    counters.accepted++;
    log.debug("{endpoint}: {name} has connected", { endpoint: this.#text, name: description });
    this.attach(carrier, place);
  }

  override get state(): StreamState {
    return this.isConnected ? "open" : "closed";
  }

  /** Others need the room. */
  evict(): void {
    if (!this.isConnected) return;
    const { counters } = this.host;
    counters.evicted++;
    this.close(Farewell.Full);
    if (!isWorthALine(counters.evicted)) return;
    log.warn(
      "{endpoint}: {name} had to go, {carriers} carriers have {megabytes} MB ({evicted} so far)",
      { ...this.#figures(this.remote!.description), evicted: counters.evicted },
    );
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

  #figures(name: string) {
    const { carriers, bytes } = this.#budget;
    return { endpoint: this.#text, name, carriers, megabytes: Math.round(bytes / 2 ** 20) };
  }
}
