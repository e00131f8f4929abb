/**
 * The configuration of a gateway that runs: what it was started with, what a reload has made of it, and
 * what has been set since, until the next reload.
 *
 * @module
 */

import { encodeKey, generatePrivateKey, isSameKey } from "../base64.ts";
import { type GatewayConfig, type LoadedConfig, loadSource } from "../config/config.ts";
import { ConfigError, type ConfigPath, SettingError } from "../config/error.ts";
import { findField, isRepeated } from "../config/keys.ts";
import type { InterfaceInput, ProxyInput, RuleInput } from "../config/input.ts";
import type { Setting, Settings } from "../config/setting.ts";
import type { ConfigSource, RawSection } from "../config/source.ts";
import { suggest } from "../config/suggest.ts";
import { quote, splitValues } from "../config/values.ts";
import type { Peer } from "../../wireguard/mod.ts";
import { changesBetween } from "./changes.ts";
import type { Gateway } from "./gateway.ts";
import { type PeerChanges, updatePeer } from "./peer_changes.ts";
import { findPeer } from "./peer_name.ts";
import {
  applyConfig,
  applyListen,
  applyProxy,
  isSingle,
  type ReloadReport,
  type StartedConfig,
} from "./reload.ts";

/** What is missing stays, null is the default. */
export type Changes<T> = { readonly [K in keyof T]?: T[K] | null };

/** Single values of a configuration. */
export interface SettingsInput {
  /** WireGuard's socket. */
  readonly interface?: Changes<Pick<InterfaceInput, "listenPort" | "listenAddress" | "fwMark">>;
  /** By name or public key. */
  readonly peers?: Readonly<Record<string, PeerChanges>>;
  /** By number, from 1. */
  readonly rules?: Readonly<Record<number, Changes<RuleInput>>>;
  /** Of the proxy as a whole. */
  readonly proxy?: Changes<Omit<ProxyInput, "interface">>;
}

/**
 * Takes over what can change of it; what the system refuses stays as it was, the rest does not.
 *
 * @param isTrial Whether to find out only what the system refuses.
 * @throws {SettingError} if it refuses something.
 */
export type Applied = (config: GatewayConfig, isTrial?: boolean) => void;

/** What setting something has done. */
export interface SetReport {
  /** A line for each value that is another one now. */
  readonly changes: readonly string[];
  /** A line each, beginning with the setting. */
  readonly warnings: readonly string[];
}

/** What a reload has done, and a line for each key of `[Interface]` and `[Proxy]` that has changed. */
export interface LiveReloadReport extends ReloadReport {
  /** As `TcpDialTimeout: 5 -> 2`. */
  readonly changes: readonly string[];
}

export class LiveSettings {
  readonly #gateway: Gateway;
  readonly #started: StartedConfig;
  /** Without secrets. */
  #source: ConfigSource;
  #listenPort: number | undefined;
  readonly #applied: Applied;

  /**
   * @param started What the gateway was started with. Nothing secret of it is kept.
   * @param applied Called when the gateway has taken a configuration over, for what watches it.
   */
  constructor(
    gateway: Gateway,
    started: LoadedConfig,
    applied: Applied = () => {},
  ) {
    this.#gateway = gateway;
    this.#applied = applied;
    const { privateKey: _privateKey, peers: _peers, ...config } = started.config;
    this.#started = config;
    this.#listenPort = started.config.listenPort;
    this.#source = withoutSecrets(started.source);
  }

  /** The configured port; undefined for any. */
  get listenPort(): number | undefined {
    return this.#listenPort || undefined;
  }

  /**
   * Makes the gateway like a whole configuration; what was set is forgotten.
   *
   * @throws {ConfigError} if the system refuses the port or address; then nothing has changed.
   */
  reload(loaded: LoadedConfig): LiveReloadReport {
    const { publicKey } = this.#gateway;
    const report = applyConfig(this.#gateway, this.#started, loaded);
    const refused = this.#refusedBy(loaded);
    const source = withoutSecrets(loaded.source);
    const fixed = this.#gateway.keepsMark ? ["FwMark"] : [];
    const changes = changesBetween(this.#source, source, fixed);
    if (!isSameKey(publicKey, this.#gateway.publicKey)) changes.unshift("PrivateKey: another one");
    this.#source = source;
    this.#listenPort = loaded.config.listenPort;
    return { ...report, warnings: [...report.warnings, ...refused], changes };
  }

  /**
   * Changes single values, all of them or none. Everything else goes on.
   *
   * @throws {ConfigError} naming everything that is wrong; then nothing has changed.
   */
  set({ settings, problems }: Settings): SetReport {
    const gateway = this.#gateway;
    const found = [...problems];
    const next = this.#source.copy("peers");
    const others = settings.filter(({ key }) => key.section !== "peers");
    const changes = others.flatMap((setting) => this.#put(next, setting, found));
    const peers = this.#peerChanges(settings, found);
    const loaded = others.length > 0 ? this.#load(next, found) : undefined;
    if (found.length > 0) throw new ConfigError([...new Set(found)]);

    const names = new Set(others.map(({ key }) => key.field));
    const isWatched = others.some(({ key }) => WATCHED.includes(key.section));
    if (loaded !== undefined && isWatched) {
      const refused = this.#refusedBy(loaded, true);
      if (refused.length > 0) throw new ConfigError(refused);
    }
    // The last that can be refused: nothing has changed until then.
    if (loaded !== undefined && LISTENING.some((field) => names.has(field))) {
      applyListen(gateway, loaded);
    }
    if (loaded !== undefined && isWatched) this.#refusedBy(loaded);
    for (const { peer, values, lines } of peers) {
      updatePeer(gateway, peer.publicKey, values);
      changes.push(...lines);
    }
    if (loaded !== undefined) {
      const hasSubnets = names.has("subnets") || names.has("protocols");
      applyProxy(gateway, loaded.config, hasSubnets);
      next.peers = this.#source.peers;
      delete (next.interface as RawSection).privateKey;
      this.#source = next;
      this.#listenPort = loaded.config.listenPort;
    }
    const labels = settings.map(({ label }) => label);
    const warnings = loaded?.warnings.filter((line) =>
      labels.some((label) => line.startsWith(`${label}:`))
    );
    return { changes, warnings: warnings ?? [] };
  }

  /** A line for a setting that the system refuses what watches the gateway. */
  #refusedBy({ config, source }: LoadedConfig, isTrial = false): string[] {
    try {
      this.#applied(config, isTrial);
      return [];
    } catch (error) {
      if (!(error instanceof SettingError)) throw error;
      return [`${source.label(error.path)}: ${error.message}; it stays as it was`];
    }
  }

  /** Puts a value into its place. @returns what that changes, in words. */
  #put(source: ConfigSource, setting: Setting, problems: string[]): string[] {
    const { label, key, value } = setting;
    const origin = { flag: label, isSetting: true } as const;
    let path: ConfigPath = [key.section];
    if (source[key.section] === undefined) source.open(key.section, origin);
    if (isRepeated(key.section)) {
      const index = this.#indexOf(source, setting);
      if (typeof index === "string") {
        problems.push(index);
        return [];
      }
      path = [key.section, index];
    }
    if (isSingle(this.#started.proxy) && SUBNETS.includes(key.name)) {
      problems.push(`${label}: cannot change while running on nic1, expected a restart`);
      return [];
    }
    if (this.#gateway.keepsMark && key.name === "FwMark") {
      problems.push(`${label}: cannot change while running, expected a restart`);
      return [];
    }
    const section = source.section(path);
    const before = textOf(section[key.field]);
    if (value === null) delete section[key.field];
    else if (key.list === undefined) source.set(path, key, value as string, origin);
    else if (Array.isArray(value)) source.set(path, key, value, origin);
    else source.set(path, key, splitValues(key, String(value)), origin);
    const after = textOf(section[key.field]);
    return before === after ? [] : [`${label}: ${before} -> ${after}`];
  }

  /** Of a rule. @returns the problem, if there is none of that number. */
  #indexOf({ rules }: ConfigSource, { label, of }: Setting): number | string {
    const count = (rules as readonly unknown[] ?? []).length;
    const number = Number(of);
    if (/^\d{1,7}$/.test(of ?? "") && number >= 1 && number <= count) return number - 1;
    const expected = count === 0 ? "expected a [Rule] first" : `expected 1 to ${count}`;
    return `${label}: there is no rule ${of}, ${expected}`;
  }

  /** What each peer is to have. */
  #peerChanges(settings: readonly Setting[], problems: string[]) {
    const all = new Map<Peer, { peer: Peer; values: PeerChanges; lines: string[] }>();
    const { device } = this.#gateway.engine;
    /** Of peers that are given another one. */
    const taken = new Map<string, Peer>();
    for (const { label, key, of, value } of settings) {
      if (key.section !== "peers") continue;
      const peer = findPeer(device, of!);
      if (peer === undefined) {
        const names = Array.from(device.peers(), ({ name }) => name).filter((name) =>
          name !== undefined
        );
        const near = suggest(of!, names);
        problems.push(
          `${label}: there is no peer ${quote(of!)}, ` +
            (near === undefined ? "expected its Name or PublicKey" : `did you mean ${near}?`),
        );
        continue;
      }
      const changes = all.get(peer) ?? { peer, values: {}, lines: [] };
      all.set(peer, changes);
      Object.assign(changes.values, { [key.field]: value });
      changes.lines.push(`${label}: ${textOf(value)}`);
      try {
        updatePeer(this.#gateway, peer.publicKey, { [key.field]: value } as PeerChanges, true);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        const section = label.slice(0, label.lastIndexOf("."));
        const nameOf = (field: string) =>
          label.endsWith(key.field) ? field : findField("peers", field)?.name;
        problems.push(
          ...error.problems.map((line) =>
            line.replace(/^peer\.\w+(?:\[\d+\])?/, label)
              .replace(/\bpeer\.(\w+)/g, (_, field) => `${section}.${nameOf(field) ?? field}`)
          ),
        );
      }
      if (key.field !== "name" || value === null) continue;
      const name = String(value).trim().toLowerCase();
      const other = taken.get(name);
      if (other !== undefined && other !== peer) {
        problems.push(`${label}: two peers are given this name, expected each name once`);
      }
      taken.set(name, peer);
    }
    return [...all.values()];
  }

  /** Checks all but the peers, of which only the names count. */
  #load(source: ConfigSource, problems: string[]): LoadedConfig | undefined {
    const { engine, peers } = this.#gateway;
    source.peers = namedPeers(engine.device.peers(), source);
    if (this.#gateway.hasWireguard) {
      (source.interface as RawSection).privateKey = peers.privateKey ?? generatePrivateKey();
    }
    try {
      return loadSource(source);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
      return undefined;
    }
  }
}

/** More are not all checked again: only those that rules name. */
const FEW_PEERS = 500;

/** The peers that are here, by key and name, and those of the file that rules may name. */
function namedPeers(peers: Iterable<Peer>, source: ConfigSource): RawSection[] {
  const all = [...peers];
  const wanted = all.length <= FEW_PEERS ? undefined : namesInRules(source);
  const isWanted = (name: string) => wanted === undefined || wanted.has(name.toLowerCase());
  const named = new Map<string, RawSection>();
  const names = new Set<string>();
  for (const { publicKey, name } of all) {
    if (name === undefined || !isWanted(name)) continue;
    named.set(encodeKey(publicKey), { publicKey, name });
    names.add(name.toLowerCase());
  }
  // A rule may name one of the file's that is not here any more.
  for (const { publicKey, name } of source.peers as RawSection[] ?? []) {
    const key = publicKey instanceof Uint8Array ? encodeKey(publicKey) : String(publicKey);
    if (name === undefined || !isWanted(`${name}`)) continue;
    if (named.has(key) || names.has(`${name}`.toLowerCase())) continue;
    named.set(key, { publicKey, name });
  }
  return [...named.values()];
}

/** In small letters. Prefixes are among them, which do not matter. */
function namesInRules({ rules }: ConfigSource): Set<string> {
  const texts = (rules as RawSection[] ?? []).flatMap(({ from }) => {
    if (from === undefined) return [];
    return Array.isArray(from) ? from.map(String) : splitValues(FROM, String(from));
  });
  return new Set(texts.map((text) => text.trim().toLowerCase()));
}

function withoutSecrets(source: ConfigSource): ConfigSource {
  const copy = source.copy();
  delete (copy.interface as RawSection).privateKey;
  for (const peer of copy.peers as RawSection[] ?? []) delete peer.presharedKey;
  return copy;
}

/** Sections of what watches the gateway. */
const WATCHED: readonly string[] = ["status", "log"];
const FROM = findField("rules", "from")!;
const LISTENING: readonly string[] = ["listenPort", "listenAddress", "fwMark"];
/** Fixed as well where the forwarders answer on the tunnel's own interface. */
const SUBNETS: readonly string[] = ["Subnets", "Protocols"];

function textOf(value: unknown): string {
  if (value === undefined || value === null) return "default";
  return Array.isArray(value) ? value.join(", ") : String(value).trim();
}
