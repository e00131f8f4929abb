/**
 * Applies a configuration to a running gateway, changing only what differs. Peers that stay keep their
 * sessions; flows that are still allowed go on, the others end.
 *
 * @module
 */

import type { Peer } from "../../wireguard/mod.ts";
import type { GatewayConfig, LoadedConfig, PeerConfig, ProxyConfig } from "../config/config.ts";
import type { PeerLimits } from "../config/checked.ts";
import { ConfigError, type ConfigPath, SettingError } from "../config/error.ts";
import type { Gateway } from "./gateway.ts";
import { bufferMemory } from "./buffer_memory.ts";
import { proxySettings } from "./proxying.ts";
import { isSameKey, KEY_LENGTH } from "../base64.ts";
import { peerName } from "./peer_name.ts";
import type { TunnelPeers } from "./peers.ts";

/** What a reload has done. */
export interface ReloadReport {
  /** Peers. */
  readonly added: number;
  /** As {@link added}. */
  readonly removed: number;
  /** As {@link added}. */
  readonly changed: number;
  /** The same by name, a line each. */
  readonly peers: readonly string[];
  /** Links, a line each. */
  readonly links: readonly string[];
  /** Settings that cannot change while the gateway runs: a line each, beginning with its place. */
  readonly warnings: readonly string[];
}

/** What a gateway was started with, without its secrets. */
export type StartedConfig = Omit<GatewayConfig, "privateKey" | "peers">;

/**
 * Applies a configuration, whatever has changed the gateway since it was started: peers that were
 * added by the control socket are removed too.
 *
 * @param started What the gateway was started with.
 * @throws {ConfigError} if the system refuses the port or address; then nothing has changed.
 */
export function applyConfig(
  gateway: Gateway,
  started: StartedConfig,
  loaded: LoadedConfig,
): ReloadReport {
  const { config, source } = loaded;
  const isSameKind = gateway.hasWireguard === (config.privateKey !== undefined);
  if (isSameKind && gateway.hasWireguard) {
    applyListen(gateway, loaded);
    gateway.peers.setPrivateKey(config.privateKey);
  }
  const peers = applyPeers(gateway, isSameKind ? config.peers : []);
  const links = gateway.links.apply(config.links);
  applyProxy(gateway, config, !isSingle(started.proxy) && !isSingle(config.proxy));
  const paths = unchanged(started, config);
  if (source.hasDevice) paths.push(...unchangedOfDevice(started, config));
  const warnings = paths.map((path) =>
    `${source.label(path)}: cannot change while running, expected a restart; it stays as it was`
  );
  if (!isSameKind) {
    warnings.unshift(
      `${source.label(["interface", "privateKey"])}: WireGuard cannot ${
        gateway.hasWireguard ? "end" : "begin"
      } while running, expected a restart`,
    );
  }
  return { ...peers, links, warnings };
}

/**
 * Moves WireGuard's socket to the configured port and address.
 *
 * @throws {ConfigError} if the system refuses; then it stays.
 */
export function applyListen(gateway: Gateway, { config, source }: LoadedConfig): void {
  try {
    gateway.listen(config);
  } catch (error) {
    if (!(error instanceof SettingError)) throw error;
    throw new ConfigError([`${source.label(error.path)}: ${error.message}`]);
  }
}

/**
 * Applies rules, maps, times and limits, and looks at every live flow again.
 *
 * @param hasSubnets Whether to apply the subnets too, and their protocols.
 */
export function applyProxy(gateway: Gateway, config: GatewayConfig, hasSubnets: boolean): void {
  gateway.proxy.setSettings(proxySettings(config));
  gateway.engine.stack.memory.resize(bufferMemory(config.proxy?.maxBufferMemory));
  if (hasSubnets) applySubnets(gateway, config.proxy);
  else gateway.proxy.review();
  gateway.engine.wake();
}

function applyPeers({ engine, peers }: Gateway, configs: readonly PeerConfig[]) {
  const { device } = engine;
  const named = new Set(configs.map(({ publicKey }) => publicKey.toHex()));
  let [added, removed, changed] = [0, 0, 0];
  const lines: string[] = [];
  for (const peer of [...device.peers()]) {
    if (named.has(peer.publicKey.toHex())) continue;
    lines.push(`peer ${peerName(peer)}: removed`);
    peers.remove(peer);
    removed++;
  }
  const owners = lastOwners(configs);
  for (const config of configs) {
    const peer = device.peer(config.publicKey);
    if (peer === undefined) {
      lines.push(`peer ${peerName(peers.add(config))}: added`);
      added++;
    } else if (applyPeer(peers, peer, config, owners)) {
      lines.push(`peer ${peerName(peer)}: changed`);
      changed++;
    }
  }
  return { added, removed, changed, peers: lines };
}

/** Applies `config` to the peer, changing only what differs. */
export function changePeer(peers: TunnelPeers, peer: Peer, config: PeerConfig): void {
  applyPeer(peers, peer, config, lastOwners([config]));
}

/** @returns whether anything was to be changed. */
function applyPeer(
  peers: TunnelPeers,
  peer: Peer,
  config: PeerConfig,
  owners: ReadonlyMap<string, PeerConfig>,
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
  const [known, wanted] = [peers.location(peer), config.endpoint];
  change(known?.hostname !== wanted?.hostname || known?.port !== wanted?.port, () => {
    if (wanted === undefined) peers.forgetLocation(peer);
    else peers.setLocation(peer, wanted);
  });
  const own = config.allowedIps.filter((prefix) => owners.get(`${prefix}`) === config);
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

function isSameLimits(a: PeerLimits | undefined, b: PeerLimits | undefined): boolean {
  return a === b || a !== undefined && b !== undefined &&
      a.rateUp === b.rateUp && a.rateDown === b.rateDown && a.rateBurstMs === b.rateBurstMs &&
      a.maxTcpConnections === b.maxTcpConnections && a.maxUdpSessions === b.maxUdpSessions;
}

/** A prefix that several peers have is the last one's. */
function lastOwners(configs: readonly PeerConfig[]): Map<string, PeerConfig> {
  return new Map(
    configs.flatMap((config) => config.allowedIps.map((prefix) => [`${prefix}`, config] as const)),
  );
}

function applySubnets({ proxy }: Gateway, config: ProxyConfig | undefined): void {
  proxy.setSubnets(config?.subnets ?? [], config ?? { tcp: false, udp: false, icmp: false });
}

/** The settings that differ from those at start and cannot change while the gateway runs. */
function unchanged(started: StartedConfig, next: GatewayConfig): ConfigPath[] {
  const paths: ConfigPath[] = [];
  const compare = (path: ConfigPath, a: unknown, b: unknown) => {
    if (String(a) !== String(b)) paths.push(path);
  };
  compare(["interface", "address"], networks(started), networks(next));
  compare(["interface", "mtu"], started.mtu, next.mtu);
  compare(["interface", "rekeyAfter"], started.rekeyAfterMs, next.rekeyAfterMs);
  compare(["interface", "peerToPeer"], started.peerToPeer, next.peerToPeer);
  compare(["interface", "controlDir"], started.controlDir, next.controlDir);
  compare(["status", "listen"], placeOf(started), placeOf(next));
  const isRecorded = started.capture !== undefined || next.capture !== undefined;
  if (isRecorded) compare(["capture", "write"], captureOf(started), captureOf(next));
  compare(["log", "output"], started.log.output, next.log.output);
  compare(["log", "access"], started.log.access, next.log.access);
  const [before, after] = [started.proxy, next.proxy];
  if (!isSingle(before) && !isSingle(after)) return paths;
  compare(["proxy", "interface"], before?.interface, after?.interface);
  if (before === undefined || after === undefined || paths.at(-1)?.[0] === "proxy") return paths;
  compare(["proxy", "subnets"], before.subnets, after.subnets);
  compare(["proxy", "protocols"], protocolsOf(before), protocolsOf(after));
  return paths;
}

/** What was done to this host at the start. */
function unchangedOfDevice(started: StartedConfig, next: GatewayConfig): ConfigPath[] {
  const { mtu: _, ...device } = next.device;
  const keys = (Object.keys(device) as (keyof typeof device)[]).filter((key) =>
    JSON.stringify(started.device[key]) !== JSON.stringify(device[key])
  );
  return [...keys, ...started.fwMark === next.fwMark ? [] : ["fwMark"]]
    .map((key) => ["interface", key]);
}

function placeOf({ status }: StartedConfig): string {
  return JSON.stringify(status?.listen);
}

function captureOf({ capture }: StartedConfig): string {
  return JSON.stringify(capture);
}

/** Whether the forwarders answer on the tunnel's own interface: from the start, or never. */
export function isSingle(proxy: ProxyConfig | undefined): boolean {
  return proxy?.interface === "nic1";
}

function protocolsOf({ tcp, udp, icmp }: ProxyConfig): boolean[] {
  return [tcp, udp, icmp];
}

function networks({ addresses }: StartedConfig): string[] {
  return addresses.map(({ address, length }) => `${address}/${length}`);
}

const NO_KEY = new Uint8Array(KEY_LENGTH);
