/**
 * `peers`: who is there.
 *
 * @module
 */

import { InvalidArgumentError, Option } from "npm:commander@15.1.0";
import { PEER_SORT_KEYS } from "../peers_format.ts";
import { type CommandLine, controlDirOption, orNotRunning } from "./options.ts";

/** Adds `peers`. */
export function addPeerList({ program, terminal, done }: CommandLine): void {
  program.command("peers")
    .summary("list the peers of a gateway")
    .description(
      "Lists the peers of a running gateway, as a hub's: who and where, since when, when last heard, " +
        "how fast, their subnets, and where each comes from. NAME is a gateway's name or its " +
        "configuration file.",
    )
    .argument("[NAME]", "a gateway's name or file; the only one when not given")
    .addOption(controlDirOption())
    .option("--json", "the same as plain values, in an array")
    .option("--match <TEXT>", "only those with TEXT in their name, public key, place or a subnet")
    .addOption(
      new Option("--sort <BY>", "in which order").choices(PEER_SORT_KEYS).default("name"),
    )
    .addOption(
      new Option("--limit <COUNT>", "how many at most, 0 for all (default: 100 of a table)")
        .argParser(parseLimit),
    )
    .action(async (target: string | undefined, options) => {
      const { listPeers } = await import("../peers.ts");
      done(await orNotRunning(() => listPeers(target, options, terminal), terminal));
    });
}

/** @throws {InvalidArgumentError} */
function parseLimit(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("Expected a number, or 0 for all.");
}
