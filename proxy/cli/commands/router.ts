/**
 * `router`: raw packets of another program find a way out, without WireGuard.
 *
 * @module
 */

import { Option } from "npm:commander@15.1.0";
import { ConfigError } from "../../config/error.ts";
import { findKey, type Key } from "../../config/keys.ts";
import type { Confinement } from "../confine.ts";
import { addConfigFlags, type FlagValue } from "../flags.ts";
import type { CommandLine } from "./options.ts";
import { runGateway } from "./up.ts";
import { addProcessOptions } from "./up_options.ts";

/** The name of its link. */
const LINK = "router";
/** Everything, in both families. */
const SUBNETS = "0.0.0.0/0,::/0";

interface RouterOptions {
  readonly listen?: string;
  readonly connect?: string;
  readonly framing?: string;
  readonly mtu?: string;
  readonly prefix?: string;
  readonly nat?: string;
  readonly subnet?: string;
}

/**
 * Adds `router`.
 *
 * @param confinement What this process has given up already.
 */
export function addRouter(
  { program, terminal, done }: CommandLine,
  confinement: Confinement | undefined,
): void {
  const command = program.command("router")
    .summary("give raw packets of another program a way out")
    .description(
      "Takes IP packets from a program that has them, as an iPhone's packet tunnel or a TUN device, and " +
        "gives them a way out by ordinary sockets: TCP, UDP and pings. There is no WireGuard in it. " +
        "docs/packet-links.md has the framing, byte by byte.",
    )
    .addOption(
      new Option(
        "--listen <PLACE>",
        "where the program comes: unix:PATH, unixgram:PATH, " +
          "tcp:ADDRESS:PORT, udp:ADDRESS:PORT",
      ),
    )
    .addOption(new Option("--connect <PLACE>", "where it is, instead"))
    .addOption(
      new Option(
        "--framing <FORM>",
        "how packets are told apart (default length16, datagram for " +
          "unixgram and udp)",
      ),
    )
    .addOption(new Option("--mtu <BYTES>", "largest packet (default 1500)"))
    .addOption(
      new Option("--prefix <PREFIX,…>", "what its packets may come from (default anything)"),
    )
    .addOption(
      new Option(
        "--nat <ADDRESS,…>",
        "what hosts behind it appear as to each other, by a port NAT",
      ),
    )
    .addOption(new Option("--subnet <PREFIX,…>", "where they may go (default everywhere)"));
  addProcessOptions(command);
  const others = addConfigFlags(command, isForRouter);
  command.action(async (options: RouterOptions & Record<string, never>) => {
    const { ConfigReader } = await import("../load.ts");
    const flags = [...ownFlags(options), ...others];
    const given = { ...options, ffi: options.ffi ?? program.opts().ffi };
    done(await runGateway(new ConfigReader({ flags }, terminal), given, terminal, confinement));
  });
}

/** Where they go, what becomes of them, and what is seen of it. */
function isForRouter({ section, name }: Key): boolean {
  if (section === "interface") return name === "Address" || name === "ControlDir";
  if (section === "proxy") return name !== "Subnets" && name !== "Interface";
  return ["rules", "status", "capture", "log"].includes(section);
}

/** @throws {ConfigError} without another side. */
function ownFlags(options: RouterOptions): FlagValue[] {
  const { listen, connect, framing, mtu, prefix, nat, subnet = SUBNETS } = options;
  const place = listen ?? connect;
  if (place === undefined) {
    throw new ConfigError(["--listen: missing, expected it, or --connect (see --help)"]);
  }
  const isStream = !/^(?:udp|unixgram):/.test(place);
  const flag = listen === undefined ? "--connect" : "--listen";
  const values: (readonly [flag: string, key: Key, value: string | undefined])[] = [
    [flag, findKey("links", "Name")!, LINK],
    ["--listen", findKey("links", "Listen")!, listen],
    ["--connect", findKey("links", "Connect")!, connect],
    ["--framing", findKey("links", "Framing")!, framing ?? (isStream ? "length16" : "datagram")],
    ["--mtu", findKey("links", "Mtu")!, mtu],
    ["--prefix", findKey("links", "Prefixes")!, prefix],
    ["--nat", findKey("links", "Nat")!, nat],
    // By its address they reach each other, which is from link to link.
    ["--nat", findKey("interface", "PeerToPeer")!, nat === undefined ? undefined : "true"],
    ["--subnet", findKey("proxy", "Subnets")!, subnet],
  ];
  return values.flatMap(([flag, key, value]) => value === undefined ? [] : [{ flag, key, value }]);
}
