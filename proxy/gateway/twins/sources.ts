/**
 * Peers of several sources that list the same prefix take turns to hold it.
 *
 * @module
 */

import { mayTakeTurns } from "../../config/check_shared.ts";
import type { GatewayConfig } from "../../config/checked.ts";
import type { Engine } from "../../engine/engine.ts";
import { toAllowedIp } from "../allowed_ip.ts";
import type { PeerSources } from "../peer_sources.ts";
import { type Claimant, lastOfLowestRank } from "../prefix_claims.ts";
import { type SharedBy, Twins } from "./twins.ts";

/**
 * Has peers take turns that list the same prefix: those of a hub, which are agents, by their place in
 * their source; the hubs of a client or an agent, which all have endpoints, the nearest first.
 */
export function takeTurns(
  engine: Engine,
  sources: PeerSources,
  config: Pick<GatewayConfig, "addresses" | "peerToPeer">,
): Twins {
  const calls = !config.peerToPeer;
  const { device } = engine;
  const twins = new Twins({
    device,
    stack: engine.stack,
    pool: engine.pool,
    addresses: config.addresses.map(({ address }) => address),
    random: (out) => void crypto.getRandomValues(out),
    now: () => engine.now(),
    calls,
    give: (prefix) => sources.reassign(prefix),
    changed: () => engine.wake(),
  });
  const peerOf = ({ config }: Claimant) => device.peer(config.publicKey);
  const areShared = (claimants: readonly Claimant[]) =>
    mayTakeTurns(claimants.map(({ config }) => config), !calls);
  sources.chooseHolder = (prefix, claimants) => {
    if (!areShared(claimants)) return lastOfLowestRank(prefix, claimants);
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
      if (peers.length > 1 && areShared(claimants)) shared.push({ prefix, peers });
    }
    twins.update(shared);
  };
  engine.addTimeouts(twins);
  return twins;
}
