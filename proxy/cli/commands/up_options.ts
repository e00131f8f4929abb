/**
 * What `up` takes besides the keys of the configuration, and `check` too.
 *
 * @module
 */

import { type Command, InvalidArgumentError, Option } from "npm:commander@15.1.0";
import type { Form } from "../../config/form.ts";
import { isInterfaceName, RESERVED_NAME } from "../../control/socket_path.ts";
import type { FlagValue } from "../flags.ts";
import type { ConfigReader } from "../load.ts";
import type { Terminal } from "../terminal.ts";
import { formatOption } from "./command_line.ts";

export function addUpOptions(command: Command): void {
  command.addOption(formatOption());
  addProcessOptions(command);
  command.addOption(
    new Option("--crypto <WHICH>", "the fastest there is, node:crypto, or plain TypeScript")
      .choices(["auto", "native", "noble"]).default("auto").helpGroup("Tunnel:"),
  );
}

/** Of the process, whatever it runs on. */
export function addProcessOptions(command: Command): void {
  command
    .addOption(
      new Option("--name <NAME>", "name of the gateway for wg and wirestack show").argParser(
        parseName,
      ),
    )
    .addOption(
      new Option(
        "--ffi",
        "UDP in batches by calls of the C library, or an error: the default on Linux",
      )
        .helpGroup("System:"),
    )
    .addOption(
      new Option("--no-ffi", "slower, and within Deno's own sandbox").helpGroup("System:"),
    )
    .addOption(
      new Option("--no-confine", "keep all files and system calls that this user has")
        .helpGroup("System:"),
    );
}

/** What reads the configuration that a command names, at the start and for a reload. */
export async function configReader(
  file: string | undefined,
  form: Form | undefined,
  flags: readonly FlagValue[],
  terminal: Terminal,
): Promise<ConfigReader> {
  const { ConfigReader, environmentVariables, unknownVariables } = await import("../load.ts");
  const variables = environmentVariables();
  const unknown = await unknownVariables();
  return new ConfigReader({ file, form, flags, variables, unknown }, terminal);
}

/** @throws {InvalidArgumentError} */
function parseName(text: string): string {
  if (isInterfaceName(text)) return text;
  if (text === RESERVED_NAME) {
    throw new InvalidArgumentError(
      "It is what `wirestack show flows` shows, expected another name.",
    );
  }
  throw new InvalidArgumentError("Expected 1 to 15 of a-z A-Z 0-9 _ = + . -");
}
