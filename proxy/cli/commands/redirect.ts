/**
 * `redirect`: this host's traffic to some addresses goes into the tunnel, without a device.
 *
 * @module
 */

import { InvalidArgumentError, Option } from "npm:commander@15.1.0";
import type { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { parsePrefix } from "../../address.ts";
import type { LoadedConfig } from "../../config/config.ts";
import { ConfigError } from "../../config/error.ts";
import type { ConfigSource } from "../../config/source.ts";
import type { Form } from "../../config/form.ts";
import { isSingle } from "../../config/values.ts";
import { controlDirectory, interfaceNameOf, socketPath } from "../../control/socket_path.ts";
import { SystemTunnelError } from "../../system/error.ts";
import { DEFAULT_USER } from "../../system/user.ts";
import { addConfigFlags } from "../flags.ts";
import { isDescriptor } from "../read.ts";
import type { Terminal } from "../terminal.ts";
import type { CommandLine } from "./options.ts";
import { formatOption } from "./options.ts";
import { DEFAULT_NAME, type SystemSetup } from "./system_setup.ts";
import { runGateway, type RunOptions } from "./up.ts";
import { addProcessOptions, configReader, cryptoOption, userOption } from "./up_options.ts";

export interface RedirectOptions extends RunOptions {
  readonly cidr: readonly Prefix[];
  readonly port: number;
  readonly cleanup?: boolean;
  readonly format?: Form;
}

const DEFAULT_PORT = 9999;

/** Adds `redirect`. It gives up what it can once this host's traffic comes to it. */
export function addRedirect({ program, terminal, done }: CommandLine): void {
  const command = program.command("redirect")
    .summary("send this host's TCP and UDP to some addresses into the tunnel, without a device")
    .description(
      "Runs a gateway until SIGINT or SIGTERM, and has nftables hand over what programs of this host, " +
        "and hosts that it forwards for, send to the addresses given: TCP and UDP become connections " +
        "and sessions inside the tunnel. Pings do not. Needs CAP_NET_ADMIN, which it keeps with " +
        "CAP_NET_BIND_SERVICE alone. What is changed on this host is taken back at the end, by the " +
        "next start, or by --cleanup. CONFIG is as for `up`.",
    )
    .argument("[CONFIG]", "wg-quick, YAML, JSON or .env file, or -")
    .addOption(
      new Option("--cidr <PREFIX>", "what goes into the tunnel; again for more")
        .argParser(parseCidr).default([], "none").helpGroup("System:"),
    )
    .addOption(
      new Option("--port <PORT>", "where this host's traffic is handed over, of TCP and UDP")
        .argParser(parsePort).default(DEFAULT_PORT).helpGroup("System:"),
    )
    .addOption(
      new Option("--cleanup", "take back what a redirect that was killed has left, and end")
        .helpGroup("System:"),
    )
    .addOption(userOption("as root: who to become when it is up"))
    .addOption(formatOption());
  addProcessOptions(command);
  command.addOption(cryptoOption());
  const flags = addConfigFlags(command);
  command.action(async (file: string | undefined, given: RedirectOptions) => {
    const options = { ...given, ffi: given.ffi ?? program.opts().ffi };
    const name = nameOf(file, options);
    if (options.cleanup) {
      done(await cleanUp(name, options, terminal));
      return;
    }
    if (options.cidr.length === 0) {
      throw new ConfigError([
        "--cidr: missing, expected what goes into the tunnel, as --cidr 100.64.0.0/10",
      ]);
    }
    const reader = await configReader(file, options.format, flags, terminal, {
      complete: completeRedirect,
    });
    const setup = (loaded: LoadedConfig, ffi: boolean) => openRedirect(loaded, name, options, ffi);
    done(await runGateway(reader, options, terminal, undefined, file, setup));
  });
}

/** Its file is a client's. */
export function completeRedirect(source: ConfigSource): void {
  source.hasInbound = true;
}

/** Takes back what a process of this name has left. @returns the exit status. */
async function cleanUp(
  name: string,
  options: RedirectOptions,
  terminal: Terminal,
): Promise<number> {
  checkFfi(options.ffi ?? Deno.permissions.querySync({ name: "ffi" }).state === "granted");
  const { cleanUpRedirect } = await import("../../system/redirect.ts");
  try {
    const count = cleanUpRedirect(name);
    const what = count === 0
      ? "nothing to take back"
      : `${count} ${count === 1 ? "step" : "steps"} taken back`;
    terminal.out(`${name}: ${what}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof SystemTunnelError)) throw error;
    terminal.error(`${error.message}\n`);
    return 1;
  }
}

/** @throws {ConfigError} if there can be no such redirect. */
async function openRedirect(
  { config, source }: LoadedConfig,
  name: string,
  { cidr, port, user = DEFAULT_USER, confine = true }: RedirectOptions,
  ffi: boolean,
): Promise<SystemSetup> {
  checkFfi(ffi);
  checkCidrs(cidr, config.addresses.map(({ address }) => address));
  const missing = config.privateKey === undefined
    ? "privateKey"
    : config.addresses.length === 0
    ? "address"
    : undefined;
  if (missing !== undefined) {
    throw new ConfigError([
      `${source.label(["interface", missing])}: missing, expected it for a redirect`,
    ]);
  }
  const [{ SystemRedirect }, { STATE_DIRECTORY }, { findUser }, { LinuxSystem }, names] =
    await Promise.all([
      import("../../system/redirect.ts"),
      import("../../system/state_file.ts"),
      import("../../system/user.ts"),
      import("../../../ffi/mod.ts"),
      import("../../target/system_names.ts"),
    ]);
  using system = new LinuxSystem();
  const ids = system.user === 0 ? findUser(user) : undefined;
  const controlFolder = config.controlDir ?? controlDirectory();
  const redirect = new SystemRedirect({
    name,
    gateway: name,
    config,
    cidrs: cidr,
    port,
    ...(ids && { user: ids }),
    confine,
    resolve: names.resolveBySystem,
    files: controlFolder === "off" ? [] : [socketPath(controlFolder, name)],
  });
  return {
    claim: () => redirect.claim(),
    up: (start) => redirect.up(start),
    confine: () => redirect.confine(),
    interrupt: () => redirect.interrupt(),
    beforeDown: () => redirect.beforeDown(),
    down: () => redirect.down(),
    afterDown: () => redirect.afterDown(),
    user: ids,
    writtenFiles: [STATE_DIRECTORY],
  };
}

/** @throws {ConfigError} */
function checkFfi(ffi: boolean): void {
  if (ffi) return;
  throw new ConfigError([
    "redirect: needs calls of the C library, expected Linux, the permission --allow-ffi, and no " +
    "--no-ffi",
  ]);
}

/** @throws {ConfigError} for one that would hand the tunnel to itself. */
function checkCidrs(cidrs: readonly Prefix[], own: readonly IpAddress[]): void {
  const problems = cidrs.flatMap((cidr) => {
    return isSingle(cidr) && own.some((address) => cidr.contains(address))
      ? [`--cidr ${cidr}: is this end of the tunnel itself, expected what is at the other`]
      : [];
  });
  if (problems.length > 0) throw new ConfigError(problems);
}

function nameOf(file: string | undefined, { name }: RunOptions): string {
  if (name !== undefined) return name;
  const isFile = file !== undefined && file !== "-" && !isDescriptor(file);
  return (isFile ? interfaceNameOf(file) : undefined) ?? DEFAULT_NAME;
}

/** @throws {InvalidArgumentError} */
function parseCidr(text: string, before: readonly Prefix[]): Prefix[] {
  const prefix = parsePrefix(text.trim());
  if (prefix === undefined) {
    throw new InvalidArgumentError("Expected a prefix, as 100.64.0.0/10 or fd00::/8.");
  }
  return [...before, prefix];
}

/** @throws {InvalidArgumentError} */
function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new InvalidArgumentError("Expected a port, 1 to 65535.");
}
