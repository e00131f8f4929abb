/**
 * `peers`: who is there, of a running gateway.
 *
 * @module
 */

import { ControlError } from "../control/client.ts";
import type { PeerStats } from "../gateway/gateway.ts";
import { jsonOf } from "./flows_format.ts";
import { findGateway, onlyGateway } from "./gateways.ts";
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
  const gateway = target === undefined
    ? await onlyGateway("NAME", controlDir)
    : await findGateway(target, controlDir);
  const peers: PeerStats[] = [];
  // Each is read as it comes: there may be tens of thousands.
  const answer = await gateway.ask(
    "wirestack_peers=1",
    match === undefined ? [] : [`match=${encodeURIComponent(match)}`],
    (key, value) => {
      if (key === "peer") peers.push(JSON.parse(value));
      return key === "peer";
    },
  );
  const { name } = gateway;
  if (answer === undefined) {
    throw new ControlError(`${name}: is no Wirestack gateway, or an older one`);
  }
  if (answer.errno !== 0) throw new ControlError(`${name}: refused (errno ${answer.errno})`);
  sortPeers(peers, sort);
  const most = limit === 0 ? peers.length : limit;
  if (json) {
    for (const piece of jsonOf(peers.slice(0, most))) terminal.out(piece);
  } else terminal.out(formatPeers(peers, most, Date.now()));
  return 0;
}
