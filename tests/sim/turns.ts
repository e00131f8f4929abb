/**
 * Peers that speak for one prefix at a simulated engine, and the lines to them.
 *
 * @module
 */

import { parsePrefix } from "../../proxy/address.ts";
import { Twins, type TwinsOptions } from "../../proxy/gateway/twins/twins.ts";
import type { Peer } from "../../wireguard/mod.ts";
import type { EngineWorld, SimEngine } from "./engine.ts";

/**
 * Has a site's peers, in this order of preference, hold a prefix in turn. One peer alone shares nothing.
 *
 * @returns to whom it went, and when.
 */
export function useInTurn(
  { sim }: EngineWorld,
  site: SimEngine,
  peers: readonly Peer[],
  prefix: string,
  options: Partial<Pick<TwinsOptions, "addresses" | "calls">> = {},
) {
  const { device, stack, pool } = site.engine;
  const shared = parsePrefix(prefix)!;
  const give = (peer: Peer) =>
    peer.addAllowedIp({ address: shared.address.bytes, length: shared.length });
  give(peers[0]!);
  const moves: { at: number; to: number }[] = [];
  const twins = new Twins({
    ...{ device, stack, pool },
    addresses: site.engine.nic1.addresses.map(({ address }) => address),
    random: (out) => sim.random.fill(out),
    now: () => sim.now,
    give(_prefix, peer) {
      moves.push({ at: sim.now, to: peers.indexOf(peer) });
      give(peer);
    },
    changed: () => site.engine.wake(),
    ...options,
  });
  site.engine.addTimeouts(twins);
  twins.update(peers.length > 1 ? [{ prefix: shared, peers }] : []);
  return { twins, moves, holder: () => peers.indexOf(twins.holderOf(shared)!) };
}

/** @param loss Of the line to each while it is not cut. */
export function linesOf(engines: readonly SimEngine[], loss = 0) {
  return engines.map(({ bind: { up, down } }) => ({
    cut() {
      up.loss = down.loss = 1;
    },
    mend() {
      up.loss = down.loss = loss;
    },
  }));
}
