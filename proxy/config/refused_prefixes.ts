/**
 * Networks that no flow is let to by accident, for warnings about a configuration that names them.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { parsePrefix } from "../address.ts";

/** Never dialled unless a map names them, and what they are. A test compares them with safe_targets.ts. */
export const REFUSED: readonly (readonly [prefix: string, what: string])[] = [
  ["127.0.0.0/8", "loopback"],
  ["::1/128", "loopback"],
  ["169.254.0.0/16", "link-local"],
  ["fe80::/10", "link-local"],
  ["224.0.0.0/4", "multicast"],
  ["ff00::/8", "multicast"],
];

/** What a network is that lies wholly in one of them; undefined for any other. */
export function refusedAs({ version, address, length }: Prefix): string | undefined {
  return PARSED.find(([prefix]) =>
    prefix.version === version && prefix.length <= length && prefix.contains(address)
  )?.[1];
}

const PARSED = REFUSED.map(([text, what]) => [parsePrefix(text)!, what] as const);
