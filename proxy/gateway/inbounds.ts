/**
 * The inbounds of a gateway: how programs of this host get into its tunnel.
 *
 * @module
 */

import type { Engine } from "../engine/engine.ts";
import type { ForwardTimeouts } from "../forward/options.ts";
import type { SubnetProxy } from "../forward/subnet_proxy.ts";
import { type InboundCounters, newInboundCounters } from "../inbound/counters.ts";
import type { Inbound, InboundHost } from "../inbound/inbound.ts";

export class GatewayInbounds {
  readonly counters: InboundCounters = newInboundCounters();
  readonly #host: InboundHost;
  readonly #inbounds: Inbound[] = [];

  constructor(engine: Engine, { admission, listeners, settings }: SubnetProxy) {
    this.#host = {
      stack: engine.stack,
      counters: this.counters,
      admission,
      listeners,
      settings,
      now: () => engine.now(),
      wake: () => engine.wake(),
      hasRoom: () => engine.hasRoom,
      addTimeouts: (source) => engine.addTimeouts(source),
      addTurns: (source) => engine.addTurns(source),
    };
  }

  /** Opens one, which ends with the gateway at the latest. */
  open<T extends Inbound>(open: (host: InboundHost) => T): T {
    const inbound = open(this.#host);
    this.#inbounds.push(inbound);
    return inbound;
  }

  /** For what is under way. */
  timeoutsChanged(before: ForwardTimeouts): void {
    for (const inbound of this.#inbounds) inbound.timeoutsChanged(before);
  }

  /** Nothing new comes in. */
  close(): void {
    for (const inbound of this.#inbounds) inbound.close();
  }

  /** Ends what is left. Resolves when no socket is. */
  async abort(): Promise<void> {
    await Promise.all(this.#inbounds.map((inbound) => inbound.abort()));
  }
}
