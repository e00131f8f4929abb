/**
 * `show`, `show flows` and `kill`: a running gateway looked at.
 *
 * @module
 */

import { type Command, Option } from "npm:commander@15.1.0";
import { SORT_KEYS } from "../flows_format.ts";
import { type CommandLine, controlDirOption, orNotRunning } from "./options.ts";

/** Adds `show` with `show flows`. */
export function addShow({ program, terminal, done }: CommandLine): void {
  const showCommand = program.command("show")
    .summary("show what runs")
    .description(
      "Shows a running gateway, or all, as wg show does, with the gateway's own figures. NAME is a " +
        "gateway's name or its configuration file.",
    )
    .argument("[NAME]", "a gateway's name or file; all when not given")
    .addOption(controlDirOption())
    .option("--json", "the same as plain values")
    .action(async (target: string | undefined, options) => {
      const { show } = await import("../show.ts");
      done(await orNotRunning(() => show(target, options, terminal), terminal));
    });
  showCommand.command("flows")
    .summary("show the connections, UDP sessions and pings of a gateway")
    .description(
      "Shows the live flows of a running gateway: TCP connections, UDP sessions and pings, with what " +
        "each has moved and how fast. NAME is a gateway's name or its configuration file.",
    )
    .argument("[NAME]", "a gateway's name or file; the only one when not given")
    .addOption(controlDirOption())
    .option("--json", "the same as plain values, in an array")
    .option("--peer <NAME>", "only those of this peer, by its name or public key")
    .addOption(
      new Option("--sort <BY>", "in which order (default: the oldest first)").choices(SORT_KEYS),
    )
    .action(async (target: string | undefined, _options, command: Command) => {
      const { showFlows } = await import("../flows.ts");
      // `show` has some of these options too, and takes them first.
      const options = command.optsWithGlobals();
      done(await orNotRunning(() => showFlows(target, options, terminal), terminal));
    });
}

/** Adds `kill`. */
export function addKill({ program, terminal, done }: CommandLine): void {
  program.command("kill")
    .summary("end a connection, UDP session or ping")
    .description(
      "Ends a flow of a running gateway: TCP is reset on both sides. FLOW is its id as show flows has " +
        "it, or as many of the first digits as no other has.",
    )
    .argument("<FLOW>", "a flow's id, or its first digits")
    .argument("[NAME]", "a gateway's name or file; the only one when not given")
    .addOption(controlDirOption())
    .action(async (id: string, target: string | undefined, options) => {
      const { kill } = await import("../flows.ts");
      done(await orNotRunning(() => kill(id, target, options.controlDir, terminal), terminal));
    });
}
