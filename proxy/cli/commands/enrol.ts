/**
 * `invite`, `invites`, `revoke` and `join`: machines join a hub.
 *
 * @module
 */

import type { Command } from "npm:commander@15.1.0";
import { type CommandLine, controlDirOption, orNotRunning } from "./options.ts";

/**
 * Adds them.
 *
 * @param onward Runs another command line in this one's place, for `join`.
 */
export function addEnrolment(
  { program, terminal, done }: CommandLine,
  onward: (args: readonly string[]) => Promise<number>,
): void {
  const hub = (command: Command) =>
    command
      .option("--hub <NAME>", "the hub's name or file (default: the only gateway that runs)")
      .addOption(controlDirOption());
  hub(
    program.command("invite")
      .summary("let a machine join this hub, by a token")
      .description(
        "Makes a token by which one machine joins the hub that runs here, once: an agent with the " +
          "subnets behind it, or a client. The last line that is printed is the token, for " +
          "`wirestack join` on the other machine. It is a secret until it is used or over.",
      )
      .argument("<NAME>", "what to call the machine")
      .option(
        "--endpoint <HOST[:PORT]>",
        "where it reaches this hub, by default at the UDP port that it has now; may be given several times",
        collect,
      )
      .option(
        "--subnet <PREFIX>",
        "a network behind it, for an agent; may be given several times",
        collect,
      )
      .option(
        "--map <PREFIX>",
        "under which addresses others reach that network, in the order of --subnet",
        collect,
      )
      .option("--client", "it serves nothing, and uses what others serve")
      .option("--expires <TIME>", "how long the token is good: 90s, 30m, 7d (default 1h)")
      .option(
        "--allowed-ips <PREFIX,…>",
        "what it sends through the tunnel (default: the tunnel's networks, and 100.64.0.0/10 for a client)",
      )
      .option(
        "--fallback <URL>",
        "where it reaches this hub when UDP does not get through (default: the endpoint's host with " +
          "each port of [Relay])",
        collect,
      )
      .option("--qr", "print the token as a QR code too"),
  ).action(async (name: string, options) => {
    const { invite } = await import("../invite.ts");
    done(await orNotRunning(() => invite(name, options, terminal), terminal));
  });
  hub(
    program.command("invites")
      .summary("list who was invited, and what has become of it")
      .description(
        "Lists the machines that were invited to the hub that runs here: invited, joined (its key is " +
          "here), enrolled (it has been here itself), expired, revoked. Tokens are not shown: nobody " +
          "has them any more.",
      )
      .option("--json", "the same as plain values, in an array"),
  ).action(async (options) => {
    const { invites } = await import("../invite.ts");
    done(await orNotRunning(() => invites(options, terminal), terminal));
  });
  hub(
    program.command("revoke")
      .summary("end an invitation, or throw a machine out")
      .description(
        "Ends an invitation, so that its token is worth nothing; or, when the machine has joined, takes " +
          "it out of the hub: its sessions end at once. Exit status 3: that holds, and could not be " +
          "written down, so that a restart would undo it.",
      )
      .argument("<NAME>", "as wirestack invites has it"),
  ).action(async (name: string, options) => {
    const { revoke } = await import("../invite.ts");
    done(await orNotRunning(() => revoke(name, options, terminal), terminal));
  });
  program.command("join")
    .summary("join a hub, by a token")
    .description(
      "Makes a key on this machine, hands its public half to the hub that the token is of, writes the " +
        "configuration that the hub gives, and runs it: an agent that serves its subnets, or a " +
        "client by a device of the system (up --tun). Gives up within 20 seconds. Arguments are " +
        "visible to all users of a machine; - reads the token from standard input.",
    )
    .argument(
      "[TOKEN]",
      "as wirestack invite has printed it; - for standard input, @FILE for a file",
    )
    .option("--token-file <FILE>", "a file with the token")
    .option("--out <FILE>", "a new file for the configuration (default: NAME.conf)")
    .option("--no-run", "write the file, and print the command that runs it")
    .addOption(controlDirOption())
    .action(async (token: string | undefined, options) => {
      const { join } = await import("../join.ts");
      const global = program.opts().ffi === false ? ["--no-ffi"] : [];
      done(await join(token, options, terminal, (args) => onward([...global, ...args])));
    });
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}
