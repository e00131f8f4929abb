/**
 * WireGuard's own socket, from the configuration: what the system refuses is an error of the setting.
 *
 * @module
 */

import type { Arena } from "../arena/arena.ts";
import { BindError } from "../bind/bind.ts";
import { NoUdpBind } from "../bind/no_udp.ts";
import type { UdpBind } from "../bind/udp.ts";
import { openUdpBind } from "../bind/udp_open.ts";
import type { GatewayConfig } from "../config/checked.ts";
import { type ConfigPath, SettingError } from "../config/error.ts";

/**
 * Binds where the configuration says; a socket that takes and sends nothing without a private key.
 *
 * @throws {SettingError} naming what the system refuses.
 */
export function openSocket(config: GatewayConfig, arena: Arena, ffi: boolean): UdpBind {
  const { pool, receiveRegion } = arena;
  const { fwMark } = config;
  if (config.privateKey === undefined) return new NoUdpBind();
  return orSettingError(() =>
    openUdpBind({
      ...socketOf(config),
      ...(fwMark !== undefined && { mark: fwMark }),
      pool,
      receiveRegion,
    }, ffi)
  );
}

/** As a bind takes it. */
export function socketOf(
  { listenPort, listenAddress }: Pick<GatewayConfig, "listenPort" | "listenAddress">,
) {
  return {
    ...(listenPort !== undefined && { port: listenPort }),
    ...(listenAddress !== undefined && { address: listenAddress }),
  };
}

const SETTINGS: Readonly<Record<BindError["setting"], ConfigPath>> = {
  port: ["interface", "listenPort"],
  address: ["interface", "listenAddress"],
  mark: ["interface", "fwMark"],
};

/** Turns what the system refuses a socket into an error of the setting. */
export function orSettingError<T>(open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (!(error instanceof BindError)) throw error;
    throw new SettingError(SETTINGS[error.setting], error.message, { cause: error.cause });
  }
}
