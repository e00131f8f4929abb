/**
 * `gencerts`: an authority for TLS, and a certificate for each end.
 *
 * @module
 */

import { join } from "node:path";
import { ConfigError } from "../../config/error.ts";
import { ParseFailure, quote, splitList } from "../../config/values.ts";
import { timeText } from "../../log/time_text.ts";
import { FileEdit } from "../edit_file.ts";
import type { Terminal } from "../terminal.ts";
import { NewFolders, readPair, refuseExisting } from "./folders.ts";
import {
  alternativeNames,
  alternativeNamesOf,
  type Authority,
  issue,
  type LeafFields,
  makeAuthority,
  makeKey,
  type Pair,
} from "../../certificates/issue.ts";
import { parseSubjectName, type SubjectName } from "../../certificates/names.ts";
import { pathsIn, readAuthority, readStored } from "../../certificates/stored.ts";

export interface GencertsOptions {
  /** The folder of the four folders. */
  readonly out: string;
  /** Of the server. Missing: those it has, or {@link LOCAL}. */
  readonly name?: readonly string[];
  /** How long what the authority signs is valid. */
  readonly days: string;
  readonly renew?: boolean;
}

/** What the authority signs, and which end of a connection it is for. */
const LEAVES = { server: "serverAuth", client: "clientAuth", proxy: "clientAuth" } as const;

/** Of a server on this machine. */
const LOCAL: readonly SubjectName[] = [
  { type: "dns", value: "localhost" },
  { type: "ip", value: "127.0.0.1" },
  { type: "ip", value: "::1" },
];

const DAY = 86_400_000;
/** An authority's, and so the most that a leaf of a new one can have. */
const MAX_DAYS = 3650;
/** A handshake carries them all; OpenSSL takes 100 KB of certificates. */
const MAX_NAMES = 100;
/** Milliseconds. Clocks of other machines may be behind. */
const BACKDATED = 5 * 60_000;

/**
 * @param now Milliseconds since 1970.
 * @returns the exit status.
 * @throws {ConfigError} if an option is wrong, or the files are not what they should be; then nothing
 * has changed.
 */
export async function gencerts(
  options: GencertsOptions,
  terminal: Terminal,
  now = Date.now(),
): Promise<number> {
  const out = parseOut(options.out);
  const names = options.name && parseNames(options.name);
  const lifetime = parseDays(options.days) * DAY;
  const lines = options.renew
    ? await renew(out, names, lifetime, now)
    : await make(out, names ?? LOCAL, lifetime, now);
  terminal.out(lines.map((line) => `${line}\n`).join(""));
  return 0;
}

async function make(
  out: string,
  names: readonly SubjectName[],
  lifetime: number,
  now: number,
): Promise<string[]> {
  refuseExisting(out, ["ca", ...Object.keys(LEAVES)]);
  const { authority, pair } = await makeAuthority(validity(MAX_DAYS * DAY, now));
  const pairs = new Map([["ca", pair]]);
  const lines = [`${join(out, "ca")}: an authority, until ${endOf(authority)}`];
  for (const leaf of Object.keys(LEAVES) as (keyof typeof LEAVES)[]) {
    const fields = fieldsOf(leaf, authority, lifetime, now, alternativeNames(names));
    pairs.set(leaf, await makePair(authority, fields));
    lines.push(`${join(out, leaf)}: ${describe(fields)}`);
  }
  using folders = NewFolders.stage(out, pairs);
  folders.place(pairs.keys());
  folders.keep();
  return lines;
}

/** Keys stay, so that a pin of one stays good, and a certificate is replaced in one step. */
async function renew(
  out: string,
  names: readonly SubjectName[] | undefined,
  lifetime: number,
  now: number,
): Promise<string[]> {
  const ca = join(out, "ca");
  const pair = await readPair(ca);
  if (pair === undefined) {
    throw new ConfigError([
      `${ca}: no authority is there, expected one that gencerts has made without --renew`,
    ]);
  }
  const authority = await readAuthority(pair, pathsIn(ca), now);
  const lines = [`${ca}: the same authority, until ${endOf(authority)}`];
  const missing = new Map<string, Pair>();
  const renewed = new Map<string, string>();
  for (const leaf of Object.keys(LEAVES) as (keyof typeof LEAVES)[]) {
    const folder = join(out, leaf);
    const old = await readPair(folder);
    const stored = old && readStored(old, pathsIn(folder));
    const given = names ?? (stored === undefined ? LOCAL : undefined);
    const fields = fieldsOf(
      ...[leaf, authority, lifetime, now] as const,
      given ? alternativeNames(given) : alternativeNamesOf(stored!.certificate),
    );
    if (stored === undefined) missing.set(leaf, await makePair(authority, fields));
    else {
      const { publicKey } = stored;
      renewed.set(join(folder, "cert.pem"), await issue(authority, { ...fields, publicKey }));
    }
    const what = stored === undefined ? "a new key, " : "the same key, ";
    lines.push(`${folder}: ${what}${describe(fields)}`);
  }
  replaceAll(out, missing, renewed);
  if (now + lifetime > authority.certificate.notAfter.getTime()) {
    lines.push(
      `${ca} ends before --days are over, and what it signs ends with it. A new authority is a new ` +
        "folder (--out): every machine needs its ca/cert.pem and new certificates.",
    );
  }
  return lines;
}

/** All is written before the first is put in place. */
function replaceAll(
  out: string,
  missing: ReadonlyMap<string, Pair>,
  renewed: ReadonlyMap<string, string>,
): void {
  using edits = new DisposableStack();
  const written = [...renewed].map(([file, text]) => {
    const edit = edits.use(FileEdit.begin(file));
    try {
      edit.write(text);
    } catch (error) {
      throw new ConfigError([`${file}: cannot be written (${(error as Error).message})`]);
    }
    return edit;
  });
  using folders = NewFolders.stage(out, missing);
  folders.place(missing.keys());
  for (const edit of written) edit.commit();
  folders.keep();
}

type Fields = Omit<LeafFields, "publicKey">;

async function makePair(authority: Authority, fields: Fields): Promise<Pair> {
  const { publicKey, key } = await makeKey();
  return { certificate: await issue(authority, { ...fields, publicKey }), key };
}

function fieldsOf(
  leaf: keyof typeof LEAVES,
  { certificate }: Authority,
  lifetime: number,
  now: number,
  names: LeafFields["names"],
): Fields {
  const { notBefore, notAfter } = validity(lifetime, now);
  return {
    commonName: leaf,
    usage: LEAVES[leaf],
    // Nobody dials the other two.
    ...(leaf === "server" && names && { names }),
    // Never beyond the authority's: a chain is valid where all of it is.
    notBefore: new Date(Math.max(notBefore.getTime(), certificate.notBefore.getTime())),
    notAfter: new Date(Math.min(notAfter.getTime(), certificate.notAfter.getTime())),
  };
}

function validity(lifetime: number, now: number) {
  const second = now - now % 1000;
  return { notBefore: new Date(second - BACKDATED), notAfter: new Date(second + lifetime) };
}

function describe({ names, notAfter, usage }: Fields): string {
  const who = usage === "clientAuth"
    ? "for a client"
    : `for the server ${names?.names.items.map(({ value }) => value).join(", ") ?? "(no name)"}`;
  return `${who}, until ${timeText(notAfter)}`;
}

function endOf({ certificate }: Authority): string {
  return timeText(certificate.notAfter);
}

function parseOut(given: string): string {
  if (given !== "" && !given.includes("\0")) return given;
  throw new ConfigError([`--out: ${quote(given)} is no path, expected a folder`]);
}

function parseNames(given: readonly string[]): SubjectName[] {
  const problems: string[] = [];
  const names = new Map<string, SubjectName>();
  const texts = given.flatMap(splitList);
  for (const text of texts) {
    const name = parseSubjectName(text);
    if (name instanceof ParseFailure) problems.push(`--name: ${name.message}`);
    else names.set(name.value, name);
  }
  if (texts.length === 0) problems.push("--name: is empty, expected a DNS name or an address");
  if (names.size > MAX_NAMES) {
    problems.push(`--name: ${names.size} of them, expected ${MAX_NAMES} at most`);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return [...names.values()];
}

function parseDays(given: string): number {
  const days = /^\d{1,5}$/.test(given) ? Number(given) : NaN;
  if (days >= 1 && days <= MAX_DAYS) return days;
  throw new ConfigError([`--days: ${quote(given)} is wrong, expected 1 to ${MAX_DAYS}`]);
}
