/**
 * The members of a hub, in a file: who was enrolled is a peer after a restart too, and what was used
 * is not taken again. No secret is in it: public keys, addresses, times, certificates.
 *
 * @module
 */

import { readStateFile } from "../state/read_file.ts";
import { replaceFile } from "../state/replace_file.ts";
import type { Member } from "./member.ts";
import { memberFromJson, memberToJson } from "./member_json.ts";

/** Some hundred thousand members; a file of more is not this program's. */
const MAX_BYTES = 64 << 20;
const VERSION = 1;

/** Of the gateway with this key, in a folder that may hold those of others. */
export function memberFile(directory: string, publicKey: Uint8Array): string {
  return `${directory}/enrolled-${publicKey.subarray(0, 8).toHex()}.json`;
}

/**
 * @returns none if there is no file.
 * @throws {Error} of the system, or if this is no such file: it is left as it is, for enrolled machines
 * would be forgotten.
 */
export function readMembers(path: string): Member[] {
  const text = readStateFile(path, MAX_BYTES);
  if (text === undefined) return [];
  try {
    const parsed = JSON.parse(text) as { version?: unknown; members?: unknown } | null;
    const { version, members } = parsed ?? {};
    if (version !== VERSION) throw new TypeError("version");
    if (!Array.isArray(members)) throw new TypeError("members");
    return members.map(memberFromJson);
  } catch (error) {
    const what = error instanceof TypeError ? ` (${error.message} is wrong)` : "";
    throw new Error(
      `${path}: not a file of enrolled machines${what}, expected it as it was written`,
    );
  }
}

/**
 * Replaces the file by one that only this user can read. It is on the disk when this returns, and a
 * reader gets either the old or the new one, whole.
 *
 * @throws {Error} of the system; then the old one is there.
 */
export function writeMembers(path: string, members: Iterable<Member>): void {
  const value = { version: VERSION, members: Array.from(members, memberToJson) };
  replaceFile(path, `${JSON.stringify(value, undefined, 1)}\n`, { isDurable: true });
}
