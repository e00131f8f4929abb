/**
 * The command line. What a command needs is loaded when it runs: `genkey` is fast.
 *
 * Exit statuses: 0 all is well, 1 failed at run time, 2 wrong usage or configuration.
 *
 * @module
 */

import { Command, CommanderError, InvalidArgumentError, Option } from "npm:commander@15.1.0";
import type { UdpChoice } from "../bind/udp_open.ts";
import type { LoadedConfig } from "../config/config.ts";
import { ConfigError } from "../config/error.ts";
import type { Form } from "../config/form.ts";
import { isInterfaceName, RESERVED_NAME } from "../control/socket_path.ts";
import { stateDirectories } from "../gateway/state_directory.ts";
import { isStream } from "../log/outputs.ts";
import { VERSION } from "../version.ts";
import { type Confinement, describeConfinement } from "./confine.ts";
import { addConfigFlags, type FlagValue } from "./flags.ts";
import { SORT_KEYS } from "./flows_format.ts";
import { genkey, genpsk, pubkey } from "./keys.ts";
import type { ConfigReader } from "./load.ts";
import { isDescriptor } from "./read.ts";
import { processTerminal, type Terminal } from "./terminal.ts";

/**
 * Runs one command.
 *
 * @param args Without the name of the program.
 * @param confinement What this process has given up already.
 * @returns the exit status.
 */
export async function run(
  args: readonly string[],
  terminal: Terminal = processTerminal,
  confinement?: Confinement,
): Promise<number> {
  let status = 0;
  const program = makeProgram(terminal, confinement, (result) => status = result);
  try {
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (!(error instanceof ConfigError)) throw error;
    terminal.error(`${error.message}\n`);
    return 2;
  }
}

function makeProgram(
  terminal: Terminal,
  confinement: Confinement | undefined,
  done: (status: number) => void,
): Command {
  const program = new Command("wirestack")
    .description("A WireGuard gateway in user space: no root, no kernel module, no TUN device.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .showHelpAfterError("(wirestack --help says more)")
    .exitOverride()
    .configureOutput({
      writeOut: terminal.out,
      writeErr: terminal.error,
      // An unknown argument is shown; a key given as one is not.
      outputError: (text, write) => write(text.replace(/[A-Za-z0-9+/]{43}=/g, "(withheld)")),
      getOutHelpWidth: () => terminal.columns() ?? 100,
      getErrHelpWidth: () => terminal.columns() ?? 100,
      // The defaults look into the environment.
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    // The help of `up` shows them. Here they are for a task, which has its arguments in front of the user's.
    .addOption(new Option("--ffi").hideHelp())
    .addOption(new Option("--no-ffi").hideHelp())
    .hook("preAction", (_program, command) => {
      if (command.name() !== "up" && command.name() !== "check") terminal.giveUpFfi();
    });

  const upCommand = program.command("up")
    .summary("run a gateway")
    .description(
      "Runs a gateway until SIGINT or SIGTERM. CONFIG is a wg-quick file with our [Proxy] section, " +
        "the same as YAML, JSON or variables, or - for standard input. Every key that has an effect is " +
        "also a flag, and a variable of the environment: WIRESTACK_ and the flag in capitals. Flags " +
        "override the environment, that the file; either is enough. SIGHUP, as " +
        "`wirestack reload`, reads the configuration again. SIGUSR2 logs the counters.",
    )
    .argument("[CONFIG]", "wg-quick, YAML, JSON or .env file, or -");
  addUpOptions(upCommand);
  const upFlags = addConfigFlags(upCommand);
  upCommand.action(async (file: string | undefined, options) => {
    const { ffi, reason } = await chooseFfi(options.ffi ?? program.opts().ffi);
    if (!ffi) terminal.giveUpFfi();
    const reader = await configReader(file, options.format, upFlags, terminal);
    const loaded = await reader.load();
    const { up, Gateway, Watch, chooseCrypto, controlHandlers } = await loadUp();
    const crypto = chooseCrypto(options.crypto);
    const { controlDir } = loaded.config;
    const isFile = file !== undefined && !isDescriptor(file);
    const path = isFile ? await realPath(file) : undefined;
    const status = await up(loaded, {
      udp: describeUdp(ffi, reason),
      ...(ffi && { confinement: describeConfinement(confinement, options.confine) }),
      start: (config) =>
        Gateway.start(config, {
          ffi,
          stateDirectories: stateDirectories(),
          ...(crypto && { crypto }),
        }),
      watch: (config) => Watch.open(config),
      handlers: (gateway, applied) =>
        controlHandlers(gateway, {
          applied,
          started: loaded,
          load: () => reader.load(),
          ...(path !== undefined && { file: path }),
        }),
      control: {
        ...(controlDir !== undefined && { directory: controlDir }),
        ...(options.name !== undefined && { name: options.name }),
        ...(isFile && { file }),
      },
      onControlOpen() {
        // The kernel leaves it its own folders, whatever Deno would permit.
        if (!(ffi && confinement && confinement.landlock > 0)) giveUpWriting(writtenFiles(loaded));
      },
    }, terminal);
    done(status);
  });

  const checkCommand = program.command("check")
    .summary("check a configuration")
    .description(
      "Prints every problem of a configuration, and what up would find when it starts, or what it " +
        "amounts to. Takes the flags of up: a command is checked by exchanging that word.",
    )
    .argument("[CONFIG]", "wg-quick, YAML, JSON or .env file, or -");
  addUpOptions(checkCommand);
  checkCommand.option("--show-origin", "print every value with the place it comes from");
  const checkFlags = addConfigFlags(checkCommand);
  checkCommand.action(async (file: string | undefined, options) => {
    const loaded = await (await configReader(file, options.format, checkFlags, terminal)).load();
    const { check } = await import("./check.ts");
    await check(loaded, {
      ...(file !== undefined && { file }),
      ...(options.name !== undefined && { name: options.name }),
      showOrigin: options.showOrigin,
      ffi: options.ffi ?? program.opts().ffi,
    }, terminal);
  });

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
      const { show } = await import("./show.ts");
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
      const { showFlows } = await import("./flows.ts");
      // `show` has some of these options too, and takes them first.
      const options = command.optsWithGlobals();
      done(await orNotRunning(() => showFlows(target, options, terminal), terminal));
    });
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
      const { kill } = await import("./flows.ts");
      done(await orNotRunning(() => kill(id, target, options.controlDir, terminal), terminal));
    });
  program.command("reload")
    .summary("have a gateway read its configuration again")
    .description(
      "Applies what has changed in a gateway's configuration file while it runs: peers, keys, allowed " +
        "IPs, endpoints, port, proxied subnets. Connections stay. A wrong file changes nothing.",
    )
    .argument("[NAME]", "a gateway's name or file; the only one when not given")
    .addOption(controlDirOption())
    .action(async (target: string | undefined, options) => {
      const { reload } = await import("./reload.ts");
      done(await orNotRunning(() => reload(target, options.controlDir, terminal), terminal));
    });
  program.command("set")
    .summary("change values of a gateway while it runs")
    .description(
      "Changes single values of a running gateway, all of them or none, until its next reload: times, " +
        "limits, rates, rules, subnets. Connections stay, unless they are no longer allowed. A key " +
        "without a value gets its default.\n\n" +
        "  wirestack set wg0 Proxy.TcpDialTimeout=5 Peer.laptop.AllowedIPs=10.9.0.2/32 Rule.3.Rate=5Mbit",
    )
    .usage("[options] [NAME] SECTION.KEY=VALUE…")
    .argument("<SETTING...>", "a gateway's name or file, unless only one runs; then settings")
    .addOption(controlDirOption())
    .action(async (words: string[], options) => {
      const { set } = await import("./reload.ts");
      done(await orNotRunning(() => set(words, options.controlDir, terminal), terminal));
    });
  program.command("add-peer")
    .summary("make a new client")
    .description(
      "Makes keys for a client, gives it a free address, adds it to the gateway's file and to the " +
        "gateway that runs with it, and prints the client's wg-quick file.",
    )
    .argument("<NAME>", "what to call it")
    .option("--config <FILE>", "the gateway's file (default: of the only gateway that runs)")
    .option("--endpoint <HOST:PORT>", "where clients reach the gateway")
    .option(
      "--allowed-ips <PREFIX,…>",
      "what the client sends through the tunnel (default: the tunnel's networks and the proxied subnets)",
    )
    .option("--dns <ADDRESS,…>", "name servers for the client")
    .option("--psk", "with a preshared key")
    .option("--qr", "print a QR code instead of the file")
    .option("--out <FILE>", "write the client's file there instead of printing it")
    .addOption(controlDirOption())
    .action(async (name: string, options) => {
      const { addPeer } = await import("./add_peer.ts");
      done(await orNotRunning(() => addPeer(name, options, terminal), terminal));
    });
  program.command("remove-peer")
    .summary("remove a client")
    .description(
      "Takes a peer out of the gateway's file and out of the gateway that runs with it.",
    )
    .argument("<NAME>", "its name or public key")
    .option("--config <FILE>", "the gateway's file (default: of the only gateway that runs)")
    .addOption(controlDirOption())
    .action(async (name: string, options) => {
      const { removePeer } = await import("./remove_peer.ts");
      done(await orNotRunning(() => removePeer(name, options, terminal), terminal));
    });
  program.command("strip")
    .summary("print what wg takes of a configuration")
    .description(
      "Prints a configuration without what is not WireGuard's own, as wg-quick strip does, for " +
        "wg syncconf NAME <(wirestack strip CONFIG). Has the private key. wirestack reload applies " +
        "all of it.",
    )
    .argument("<CONFIG>", "a file, or -")
    .addOption(formatOption())
    .action(async (file: string, options) => {
      const { strip } = await import("./strip.ts");
      done(await strip(file, options.format, terminal));
    });
  program.command("genkey")
    .summary("print a new private key")
    .description("Prints a new private key, as wg genkey does.")
    .action(() => done(genkey(terminal)));
  program.command("pubkey")
    .summary("print the public key of a private key")
    .description("Reads a private key from standard input and prints its public key.")
    .action(async () => done(await pubkey(terminal)));
  program.command("genpsk")
    .summary("print a new preshared key")
    .description("Prints a new preshared key, as wg genpsk does.")
    .action(() => done(genpsk(terminal)));
  program.command("demo")
    .summary("try a tunnel between two processes on this machine")
    .description("Fetches a page through a tunnel between two processes on this machine.")
    .action(async () => done(await (await import("../demo/demo.ts")).demo()));
  return program;
}

/** Loads what `up` needs. */
export async function loadUp() {
  const [{ up }, { Gateway }, { Watch }, { chooseCrypto }, { controlHandlers }] = await Promise.all(
    [
      import("./up.ts"),
      import("../gateway/gateway.ts"),
      import("../watch/watch.ts"),
      import("../arena/crypto.ts"),
      import("../control/handlers.ts"),
      import("./load.ts"),
    ],
  );
  return { up, Gateway, Watch, chooseCrypto, controlHandlers };
}

async function configReader(
  file: string | undefined,
  form: Form | undefined,
  flags: readonly FlagValue[],
  terminal: Terminal,
): Promise<ConfigReader> {
  const { ConfigReader, environmentVariables } = await import("./load.ts");
  return new ConfigReader({ file, form, flags, variables: environmentVariables() }, terminal);
}

/** What `up` takes besides the keys of the configuration; `check` takes the same. */
function addUpOptions(command: Command): void {
  command
    .addOption(formatOption())
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
    )
    .addOption(
      new Option("--crypto <WHICH>", "the fastest there is, node:crypto, or plain TypeScript")
        .choices(["auto", "native", "noble"]).default("auto").helpGroup("Tunnel:"),
    );
}

/** @param wanted By --ffi or --no-ffi; undefined without either. */
async function chooseFfi(wanted: boolean | undefined): Promise<UdpChoice> {
  const { chooseUdp } = await import("../bind/udp_open.ts");
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

function formatOption(): Option {
  return new Option("--format <FORM>", "form of CONFIG (default: by the file's suffix, else conf)")
    .choices(["conf", "yaml", "json", "env"]);
}

function controlDirOption(): Option {
  return new Option(
    "--control-dir <DIR>",
    "folder of the control sockets (default: the user's own, and root's /var/run/wireguard)",
  );
}

/** @returns the exit status of a command that asks a running gateway. */
async function orNotRunning(command: () => Promise<number>, terminal: Terminal): Promise<number> {
  const { ControlError } = await import("../control/client.ts");
  try {
    return await command();
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    terminal.error(`wirestack: ${error.message}\n`);
    return 1;
  }
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
function writtenFiles({ config: { log, status } }: LoadedConfig): string[] {
  const logs = [log.output, log.access].filter((output) => output !== undefined);
  const socket = status?.listen.transport === "unix" ? [status.listen.path] : [];
  return [...logs.filter((output) => !isStream(output)), ...socket];
}
