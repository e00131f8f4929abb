/**
 * What a gateway says of each of its peers.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import type { Peer } from "../../wireguard/mod.ts";
import { encodeKey } from "../base64.ts";
import type { CarrierStats, HasCarrierStats } from "../bind/stream/mod.ts";
import type { Engine } from "../engine/engine.ts";
import type { FlowOwner } from "../flow/flow.ts";
import type { TotalsStats } from "../flow/totals.ts";
import type { SharedPrefixStats, Twins } from "./twins/twins.ts";
import type { Paths } from "./paths/paths.ts";
import type { PeerOrigin, PeerSources } from "./peer_sources.ts";

/**
 * `connected`: heard within three minutes, which is as long as a session may last, and not missed since
 * as one of several with the same prefix; `silent`: heard, but not lately; `never`: not since this
 * gateway was started.
 */
export type PeerState = "connected" | "silent" | "never";

/** A peer as it is now. */
export interface PeerStats {
  /** Base64. */
  readonly publicKey: string;
  /** Null when nobody has given it one. */
  readonly name: string | null;
  /** Who says that there is such a peer; `control`: the control socket or an embedder, until a reload. */
  readonly origin: PeerOrigin;
  /** How it is with it now. */
  readonly state: PeerState;
  /** `ADDRESS:PORT`; null when it is not known. */
  readonly endpoint: string | null;
  /** What its datagrams travel by, as `udp`; null without an endpoint. */
  readonly transport: string | null;
  /** Since when it is that; as {@link lastHandshake}. */
  readonly transportSince: number;
  /** How often it has been another before. */
  readonly transportSwitches: number;
  /** Its fallbacks in their order, in use or not; of one that came in, the connection that it came by. */
  readonly carriers: readonly CarrierStats[];
  /** Prefixes: `10.9.0.2/32`. */
  readonly allowedIps: readonly string[];
  /** Whole datagrams, as `wg show` counts them. */
  readonly receivedBytes: number;
  /** As {@link receivedBytes}. */
  readonly sentBytes: number;
  /** Bytes per second over the last second, of {@link receivedBytes} and of {@link sentBytes}. */
  readonly rate: { readonly received: number; readonly sent: number };
  /** Milliseconds since the Unix epoch, 0 for never. */
  readonly lastHandshake: number;
  /** When something authenticated came last, a keepalive too; as {@link lastHandshake}. */
  readonly lastHeard: number;
  /** Since when it is heard without a silence of three minutes; as {@link lastHandshake}. */
  readonly heardSince: number;
  /** Seconds, 0 is off. */
  readonly persistentKeepalive: number;
  /** What other peers speak for too, and whether this one holds it now. */
  readonly sharedPrefixes: readonly SharedPrefixStats[];
  /** What its connections, UDP sessions and pings through the proxy did; null before the first. */
  readonly flows: TotalsStats | null;
}

/** The parts of a gateway that its peers' figures are taken from. */
export interface PeersOf {
  readonly engine: Engine;
  readonly peers: { readonly paths: Paths };
  readonly peerSources: PeerSources;
  readonly twins: Twins | undefined;
  ownerOf(peer: Peer): FlowOwner;
}

/** Whether a peer is there, as far as is known. @param now ms of the engine's clock. */
export function isConnected(peer: Peer, twins: Twins | undefined, now: number): boolean {
  return peer.isHeard(now) && twins?.isLost(peer) !== true;
}

/**
 * Each peer, looked at when its turn comes.
 *
 * @param text Of those alone whose name, public key, place or a prefix has this in it, in any case.
 * @param peers Default: all, tokens of invitations too.
 */
export function* peerStats(
  gateway: PeersOf,
  text?: string,
  peers: Iterable<Peer> = gateway.engine.device.peers(),
): Generator<PeerStats, void, undefined> {
  const wanted = text?.toLowerCase();
  for (const peer of peers) {
    const stats = statsOf(gateway, peer);
    if (wanted === undefined || isMatch(stats, wanted)) yield stats;
  }
}

function statsOf(gateway: PeersOf, peer: Peer): PeerStats {
  const { engine, peers, peerSources, twins, ownerOf } = gateway;
  const now = engine.now();
  const epoch = Date.now() - now;
  const { endpoint, lastHeard } = peer;
  const transport = endpoint && peers.paths.transportOf(peer);
  const wallTime = (at: number) => at === -Infinity ? 0 : Math.round(epoch + at);
  return {
    publicKey: encodeKey(peer.publicKey),
    name: peer.name ?? null,
    origin: peerSources.origin(peer),
    state: isConnected(peer, twins, now)
      ? "connected"
      : lastHeard === -Infinity
      ? "never"
      : "silent",
    endpoint: endpoint?.toString() ?? null,
    transport: transport?.name ?? null,
    transportSince: wallTime(transport?.since ?? -Infinity),
    transportSwitches: transport?.switches ?? 0,
    carriers: carriersOf(peer, peers.paths),
    allowedIps: peer.allowedIps.map(({ address, length }) => `${new IpAddress(address)}/${length}`),
    receivedBytes: peer.receivedBytes,
    sentBytes: peer.sentBytes,
    rate: { received: Math.round(peer.receiveRate), sent: Math.round(peer.sendRate) },
    lastHandshake: peer.lastHandshake,
    lastHeard: wallTime(lastHeard),
    heardSince: wallTime(peer.heardSince),
    persistentKeepalive: peer.persistentKeepalive,
    sharedPrefixes: twins?.of(peer) ?? [],
    flows: ownerOf(peer).totals?.stats(now) ?? null,
  };
}

function carriersOf(peer: Peer, paths: Paths): CarrierStats[] {
  const fallbacks: Iterable<HasCarrierStats> | undefined = paths.of(peer)?.fallbacks;
  if (fallbacks !== undefined) return Array.from(fallbacks, (end) => end.carrierStats());
  const end = peer.endpoint as Partial<HasCarrierStats> | undefined;
  return end?.carrierStats === undefined ? [] : [end.carrierStats()];
}

function isMatch({ name, publicKey, endpoint, allowedIps }: PeerStats, wanted: string): boolean {
  return [name ?? "", publicKey, endpoint ?? "", ...allowedIps]
    .some((value) => value.toLowerCase().includes(wanted));
}
