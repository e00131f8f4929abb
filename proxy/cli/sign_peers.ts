/**
 * `sign-peers`, `gensignkey` and `pubsignkey`: lists of peers for gateways that watch them.
 *
 * @module
 */

import { encodeKey, generatePrivateKey } from "../base64.ts";
import { loadSource, type PeerInput } from "../config/config.ts";
import { ConfigError } from "../config/error.ts";
import type { Form } from "../config/form.ts";
import { findKey } from "../config/keys.ts";
import type { RawSection } from "../config/source.ts";
import { quote } from "../config/values.ts";
import { formatPeerList, isSerial, parsePeerList } from "../gateway/peer_list/content.ts";
import {
  decodeSigningKey,
  generateSigningKey,
  MAX_LIST_BYTES,
  PeerListError,
  publicSigningKey,
  signPeerList,
  verifyPeerList,
} from "../gateway/peer_list/text.ts";
import { replaceFile } from "../state/replace_file.ts";
import { ConfigReader } from "./load.ts";
import { readText } from "./read.ts";
import { type Terminal, warnOfReaders } from "./terminal.ts";

/** White space may follow the key. */
const MAX_KEY_INPUT = 65_536;

/** @returns the exit status. */
export function gensignkey(terminal: Terminal): number {
  warnOfReaders(terminal);
  terminal.out(`${encodeKey(generateSigningKey())}\n`);
  return 0;
}

/** @returns the exit status. */
export async function pubsignkey(terminal: Terminal): Promise<number> {
  const input = new TextDecoder().decode(await terminal.readInput(MAX_KEY_INPUT));
  const key = decodeSigningKey(input.trim());
  if (key === undefined) {
    terminal.error("wirestack: no key on standard input, expected one by gensignkey\n");
    return 1;
  }
  terminal.out(`${encodeKey(await publicSigningKey(key))}\n`);
  return 0;
}

export interface SignOptions {
  /** A file. */
  readonly key: string;
  readonly serial?: string;
  readonly days?: string;
  /** Missing: standard output. */
  readonly out?: string;
  readonly presharedKeys?: boolean;
  readonly format?: Form;
}

/**
 * @param file With `[Peer]` sections, in any of the configuration's forms.
 * @returns the exit status.
 * @throws {ConfigError} naming everything that is wrong.
 */
export async function signPeers(
  file: string,
  options: SignOptions,
  terminal: Terminal,
): Promise<number> {
  const privateKey = await readSigningKey(options.key);
  const peers = await readPeers(file, options, terminal);
  const notAfter = notAfterOf(options.days);
  const before = options.out === undefined ? 0 : await serialOf(options.out, privateKey);
  const serial = nextSerial(options.serial, before, options.out);
  let text: string;
  try {
    const body = formatPeerList({ serial, ...(notAfter !== undefined && { notAfter }), peers });
    text = await signPeerList(body, privateKey);
  } catch (error) {
    if (!(error instanceof PeerListError)) throw error;
    throw new ConfigError([`${file}: ${error.message}`]);
  }
  if (text.length > MAX_LIST_BYTES) {
    throw new ConfigError([
      `${file}: makes a list of ${text.length} bytes, expected ${MAX_LIST_BYTES >> 20} MB at most`,
    ]);
  }
  if (options.out === undefined) terminal.out(text);
  else write(options.out, text, options.presharedKeys === true);
  terminal.error(
    `wirestack: signed ${peers.length} ${
      peers.length === 1 ? "peer" : "peers"
    }, serial ${serial}\n`,
  );
  return 0;
}

async function readSigningKey(file: string): Promise<Uint8Array> {
  const key = decodeSigningKey((await readText(file, "a key by gensignkey")).trim());
  if (key === undefined) throw new ConfigError([`${file}: is no key, expected one by gensignkey`]);
  return key;
}

async function readPeers(
  file: string,
  { format, presharedKeys = false }: SignOptions,
  terminal: Terminal,
): Promise<PeerInput[]> {
  const reader = new ConfigReader({ file, form: format }, terminal);
  const source = await reader.source(await readText(file, "peers", terminal));
  const own = source.interface as RawSection;
  // A list is of others: whose file this is, if anybody's, is no matter.
  if (own.privateKey === undefined) {
    source.set(["interface"], PRIVATE_KEY, generatePrivateKey(), { file, line: 1 });
  }
  const { config } = loadSource(source);
  const sections = source.peers as RawSection[];
  const secret = sections.findIndex(({ presharedKey }) => presharedKey !== undefined);
  if (secret >= 0 && !presharedKeys) {
    throw new ConfigError([
      `${source.label(["peers", secret, "presharedKey"])}: whoever reads the list would know it, ` +
      "expected none, or --preshared-keys",
    ]);
  }
  return sections.map((section, i) => ({
    ...Object.fromEntries(
      Object.entries(section).map((
        [field, value],
      ) => [field, value instanceof Uint8Array ? encodeKey(value) : value]),
    ),
    publicKey: encodeKey(config.peers[i]!.publicKey),
  }));
}

function notAfterOf(days: string | undefined): number | undefined {
  if (days === undefined) return undefined;
  if (!/^\d{1,5}$/.test(days) || Number(days) < 1) {
    throw new ConfigError([`--days: ${quote(days)} is out of range, expected 1 to 99999`]);
  }
  return Math.ceil(Date.now() / 1000 + Number(days) * 86_400) * 1000;
}

/** Of the list that is to be replaced; 0 if there is none. */
async function serialOf(file: string, privateKey: Uint8Array): Promise<number> {
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw new ConfigError([`--out: ${file}: cannot be read: ${(error as Error).message}`]);
  }
  try {
    const body = await verifyPeerList(bytes, await publicSigningKey(privateKey));
    return parsePeerList(body).serial;
  } catch (error) {
    if (!(error instanceof PeerListError)) throw error;
    throw new ConfigError([
      `--out: ${file}: ${
        error.message.replace("PeersKey", "this key")
      }, expected another name, or it removed`,
    ]);
  }
}

/** Seconds since 1970 rise by themselves, wherever a list is signed. */
function nextSerial(given: string | undefined, before: number, out: string | undefined): number {
  if (given === undefined) return Math.max(Math.floor(Date.now() / 1000), before + 1);
  const serial = /^\d+$/.test(given) ? Number(given) : NaN;
  if (!isSerial(serial)) {
    throw new ConfigError([`--serial: ${quote(given)} is no number, expected 1 or more`]);
  }
  if (serial <= before) {
    throw new ConfigError([`--serial: ${out} has ${before}, expected a higher one than that`]);
  }
  return serial;
}

/** Who serves or watches the file gets the old one or the new one, whole. */
function write(path: string, text: string, isSecret: boolean): void {
  try {
    replaceFile(path, text, { mode: isSecret ? 0o600 : 0o644 });
  } catch (error) {
    throw new ConfigError([`--out: ${path}: cannot be written: ${(error as Error).message}`]);
  }
}

const PRIVATE_KEY = findKey("interface", "PrivateKey")!;
