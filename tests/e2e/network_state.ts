/**
 * What a tunnel may change of a host's network, to be compared with itself.
 *
 * @module
 */

import type { Host } from "./lab.ts";

/** @param settings Of sysctl, a pattern of their names. */
export async function networkState(
  host: Host,
  settings: string,
): Promise<Record<string, unknown>> {
  const json = async (...command: string[]) => JSON.parse(await host.output(command) || "[]");
  const [address, link, route, route6, rule, rule6, nft, sysctl] = await Promise.all([
    json("ip", "-j", "addr"),
    json("ip", "-j", "link"),
    json("ip", "-j", "route", "show", "table", "all"),
    json("ip", "-6", "-j", "route", "show", "table", "all"),
    json("ip", "-j", "rule"),
    json("ip", "-6", "-j", "rule"),
    json("nft", "-j", "list", "ruleset"),
    host.output(["sysctl", "-a", "-r", settings]),
  ]);
  return { address, link, route, route6, rule, rule6, nft, sysctl };
}
