/**
 * Where peers were last heard, in a file: a gateway that starts again can initiate handshakes, and
 * need not wait until the peers notice that it was gone. No secret is in it: public keys,
 * addresses, times.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import { decodeKey } from "../base64.ts";
import { readStateFile } from "../state/read_file.ts";
import { replaceFile } from "../state/replace_file.ts";

export interface RememberedEndpoint {
  readonly address: IpAddress;
  readonly port: number;
  /** When the peer last completed a handshake there: ms since the Unix epoch. */
  readonly heardAt: number;
}

/** By the peer's public key in base64. */
export type RememberedEndpoints = ReadonlyMap<string, RememberedEndpoint>;

/** No more than a gateway has peers; a file of more is not this program's. */
const MAX_BYTES = 16 << 20;

/** As {@link endpointFile} and {@link writeEndpoints} make them. */
const FILE_NAME = /^endpoints-[0-9a-f]{16}\.json(?:\.new)?$/;

/** Of the gateway with this key, in a folder that may hold those of others. */
export function endpointFile(directory: string, publicKey: Uint8Array): string {
  return `${directory}/endpoints-${publicKey.subarray(0, 8).toHex()}.json`;
}

/**
 * @returns what can be used of it; empty if there is no file.
 * @throws {Error} of the system, or if this is no such file.
 */
export function readEndpoints(path: string): RememberedEndpoints {
  const found = new Map<string, RememberedEndpoint>();
  const text = readStateFile(path, MAX_BYTES);
  if (text === undefined) return found;
  const parsed: unknown = JSON.parse(text);
  const peers = (parsed as { peers?: unknown } | null)?.peers;
  if (typeof peers !== "object" || peers === null) {
    throw new Error(`${path}: not a file of endpoints`);
  }
  for (const [key, value] of Object.entries(peers)) {
    const endpoint = decodeKey(key) && parseEntry(value);
    if (endpoint) found.set(key, endpoint);
  }
  return found;
}

/**
 * Replaces the file by one that only this user can read. A reader gets either the old or the new one,
 * whole.
 *
 * @throws {Error} of the system.
 */
export function writeEndpoints(path: string, endpoints: RememberedEndpoints): void {
  // JSON, put together by hand: of thousands of peers an object to be written takes ten times as long.
  const peers = Array.from(endpoints, ([key, { address, port, heardAt }]) => {
    const host = address.version === 4 ? `${address}` : `[${address}]`;
    return `\n  "${key}": { "endpoint": "${host}:${port}", "heardAt": ${heardAt} }`;
  });
  const text = `{ "peers": {${peers.join(",")}\n} }\n`;
  replaceFile(path, text);
}

/**
 * Removes the files in this folder, of whichever gateway, that were last written before this time (ms
 * since the Unix epoch). Keys come and go; without this each would leave its file for ever.
 */
export function removeEndpointsBefore(directory: string, time: number): void {
  try {
    for (const { name, isFile } of Deno.readDirSync(directory)) {
      if (!isFile || !FILE_NAME.test(name)) continue;
      const path = `${directory}/${name}`;
      const { mtime } = Deno.lstatSync(path);
      if (mtime !== null && mtime.getTime() < time) Deno.removeSync(path);
    }
  } catch {
    // Another gateway was faster, or this one may not: the next start tries again.
  }
}

function parseEntry(value: unknown): RememberedEndpoint | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { endpoint, heardAt } = value as { endpoint?: unknown; heardAt?: unknown };
  if (typeof endpoint !== "string" || typeof heardAt !== "number") return undefined;
  const match = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(endpoint);
  const address = match === null ? undefined : parseIpAddress(match[1] ?? match[2]!);
  const port = Number(match?.[3]);
  if (address === undefined || !(port >= 1 && port <= 0xffff)) return undefined;
  return { address, port, heardAt };
}
