/**
 * `remove-peer`: takes a peer out of a gateway's file and out of the gateway that runs with it.
 *
 * @module
 */

import { decodeKey, encodeKey } from "../base64.ts";
import { ConfigError } from "../config/config.ts";
import { expectedFile, formOf } from "../config/form.ts";
import { quote } from "../config/values.ts";
import { ControlError } from "../control/client.ts";
import { FileEdit } from "./edit_file.ts";
import { fileOfOnly, runningFrom } from "./gateways.ts";
import { loadWithoutSecrets } from "./load.ts";
import { withoutPeer } from "./peer_edits.ts";
import { readText } from "./read.ts";
import type { Terminal } from "./terminal.ts";

export interface RemovePeerOptions {
  /** The gateway's file. Missing: that of the only one that runs. */
  readonly config?: string;
  readonly controlDir?: string;
}

/**
 * @param target The peer's name, or its public key.
 * @returns the exit status.
 * @throws {ConfigError} if there is no such peer, or the file is wrong; then nothing has changed.
 * @throws {ControlError} if no file is given and it is not plain which gateway is meant.
 */
export async function removePeer(
  target: string,
  options: RemovePeerOptions,
  terminal: Terminal,
): Promise<number> {
  const file = options.config ?? await fileOfOnly(options.controlDir);
  using edit = FileEdit.begin(file);
  const form = formOf(file);
  const text = await readText(edit.path, expectedFile(form));
  const { loaded: { config, source } } = await loadWithoutSecrets(text, file, terminal);
  const running = await runningFrom(edit.path, options.controlDir ?? config.controlDir);
  const isMeant = ({ name, publicKey }: { name?: string | null; publicKey: string }) =>
    name?.toLowerCase() === target.toLowerCase() || publicKey === target;
  const index = config.peers.findIndex(({ name, publicKey }) =>
    isMeant({ ...(name !== undefined && { name }), publicKey: encodeKey(publicKey) })
  );
  const found = config.peers[index];
  // A peer that was added by the control socket is in no file.
  const publicKey = found
    ? encodeKey(found.publicKey)
    : running?.stats.peers.find(isMeant)?.publicKey;
  if (publicKey === undefined) {
    throw new ConfigError([
      `NAME: ${quote(target)} is no peer in ${file}, expected a peer's name or public key`,
    ]);
  }
  if (found !== undefined) {
    const place = source.origin(["peers", index]) as { file: string; line: number };
    const { line } = place;
    if (place.file !== file) {
      throw new ConfigError([
        `NAME: ${
          quote(target)
        } is at ${place.file}:${line}, which ${file} includes, expected it to ` +
        "be taken out there",
      ]);
    }
    const next = await withoutPeer(text, { line, index, name: found.name }, form, file);
    // Nothing else may have gone with it.
    const { loaded: left } = await loadWithoutSecrets(next, file, terminal);
    if (left.config.peers.length !== config.peers.length - 1) {
      throw new ConfigError([`${file}:${line}: [Peer] cannot be told from its surroundings`]);
    }
    try {
      edit.replace(next);
    } catch (error) {
      throw new ConfigError([`${file}: cannot be written (${(error as Error).message})`]);
    }
  }
  let isGone = false;
  if (running !== undefined) {
    try {
      const key = decodeKey(publicKey)!.toHex();
      const answer = await running.client.ask("set=1", [`public_key=${key}`, "remove=true"]);
      isGone = answer?.errno === 0;
      if (!isGone) {
        terminal.error(`wirestack: ${running.client.name}: refused, try wirestack reload\n`);
      }
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      terminal.error(`wirestack: ${error.message}\n`);
    }
  }
  const places = [
    ...(found ? [`from ${file}`] : []),
    ...(isGone ? [`from the running gateway ${running!.client.name}`] : []),
  ];
  if (places.length > 0) {
    terminal.error(`removed ${found?.name ?? target} ${places.join(" and ")}\n`);
  }
  return running !== undefined && !isGone ? 1 : 0;
}
