/**
 * Reads the gateway's configuration: from what people write ({@link ConfigInput}, or a wg-quick file
 * with our `[Proxy]` section) to what the engine runs on ({@link GatewayConfig}).
 *
 * @module
 */

import type { GatewayConfig, PeerConfig } from "./checked.ts";
import { ConfigError } from "./error.ts";
import { parseConfigFile } from "./file.ts";
import type { ConfigInput, PeerInput } from "./input.ts";
import { ConfigSource } from "./source.ts";
import { validateConfig, validatePeer } from "./validate.ts";

export type * from "./checked.ts";
export { ConfigError, SettingError } from "./error.ts";
export type * from "./input.ts";
export type { KeyInput } from "../base64.ts";

export interface LoadedConfig {
  readonly config: GatewayConfig;
  /** One line each, with its place in front. For the log. */
  readonly warnings: readonly string[];
  /** Where each value came from, for what is found out later: `source.label(error.path)`. */
  readonly source: ConfigSource;
}

/**
 * Reads a wg-quick file's text or an embedder's object.
 *
 * @param options.file The name to put into messages about text.
 * @throws {ConfigError} naming every problem.
 */
export function loadConfig(
  source: string | ConfigInput,
  options: { file?: string } = {},
): LoadedConfig {
  if (typeof source !== "string") return loadSource(ConfigSource.fromObject(source));
  const parsed = parseConfigFile(source, options.file ?? "configuration");
  for (const { section, key } of parsed.secretFiles) {
    parsed.problem([...section, key.field], "names a file, expected the key itself in a text");
  }
  for (const { origin } of parsed.includes) {
    parsed.problemAt(origin, "names a file, expected none in a text");
  }
  return loadSource(parsed);
}

/**
 * Reads one peer of an embedder's.
 *
 * @throws {ConfigError} naming every problem.
 */
export function loadPeer(input: PeerInput): PeerConfig {
  const source = new ConfigSource();
  const peer = validatePeer(source, input);
  if (peer !== undefined) return peer;
  throw new ConfigError(source.problems().map((problem) => problem.replaceAll("peers[0]", "peer")));
}

/** @throws {ConfigError} naming every problem. */
export function loadSource(source: ConfigSource): LoadedConfig {
  if (source.isUnreadable) throw new ConfigError(source.problems());
  const config = validateConfig(source);
  if (config === undefined) throw new ConfigError(source.problems());
  return { config, warnings: source.warnings(), source };
}
