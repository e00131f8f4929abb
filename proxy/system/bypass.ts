/**
 * Where fallbacks of peers connect to, and where the list of peers is read, by sockets that cannot be marked,
 * so that those connections go around the tunnel that they carry: from before it is up, as names come to
 * stand for others.
 *
 * @module
 */

import type { IpAddress, Prefix } from "../../netstack/mod.ts";
import type { FallbackConfig } from "../config/checked.ts";
import type { GatewayConfig } from "../config/config.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Resolve } from "../gateway/resolver.ts";
import { getLogger } from "../log/logger.ts";
import type { Destination } from "./bypass_steps.ts";
import { ATTEMPTS, PAUSE_MS } from "./endpoints.ts";
import { HostAddresses } from "./host_addresses.ts";
import type { TunnelSettings } from "./plan.ts";
import { ownTableRoutes } from "./routing.ts";
import { dialledFor, dialledPlaces, listPlaces } from "./unmarked_hosts.ts";

const log = getLogger(["wirestack", "system"]);

export interface BypassOptions {
  readonly config: Pick<GatewayConfig, "peers" | "peerList">;
  readonly resolve: Resolve;
  /** Milliseconds, monotonic. */
  now(): number;
  /** Has connections to these go around the tunnel, and no others. Called when they have changed. */
  apply(destinations: readonly Destination[]): void;
  /** From one look at the names to the next. Default: a minute. */
  readonly everyMs?: number;
}

/** A prefix of fewer bits is a part of all the Internet, not somebody's network. */
const NETWORK_BITS = 8;

/** What of a peer can be in its own way. */
interface RoutedPeer {
  readonly allowedIps: readonly Prefix[];
  readonly fallbacks?: readonly FallbackConfig[] | undefined;
}

export class Bypass {
  readonly #options: BypassOptions;
  readonly #addresses: HostAddresses;
  #gateway: Gateway | undefined;
  #applied = "";

  constructor(options: BypassOptions) {
    this.#options = options;
    this.#addresses = new HostAddresses({
      ...options,
      hosts: () => this.#places().map(({ hostname }) => hostname),
    });
  }

  /** All of them, as far as is known. */
  get destinations(): Destination[] {
    return this.#places().flatMap(({ hostname, port }) =>
      this.#addresses.of(hostname).map((address) => ({ address, port }))
    );
  }

  /** Of a name: those that go around the tunnel. Others a connection should not be made to. */
  addressesOf(host: string): readonly IpAddress[] {
    return this.#addresses.of(host);
  }

  /**
   * Looks up the names before the tunnel is up. Those of a peer that has no `Endpoint` are waited for as long
   * as an endpoint's would be; the others may come later.
   *
   * @param signal Ends it when nobody wants to know any more.
   * @param pause Between two attempts.
   */
  async find(
    signal: AbortSignal,
    pause: (ms: number) => Promise<void> = (ms) => new Promise((done) => setTimeout(done, ms)),
  ): Promise<void> {
    const needed = new Set(
      this.#options.config.peers.filter(({ endpoint }) => endpoint === undefined)
        .flatMap(({ fallbacks = [] }) => fallbacks.flatMap(dialledFor))
        .map(({ hostname }) => hostname),
    );
    for (let attempt = 1;; attempt++) {
      const missing = await this.#addresses.look();
      for (const { host, reason } of attempt === 1 ? missing : []) {
        log.warn("{key} {host}: not found ({reason}), looked up again every minute", {
          key: this.#keyOf(host),
          host,
          reason,
        });
      }
      const isWaitedFor = missing.some(({ host }) => needed.has(host));
      if (!isWaitedFor || attempt === ATTEMPTS || signal.aborted) return;
      await pause(PAUSE_MS);
    }
  }

  /**
   * What of the tunnel's routes leads to a peer through itself, but for default ones. A list of peers may be
   * in a network behind a peer, and is read there; parts of all the Internet are no such network.
   */
  circular(peers: readonly RoutedPeer[] = this.#options.config.peers) {
    const list = this.#listHosts().flatMap((host) => this.#addresses.of(host));
    return peers.flatMap(({ allowedIps, fallbacks = [] }) => {
      const own = fallbacks.flatMap(dialledFor).flatMap(({ hostname }) =>
        this.#addresses.of(hostname)
      );
      return allowedIps.flatMap((prefix) => {
        const isIn = (address: IpAddress) => prefix.length > 0 && prefix.contains(address);
        const address = own.find(isIn);
        if (address !== undefined) return [{ prefix, address, key: "Fallback" }];
        const place = prefix.length < NETWORK_BITS ? list.find(isIn) : undefined;
        return place === undefined ? [] : [{ prefix, address: place, key: "PeersFrom" }];
      });
    });
  }

  /**
   * Looks at the names, and at the peers that a gateway has by then, again and again. What is in a peer's own
   * way since the start is told once: it would take other tables.
   *
   * @param settings What was planned.
   */
  follow(gateway: Gateway, settings: TunnelSettings): void {
    this.#gateway = gateway;
    this.#applied = textOf(settings.bypass ?? []);
    gateway.peerList.onPlaceChanged = () => this.lookSoon();
    const known = new Set(ownTableRoutes(settings).map(String));
    this.#addresses.start(() => {
      this.#apply();
      if (settings.table !== "auto") return;
      const peers = Array.from(gateway.engine.device.peers(), (peer) => ({
        allowedIps: gateway.peers.allowedIps(peer),
        fallbacks: gateway.peers.fallbacks(peer),
      }));
      for (const { prefix, address, key } of this.circular(peers)) {
        if (known.has(`${prefix}`)) continue;
        known.add(`${prefix}`);
        log.warn(
          "{key} {address}: is in {prefix}, which goes into {device}: a way around it takes a restart",
          {
            key,
            address: `${address}`,
            prefix: `${prefix}`,
            device: settings.device,
          },
        );
      }
    });
  }

  /** Peers may have changed. */
  lookSoon(): void {
    this.#addresses.lookSoon();
  }

  close(): void {
    this.#addresses.close();
  }

  #listHosts(): string[] {
    const lists = listPlaces(this.#options.config, this.#gateway);
    return lists.flatMap(dialledFor).map(({ hostname }) => hostname);
  }

  /** By which key a host is named. */
  #keyOf(host: string): string {
    return this.#listHosts().includes(host) ? "PeersFrom" : "Fallback";
  }

  #places() {
    return dialledPlaces(this.#options.config, this.#gateway);
  }

  #apply(): void {
    const { destinations } = this;
    const text = textOf(destinations);
    if (text === this.#applied) return;
    try {
      this.#options.apply(destinations);
      this.#applied = text;
    } catch (error) {
      log.error("{problem}", { problem: `around the tunnel: ${(error as Error).message}` });
    }
  }
}

function textOf(destinations: readonly Destination[]): string {
  return destinations.map(({ address, port }) => `${address} ${port}`).sort().join();
}
