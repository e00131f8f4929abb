/**
 * What the control socket, and SIGHUP, do to a running gateway.
 *
 * @module
 */

import { type GatewayConfig, type LoadedConfig } from "../config/config.ts";
import { ConfigError } from "../config/error.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { getLogger } from "../log/logger.ts";
import { applyConfig } from "../gateway/reload.ts";
import type { ControlHandlers } from "./connection.ts";
import { uapiGet } from "./uapi_get.ts";
import { uapiSet } from "./uapi_set.ts";

const log = getLogger(["wirestack", "config"]);

export interface HandlerOptions {
  /** What the gateway was started with. */
  readonly started: GatewayConfig;
  /** Its whole path, if it came from a file. */
  readonly file?: string;
  /** Reads the configuration again. */
  load(): Promise<LoadedConfig>;
}

export function controlHandlers(gateway: Gateway, options: HandlerOptions): ControlHandlers {
  const { started, file } = options;
  let last: Promise<unknown> = Promise.resolve();
  const reload = async () => {
    try {
      const loaded = await options.load();
      const { added, removed, changed, warnings } = applyConfig(gateway, started, loaded);
      const all = [...loaded.warnings, ...warnings];
      for (const warning of all) log.warn("{warning}", { warning });
      log.info("reloaded: {added} peers added, {removed} removed, {changed} changed", {
        added,
        removed,
        changed,
      });
      return all;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      for (const problem of error.problems) log.error("{problem}", { problem });
      log.error("not reloaded: the configuration stays as it is");
      throw error;
    }
  };
  return {
    get: () => uapiGet(gateway),
    set: (request) => uapiSet(gateway, request),
    stats: () => ({ ...gateway.stats(), configFile: file ?? null }),
    /** One after the other: each reads the file when its turn comes. */
    reload() {
      const result = last.then(reload, reload);
      last = result.catch(() => {});
      return result;
    },
  };
}
