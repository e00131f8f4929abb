/**
 * Which NIC a prefix leads to, as peers and subnets come and go: the proxy's own for what is
 * proxied, a link's for what is behind it, WireGuard's for the interface's networks and the peers' allowed IPs.
 *
 * @module
 */

import type { Nic, Prefix, RouteTable } from "../../netstack/mod.ts";

/** A prefix of both leads to the proxy, and to the tunnel again once it is no longer proxied. */
export class GatewayRoutes {
  readonly #table: RouteTable;
  readonly #nic1: Nic;
  /** By the text of the prefix. */
  readonly #networks = new Set<string>();
  readonly #peers = new Set<string>();
  readonly #proxied = new Map<string, Nic>();
  readonly #links = new Map<string, Nic>();
  /** Called when a prefix has become one of the peers', or is none any more. */
  onAllowedIpChanged: (prefix: Prefix, isThere: boolean) => void = () => {};

  constructor(table: RouteTable, nic1: Nic) {
    this.#table = table;
    this.#nic1 = nic1;
  }

  /** The network of one of the interface's own addresses. It stays. */
  addNetwork(prefix: Prefix): void {
    this.#networks.add(`${prefix}`);
    this.#update(prefix);
  }

  /** The prefix of a peer, whether or not another peer had it before. */
  addAllowedIp(prefix: Prefix): void {
    const isNew = !this.#peers.has(`${prefix}`);
    this.#peers.add(`${prefix}`);
    this.#update(prefix);
    if (isNew) this.onAllowedIpChanged(prefix, true);
  }

  /** No peer has it any more. */
  removeAllowedIp(prefix: Prefix): void {
    if (!this.#peers.delete(`${prefix}`)) return;
    this.#update(prefix);
    this.onAllowedIpChanged(prefix, false);
  }

  addProxied(prefix: Prefix, nic: Nic): void {
    this.#proxied.set(`${prefix}`, nic);
    this.#update(prefix);
  }

  removeProxied(prefix: Prefix): void {
    const nic = this.#proxied.get(`${prefix}`);
    if (nic === undefined) return;
    this.#proxied.delete(`${prefix}`);
    this.#table.remove(prefix, nic);
    this.#update(prefix);
  }

  /** What is behind a link, unless it is proxied. */
  addLink(prefix: Prefix, nic: Nic): void {
    this.#links.set(`${prefix}`, nic);
    this.#update(prefix);
  }

  /** Nothing happens unless the prefix is that link's. */
  removeLink(prefix: Prefix, nic: Nic): void {
    if (this.#links.get(`${prefix}`) !== nic) return;
    this.#links.delete(`${prefix}`);
    this.#table.remove(prefix, nic);
    this.#update(prefix);
  }

  /** Whose a prefix is already, of those that can have but one place; undefined: nobody's. */
  holderOf(prefix: Prefix): "a link's" | "a peer's" | "proxied" | undefined {
    const name = `${prefix}`;
    if (this.#links.has(name)) return "a link's";
    if (this.#peers.has(name)) return "a peer's";
    return this.#proxied.has(name) ? "proxied" : undefined;
  }

  #update(prefix: Prefix): void {
    const name = `${prefix}`;
    const nic = this.#proxied.get(name) ?? this.#links.get(name);
    if (nic !== undefined) this.#table.insert(prefix, nic);
    else if (this.#networks.has(name) || this.#peers.has(name)) {
      this.#table.insert(prefix, this.#nic1);
    } else this.#table.remove(prefix, this.#nic1);
  }
}
