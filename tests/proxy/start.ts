/**
 * Gateways for tests, of the kind that the task asks for (see `tests/preset.ts`).
 *
 * @module
 */

import type { GatewayConfig } from "../../proxy/config/config.ts";
import type { ConfigSourceInput } from "../../proxy/embed/source.ts";
import { Wirestack } from "../../proxy/embed/wirestack.ts";
import { Gateway, type GatewayOptions } from "../../proxy/gateway/gateway.ts";
import { preset } from "../preset.ts";

/** @param options A test's own, over the preset's. */
export function startGateway(config: GatewayConfig, options?: GatewayOptions): Promise<Gateway> {
  return Gateway.start(config, { ...preset, ...options });
}

/** @param options A test's own, over the preset's. */
export function startWirestack(
  source: ConfigSourceInput,
  options?: GatewayOptions,
): Promise<Wirestack> {
  return Wirestack.start(source, { ...preset, ...options });
}
