/**
 * `agent`: networks of this host for the peers of a hub, without a port that anybody has to reach.
 *
 * @module
 */

import { findKey } from "../../config/keys.ts";
import type { ConfigSource, RawSection } from "../../config/source.ts";
import { ParseFailure, parseMap, splitList } from "../../config/values.ts";
import type { Confinement } from "../confine.ts";
import type { CommandLine } from "./options.ts";
import { addRunning } from "./up.ts";

const SUBNETS = findKey("proxy", "Subnets")!;
const KEEPALIVE = findKey("peers", "PersistentKeepalive")!;
/**
 * Seconds, where the file says nothing. Nobody can call an agent behind a NAT: how often it calls is how
 * long it cannot be reached after the NAT has forgotten it.
 */
const DEFAULT_KEEPALIVE = "10";

/**
 * Adds `agent`.
 *
 * @param confinement What this process has given up already.
 */
export function addAgent(line: CommandLine, confinement: Confinement | undefined): void {
  const command = line.program.command("agent")
    .summary("give the peers of a hub the networks behind this host")
    .description(
      "Runs a gateway that calls a hub, keeps calling, and lets the hub's peers into the networks of " +
        "[Proxy], by ordinary sockets of this host. It needs no port that anybody can reach: any free " +
        "one, and a PersistentKeepalive of 10 s where the file has none. `Map = 100.64.1.0/24 -> " +
        "192.168.1.0/24` is enough, and tells networks with the same addresses apart. CONFIG and " +
        "options are those of `up`. Several run beside each other, each with a file or --name of its own.",
    );
  addRunning(line, command, confinement, completeAgent);
}

/** Has it keep calling, and says what an agent cannot be without. */
export function completeAgent(source: ConfigSource): void {
  const peers = Array.isArray(source.peers) ? source.peers as RawSection[] : [];
  for (const [i, peer] of peers.entries()) {
    if (!isCalled(peer) || isGiven(peer.persistentKeepalive)) continue;
    source.set(["peers", i], KEEPALIVE, DEFAULT_KEEPALIVE, { flag: "agent" });
  }
  if (!peers.some(isCalled) && !isGiven(Object(source.interface).peersFrom)) {
    source.problem(
      ["peers"],
      "an agent calls, expected a [Peer] with the Endpoint or the Fallback of its hub",
    );
  }
  const proxy = Object(source.proxy) as RawSection;
  if (isGiven(proxy.subnets)) return;
  if (isGiven(proxy.map)) {
    const subnets = mapped(proxy.map);
    if (subnets.length > 0) source.set(["proxy"], SUBNETS, subnets, { flag: "agent" });
  } else {
    source.problem(
      ["proxy"],
      "an agent serves networks, expected [Proxy] with Map = 100.64.1.0/24 -> 192.168.1.0/24, or with Subnets",
    );
  }
}

/** What a Map names to peers. What is wrong with it is found out later. */
function mapped(map: unknown): string[] {
  const texts = Array.isArray(map) ? map.map(String) : splitList(`${map}`);
  return texts.flatMap((text) => {
    const parsed = parseMap(text.trim());
    return parsed instanceof ParseFailure ? [] : [`${parsed.from}`];
  });
}

function isCalled(peer: RawSection): boolean {
  const { endpoint, fallback } = Object(peer);
  return isGiven(endpoint) || isGiven(fallback);
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== "" &&
    !(Array.isArray(value) && value.length === 0);
}
