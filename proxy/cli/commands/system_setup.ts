/**
 * What a command that changes this host wraps around a gateway.
 *
 * @module
 */

import type { GatewayConfig } from "../../config/config.ts";
import type { OpenDevice } from "../../gateway/device_link.ts";
import type { Gateway, GatewayOptions } from "../../gateway/gateway.ts";
import type { Resolve } from "../../gateway/resolver.ts";
import type { UserIds } from "../../system/user.ts";
import type { Surroundings } from "../up.ts";

/** The name that such a gateway has without one. */
export const DEFAULT_NAME = "wirestack0";

/** What the gateway is started with, instead of what the configuration has. */
export interface SystemStart {
  readonly config: GatewayConfig;
  /** Missing: the stack's own addresses. */
  readonly open?: OpenDevice;
  readonly resolve: Resolve;
  /** Where fallbacks are dialled. Missing: as the system resolves names. */
  readonly dialledAddresses?: GatewayOptions["dialledAddresses"];
}

export interface SystemSetup extends Surroundings {
  up(start: (start: SystemStart) => Promise<Gateway>): Promise<Gateway>;
  /** Whom this process becomes; undefined: nobody else. */
  readonly user: UserIds | undefined;
  /** What is written to and removed still, when it ends. */
  readonly writtenFiles: readonly string[];
}
