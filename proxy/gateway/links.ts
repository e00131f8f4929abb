/**
 * The links of a running gateway beside WireGuard: opened, routed, changed by a reload, closed.
 *
 * @module
 */

import type { LinkConfig, NatConfig } from "../config/checked.ts";
import { SettingError } from "../config/error.ts";
import type { Engine } from "../engine/engine.ts";
import type { EngineLink } from "../engine/link_port.ts";
import { FlowOwner } from "../flow/flow.ts";
import type { OwnListeners } from "../flow/own_listeners.ts";
import { type LinkDrops, newDrops } from "../link/drops.ts";
import type { PacketLink } from "../link/packet_link.ts";
import { getLogger } from "../log/logger.ts";
import {
  type IpAddress,
  IPV4_SOURCE,
  IPV6_SOURCE,
  type IpVersion,
  Nat,
  type Nic,
  Prefix,
} from "../../netstack/mod.ts";
import { LinkError, openLink, type SocketLink } from "./link_open.ts";
import type { GatewayRoutes } from "./routes.ts";
import type { LinkStats } from "./stats_links.ts";

const log = getLogger(["wirestack", "link"]);

export interface LinksOptions {
  readonly engine: Engine;
  readonly routes: GatewayRoutes;
  readonly listeners: OwnListeners;
  /** Whether what peers and other links send to a link's prefixes goes there. */
  readonly forwarding: boolean;
  /** Flows that are there have to be looked at again: an address is somebody else's. */
  readonly onHeldChanged: () => void;
}

/** What a link needs besides what carries its packets. */
export interface AttachOptions {
  readonly prefixes: readonly Prefix[];
  /** Bytes. */
  readonly mtu: number;
  readonly keepsHopLimit?: boolean;
  /** What those behind it appear as to peers and other links. Default: what they are. */
  readonly nat?: NatConfig;
  /** Default: as the configuration has it. */
  readonly forwarding?: boolean;
  /** It has ended: by itself, maybe for an error, or because it was removed. */
  readonly onClosed?: (error?: Error) => void;
}

/** A link that has been attached. */
export interface AttachedLink {
  readonly name: string;
  readonly owner: FlowOwner;
  readonly port: EngineLink;
  readonly prefixes: readonly Prefix[];
  /** Idempotent. */
  remove(): Promise<void>;
}

/** A link of the configuration. */
interface Configured {
  readonly config: LinkConfig;
  /** What is configured, as text. */
  readonly key: string;
  readonly opening: Promise<void>;
  isWanted: boolean;
  attached: AttachedLink | undefined;
  failure: string | undefined;
}

export class GatewayLinks {
  readonly #options: LinksOptions;
  readonly #attached = new Map<FlowOwner, AttachedLink>();
  readonly #byNic = new Map<Nic, AttachedLink>();
  /** Of the configuration, by name. */
  readonly #configured = new Map<string, Configured>();
  #isClosed = false;

  constructor(options: LinksOptions) {
    this.#options = options;
  }

  /**
   * Opens the links of a configuration.
   *
   * @throws {SettingError} if the system refuses one.
   */
  async open(configs: readonly LinkConfig[]): Promise<void> {
    for (const [i, config] of configs.entries()) {
      const { opening } = this.#configure(config);
      try {
        await opening;
      } catch (error) {
        if (!(error instanceof LinkError)) throw error;
        const key = config.isListening ? "listen" : "connect";
        throw new SettingError(["links", i, key], error.message, { cause: error.cause });
      }
    }
  }

  /**
   * Makes the links those of a configuration; what has not changed goes on. A link that cannot be
   * opened is logged, and stays closed.
   *
   * @returns a line for each that has.
   */
  apply(configs: readonly LinkConfig[]): string[] {
    const lines: string[] = [];
    const wanted = new Map(configs.map((config) => [config.name, keyOf(config)]));
    const gone = new Map<string, Promise<void>>();
    for (const [name, { key }] of [...this.#configured]) {
      if (wanted.get(name) === key) continue;
      gone.set(name, this.#forget(name));
      if (!wanted.has(name)) lines.push(`link ${name}: removed`);
    }
    for (const config of configs) {
      const { name } = config;
      if (this.#configured.has(name)) continue;
      lines.push(`link ${name}: ${gone.has(name) ? "changed" : "added"}`);
      this.#configure(config, Promise.all(gone.values())).opening.catch((error) =>
        log.error("link {link}: {reason}; it stays closed", {
          link: name,
          reason: (error as Error).message,
        })
      );
    }
    return lines;
  }

  /** Adds a link that is open, whatever it is. Its name is no other's. */
  attach(link: PacketLink, options: AttachOptions): AttachedLink {
    const { prefixes, mtu, keepsHopLimit, onClosed } = options;
    const nat = options.nat && natOf(options.nat);
    const routed = [...prefixes, ...(nat?.addresses ?? []).map(Prefix.of)];
    const { engine, routes } = this.#options;
    const { name } = link;
    const owner = new FlowOwner(() => name);
    const drops = link.counters.drops as Partial<LinkDrops>;
    const table = engine.stack.routes;
    let removal: Promise<void> | undefined;
    const forget = () => {
      this.#attached.delete(owner);
      this.#byNic.delete(port.nic);
      for (const prefix of routed) routes.removeLink(prefix, port.nic);
      this.#options.onHeldChanged();
    };
    const port = engine.addLink(link, {
      name,
      mtu,
      forwarding: options.forwarding ?? this.#options.forwarding,
      from: owner,
      ...(keepsHopLimit !== undefined && { keepsHopLimit }),
      ...(nat !== undefined && { nat }),
      accepts: (buffer, offset) => {
        const isIpv4 = buffer[offset]! >> 4 === 4;
        const source = offset + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE);
        const nic = table.lookup(buffer, source, isIpv4 ? 4 : 6);
        // What is routed elsewhere is not here; of what is routed nowhere, a link without prefixes
        // may bring all.
        if (nic === port.nic) return true;
        if (prefixes.length === 0 && this.#isNobodys(nic)) return true;
        drops.foreignSource = (drops.foreignSource ?? 0) + 1;
        return false;
      },
      onClosed: (error) => {
        forget();
        onClosed?.(error);
      },
    });
    const attached: AttachedLink = {
      name,
      owner,
      port,
      prefixes,
      remove: () =>
        removal ??= (async () => {
          forget();
          await port.remove();
          onClosed?.();
        })(),
    };
    this.#attached.set(owner, attached);
    this.#byNic.set(port.nic, attached);
    for (const prefix of routed) routes.addLink(prefix, port.nic);
    this.#options.onHeldChanged();
    return attached;
  }

  /** The link of that name, if it is open. */
  find(name: string): AttachedLink | undefined {
    for (const link of this.#attached.values()) if (link.name === name) return link;
    return undefined;
  }

  /** Those that are open. */
  all(): Iterable<AttachedLink> {
    return this.#attached.values();
  }

  /** Whose link an address is behind; undefined if it is behind none. */
  ownerAt(buffer: Uint8Array, offset: number, version: IpVersion): FlowOwner | undefined {
    if (this.#byNic.size === 0) return undefined;
    const nic = this.#options.engine.stack.routes.lookup(buffer, offset, version);
    return nic && this.#byNic.get(nic)?.owner;
  }

  /** Whether `owner`, if it is a link's, still has that client; undefined if it is none's. */
  holds(client: IpAddress, owner: FlowOwner): boolean | undefined {
    const link = this.#attached.get(owner);
    if (link === undefined) return undefined;
    const nic = this.#options.engine.stack.routes.lookupAddress(client);
    return nic === link.port.nic || link.prefixes.length === 0 && this.#isNobodys(nic);
  }

  stats(): LinkStats[] {
    const closed = Array.from(this.#configured.values()).filter(({ attached }) =>
      attached === undefined
    );
    return [
      ...Array.from(this.#attached.values(), statsOf),
      ...closed.map(({ config, failure }) => ({
        ...EMPTY,
        name: config.name,
        mtu: config.mtu,
        prefixes: config.prefixes.map(String),
        lastEnd: failure ?? null,
      })),
    ];
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([
      ...Array.from(this.#configured.keys(), (name) => this.#forget(name)),
      ...Array.from(this.#attached.values(), (link) => link.remove()),
    ]);
  }

  /**
   * Whether what is routed there is no peer's, link's or own. Where NIC 1 answers for all, peers are
   * behind it.
   */
  #isNobodys(nic: Nic | undefined): boolean {
    return nic === undefined || nic.promiscuous && nic !== this.#options.engine.nic1;
  }

  #configure(config: LinkConfig, after?: Promise<unknown>): Configured {
    const configured: Configured = {
      config,
      key: keyOf(config),
      isWanted: true,
      attached: undefined,
      failure: undefined,
      opening: Promise.resolve(after).then(() => this.#open(configured)),
    };
    this.#configured.set(config.name, configured);
    return configured;
  }

  async #open(configured: Configured): Promise<void> {
    const { config } = configured;
    let opened;
    try {
      opened = await openLink(config);
    } catch (error) {
      configured.failure = (error as Error).message;
      throw error;
    }
    const { link, listener, cleanUp } = opened;
    if (!configured.isWanted || this.#isClosed) {
      link.close();
      cleanUp();
      return;
    }
    const unlisten = listener && this.#options.listeners.add(listener);
    const attached = this.attach(link, config);
    configured.attached = {
      ...attached,
      remove: async () => {
        await attached.remove();
        unlisten?.();
        cleanUp();
      },
    };
    log.info("link {link}: {place}, {state}", {
      link: config.name,
      place: link.place,
      state: link.state,
    });
  }

  async #forget(name: string): Promise<void> {
    const configured = this.#configured.get(name)!;
    configured.isWanted = false;
    this.#configured.delete(name);
    await configured.opening.catch(() => {});
    await configured.attached?.remove();
  }
}

function keyOf(config: LinkConfig): string {
  const { prefixes, nat } = config;
  return JSON.stringify({
    ...config,
    prefixes: prefixes.map(String),
    nat: nat && { ...nat, addresses: nat.addresses.map(String) },
  });
}

function natOf({ addresses, filtering, ports }: NatConfig): Nat {
  return new Nat({
    addresses,
    random: (out) => void crypto.getRandomValues(out),
    ...(filtering && { filtering }),
    ...(ports && { ports }),
  });
}

const EMPTY = {
  place: null,
  state: "closed",
  peer: null,
  connections: 0,
  packetsIn: 0,
  bytesIn: 0,
  packetsOut: 0,
  bytesOut: 0,
  drops: newDrops(),
  nat: null,
} as const;

function statsOf({ name, prefixes, port: { link, nic } }: AttachedLink): LinkStats {
  const { packetsIn, bytesIn, packetsOut, bytesOut, drops } = link.counters;
  const { place, state, peer, connections, lastEnd } = link as PacketLink & Partial<SocketLink>;
  return {
    name,
    mtu: nic.mtu,
    prefixes: prefixes.map(String),
    place: place ?? null,
    state: state ?? "connected",
    peer: peer ?? null,
    connections: connections ?? 0,
    lastEnd: lastEnd ?? null,
    packetsIn,
    bytesIn,
    packetsOut,
    bytesOut,
    drops: { ...drops },
    nat: nic.nat === undefined ? null : {
      addresses: nic.nat.addresses.map(String),
      mappings: nic.nat.mappings,
      sessions: nic.nat.sessions,
      counters: { ...nic.nat.counters },
    },
  };
}
