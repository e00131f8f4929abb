/**
 * `sign-peers`, and the keys for it.
 *
 * @module
 */

import type { SignOptions } from "../sign_peers.ts";
import { type CommandLine, formatOption } from "./options.ts";

/** Adds `sign-peers`, `gensignkey` and `pubsignkey`. */
export function addSigning({ program, terminal, done }: CommandLine): void {
  program.command("sign-peers")
    .summary("sign a list of peers that gateways watch (PeersFrom)")
    .description(
      "Makes of the [Peer] sections of a file, in any form of the configuration, a signed list for " +
        "PeersFrom: gateways that have the key's other half as PeersKey take those peers, and no list " +
        "with a lower serial than they had.",
    )
    .argument("<FILE>", "a file with [Peer] sections, or -")
    .requiredOption("--key <FILE>", "the key to sign with, as gensignkey prints it")
    .option("--out <FILE>", "write it there, all at once (default standard output)")
    .option(
      "--serial <N>",
      "its number (default the seconds since 1970, and more than that of --out)",
    )
    .option("--days <N>", "so long it counts; gateways then drop its peers (default for ever)")
    .option("--preshared-keys", "let preshared keys stand in it, for whoever can read it")
    .addOption(formatOption("FILE"))
    .action(async (file: string, options: SignOptions) => {
      done(await (await import("../sign_peers.ts")).signPeers(file, options, terminal));
    });
  program.command("gensignkey")
    .summary("print a new key to sign lists of peers with")
    .description("Prints a new private key for sign-peers (Ed25519).")
    .action(async () => done((await import("../sign_peers.ts")).gensignkey(terminal)));
  program.command("pubsignkey")
    .summary("print the public half of such a key, for PeersKey")
    .description("Reads a key by gensignkey from standard input and prints its public half.")
    .action(async () => done(await (await import("../sign_peers.ts")).pubsignkey(terminal)));
}
