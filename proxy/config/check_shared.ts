/**
 * Prefixes that several peers of a hub list: whoever of them is alive has it, the first of the file
 * before the others.
 *
 * @module
 */

import { Prefix } from "../../netstack/mod.ts";
import type { GatewayConfig, PeerConfig } from "./checked.ts";
import type { ConfigPath } from "./error.ts";
import type { InterfaceValues, PeerValues } from "./schema.ts";
import type { ConfigSource } from "./source.ts";
import { encodeKey } from "../base64.ts";
import { isSingle } from "./values.ts";

/** Warns where sharing is a mistake, or works worse than it could. */
export function checkShared(
  source: ConfigSource,
  iface: InterfaceValues,
  peers: readonly (PeerValues | undefined)[],
): void {
  const first = new Map<string, ConfigPath>();
  const shared = new Set<string>();
  const networks = iface.address.map(({ address, length }) => new Prefix(address, length));
  peers.forEach((peer, i) =>
    peer?.allowedIps.forEach((prefix, j) => {
      const path = ["peers", i, "allowedIps", j];
      const before = first.get(`${prefix}`);
      if (before === undefined) first.set(`${prefix}`, path);
      if (before === undefined || before[1] === i) return;
      shared.add(`${prefix}`);
      if (isSingle(prefix) && networks.some((network) => network.contains(prefix.address))) {
        source.warn(
          path,
          `${prefix} is another peer's too (${
            source.place(before)
          }): this one gets nothing while that ` +
            "is alive, expected an address of its own",
        );
      }
    })
  );
  peers.forEach((peer, i) => {
    const common = peer?.allowedIps.find((prefix) => shared.has(`${prefix}`));
    if (common === undefined) return;
    if (peer!.allowedIps.some((prefix) => isSingle(prefix) && !shared.has(`${prefix}`))) return;
    source.warn(
      ["peers", i, "allowedIps"],
      `shares ${common} and has no address of its own, where it could be asked: when it is lost, another ` +
        "has the prefix after 32 s instead of 4, expected one such as 10.9.0.2/32 beside it",
    );
  });
}

/** Whether this side calls it: those that it calls, and that share a prefix, are hubs in turn. */
export function isCalled(
  { endpoint, fallback }: Pick<PeerValues, "endpoint" | "fallback">,
): boolean {
  return endpoint.length > 0 || fallback.length > 0;
}

/** What is shared, in words: nothing where nobody takes turns. */
export function summarizeShared({ peers, peerToPeer }: GatewayConfig): string[] {
  const byPrefix = new Map<string, PeerConfig[]>();
  for (const peer of peers) {
    for (const prefix of new Set(peer.allowedIps.map(String))) {
      byPrefix.set(prefix, [...byPrefix.get(prefix) ?? [], peer]);
    }
  }
  const names = (peers: PeerConfig[]) =>
    peers.map(({ name, publicKey }) => name ?? encodeKey(publicKey))
      .join(peerToPeer ? ", else " : " or ") + (peerToPeer ? "" : ", whichever is nearer");
  return Array.from(byPrefix)
    .filter(([, peers]) => peers.length > 1 && mayTakeTurns(peers, peerToPeer))
    .map(([prefix, peers]) => `${prefix} by ${names(peers)}`);
}

/** Whether peers that list the same prefix share it: those of a hub do, others if all are called. */
export function mayTakeTurns(
  peers: readonly Pick<PeerConfig, "endpoint" | "fallbacks">[],
  peerToPeer: boolean,
): boolean {
  return peerToPeer ||
    peers.every(({ endpoint, fallbacks }) => endpoint !== undefined || fallbacks !== undefined);
}
