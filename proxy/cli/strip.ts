/**
 * `strip`: what `wg` takes of a gateway's file, as `wg-quick strip` prints it: for `wg syncconf`.
 *
 * @module
 */

import type { Form } from "../config/form.ts";
import { formatConfigFile } from "../config/format.ts";
import type { InterfaceInput, PeerInput } from "../config/config.ts";
import { findKey } from "../config/keys.ts";
import type { RawSection } from "../config/source.ts";
import { splitValues } from "../config/values.ts";
import { ConfigReader } from "./load.ts";
import { type Terminal, warnOfReaders } from "./terminal.ts";

/** Those of wg(8), by their names in an object. */
const OF_WG = {
  interface: ["privateKey", "listenPort", "fwMark"],
  peers: ["publicKey", "presharedKey", "allowedIps", "endpoint", "persistentKeepalive"],
} as const;

/**
 * Without comments: a peer's name may be in one.
 *
 * @returns the exit status.
 * @throws {ConfigError} if the file is wrong.
 */
export async function strip(
  file: string,
  form: Form | undefined,
  terminal: Terminal,
): Promise<number> {
  const { source } = await new ConfigReader({ file, form }, terminal).load();
  const only = (section: unknown, fields: readonly string[]) =>
    Object.fromEntries(
      Object.entries(section as RawSection).filter(([name]) => fields.includes(name)),
    );
  const text = formatConfigFile({
    interface: only(source.interface, OF_WG.interface) as unknown as InterfaceInput,
    peers: (source.peers as RawSection[]).map((peer) =>
      firstEndpoint(only(peer, OF_WG.peers)) as unknown as PeerInput
    ),
  });
  warnOfReaders(terminal);
  terminal.out(text);
  return 0;
}

/** `wg` takes one, and of several the last. */
function firstEndpoint(peer: RawSection): RawSection {
  const { endpoint } = peer;
  if (endpoint === undefined) return peer;
  const all = Array.isArray(endpoint) ? endpoint : splitValues(ENDPOINT, String(endpoint));
  return { ...peer, endpoint: all.slice(0, 1) };
}

const ENDPOINT = findKey("peers", "Endpoint")!;
