/**
 * Applies a configuration to a running gateway, changing only what differs. Peers that stay keep their
 * sessions; flows that are still allowed go on, the others end.
 *
 * @module
 */

import type { GatewayConfig, LoadedConfig, ProxyConfig } from "../config/config.ts";
import { ConfigError, type ConfigPath, SettingError } from "../config/error.ts";
import type { Gateway } from "./gateway.ts";
import { bufferMemory } from "./buffer_memory.ts";
import { proxySettings } from "./proxying.ts";
import type { PeersReport } from "./peer_sources.ts";

/** What a reload has done. */
export interface ReloadReport extends PeersReport {
  /** Links, a line each. */
  readonly links: readonly string[];
  /** Settings that cannot change while the gateway runs: a line each, beginning with its place. */
  readonly warnings: readonly string[];
}

/** What a gateway was started with, without its secrets. */
export type StartedConfig = Omit<GatewayConfig, "privateKey" | "peers">;

/**
 * Applies a configuration, whatever has changed the gateway since it was started: peers that were
 * added by the control socket are removed too. Those of other sources stay.
 *
 * @param started What the gateway was started with.
 * @throws {ConfigError} if the system refuses the port or address, or a file of certificates is not what
 * it should be; then nothing has changed.
 */
export function applyConfig(
  gateway: Gateway,
  started: StartedConfig,
  loaded: LoadedConfig,
): ReloadReport {
  const { config, source } = loaded;
  orConfigError(loaded, () => gateway.streams.reload(config.relay));
  const isSameKind = gateway.hasWireguard === (config.privateKey !== undefined);
  if (isSameKind && gateway.hasWireguard) {
    applyListen(gateway, loaded);
    gateway.peers.setPrivateKey(config.privateKey);
  }
  const peers = gateway.peerSources.replace("file", isSameKind ? config.peers : []);
  gateway.enrolment?.apply(config);
  const links = gateway.links.apply(config.links);
  if (gateway.hasWireguard) gateway.peerList.change(config.peerList);
  applyProxy(gateway, config, !isSingle(started.proxy) && !isSingle(config.proxy));
  const paths = unchanged(started, config);
  if (source.hasDevice) paths.push(...unchangedOfDevice(started, config));
  if (gateway.keepsMark && started.fwMark !== config.fwMark) paths.push(["interface", "fwMark"]);
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
export function applyListen(gateway: Gateway, loaded: LoadedConfig): void {
  orConfigError(loaded, () => gateway.listen(loaded.config));
}

function orConfigError({ source }: LoadedConfig, apply: () => void): void {
  try {
    apply();
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
  const before = gateway.proxy.settings.timeouts;
  gateway.proxy.setSettings(proxySettings(config));
  gateway.inbounds.timeoutsChanged(before);
  const memory = bufferMemory(config.proxy?.maxBufferMemory);
  gateway.engine.stack.memory.resize(memory);
  gateway.streams.setMemory(memory);
  if (hasSubnets) applySubnets(gateway, config.proxy);
  else gateway.proxy.review();
  gateway.engine.wake();
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
  compare(["relay", "listen"], relayPlaces(started), relayPlaces(next));
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
  return keys.map((key) => ["interface", key]);
}

function relayPlaces({ relay }: StartedConfig): string {
  return JSON.stringify(relay?.listen ?? []);
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
