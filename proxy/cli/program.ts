/**
 * The command line. What a command needs is loaded when it runs: `genkey` is fast.
 *
 * Exit statuses: 0 all is well, 1 failed at run time, 2 wrong usage or configuration.
 *
 * @module
 */

import { Command, CommanderError, Option } from "npm:commander@15.1.0";
import { ConfigError } from "../config/error.ts";
import { VERSION } from "../version.ts";
import type { CommandLine } from "./commands/options.ts";
import { withOptionalValues } from "./commands/up_options.ts";
import type { Confinement } from "./confine.ts";
import { processTerminal, type Terminal } from "./terminal.ts";

/** `show` looks whether a tunnel that was killed has left something. */
const TAKING_FFI = ["up", "hub", "agent", "redirect", "router", "check", "down", "show", "join"];

/** A key, and a token of enrolment. */
const SECRET = /[A-Za-z0-9+/]{43}=|wsk\d[\w-]{4,}/g;

type Onward = (args: readonly string[]) => Promise<number>;
type Add = (line: CommandLine, confinement: Confinement | undefined, onward: Onward) => void;

/** All commands, as the help has them. A file of commands is loaded for these, and for the help. */
const COMMANDS: readonly { readonly names: readonly string[]; load(): Promise<Add> }[] = [
  { names: ["up"], load: async () => (await import("./commands/up.ts")).addUp },
  { names: ["hub"], load: async () => (await import("./commands/hub.ts")).addHub },
  { names: ["agent"], load: async () => (await import("./commands/agent.ts")).addAgent },
  { names: ["redirect"], load: async () => (await import("./commands/redirect.ts")).addRedirect },
  { names: ["router"], load: async () => (await import("./commands/router.ts")).addRouter },
  { names: ["down"], load: async () => (await import("./commands/down.ts")).addDown },
  { names: ["check"], load: async () => (await import("./commands/check.ts")).addCheck },
  { names: ["show"], load: async () => (await import("./commands/show.ts")).addShow },
  { names: ["kill"], load: async () => (await import("./commands/show.ts")).addKill },
  { names: ["capture"], load: async () => (await import("./commands/capture.ts")).addCapture },
  {
    names: ["reload", "set"],
    load: async () => (await import("./commands/reload.ts")).addReload,
  },
  { names: ["peers"], load: async () => (await import("./commands/peer_list.ts")).addPeerList },
  {
    names: ["add-peer", "remove-peer"],
    load: async () => (await import("./commands/peers.ts")).addPeers,
  },
  {
    names: ["invite", "invites", "revoke", "join"],
    async load() {
      const { addEnrolment } = await import("./commands/enrol.ts");
      return (line, _confinement, onward) => addEnrolment(line, onward);
    },
  },
  { names: ["strip"], load: async () => (await import("./commands/tools.ts")).addStrip },
  {
    names: ["genkey", "pubkey", "genpsk"],
    load: async () => (await import("./commands/tools.ts")).addKeys,
  },
  {
    names: ["sign-peers", "gensignkey", "pubsignkey"],
    load: async () => (await import("./commands/sign.ts")).addSigning,
  },
  {
    names: ["gencerts"],
    load: async () => (await import("./commands/certificates.ts")).addCertificates,
  },
  { names: ["demo"], load: async () => (await import("./commands/tools.ts")).addDemo },
];

/** Loads what a command that runs a gateway needs, and would else load bit by bit. */
export async function loadGateway(): Promise<void> {
  await import("./whole.ts");
}

/**
 * Runs one command.
 *
 * @param args Without the name of the program.
 * @param confinement What this process has given up already.
 * @param onward Runs another command line in this one's place; default: as it is, in this process.
 * @returns the exit status.
 */
export async function run(
  args: readonly string[],
  terminal: Terminal = processTerminal,
  confinement?: Confinement,
  onward: Onward = (args) => run(args, terminal, confinement),
): Promise<number> {
  let status = 0;
  const program = makeProgram(terminal);
  const line = { program, terminal, done: (result: number) => void (status = result) };
  for (const add of await commandsFor(args)) add(line, confinement, onward);
  try {
    await program.parseAsync(withOptionalValues(args), { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (!(error instanceof ConfigError)) throw error;
    terminal.error(`${error.message}\n`);
    return 2;
  }
}

/** What adds the command that is named first; all of them where that is none of them. */
async function commandsFor(args: readonly string[]): Promise<Add[]> {
  const name = args.find((argument) => !argument.startsWith("-"));
  const named = COMMANDS.filter(({ names }) => names.includes(name ?? ""));
  return await Promise.all((named.length > 0 ? named : COMMANDS).map(({ load }) => load()));
}

function makeProgram(terminal: Terminal): Command {
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
      // An unknown argument is shown; a key or a token given as one is not.
      outputError: (text, write) => write(text.replace(SECRET, "(withheld)")),
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
      if (!TAKING_FFI.includes(command.name())) terminal.giveUpFfi();
    });
  return program;
}
