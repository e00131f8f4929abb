/**
 * `capture`.
 *
 * @module
 */

import type { CaptureOptions } from "../capture.ts";
import { type CommandLine, controlDirOption, orNotRunning } from "./options.ts";

/** Adds `capture`. */
export function addCapture({ program, terminal, done }: CommandLine): void {
  program.command("capture")
    .summary("show the packets of a gateway to Wireshark")
    .description(
      "Captures packets of a running gateway, decrypted, until Ctrl-C: into a file, for another " +
        "program, or for Wireshark.\n\n" +
        "  wirestack capture --write - | tshark -r -\n" +
        "  wirestack capture --listen tcp:127.0.0.1:8082   and   wireshark -k -i TCP@127.0.0.1:8082\n\n" +
        "EXPR has host ADDRESS, net PREFIX, port NUMBER, proto tcp|udp|icmp|icmp6, peer NAME, flow " +
        "ID, src and dst before the first three, and, or, not, and parentheses.",
    )
    .option("--name <GATEWAY>", "a gateway's name or file; the only one when not given")
    .option(
      "--at <WHERE>",
      "nic1 (the tunnel, the default), nic2 (the proxy), link:NAME, outer (WireGuard's datagrams); " +
        "may be repeated",
      (value: string, before: string[] = []) => [...before, ...value.split(",")],
    )
    .option("--filter <EXPR>", "which packets (default: all)")
    .option("--snap <BYTES>", "how much of each packet (default: all of it)")
    .option("--write <FILE>", "pcapng into this file, or - for standard output")
    .option("--listen <tcp:ADDRESS:PORT>", "pcapng for whoever connects there, one at a time")
    .option("--rotate <SIZE,COUNT>", "files that take turns, as 100M,10")
    .option("--duration <SECONDS>", "end by itself")
    .option("--keys", "with the keys that outer can be read with: whoever has the file has them")
    .addOption(controlDirOption())
    .action(async (options: CaptureOptions) => {
      const { capture } = await import("../capture.ts");
      done(await orNotRunning(() => capture(options, terminal), terminal));
    });
}
