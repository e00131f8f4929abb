/**
 * `peers`: who is there, of a running gateway.
 *
 * @module
 */

import type { PeerStats } from "../gateway/gateway.ts";
import { askValues } from "./ask_values.ts";
import { jsonOf } from "./flows_format.ts";
import { gatewayOf } from "./gateways.ts";
import { formatPeers, type PeerSortKey, sortPeers } from "./peers_format.ts";
import type { Terminal } from "./terminal.ts";

export interface ListPeersOptions {
  readonly controlDir?: string;
  readonly json?: boolean;
  /** In a name, public key, place or prefix: of those alone. */
  readonly match?: string;
  readonly sort: PeerSortKey;
  /** How many at most; 0 for all. Default: 100 for people, all as JSON. */
  readonly limit?: number;
}

const MAX_LINES = 100;

/**
 * @param target The name of a gateway, or its file; missing: the only one that runs.
 * @returns the exit status.
 * @throws {ControlError} if there is no such gateway.
 */
export async function listPeers(
  target: string | undefined,
  options: ListPeersOptions,
  terminal: Terminal,
): Promise<number> {
  const { controlDir, json, match, sort, limit = json ? 0 : MAX_LINES } = options;
  const gateway = await gatewayOf(target, "NAME", controlDir);
  const lines = match === undefined ? [] : [`match=${encodeURIComponent(match)}`];
  const peers = await askValues<PeerStats>(gateway, "wirestack_peers=1", lines, "peer");
  sortPeers(peers, sort);
  const most = limit === 0 ? peers.length : limit;
  if (json) {
    for (const piece of jsonOf(peers.slice(0, most))) terminal.out(piece);
  } else terminal.out(formatPeers(peers, most, Date.now()));
  return 0;
}
