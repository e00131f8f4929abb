/**
 * What is checked, and made, of the keys of a list of peers.
 *
 * @module
 */

import type { GatewayConfig } from "./checked.ts";
import type { InterfaceValues } from "./schema.ts";
import type { ConfigSource } from "./source.ts";

const DEFAULT_INTERVAL_MS = 60_000;

export function checkPeerList(source: ConfigSource, iface: InterfaceValues): void {
  const { peersFrom, peersKey, peersCa, peersInterval } = iface;
  if (peersFrom === undefined) {
    for (const [field, value] of Object.entries({ peersKey, peersCa, peersInterval })) {
      if (value === undefined) continue;
      const path = ["interface", field];
      const missing = source.called(["interface", "peersFrom"], path);
      source.warn(path, `has no effect without ${missing}`);
    }
    return;
  }
  if (peersKey === undefined) {
    const path = ["interface", "peersFrom"];
    const missing = source.called(["interface", "peersKey"], path);
    source.problem(
      path,
      `who signs the list is not known, expected ${missing} beside it, as pubsignkey prints it`,
    );
  }
  if ("url" in peersFrom) return;
  for (const [field, value] of Object.entries({ peersCa, peersInterval })) {
    if (value !== undefined) source.warn(["interface", field], "has no effect: the list is a file");
  }
}

export function peerListConfig(iface: InterfaceValues): Pick<GatewayConfig, "peerList"> {
  const { peersFrom: place, peersKey: key, peersCa: caPath, peersInterval } = iface;
  if (place === undefined || key === undefined) return {};
  const intervalMs = peersInterval ?? DEFAULT_INTERVAL_MS;
  return { peerList: { place, key, ...(caPath !== undefined && { caPath }), intervalMs } };
}
