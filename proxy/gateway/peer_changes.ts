/**
 * Peers that are added, changed and removed by themselves while the gateway runs, by an embedder or by
 * `wirestack set`.
 *
 * @module
 */

import type { Peer } from "../../wireguard/mod.ts";
import { encodeKey, isSameKey } from "../base64.ts";
import {
  ConfigError,
  type KeyInput,
  type ListInput,
  loadPeer,
  type PeerInput,
} from "../config/config.ts";
import type { Gateway } from "./gateway.ts";
import { applyPeer } from "./peer_apply.ts";
import { locationsOf } from "./peers.ts";
import type { PeerLimits } from "../config/checked.ts";
import { DEFAULT_RATE_BURST_MS } from "../config/defaults.ts";

/** What `Wirestack.updatePeer` changes: what is missing stays, `null` removes. */
export interface PeerChanges {
  /** What to call it. */
  name?: string | null;
  /** Takes effect with the next handshake. */
  presharedKey?: KeyInput | null;
  /** The whole list. */
  allowedIps?: ListInput | null;
  /** `HOST:PORT` or `[IPV6]:PORT`, or several. Null: the peer is where its packets come from. */
  endpoint?: ListInput | null;
  /** Seconds, or `"off"`. */
  persistentKeepalive?: number | string | null;
  /** These apply at once, to connections that are open as well. */
  rateUp?: string | null;
  /** As {@link rateUp}. */
  rateDown?: string | null;
  /** As {@link rateUp}, seconds. */
  rateBurst?: number | string | null;
  /** As {@link rateUp}: what there is too much ends, the most idle first. */
  maxTcpConnections?: number | string | null;
  /** As {@link maxTcpConnections}. */
  maxUdpSessions?: number | string | null;
}

/**
 * @throws {ConfigError} naming everything that is wrong with it.
 * @throws {Deno.errors.AlreadyExists} if there is one with this key.
 */
export function addPeer(gateway: Gateway, input: PeerInput): void {
  const config = loadPeer(input);
  const { publicKey } = config;
  if (isSameKey(publicKey, gateway.publicKey)) {
    throw new ConfigError(["peer.publicKey: is this gateway's own key, expected another one"]);
  }
  if (gateway.engine.device.peer(publicKey) !== undefined) {
    throw new Deno.errors.AlreadyExists(
      `there is a peer with the key ${encodeKey(publicKey)} already`,
    );
  }
  checkName(gateway, config.name, undefined);
  gateway.peers.add(config);
  gateway.engine.wake();
}

/**
 * @param isTrial Whether to find out only what is wrong with the changes.
 * @throws {ConfigError} naming everything that is wrong; then nothing has changed.
 * @throws {Deno.errors.NotFound} if there is no such peer.
 */
export function updatePeer(
  gateway: Gateway,
  key: KeyInput,
  changes: PeerChanges,
  isTrial = false,
): void {
  const peer = peerOf(gateway, key);
  if (peer === undefined) {
    const text = typeof key === "string" ? key : encodeKey(key);
    throw new Deno.errors.NotFound(`there is no peer with the key ${text}`);
  }
  const { peers } = gateway;
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  const values = Object.fromEntries(given.filter(([, value]) => value !== null));
  const next = loadPeer({ publicKey: peer.publicKey, ...values });
  if (!isSameKey(next.publicKey, peer.publicKey)) {
    throw new TypeError("a peer's key cannot change: remove the peer and add another");
  }
  const names = new Set(given.map(([name]) => name));
  const isMoved = next.endpoint !== undefined;
  const [endpoint, ...otherEndpoints] = names.has("endpoint") && !isMoved
    ? []
    : peers.locations(peer);
  const presharedKey = names.has("presharedKey") ? next.presharedKey : peer.presharedKey;
  const name = names.has("name") ? next.name : peer.name;
  checkName(gateway, name, peer);
  checkRules(gateway, peer.name, name);
  if (isTrial) return;
  applyPeer(peers, peer, {
    publicKey: peer.publicKey,
    ...(name !== undefined && { name }),
    ...(presharedKey && { presharedKey }),
    ...(endpoint && { endpoint, otherEndpoints }),
    fallbacks: peers.fallbacks(peer),
    allowedIps: names.has("allowedIps") ? next.allowedIps : peers.allowedIps(peer),
    persistentKeepalive: names.has("persistentKeepalive")
      ? next.persistentKeepalive
      : peer.persistentKeepalive,
    ...nextLimits(peers.limits(peer), next.limits, names),
  });
  // An endpoint that is given again counts, wherever the peer has been heard since.
  if (isMoved) peers.setLocation(peer, ...locationsOf(next));
  gateway.engine.wake();
}

/** What is not among `names` stays as it was. */
function nextLimits(
  before: PeerLimits | undefined,
  next: PeerLimits | undefined,
  names: ReadonlySet<string>,
): { limits?: PeerLimits } {
  const fields = ["rateUp", "rateDown", "maxTcpConnections", "maxUdpSessions"] as const;
  const given = fields.flatMap((field) => {
    const value = (names.has(field) ? next : before)?.[field];
    return value === undefined ? [] : [[field, value] as const];
  });
  if (given.length === 0) return {};
  const { rateBurstMs = DEFAULT_RATE_BURST_MS } = (names.has("rateBurst") ? next : before) ?? {};
  return { limits: { ...Object.fromEntries(given), rateBurstMs } };
}

/** @returns whether there was one. */
export function removePeer(gateway: Gateway, key: KeyInput): boolean {
  const peer = peerOf(gateway, key);
  if (peer === undefined) return false;
  gateway.peers.remove(peer);
  gateway.engine.wake();
  return true;
}

/** @throws {ConfigError} if it is the name of a peer other than `self`. */
function checkName(
  { peerSources }: Gateway,
  name: string | undefined,
  self: Peer | undefined,
): void {
  if (name === undefined || !peerSources.isNameTaken(name, self?.publicKey)) return;
  throw new ConfigError([`peer.name: ${name} is another peer's too, expected each name once`]);
}

/**
 * Rules know a peer by its name: one that refuses would let it through under another.
 *
 * @throws {ConfigError} if a rule is about the name that is given up.
 */
function checkRules({ proxy }: Gateway, before: string | undefined, after: string | undefined) {
  const name = before?.toLowerCase();
  if (name === undefined || after?.toLowerCase() === name) return;
  const rules = proxy.admission.rules.rules;
  const index = rules.findIndex(({ from }) =>
    from.some((one) => typeof one === "string" && one.toLowerCase() === name)
  );
  if (index < 0) return;
  throw new ConfigError([
    `peer.name: rule ${index + 1} is about ${before}, expected another From of it first, ` +
    "or both changed in the configuration, and a reload",
  ]);
}

/** @throws {ConfigError} if it is no key. */
function peerOf({ engine }: Gateway, key: KeyInput): Peer | undefined {
  return engine.device.peer(loadPeer({ publicKey: key }).publicKey);
}
