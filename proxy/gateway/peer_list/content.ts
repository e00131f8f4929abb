/**
 * What a signed list says: its number, until when it counts, the peers.
 *
 * @module
 */

import { generatePrivateKey } from "../../base64.ts";
import { loadConfig, type PeerConfig, type PeerInput } from "../../config/config.ts";
import { ConfigError } from "../../config/error.ts";
import { PeerListError } from "./text.ts";

export interface PeerList {
  /** Rises from list to list. */
  readonly serial: number;
  /** When it counts no more, ms since the Unix epoch; Infinity for never. */
  readonly notAfter: number;
  readonly peers: readonly PeerConfig[];
}

/** The same, to be written. */
export interface PeerListInput {
  readonly serial: number;
  /** As {@link PeerList.notAfter}. */
  readonly notAfter?: number;
  readonly peers: readonly PeerInput[];
}

/** What a list may say of a peer: nothing that names a file of the machine that reads it. */
const FIELDS: readonly string[] = [
  ...["publicKey", "name", "presharedKey", "allowedIps", "endpoint", "persistentKeepalive"],
  ...["rateUp", "rateDown", "rateBurst", "maxTcpConnections", "maxUdpSessions"],
];

/** More would not fit into a list's bytes. */
const MAX_PEERS = 100_000;

/**
 * Reads a list a part at a time, so that packets do not wait for all of it.
 *
 * @throws {PeerListError} naming the first of what is wrong.
 */
export async function readPeerList(body: string): Promise<PeerList> {
  const { serial, notAfter, peers } = checked(body);
  const configs: PeerConfig[] = [];
  for (let at = 0; at < peers.length; at += PART) {
    configs.push(...peersOf(peers.slice(at, at + PART), at));
    await new Promise((resolve) => setTimeout(resolve));
  }
  checkDoubles(configs);
  return { serial, notAfter, peers: configs };
}

/** Peers that are checked at once: some milliseconds. */
const PART = 100;

/**
 * The same at once.
 *
 * @throws {PeerListError} naming the first of what is wrong.
 */
export function parsePeerList(body: string): PeerList {
  const { serial, notAfter, peers } = checked(body);
  return { serial, notAfter, peers: peersOf(peers, 0) };
}

/** All but the peers themselves. */
function checked(body: string) {
  const list = objectOf(body);
  const { serial, notAfter, peers, ...others } = list;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw wrong(`${unknown.slice(0, 40)}: unknown, expected serial, notAfter, peers`);
  }
  if (!isSerial(serial)) throw wrong("serial: is no whole number, expected 1 or more");
  if (!Array.isArray(peers)) throw wrong("peers: is no list, expected an array of peers");
  if (peers.length > MAX_PEERS) {
    throw wrong(`peers: ${peers.length} are too many, expected ${MAX_PEERS} or fewer`);
  }
  checkFields(peers);
  return { serial, notAfter: timeOf(notAfter), peers: peers as unknown[] };
}

/** What is wrong only with several parts together. */
function checkDoubles(peers: readonly PeerConfig[]): void {
  const seen = new Map<string, number>();
  peers.forEach(({ publicKey, name }, i) => {
    const given = [[publicKey.toHex(), "publicKey"], ...name ? [[name.toLowerCase(), "name"]] : []];
    for (const [text, field] of given as [string, string][]) {
      const first = seen.get(`${field} ${text}`);
      if (first !== undefined) {
        throw wrong(
          `peers[${i}].${field}: given twice, expected it once (the first is peers[${first}])`,
        );
      }
      seen.set(`${field} ${text}`, i);
    }
  });
}

/** @throws {PeerListError} if no gateway would take it. */
export function formatPeerList({ serial, notAfter, peers }: PeerListInput): string {
  const body = `${
    JSON.stringify(
      {
        serial,
        ...(notAfter !== undefined && { notAfter: new Date(notAfter).toISOString() }),
        peers,
      },
      undefined,
      1,
    )
  }\n`;
  parsePeerList(body);
  return body;
}

export function isSerial(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function objectOf(body: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    throw wrong("is no JSON, expected a list by sign-peers");
  }
  if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) {
    return parsed as Record<string, unknown>;
  }
  throw wrong("is no object, expected serial and peers");
}

function timeOf(notAfter: unknown): number {
  if (notAfter === undefined) return Infinity;
  const time = typeof notAfter === "string" ? Date.parse(notAfter) : NaN;
  if (Number.isNaN(time)) {
    throw wrong("notAfter: is no time, expected one such as 2030-01-31T12:00:00Z");
  }
  return time;
}

function checkFields(peers: readonly unknown[]): void {
  for (const [i, peer] of peers.entries()) {
    const unknown = Object.keys(Object(peer)).find((field) => !FIELDS.includes(field));
    if (unknown === undefined) continue;
    throw wrong(
      `peers[${i}].${unknown.slice(0, 40)}: not of a list, expected ${FIELDS.join(", ")}`,
    );
  }
}

/** Checked as those of a file are. @param at The number of the first. */
function peersOf(peers: unknown[], at: number): readonly PeerConfig[] {
  const privateKey = generatePrivateKey();
  try {
    return loadConfig({ interface: { privateKey }, peers: peers as PeerInput[] }).config.peers;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const [first, ...more] = error.problems.map((problem) =>
      problem.replace(/peers\[(\d+)\]/g, (_, index) => `peers[${Number(index) + at}]`)
    );
    throw wrong(more.length > 0 ? `${first} (and ${more.length} more)` : first!);
  }
}

function wrong(message: string): PeerListError {
  return new PeerListError("content", message);
}
