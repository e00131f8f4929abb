/**
 * `invite`, `invites` and `revoke`: who may join a hub that runs.
 *
 * @module
 */

import type { MemberStats } from "../gateway/enrolment/member_stats.ts";
import type { ControlAnswer } from "../control/client.ts";
import { gatewayOf } from "./gateways.ts";
import { timeText } from "../log/time_text.ts";
import { formatQr } from "./qr.ts";
import { lineOf, widthsOf } from "./table.ts";
import { type Terminal, warnOfReaders } from "./terminal.ts";

/** Which hub. */
export interface HubOptions {
  /** Its name or file. Missing: the only gateway that runs. */
  readonly hub?: string;
  readonly controlDir?: string;
}

export interface InviteOptions extends HubOptions {
  readonly endpoint?: readonly string[];
  readonly subnet?: readonly string[];
  readonly map?: readonly string[];
  readonly client?: boolean;
  readonly expires?: string;
  readonly allowedIps?: string;
  readonly fallback?: readonly string[];
  readonly qr?: boolean;
}

/**
 * Prints the token as its last line.
 *
 * @returns the exit status: 2 if something is wrong with the request, and nothing was changed.
 * @throws {ControlError} if there is no such hub.
 */
export async function invite(
  name: string,
  options: InviteOptions,
  terminal: Terminal,
): Promise<number> {
  const line = (key: string, value: string) => `${key}=${encodeURIComponent(value)}`;
  const lines = (key: string, values: readonly string[] = []) =>
    values.map((value) => line(key, value));
  const answer = await ask(options, "wirestack_invite=1", [
    line("name", name),
    ...lines("endpoint", options.endpoint),
    ...lines("subnet", options.subnet),
    ...lines("map", options.map),
    ...lines("fallback", options.fallback),
    ...(options.client ? ["client=true"] : []),
    ...(options.expires === undefined ? [] : [line("expires", options.expires)]),
    ...(options.allowedIps === undefined ? [] : [line("allowed_ips", options.allowedIps)]),
  ], terminal);
  if (answer === undefined) return 1;
  if (answer.errno !== 0) return 2;
  const token = valuesOf(answer, "token")[0]!;
  for (const note of valuesOf(answer, "note")) terminal.error(`note: ${note}\n`);
  warnOfReaders(terminal);
  terminal.error("on the other machine: wirestack join TOKEN, or wirestack join - to paste it\n");
  if (options.qr) terminal.out(formatQr(token));
  terminal.out(`${token}\n`);
  return 0;
}

/**
 * @returns the exit status.
 * @throws {ControlError} if there is no such hub.
 */
export async function invites(
  options: HubOptions & { readonly json?: boolean },
  terminal: Terminal,
): Promise<number> {
  const answer = await ask(options, "wirestack_invites=1", [], terminal);
  if (answer === undefined) return 1;
  if (answer.errno !== 0) return 2;
  const members = answer.pairs.filter(([key]) => key === "member")
    .map(([, value]) => JSON.parse(value) as MemberStats);
  terminal.out(
    options.json
      ? `${JSON.stringify(members, undefined, 2)}\n`
      : members.length === 0
      ? "nobody was invited\n"
      : formatMembers(members),
  );
  return 0;
}

/** It is done, and a restart would undo it. */
const UNWRITTEN = 3;

/**
 * @returns the exit status: 2 if there is nobody of this name, and nothing was changed; 3 if it is done and
 * could not be written down.
 * @throws {ControlError} if there is no such hub.
 */
export async function revoke(
  name: string,
  options: HubOptions,
  terminal: Terminal,
): Promise<number> {
  const answer = await ask(
    options,
    "wirestack_revoke=1",
    [`name=${encodeURIComponent(name)}`],
    terminal,
  );
  if (answer === undefined) return 1;
  if (answer.errno !== 0) return 2;
  const isWritten = valuesOf(answer, "unwritten").length === 0;
  for (const change of valuesOf(answer, "change")) {
    if (isWritten) terminal.out(`${change}\n`);
    else terminal.error(`wirestack: ${change}\n`);
  }
  return isWritten ? 0 : UNWRITTEN;
}

/** @returns undefined, when that was said, if another program answers there. */
async function ask(
  { hub, controlDir }: HubOptions,
  operation: string,
  lines: readonly string[],
  terminal: Terminal,
): Promise<ControlAnswer | undefined> {
  const client = await gatewayOf(hub, "--hub", controlDir);
  const answer = await client.ask(operation, lines);
  if (answer === undefined) {
    terminal.error(`wirestack: ${client.name}: is no Wirestack hub, expected one\n`);
    return undefined;
  }
  const problems = valuesOf(answer, "problem");
  for (const problem of problems) terminal.error(`${problem}\n`);
  if (answer.errno !== 0 && problems.length === 0) {
    terminal.error(`wirestack: ${client.name}: does not know of enrolment, expected a newer one\n`);
  }
  return answer;
}

function valuesOf({ pairs }: ControlAnswer, key: string): string[] {
  return pairs.filter(([one]) => one === key).map(([, value]) => decodeURIComponent(value));
}

const HEAD = ["NAME", "KIND", "STATUS", "ADDRESS", "SERVES", "UNTIL"];

function formatMembers(members: readonly MemberStats[]): string {
  const rows = members.map((member) => [
    member.name,
    member.kind,
    member.status,
    member.addresses.join(" "),
    servesOf(member),
    member.status === "invited" ? timeText(new Date(member.expiresAt)) : "-",
  ]);
  const widths = widthsOf(HEAD, rows);
  return [HEAD, ...rows].map((row) => lineOf(row, widths)).join("");
}

function servesOf({ prefixes, subnets }: MemberStats): string {
  const all = prefixes.map((prefix, i) =>
    prefix === subnets[i] ? prefix : `${prefix}->${subnets[i]}`
  );
  return all.join(" ") || "-";
}
