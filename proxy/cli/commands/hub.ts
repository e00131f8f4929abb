/**
 * `hub`: peers reach each other, and the networks behind each other.
 *
 * @module
 */

import { findKey } from "../../config/keys.ts";
import type { ConfigSource, RawSection } from "../../config/source.ts";
import { parseBoolean } from "../../config/values.ts";
import type { Confinement } from "../confine.ts";
import type { CommandLine } from "./options.ts";
import { addRunning } from "./up.ts";

const PEER_TO_PEER = findKey("interface", "PeerToPeer")!;

/**
 * Adds `hub`.
 *
 * @param confinement What this process has given up already.
 */
export function addHub(line: CommandLine, confinement: Confinement | undefined): void {
  const command = line.program.command("hub")
    .summary("run a gateway that joins the networks of its peers")
    .description(
      "Runs a gateway whose peers reach each other, and the networks behind each other, by their " +
        "AllowedIPs and under its rules: what `up` does with PeerToPeer = true. It passes packets on " +
        "and ends no connection, unless the file has [Proxy] Subnets too. CONFIG and options are " +
        "those of `up`; `wirestack peers` lists who is there.",
    );
  addRunning(line, command, confinement, forwardBetweenPeers);
}

/** A hub with peers that cannot reach each other is none. */
export function forwardBetweenPeers(source: ConfigSource): void {
  const { peerToPeer } = source.interface as RawSection;
  if (peerToPeer === undefined) {
    source.set(["interface"], PEER_TO_PEER, "true", { flag: "hub" });
  } else if (parseBoolean(`${peerToPeer}`) === false) {
    source.problem(
      ["interface", "peerToPeer"],
      "false keeps peers from each other, expected true or none for a hub (up runs a gateway without)",
    );
  }
}
