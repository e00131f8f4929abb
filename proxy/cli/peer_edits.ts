/**
 * Peers put into a configuration's text and taken out of it, in each form. Comments stay.
 *
 * @module
 */

import { ConfigError, type PeerInput } from "../config/config.ts";
import type { Form } from "../config/form.ts";
import { withoutPeerSection, withPeerSection } from "./peer_sections.ts";

/** @throws {ConfigError} if that cannot be done in this form. */
export async function withPeer(
  text: string,
  peer: PeerInput,
  form: Form,
  file: string,
): Promise<string> {
  const { publicKey, name, ...others } = peer;
  const inOrder = { ...(name !== undefined && { name }), publicKey, ...others };
  if (form === "conf") return withPeerSection(text, peer);
  if (form === "json") return editJson(text, (peers) => peers.push(inOrder));
  if (form === "yaml") return (await import("./peer_yaml.ts")).withYamlPeer(text, inOrder, file);
  throw notHere(file);
}

/**
 * @param peer Its place among the file's own peers, and the line it begins on.
 * @throws {ConfigError} if that cannot be done in this form.
 */
export async function withoutPeer(
  text: string,
  peer: { readonly line: number; readonly index: number; readonly name: string | undefined },
  form: Form,
  file: string,
): Promise<string> {
  if (form === "conf") return withoutPeerSection(text, peer.line, peer.name);
  if (form === "json") return editJson(text, (peers) => peers.splice(peer.index, 1));
  if (form === "yaml") return (await import("./peer_yaml.ts")).withoutYamlPeer(text, peer, file);
  throw notHere(file);
}

function notHere(file: string): ConfigError {
  return new ConfigError([
    `${file}: peers are one variable here, expected a .conf, .yaml or .json file`,
  ]);
}

/** With the indentation it had. */
function editJson(text: string, edit: (peers: unknown[]) => void): string {
  const object = JSON.parse(text.replace(/^\uFEFF/, ""));
  edit(object.peers ??= []);
  const indentation = /^[ \t]+(?=")/m.exec(text)?.[0] ?? (text.includes("\n") ? "  " : "");
  const end = /\n$/.test(text) ? "\n" : "";
  return withLineEnds(JSON.stringify(object, null, indentation) + end, text);
}

function withLineEnds(text: string, like: string): string {
  return like.includes("\r\n") ? text.replace(/\r?\n/g, "\r\n") : text;
}
