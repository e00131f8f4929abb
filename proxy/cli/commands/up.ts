/**
 * `up`.
 *
 * @module
 */

import type { Command } from "npm:commander@15.1.0";
import type { UdpChoice } from "../../bind/udp_open.ts";
import { captureFiles } from "../../capture/file.ts";
import type { LoadedConfig } from "../../config/config.ts";
import { ConfigError } from "../../config/error.ts";
import type { Form } from "../../config/form.ts";
import type { ConfigSource } from "../../config/source.ts";
import { stateDirectories } from "../../state/directory.ts";
import { isStream } from "../../log/outputs.ts";
import { type Confinement, describeConfinement } from "../confine.ts";
import { loadConfined } from "../confine/reload.ts";
import { addConfigFlags } from "../flags.ts";
import { isDescriptor } from "../read.ts";
import type { CommandLine } from "./options.ts";
import type { CryptoChoice } from "../../arena/crypto.ts";
import { DEFAULT_USER } from "../../system/user.ts";
import type { ConfigReader } from "../load.ts";
import type { Terminal } from "../terminal.ts";
import type { SystemSetup } from "./system_setup.ts";
import { openTunnel } from "./tunnel.ts";
import { addUpOptions, configReader } from "./up_options.ts";

/**
 * Adds `up`.
 *
 * @param confinement What this process has given up already.
 */
export function addUp(line: CommandLine, confinement: Confinement | undefined): void {
  const upCommand = line.program.command("up")
    .summary("run a gateway")
    .description(
      "Runs a gateway until SIGINT or SIGTERM. CONFIG is a wg-quick file with our [Proxy] section, " +
        "the same as YAML, JSON or variables, or - for standard input. Every key that has an effect is " +
        "also a flag, and a variable of the environment: WIRESTACK_ and the flag in capitals. Flags " +
        "override the environment, that the file; either is enough. SIGHUP, as " +
        "`wirestack reload`, reads the configuration again. SIGUSR2 logs the counters.",
    );
  addRunning(line, upCommand, confinement);
}

/**
 * Has a command run a gateway with the configuration and options of `up`.
 *
 * @param complete Puts in, or refuses, what the command decides about. Default: nothing.
 */
export function addRunning(
  { program, terminal, done }: CommandLine,
  command: Command,
  confinement: Confinement | undefined,
  complete?: (source: ConfigSource) => void,
): void {
  command.argument("[CONFIG]", "wg-quick, YAML, JSON or .env file, or -");
  addUpOptions(command);
  const flags = addConfigFlags(command);
  command.action(async (file: string | undefined, options: RunOptions & { format?: Form }) => {
    checkMasquerade(options);
    const reader = await configReader(file, options.format, flags, terminal, {
      hasDevice: options.tun !== undefined,
      ...(complete && { complete }),
    });
    const given = { ...options, ffi: options.ffi ?? program.opts().ffi };
    done(await runGateway(reader, given, terminal, confinement, file));
  });
}

/** Makes what a command wraps around a gateway. @throws {ConfigError} if it cannot be. */
export type OpenSetup = (loaded: LoadedConfig, ffi: boolean) => Promise<SystemSetup>;

/** What is common to the commands that run a gateway. */
export interface RunOptions {
  /** By --ffi or --no-ffi; undefined without either. */
  readonly ffi?: boolean;
  readonly confine?: boolean;
  readonly name?: string;
  readonly crypto?: CryptoChoice;
  /** By --tun: the name of a device, empty for the gateway's own. */
  readonly tun?: string;
  readonly user?: string;
  /** By --masquerade: the name of a device, empty for that of the default route. */
  readonly masquerade?: string;
  readonly masqueradeForce?: boolean;
}

/**
 * Runs a gateway until a signal ends it.
 *
 * @param file What is configured by, if by a file.
 * @param openSetup Default: what --tun asks for.
 * @returns the exit status.
 */
export async function runGateway(
  reader: ConfigReader,
  options: RunOptions,
  terminal: Terminal,
  confinement: Confinement | undefined,
  file?: string,
  openSetup?: OpenSetup,
): Promise<number> {
  const { up, Gateway, Watch, Recorder, chooseCrypto, controlHandlers, linux } = await loadUp();
  linux.keepLibrariesOpen();
  const { ffi, reason } = await chooseFfi(options.ffi);
  if (!ffi) terminal.giveUpFfi();
  const loaded = await reader.load();
  if (ffi) linux.turns.begin();
  const crypto = await chooseCrypto(options.crypto ?? "auto");
  const { controlDir } = loaded.config;
  const isFile = file !== undefined && !isDescriptor(file);
  const path = isFile ? await realPath(file) : undefined;
  const { tun, user = DEFAULT_USER, masquerade, masqueradeForce, confine = true } = options;
  const openDevice = tun === undefined ? undefined : () =>
    openTunnel(loaded, {
      tun,
      user,
      ...(masquerade !== undefined && { masquerade }),
      ...(masqueradeForce !== undefined && { masqueradeForce }),
      confine,
      ...(options.name !== undefined && { name: options.name }),
      ffi,
      file: isFile ? file : undefined,
    });
  const setup = await (openSetup ?? openDevice)?.(loaded, ffi);
  const changesUser = setup?.user !== undefined;
  const gatewayOptions = {
    ffi,
    // Another user could not write there.
    stateDirectories: changesUser ? [] : stateDirectories(),
    // But to a file that is open by then, which a hub has for who was enrolled.
    ...(changesUser && loaded.config.peerToPeer &&
      { heldStateDirectories: stateDirectories() }),
    ...(crypto && { crypto }),
    loadsAll: changesUser,
  };
  return await up(loaded, {
    udp: describeUdp(ffi, reason),
    ...(ffi && { confinement: describeConfinement(confinement, options.confine) }),
    ...(setup && { surroundings: setup }),
    start: (config) =>
      setup === undefined
        ? Gateway.start(config, gatewayOptions)
        : setup.up(({ config, open, resolve, dialledAddresses }) =>
          Gateway.start(config, {
            ...gatewayOptions,
            ...(open && { device: open }),
            guardsHost: masquerade !== undefined,
            keepsMark: true,
            resolve,
            ...(dialledAddresses && { dialledAddresses }),
          })
        ),
    watch: (config) => Watch.open(config),
    record: (config) => new Recorder(config.capture, setup?.user),
    handlers: (gateway, applied) =>
      controlHandlers(gateway, {
        applied,
        started: loaded,
        load: (texts) => loadConfined(() => reader.load(texts), confinement, setup?.user?.name),
        ...(path !== undefined && { file: path }),
      }),
    control: {
      ...(controlDir !== undefined && { directory: controlDir }),
      ...(options.name !== undefined && { name: options.name }),
      ...(isFile && { file }),
    },
    onControlOpen() {
      // The kernel leaves it its own folders, whatever Deno would permit.
      if (!(ffi && confinement && confinement.landlock > 0)) {
        giveUpWriting([...writtenFiles(loaded), ...setup?.writtenFiles ?? []]);
      }
    },
  }, terminal);
}

/** @throws {ConfigError} */
function checkMasquerade({ tun, masquerade, masqueradeForce = false }: RunOptions): void {
  if (masquerade !== undefined && tun === undefined) {
    throw new ConfigError([
      "--masquerade: is for a device of the system, expected --tun too; without one [Proxy] lets " +
      "clients out, and nothing is to be set up",
    ]);
  }
  if (masqueradeForce && masquerade === undefined) {
    throw new ConfigError(["--masquerade-force: expected --masquerade too"]);
  }
}

/** All of it is in ../whole.ts too. */
async function loadUp() {
  const [
    { up },
    { Gateway },
    { Watch },
    { Recorder },
    { chooseCrypto },
    { controlHandlers },
    linux,
  ] = await Promise.all([
    import("../up.ts"),
    import("../../gateway/gateway.ts"),
    import("../../watch/watch.ts"),
    import("../../capture/recorder.ts"),
    import("../../arena/crypto.ts"),
    import("../../control/handlers.ts"),
    import("../../../ffi/mod.ts"),
    import("../load.ts"),
  ]);
  return { up, Gateway, Watch, Recorder, chooseCrypto, controlHandlers, linux };
}

/** @param wanted By --ffi or --no-ffi; undefined without either. */
async function chooseFfi(wanted: boolean | undefined): Promise<UdpChoice> {
  const { chooseUdp } = await import("../../bind/udp_open.ts");
  try {
    return chooseUdp(wanted);
  } catch (error) {
    throw new ConfigError([`--ffi: ${(error as Error).message}`]);
  }
}

function describeUdp(ffi: boolean, reason: string | undefined): string {
  if (ffi) return "UDP in batches (FFI)";
  return `UDP over Deno's sockets (${reason === undefined ? "--no-ffi" : `FFI ${reason}`})`;
}

/** @returns undefined for a pipe that has no name (`<(…)`). */
async function realPath(file: string): Promise<string | undefined> {
  try {
    return await Deno.realPath(file);
  } catch {
    return undefined;
  }
}

/**
 * The program may write anywhere, because `add-peer` does. A gateway has no use for more than the
 * usual folders of control sockets and of state, which the task names beside it, and so stay
 * permitted, and its logs. In any other folder its control socket stays behind when it ends, and is
 * replaced by the next.
 *
 * @param kept Files that are written to and removed still.
 */
function giveUpWriting(kept: readonly string[]): void {
  // Named on its own a path stays permitted when what is above it is not any more.
  for (const path of kept) Deno.permissions.requestSync({ name: "write", path });
  Deno.permissions.revokeSync({ name: "write", path: "/" });
}

/** Logs that are opened again, and a socket that is removed. */
function writtenFiles({ config: { log, status, links, capture } }: LoadedConfig): string[] {
  const logs = [log.output, log.access].filter((output) => output !== undefined);
  const socket = status?.listen.transport === "unix" ? [status.listen.path] : [];
  // A link's socket is made in a folder beside it, and one that connects needs its path.
  const places = links.flatMap(({ place }) =>
    "path" in place ? [place.path, place.path.replace(/[^/]*$/, "") || "."] : []
  );
  const captured = capture?.write.to === "file"
    ? captureFiles(capture.write.path, capture.rotate)
    : [];
  return [...logs.filter((output) => !isStream(output)), ...socket, ...places, ...captured];
}
