/**
 * Other people's WireGuard: Debian's wireguard-go, and what is built from its source where there is
 * a toolchain for it.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { missing } from "./lab.ts";
import { output } from "./process.ts";

/** A program that makes a TUN device and is configured by `wg`. */
export interface WireguardProgram {
  readonly name: string;
  /** Why it cannot be had here; undefined: it can. */
  readonly unavailable?: string;
  /** Whether `wg set` may change a peer that it has. */
  readonly changesPeers: boolean;
  /** Whether its first datagrams over IPv6 after some over IPv4 go to wrong addresses. */
  readonly strays: boolean;
  /** The command that serves `device` in the foreground, once the program has been built. */
  command(device: string): Promise<string[]>;
}

export const WIREGUARD_GO: WireguardProgram = {
  name: "wireguard-go",
  changesPeers: true,
  strays: false,
  command: (device) => Promise.resolve(["wireguard-go", "-f", device]),
};

/** What {@link ./build_peer.sh} is given. */
const WIREGUARD_GO_SOURCE = ["wireguard-go", "v0.0.0-20260522210424-ecfc5a8d5446"];
const BORINGTUN_SOURCE = ["boringtun", "0.7.1"];

export const NEWEST_WIREGUARD_GO: WireguardProgram = {
  name: "newest wireguard-go",
  unavailable: unavailable(["go", "env", "GOVERSION"], "Go", [1, 23]),
  changesPeers: true,
  // `Send` of conn/bind_std.go keeps a pool of addresses. Each that was IPv4 last gets only the
  // first 4 bytes of an IPv6 one, and is whole again the time after (wireguard-go's pull request
  // 135): as many datagrams are lost as the pool holds, which is about one for each CPU.
  strays: true,
  command: async (device) => [await build(WIREGUARD_GO_SOURCE), "-f", device],
};

export const BORINGTUN: WireguardProgram = {
  name: "boringtun",
  unavailable: unavailable(["cargo", "--version"], "Rust", [1, 88]) ??
    unavailable(["cc", "-dumpfullversion"], "a C compiler", [0, 0]),
  // It ends with "Modifying existing peers is not yet supported".
  changesPeers: false,
  strays: false,
  command: async (device) => [
    await build(BORINGTUN_SOURCE),
    "--foreground",
    "--disable-drop-privileges",
    device,
  ],
};

export const PROGRAMS = [WIREGUARD_GO, NEWEST_WIREGUARD_GO, BORINGTUN];

/**
 * Begins to build what can be built, beside whatever comes next and behind it in priority. Nobody
 * need wait for that but who asks for the command.
 */
export function buildInBackground(): void {
  if (missing(["setsid"]) !== undefined) return;
  const sources = [
    ...NEWEST_WIREGUARD_GO.unavailable === undefined ? [WIREGUARD_GO_SOURCE] : [],
    ...BORINGTUN.unavailable === undefined ? [BORINGTUN_SOURCE] : [],
  ];
  for (const source of sources) {
    new Deno.Command("setsid", {
      args: ["--fork", "nice", "-n", "19", BUILD, ...source],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).outputSync();
  }
}

const BUILD = fileURLToPath(new URL("./build_peer.sh", import.meta.url));

async function build(source: string[]): Promise<string> {
  const text = await output([BUILD, ...source], { timeoutMs: 600_000 });
  return text.trim().split("\n").at(-1)!;
}

/** Why a toolchain will not do: it is not there, or its version is less than `least`. */
function unavailable(
  command: string[],
  name: string,
  least: [major: number, minor: number],
): string | undefined {
  const reason = missing([command[0]!]);
  if (reason !== undefined) return reason;
  const { stdout } = new Deno.Command(command[0]!, { args: command.slice(1) }).outputSync();
  const found = new TextDecoder().decode(stdout).trim();
  const [, major = "0", minor = "0"] = found.match(/(\d+)\.(\d+)/) ?? [];
  const isOld = Number(major) < least[0] ||
    (Number(major) === least[0] && Number(minor) < least[1]);
  return isOld ? `needs ${name} ${least.join(".")}, found "${found}"` : undefined;
}
