/**
 * `check`.
 *
 * @module
 */

import { Option } from "npm:commander@15.1.0";
import type { ConfigSource } from "../../config/source.ts";
import { addConfigFlags } from "../flags.ts";
import { completeAgent } from "./agent.ts";
import type { CommandLine } from "./options.ts";
import { forwardBetweenPeers } from "./hub.ts";
import { completeRedirect } from "./redirect.ts";
import { addUpOptions, configReader } from "./up_options.ts";

/** What commands other than `up` decide about a configuration. */
const ROLES: Readonly<Record<string, (source: ConfigSource) => void>> = {
  hub: forwardBetweenPeers,
  agent: completeAgent,
  redirect: completeRedirect,
};

/** Adds `check`. */
export function addCheck({ program, terminal }: CommandLine): void {
  const checkCommand = program.command("check")
    .summary("check a configuration")
    .description(
      "Prints every problem of a configuration, and what up would find when it starts, or what it " +
        "amounts to. Takes the flags of up: a command is checked by exchanging that word.",
    )
    .argument("[CONFIG]", "wg-quick, YAML, JSON or .env file, or -");
  addUpOptions(checkCommand);
  checkCommand.addOption(
    new Option("--as <COMMAND>", "for which command it is (default up)").choices(
      Object.keys(ROLES),
    ),
  );
  checkCommand.option("--show-origin", "print every value with the place it comes from");
  const checkFlags = addConfigFlags(checkCommand);
  checkCommand.action(async (file: string | undefined, options) => {
    const loaded = await (await configReader(
      file,
      options.format,
      checkFlags,
      terminal,
      { hasDevice: options.tun !== undefined, complete: ROLES[options.as] ?? (() => {}) },
    )).load();
    const { check } = await import("../check.ts");
    await check(loaded, {
      ...(file !== undefined && { file }),
      ...(options.name !== undefined && { name: options.name }),
      showOrigin: options.showOrigin,
      ffi: options.ffi ?? program.opts().ffi,
      ...(options.tun !== undefined && { tun: options.tun }),
    }, terminal);
  });
}
