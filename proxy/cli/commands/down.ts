/**
 * `down`.
 *
 * @module
 */

import { type CommandLine, controlDirOption, orNotRunning } from "./options.ts";

/** Adds `down`. */
export function addDown({ program, terminal, done }: CommandLine): void {
  program.command("down")
    .summary("end a gateway, and take back what up --tun has changed")
    .description(
      "Ends a gateway that runs, as a signal does, and waits for it. What up --tun has changed on this " +
        "host is taken back, also if its process was killed. NAME is a gateway's name, its " +
        "configuration file, or its device.",
    )
    .argument("<NAME>", "a gateway's name, its file, or its device")
    .addOption(controlDirOption())
    .action(async (name: string, options) => {
      const { down } = await import("../down.ts");
      done(await orNotRunning(() => down(name, options.controlDir, terminal), terminal));
    });
}
