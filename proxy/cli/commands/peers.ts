/**
 * `add-peer` and `remove-peer`.
 *
 * @module
 */

import { type CommandLine, controlDirOption, orNotRunning } from "./options.ts";

/** Adds `add-peer` and `remove-peer`. */
export function addPeers({ program, terminal, done }: CommandLine): void {
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
    .option(
      "--public-key <KEY>",
      "the gateway's (default: of the gateway that runs, else of its private key)",
    )
    .option("--psk", "with a preshared key")
    .option("--qr", "print a QR code instead of the file")
    .option("--out <FILE>", "write the client's file there instead of printing it")
    .addOption(controlDirOption())
    .action(async (name: string, options) => {
      const { addPeer } = await import("../add_peer.ts");
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
      const { removePeer } = await import("../remove_peer.ts");
      done(await orNotRunning(() => removePeer(name, options, terminal), terminal));
    });
}
