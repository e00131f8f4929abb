/**
 * `gencerts`.
 *
 * @module
 */

import type { CommandLine } from "./options.ts";

/** Adds `gencerts`. */
export function addCertificates({ program, terminal, done }: CommandLine): void {
  program.command("gencerts")
    .summary("make an authority and certificates for TLS")
    .description(
      "Makes an authority for TLS and what it signs, certificates for a server, a client and a proxy: " +
        "cert.pem and key.pem in DIR/ca, DIR/server, DIR/client and DIR/proxy. Overwrites nothing. " +
        "--renew makes new certificates for the same keys, from the same authority, so that nothing " +
        "else changes anywhere; a folder that was removed comes back with a new key. The authority " +
        "itself is not renewed: a new one is a new folder, and every machine needs its ca/cert.pem " +
        "and new certificates.",
    )
    .option("--out <DIR>", "where they go, a new folder or an empty one", "certs")
    .option(
      "--name <NAME|ADDRESS...>",
      "what the server is called, all of it (default: localhost, 127.0.0.1, ::1; with --renew, as before)",
    )
    .option("--days <N>", "how long they are valid; the authority is for 3650 days", "365")
    .option("--renew", "new certificates for what is there, by the authority that is there")
    .action(async (options) => {
      const { gencerts } = await import("../certificates/gencerts.ts");
      done(await gencerts(options, terminal));
    });
}
