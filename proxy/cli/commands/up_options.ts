/**
 * What `up` takes besides the keys of the configuration, and `check` too.
 *
 * @module
 */

import { type Command, InvalidArgumentError, Option } from "npm:commander@15.1.0";
import type { Form } from "../../config/form.ts";
import type { ConfigSource } from "../../config/source.ts";
import { isInterfaceName, RESERVED_NAME } from "../../control/socket_path.ts";
import { DEFAULT_USER } from "../../system/user.ts";
import type { FlagValue } from "../flags.ts";
import type { ConfigReader } from "../load.ts";
import type { Terminal } from "../terminal.ts";
import { formatOption } from "./options.ts";

/** Options whose value, if there is one, stands behind `=`: what follows them is the configuration. */
const OPTIONAL_VALUES = ["--tun", "--masquerade"];

/** @param args A whole command line. */
export function withOptionalValues(args: readonly string[]): string[] {
  const end = args.indexOf("--");
  return args.map((argument, i) =>
    OPTIONAL_VALUES.includes(argument) && (end < 0 || i < end) ? `${argument}=` : argument
  );
}

export function addUpOptions(command: Command): void {
  const tun = new Option(
    "--tun [NAME]",
    "be to the file what wg-quick up is: a device, its routes and name servers (default name: the " +
      "gateway's). Needs CAP_NET_ADMIN",
  ).argParser(parseDevice).helpGroup("System:");
  tun.flags = "--tun[=NAME]";
  const masquerade = new Option(
    "--masquerade [DEVICE]",
    "with --tun: let clients out by a device of this host, with its address (default: that of the " +
      "default route)",
  ).argParser(parseOutlet).helpGroup("System:");
  masquerade.flags = "--masquerade[=DEVICE]";
  command
    .addOption(tun)
    .addOption(masquerade)
    .addOption(
      new Option(
        "--masquerade-force",
        "the same, through other programs' chains that drop what is forwarded: a rule is put there, " +
          "and taken out",
      ).helpGroup("System:"),
    )
    .addOption(userOption("with --tun as root: who to become when it is up"))
    .addOption(formatOption());
  addProcessOptions(command);
  command.addOption(cryptoOption());
}

export function userOption(description: string): Option {
  return new Option("--user <USER>", description).default(DEFAULT_USER).helpGroup("System:");
}

export function cryptoOption(): Option {
  return new Option("--crypto <WHICH>", "the fastest there is, node:crypto, or plain TypeScript")
    .choices(["auto", "native", "noble"]).default("auto").helpGroup("Tunnel:");
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

/** What a command knows of its configuration by itself. */
export interface ReaderOptions {
  /** Whether it is for a device of the operating system too, `--tun`. */
  readonly hasDevice?: boolean;
  /** As of `ConfigRequest`. */
  readonly complete?: (source: ConfigSource) => void;
}

/** What reads the configuration that a command names, at the start and for a reload. */
export async function configReader(
  file: string | undefined,
  form: Form | undefined,
  flags: readonly FlagValue[],
  terminal: Terminal,
  options: ReaderOptions = {},
): Promise<ConfigReader> {
  const { ConfigReader, environmentVariables, unknownVariables } = await import("../load.ts");
  const variables = environmentVariables();
  const unknown = await unknownVariables();
  return new ConfigReader({ file, form, flags, variables, unknown, ...options }, terminal);
}

/** @throws {InvalidArgumentError} */
function parseOutlet(text: string): string {
  if (text === "" || isInterfaceName(text)) return text;
  throw new InvalidArgumentError("Expected the name of a network device.");
}

/** @throws {InvalidArgumentError} */
function parseDevice(text: string): string {
  return text === "" ? text : parseName(text);
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
