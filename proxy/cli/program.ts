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
import { addAgent } from "./commands/agent.ts";
import { addCapture } from "./commands/capture.ts";
import { addCertificates } from "./commands/certificates.ts";
import { addCheck } from "./commands/check.ts";
import { addHub } from "./commands/hub.ts";
import { addPeerList } from "./commands/peer_list.ts";
import { addPeers } from "./commands/peers.ts";
import { addRedirect } from "./commands/redirect.ts";
import { addReload } from "./commands/reload.ts";
import { addKill, addShow } from "./commands/show.ts";
import { addRouter } from "./commands/router.ts";
import { addDemo, addKeys, addStrip } from "./commands/tools.ts";
import { addSigning } from "./commands/sign.ts";
import { addDown } from "./commands/down.ts";
import { addEnrolment } from "./commands/enrol.ts";
import { withOptionalValues } from "./commands/up_options.ts";
import { addUp } from "./commands/up.ts";
import type { Confinement } from "./confine.ts";
import { processTerminal, type Terminal } from "./terminal.ts";

/** `show` looks whether a tunnel that was killed has left something. */
const TAKING_FFI = ["up", "hub", "agent", "redirect", "router", "check", "down", "show", "join"];

/** A key, and a token of enrolment. */
const SECRET = /[A-Za-z0-9+/]{43}=|wsk\d[\w-]{4,}/g;

export { loadUp } from "./commands/up.ts";

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
  onward: (args: readonly string[]) => Promise<number> = (args) => run(args, terminal, confinement),
): Promise<number> {
  let status = 0;
  const program = makeProgram(terminal, confinement, onward, (result) => status = result);
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

function makeProgram(
  terminal: Terminal,
  confinement: Confinement | undefined,
  onward: (args: readonly string[]) => Promise<number>,
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

  const line = { program, terminal, done };
  addUp(line, confinement);
  addHub(line, confinement);
  addAgent(line, confinement);
  addRedirect(line);
  addRouter(line, confinement);
  addDown(line);
  addCheck(line);
  addShow(line);
  addKill(line);
  addCapture(line);
  addReload(line);
  addPeerList(line);
  addPeers(line);
  addEnrolment(line, onward);
  addStrip(line);
  addKeys(line);
  addSigning(line);
  addCertificates(line);
  addDemo(line);
  return program;
}
