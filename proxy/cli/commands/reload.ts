/**
 * `reload` and `set`: a running gateway changed.
 *
 * @module
 */

import { type CommandLine, controlDirOption, orNotRunning } from "./options.ts";

/** Adds `reload` and `set`. */
export function addReload({ program, terminal, done }: CommandLine): void {
  program.command("reload")
    .summary("have a gateway read its configuration again")
    .description(
      "Applies what has changed in a gateway's configuration file while it runs: peers, keys, allowed " +
        "IPs, endpoints, port, proxied subnets. Connections stay. A wrong file changes nothing.",
    )
    .argument("[NAME]", "a gateway's name or file; the only one when not given")
    .addOption(controlDirOption())
    .action(async (target: string | undefined, options) => {
      const { reload } = await import("../reload.ts");
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
      const { set } = await import("../reload.ts");
      done(await orNotRunning(() => set(words, options.controlDir, terminal), terminal));
    });
}
