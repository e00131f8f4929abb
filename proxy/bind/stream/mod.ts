/**
 * WireGuard's datagrams in streams.
 *
 * @module
 */

export type {
  Carrier,
  CarrierDialer,
  CarrierEvents,
  CarrierListener,
  CarrierRemote,
} from "./carrier.ts";
export { CarrierBudget, DEFAULT_CARRIER_LIMITS } from "./carrier_budget.ts";
export type { CarrierStats, HasCarrierStats, StreamState } from "./carrier_stats.ts";
export type { StreamCounters } from "./counters.ts";
export { DialledEndpoint } from "./dialled_endpoint.ts";
export { AcceptedEndpoint } from "./accepted_endpoint.ts";
export { Farewell, farewellFrame, farewellText } from "./farewell.ts";
export { SILENT_MS, StreamEndpoint } from "./endpoint.ts";
export { StreamBind, type StreamBindOptions } from "./bind.ts";
export { hostTimers, type StreamTimers } from "./timers.ts";
