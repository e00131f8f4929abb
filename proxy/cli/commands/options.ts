/**
 * What every command is given, and the options that several have.
 *
 * @module
 */

import { type Command, Option } from "npm:commander@15.1.0";
import type { Terminal } from "../terminal.ts";

/** What a command is added to. */
export interface CommandLine {
  readonly program: Command;
  readonly terminal: Terminal;
  /** Takes the exit status of the command that ran; 0 when not called. */
  done(status: number): void;
}

export function formatOption(argument = "CONFIG"): Option {
  return new Option(
    "--format <FORM>",
    `form of ${argument} (default: by the file's suffix, else conf)`,
  )
    .choices(["conf", "yaml", "json", "env"]);
}

export function controlDirOption(): Option {
  return new Option(
    "--control-dir <DIR>",
    "folder of the control sockets (default: the user's own, and root's /var/run/wireguard)",
  );
}

/** @returns the exit status of a command that asks a running gateway. */
export async function orNotRunning(
  command: () => Promise<number>,
  terminal: Terminal,
): Promise<number> {
  const { ControlError } = await import("../../control/client.ts");
  try {
    return await command();
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    terminal.error(`wirestack: ${error.message}\n`);
    return 1;
  }
}
