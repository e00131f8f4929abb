/**
 * The members of a hub, in a file: who was enrolled is a peer after a restart too, and what was used
 * is not taken again. No secret is in it: public keys, addresses, times, certificates.
 *
 *     {"version":2}
 *     {"member":{ … }}
 *     {"gone":"TOKENKEY"}
 *
 * A line for each change, in the order in which they came; the last one of a member counts. The first
 * version was one object with all members, which is read still.
 *
 * @module
 */

import { encodeKey } from "../base64.ts";
import { readStateFile } from "../state/read_file.ts";
import type { Member } from "./member.ts";
import { keyOf, memberFromJson, memberToJson } from "./member_json.ts";

/** Some hundred thousand members; a file of more is not this program's. */
export const MAX_BYTES = 64 << 20;
const FIRST_VERSION = 1;
const VERSION = 2;

/** Of the gateway with this key, in a folder that may hold those of others. */
export function memberFile(directory: string, publicKey: Uint8Array): string {
  return `${directory}/enrolled-${publicKey.subarray(0, 8).toHex()}.json`;
}

/** What a file holds. */
export interface FoundMembers {
  readonly members: Member[];
  /** Lines of changes. */
  readonly records: number;
  /** Bytes, if lines can be written behind: not if there is no file, an older one, or a torn line. */
  readonly size?: number;
}

/**
 * @returns none if there is no file.
 * @throws {Error} of the system, or if this is no such file: it is left as it is, for enrolled machines
 * would be forgotten.
 */
export function readMembers(path: string): Member[] {
  return findMembers(path).members;
}

/** The same, with what it takes to go on writing. @throws {Error} as {@link readMembers}. */
export function findMembers(path: string): FoundMembers {
  const text = readStateFile(path, MAX_BYTES);
  if (text === undefined) return { members: [], records: 0 };
  try {
    return text.startsWith(HEAD) ? parseLines(text) : parseFirst(text);
  } catch (error) {
    const what = error instanceof TypeError ? ` (${error.message} is wrong)` : "";
    throw new Error(
      `${path}: not a file of enrolled machines${what}, expected it as it was written`,
    );
  }
}

/** A whole file. */
export function formatMembers(members: Iterable<Member>): string {
  return `${HEAD}${formatChange(members, [])}`;
}

/** Lines to be written behind. */
export function formatChange(changed: Iterable<Member>, gone: Iterable<Member>): string {
  return [
    ...Array.from(changed, (member) => ({ member: memberToJson(member) })),
    ...Array.from(gone, ({ tokenKey }) => ({ gone: encodeKey(tokenKey) })),
  ].map((record) => `${JSON.stringify(record)}\n`).join("");
}

const HEAD = `${JSON.stringify({ version: VERSION })}\n`;

function parseLines(text: string): FoundMembers {
  const lines = text.slice(HEAD.length).split("\n");
  // Of a process that was killed while it wrote, which has promised nothing by it yet.
  let isTorn = lines.pop() !== "";
  // Of a machine that has lost its power: there was room for the line, and a part of it.
  if (lines.at(-1)?.includes("\0")) isTorn = lines.pop() !== undefined;
  const members = new Map<string, Member>();
  for (const line of lines) apply(members, line);
  return {
    members: [...members.values()],
    records: lines.length,
    ...(!isTorn && { size: new TextEncoder().encode(text).length }),
  };
}

function apply(members: Map<string, Member>, line: string): void {
  const record = JSON.parse(line) as { member?: unknown; gone?: unknown } | null;
  if (record?.member !== undefined) {
    const member = memberFromJson(record.member);
    members.set(member.tokenKey.toHex(), member);
    return;
  }
  const gone = keyOf(record?.gone);
  if (gone === undefined) throw new TypeError("gone");
  members.delete(gone.toHex());
}

function parseFirst(text: string): FoundMembers {
  const parsed = JSON.parse(text) as { version?: unknown; members?: unknown } | null;
  const { version, members } = parsed ?? {};
  if (version !== FIRST_VERSION) throw new TypeError("version");
  if (!Array.isArray(members)) throw new TypeError("members");
  return { members: members.map(memberFromJson), records: members.length };
}
