/**
 * What a new peer cannot have: prefixes that peers have, or that are promised to machines which have
 * not come yet.
 *
 * @module
 */

import { Prefix } from "../../../netstack/mod.ts";
import type { Peer } from "../../../wireguard/mod.ts";
import { isEnrolled, type Member, servedPrefixes } from "../../enrol/member.ts";
import { peerName } from "../peer_name.ts";
import type { PeerSources } from "../peer_sources.ts";
import type { TunnelPeers } from "../peers.ts";

export interface TakenPrefix {
  /** Of who has it. */
  readonly name: string;
  readonly prefix: Prefix;
}

/** @param members Those who hold something; of who is enrolled the peer counts. */
export function takenPrefixes(
  all: Iterable<Peer>,
  members: readonly Member[],
  { peers, peerSources }: { readonly peers: TunnelPeers; readonly peerSources: PeerSources },
): TakenPrefix[] {
  const ofPeers = Array.from(all).flatMap((peer) => {
    const name = peerName(peer);
    const own = peerSources.config(peer)?.allowedIps ?? peers.allowedIps(peer);
    return own.map((prefix) => ({ name, prefix }));
  });
  const promised = members.filter((member) => !isEnrolled(member)).flatMap((member) =>
    [
      ...member.addresses.map(Prefix.of),
      ...servedPrefixes(member),
    ].map((prefix) => ({ name: member.name, prefix }))
  );
  return [...ofPeers, ...promised];
}
