/**
 * What needs no gateway: keys, `strip` and the demo.
 *
 * @module
 */

import { genkey, genpsk, pubkey } from "../keys.ts";
import { type CommandLine, formatOption } from "./options.ts";

/** Adds `strip`. */
export function addStrip({ program, terminal, done }: CommandLine): void {
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
      const { strip } = await import("../strip.ts");
      done(await strip(file, options.format, terminal));
    });
}

/** Adds `genkey`, `pubkey` and `genpsk`. */
export function addKeys({ program, terminal, done }: CommandLine): void {
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
}

/** Adds `demo`. */
export function addDemo({ program, done }: CommandLine): void {
  program.command("demo")
    .summary("try a tunnel between two processes on this machine")
    .description("Fetches a page through a tunnel between two processes on this machine.")
    .action(async () => done(await (await import("../../demo/demo.ts")).demo()));
}
