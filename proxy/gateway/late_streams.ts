/**
 * The streams of a gateway, which are loaded when a configuration first has one: TLS and what is with
 * it are 2 MB, and most gateways have neither `[Relay]` nor a fallback.
 *
 * @module
 */

import { CarrierBudget, DEFAULT_CARRIER_LIMITS } from "../bind/stream/carrier_budget.ts";
import type { StreamBind } from "../bind/stream/mod.ts";
import type { FallbackConfig, GatewayConfig, RelayConfig, RelayListen } from "../config/checked.ts";
import type { OpenedFallback } from "./peers.ts";
import type { Renewals } from "./renewal/renewals.ts";
import type { Admission, GatewayStreams, GatewayStreamsOptions } from "./streams.ts";

export class LateStreams {
  /** What carriers that others have opened take, of all transports. */
  readonly budget: CarrierBudget;
  readonly #options: Omit<GatewayStreamsOptions, "budget">;
  #streams: GatewayStreams | undefined;
  #loading: Promise<GatewayStreams> | undefined;
  #admission: Admission | undefined;
  #isClosed = false;

  /** @param carrierMemory What carriers that others have opened may hold, bytes. */
  constructor(options: Omit<GatewayStreamsOptions, "budget">, carrierMemory: number) {
    this.#options = options;
    this.budget = new CarrierBudget(limitsOf(carrierMemory));
  }

  /** Whether {@link openFallback} can be called. */
  get isLoaded(): boolean {
    return this.#streams !== undefined;
  }

  /** See {@link GatewayStreams.binds}. */
  get binds(): Iterable<StreamBind> {
    return this.#streams?.binds ?? [];
  }

  /** See {@link GatewayStreams.places}. */
  get places(): readonly RelayListen[] {
    return this.#streams?.places ?? [];
  }

  /** See {@link GatewayStreams.renewals}. */
  get renewals(): Renewals | undefined {
    return this.#streams?.renewals;
  }

  /** See {@link GatewayStreams.refusals}. */
  refusals(transport: string): ReturnType<GatewayStreams["refusals"]> {
    return this.#streams?.refusals(transport) ?? { refused: 0, failed: 0, expelled: 0 };
  }

  /** Loads them, if they are not there. @throws {Error} with one clear line. */
  async load(): Promise<void> {
    this.#loading ??= this.#load();
    try {
      await this.#loading;
    } catch (error) {
      this.#loading = undefined; // it may be readable the next time
      throw error;
    }
  }

  /** See {@link GatewayStreams.open}. To be called when they are loaded, if the configuration has any. */
  async open(relay: RelayConfig | undefined, fallbacks: readonly FallbackConfig[]): Promise<void> {
    await this.#streams?.open(relay, fallbacks);
  }

  /** See {@link GatewayStreams.reload}. Where there are none, it begins to have none. */
  reload(relay: RelayConfig | undefined): void {
    this.#streams?.reload(relay);
  }

  /** See {@link GatewayStreams.setAdmission}. */
  setAdmission(admission: Admission): void {
    this.#admission = admission;
    this.#streams?.setAdmission(admission);
  }

  /** See {@link GatewayStreams.openFallback}. To be called when they are loaded. */
  openFallback(fallback: FallbackConfig): OpenedFallback {
    return this.#streams!.openFallback(fallback);
  }

  /** @param bytes What carriers that others have opened may hold from now on. */
  setMemory(bytes: number): void {
    this.budget.setLimits(limitsOf(bytes));
  }

  /** See {@link GatewayStreams.close}. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#streams?.close();
  }

  async #load(): Promise<GatewayStreams> {
    const { GatewayStreams } = await import("./streams.ts").catch((error) => {
      throw new Error(
        "what carries WireGuard in TLS cannot be loaded: the program is not there, or may not be read " +
          "any more, and a start of the gateway with this configuration is needed",
        { cause: error },
      );
    });
    const streams = new GatewayStreams({ ...this.#options, budget: this.budget });
    if (this.#admission !== undefined) streams.setAdmission(this.#admission);
    if (this.#isClosed) await streams.close();
    this.#streams = streams;
    return streams;
  }
}

/** Whether a configuration has any. */
export function hasStreams({ relay, peers }: Pick<GatewayConfig, "relay" | "peers">): boolean {
  return relay !== undefined || peers.some(({ fallbacks = [] }) => fallbacks.length > 0);
}

function limitsOf(bytes: number) {
  return { ...DEFAULT_CARRIER_LIMITS, bytes };
}
