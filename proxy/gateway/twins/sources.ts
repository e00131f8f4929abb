/**
 * Peers of several sources that list the same prefix take turns to hold it.
 *
 * @module
 */

import type { GatewayConfig } from "../../config/checked.ts";
import type { Engine } from "../../engine/engine.ts";
import type { PeerSources } from "../peer_sources.ts";
import type { Claimant } from "../prefix_claims.ts";
import { type SharedBy, toAllowedIp, Twins } from "./twins.ts";

/** Has the peers of a hub take turns, those first that come first in their source. */
export function takeTurns(
  engine: Engine,
  sources: PeerSources,
  config: Pick<GatewayConfig, "addresses">,
): Twins {
  const { device } = engine;
  const twins = new Twins({
    device,
    stack: engine.stack,
    pool: engine.pool,
    addresses: config.addresses.map(({ address }) => address),
    random: (out) => void crypto.getRandomValues(out),
    now: () => engine.now(),
    give: (prefix) => sources.reassign(prefix),
    changed: () => engine.wake(),
  });
  const peerOf = ({ config }: Claimant) => device.peer(config.publicKey);
  sources.chooseHolder = (prefix, claimants) => {
    const holders = [twins.holderOf(prefix), device.holderOf(toAllowedIp(prefix))];
    for (const holder of holders) {
      const found = holder && claimants.find((claimant) => peerOf(claimant) === holder);
      if (found !== undefined) return found;
    }
    return claimants[0]!;
  };
  sources.onChanged = () => {
    const shared: SharedBy[] = [];
    for (const [prefix, claimants] of sources.claims.shared()) {
      const peers = claimants.map(peerOf).filter((peer) => peer !== undefined);
      if (peers.length > 1) shared.push({ prefix, peers });
    }
    twins.update(shared);
  };
  engine.addTimeouts(twins);
  return twins;
}
