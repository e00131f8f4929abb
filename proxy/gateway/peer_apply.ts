/**
 * Makes a peer that runs like its configuration, changing only what differs.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import type { Peer } from "../../wireguard/mod.ts";
import { isSameKey, KEY_LENGTH } from "../base64.ts";
import type { FallbackConfig, PeerConfig, PeerLimits } from "../config/checked.ts";
import type { PeerLocation } from "./location_addresses.ts";
import { locationsOf, type TunnelPeers } from "./peers.ts";

/**
 * @param holds Whether a prefix that the configuration lists is this peer's to hold: another may have
 * it too. Default: all are.
 * @returns whether anything was to be changed.
 */
export function applyPeer(
  peers: TunnelPeers,
  peer: Peer,
  config: PeerConfig,
  holds: (prefix: Prefix) => boolean = () => true,
): boolean {
  let isChanged = false;
  const change = (isDifferent: boolean, apply: () => void) => {
    if (!isDifferent) return;
    isChanged = true;
    apply();
  };
  change(config.name !== peer.name, () => {
    peer.name = config.name;
    peers.onHeldChanged(); // rules know peers by their names
  });
  const presharedKey = config.presharedKey ?? NO_KEY;
  change(
    !isSameKey(presharedKey, peer.presharedKey),
    () => peer.setPresharedKey(presharedKey),
  );
  // The file's endpoint counts only when it changes: where the peer was last heard is more recent.
  const wanted = locationsOf(config);
  const hadLocation = peers.locations(peer).length > 0;
  change(!isSameLocations(peers.locations(peer), wanted), () => {
    if (wanted.length === 0) peers.forgetLocation(peer);
    else peers.setLocation(peer, ...wanted);
  });
  const fallbacks = config.fallbacks ?? [];
  change(
    !isSameFallbacks(peers.fallbacks(peer), fallbacks),
    () => peers.setFallbacks(peer, fallbacks),
  );
  // Without an endpoint fallbacks are all there is; a peer that has none stays where it was heard.
  if (hadLocation && wanted.length === 0) peers.paths.of(peer)?.setUdp(undefined);
  const own = config.allowedIps.filter(holds);
  const names = new Set(own.map(String));
  const current = peers.allowedIps(peer);
  change(
    current.length !== names.size || current.some((prefix) => !names.has(`${prefix}`)),
    () => peers.setAllowedIps(peer, own),
  );
  change(
    config.persistentKeepalive !== peer.persistentKeepalive,
    () => peers.setPersistentKeepalive(peer, config.persistentKeepalive),
  );
  change(
    !isSameLimits(config.limits, peers.limits(peer)),
    () => peers.setLimits(peer, config.limits),
  );
  return isChanged;
}

function isSameLocations(a: readonly PeerLocation[], b: readonly PeerLocation[]): boolean {
  return a.length === b.length &&
    a.every(({ hostname, port }, i) => hostname === b[i]!.hostname && port === b[i]!.port);
}

function isSameFallbacks(a: readonly FallbackConfig[], b: readonly FallbackConfig[]): boolean {
  return a.length === b.length && a.every((one, i) => {
    const other = b[i]!;
    return one.url === other.url && one.certPath === other.certPath &&
      one.keyPath === other.keyPath && one.caPath === other.caPath &&
      `${one.pins}` === `${other.pins}` && one.renewAt?.port === other.renewAt?.port &&
      `${one.renewAt?.address}` === `${other.renewAt?.address}`;
  });
}

function isSameLimits(a: PeerLimits | undefined, b: PeerLimits | undefined): boolean {
  return a === b || a !== undefined && b !== undefined &&
      a.rateUp === b.rateUp && a.rateDown === b.rateDown && a.rateBurstMs === b.rateBurstMs &&
      a.maxTcpConnections === b.maxTcpConnections && a.maxUdpSessions === b.maxUdpSessions;
}

const NO_KEY = new Uint8Array(KEY_LENGTH);
