/**
 * The network of this host, asked for and changed without the program `ip`: rtnetlink(7). What it
 * changes needs CAP_NET_ADMIN, on the calling thread; it asks without.
 *
 * @example Where the endpoint's packets go
 * ```ts ignore
 * using netlink = new Netlink();
 * const { device, mtu } = netlink.lookup("192.0.2.1");
 * console.log(netlink.link(device)?.name, mtu);
 * ```
 *
 * @module
 */

import { addressBytes } from "./address.ts";
import { NetlinkError } from "./error.ts";
import {
  type AddressOptions,
  decodeAddress,
  encodeAddress,
  encodeAddresses,
  type InterfaceAddress,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from "./interface_address.ts";
import {
  decodeLink,
  encodeLink,
  encodeLinkName,
  type LinkChange,
  type LinkInfo,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
} from "./link.ts";
import { Flag } from "./message.ts";
import {
  decodeRoute,
  encodeLookup,
  encodeRoute,
  encodeRoutes,
  isCached,
  type Route,
  type RouteSpec,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
} from "./route.ts";
import {
  decodeRule,
  encodeRule,
  encodeRules,
  RTM_DELRULE,
  RTM_GETRULE,
  RTM_NEWRULE,
  type Rule,
  type RuleSpec,
} from "./rule.ts";
import { NetlinkSocket } from "./socket.ts";

/** Where packets to an address go. */
export interface Lookup {
  /** An interface's index. */
  readonly device: number;
  /** Undefined if the destination is on the link itself. */
  readonly gateway: string | undefined;
  /** The sender's address. */
  readonly source: string | undefined;
  /** Of the route, or else of the device; bytes. */
  readonly mtu: number;
  readonly table: number;
}

/**
 * Calls are synchronous and each is one request. An interface is named by its index, which is never
 * given again; {@link link} knows the index of a name.
 */
export class Netlink implements Disposable {
  readonly #socket: NetlinkSocket;

  /**
   * For the network namespace of the calling thread.
   *
   * @throws {Error} without `--allow-ffi`, or if there is no such socket.
   */
  constructor() {
    this.#socket = new NetlinkSocket();
  }

  /** @throws {NetlinkError} */
  links(): LinkInfo[] {
    return this.#socket.dump("list the interfaces", RTM_GETLINK, ...encodeLink(0)).map(decodeLink);
  }

  /** @returns undefined if there is none. @throws {NetlinkError} for anything else. */
  link(nameOrIndex: string | number): LinkInfo | undefined {
    const isName = typeof nameOrIndex === "string";
    const body = isName ? encodeLinkName(nameOrIndex) : encodeLink(nameOrIndex);
    try {
      return decodeLink(this.#socket.get(`find interface ${nameOrIndex}`, RTM_GETLINK, ...body));
    } catch (error) {
      if (error instanceof NetlinkError && error.code === "ENODEV") return undefined;
      throw error;
    }
  }

  /** @throws {NetlinkError} if there is no such interface, or it cannot be changed so. */
  setLink(index: number, change: LinkChange): void {
    const what = Object.entries(change).map(([key, value]) => `${key}: ${value}`).join(", ");
    const body = encodeLink(index, change);
    this.#socket.request(`change interface ${index} (${what})`, RTM_NEWLINK, 0, ...body);
  }

  /** @throws {NetlinkError} if there is none, or it is not of a kind that can be removed. */
  removeLink(index: number): void {
    this.#socket.request(`remove interface ${index}`, RTM_DELLINK, 0, ...encodeLink(index));
  }

  /** Of all interfaces. @throws {NetlinkError} */
  addresses(): InterfaceAddress[] {
    return this.#socket.dump("list the addresses", RTM_GETADDR, ...encodeAddresses())
      .map(decodeAddress);
  }

  /**
   * @param prefix `ADDRESS/LENGTH`; the kernel makes a route to that network.
   * @throws {NetlinkError} EEXIST if it has it.
   * @throws {RangeError} if `prefix` is none.
   */
  addAddress(index: number, prefix: string, options?: AddressOptions): void {
    const flags = Flag.CREATE | Flag.EXCLUSIVE;
    const body = encodeAddress(index, prefix, options);
    this.#socket.request(`add ${prefix} to interface ${index}`, RTM_NEWADDR, flags, ...body);
  }

  /** @throws {NetlinkError} EADDRNOTAVAIL if it has it not. @throws {RangeError} */
  removeAddress(index: number, prefix: string): void {
    const body = encodeAddress(index, prefix);
    this.#socket.request(`take ${prefix} off interface ${index}`, RTM_DELADDR, 0, ...body);
  }

  /**
   * IPv4's, then IPv6's, without what the kernel remembers of single destinations.
   *
   * @param options.table Of this one alone; of all if it is not given.
   * @throws {NetlinkError}
   */
  routes({ table }: { readonly table?: number } = {}): Route[] {
    const found: Route[] = [];
    for (const version of [4, 6] as const) {
      for (const body of this.#routes(version, table)) {
        if (isCached(body)) continue;
        const route = decodeRoute(body);
        // A kernel that does not select by table sends them all.
        if (table === undefined || route.table === table) found.push(route);
      }
    }
    return found;
  }

  /** @throws {NetlinkError} EEXIST if there is one to it with this metric. @throws {RangeError} */
  addRoute(route: RouteSpec): void {
    const flags = Flag.CREATE | Flag.EXCLUSIVE;
    this.#socket.request(`add ${describe(route)}`, RTM_NEWROUTE, flags, ...encodeRoute(route));
  }

  /** Adds it, or changes the one to the same destination with the same metric. */
  replaceRoute(route: RouteSpec): void {
    const flags = Flag.CREATE | Flag.REPLACE;
    this.#socket.request(`set ${describe(route)}`, RTM_NEWROUTE, flags, ...encodeRoute(route));
  }

  /** The first that is as `route` says. @throws {NetlinkError} ESRCH if there is none. */
  removeRoute(route: RouteSpec): void {
    const body = encodeRoute(route, true);
    this.#socket.request(`remove ${describe(route)}`, RTM_DELROUTE, 0, ...body);
  }

  /** In the order they are asked. @throws {NetlinkError} */
  rules(family: 4 | 6): Rule[] {
    const what = `list the rules of IPv${family}`;
    return this.#socket.dump(what, RTM_GETRULE, ...encodeRules(family)).map(decodeRule);
  }

  /** @throws {NetlinkError} EEXIST if there is one like it. */
  addRule(rule: RuleSpec): void {
    const flags = Flag.CREATE | Flag.EXCLUSIVE;
    const what = `add the rule of IPv${rule.family} for table ${rule.table}`;
    this.#socket.request(what, RTM_NEWRULE, flags, ...encodeRule(rule));
  }

  /** The first that is as `rule` says. @throws {NetlinkError} ENOENT if there is none. */
  removeRule(rule: RuleSpec): void {
    const what = `remove the rule of IPv${rule.family} for table ${rule.table}`;
    this.#socket.request(what, RTM_DELRULE, 0, ...encodeRule(rule));
  }

  /**
   * What the rules and routes say now.
   *
   * @param destination An address.
   * @param options.mark Of the socket that sends.
   * @throws {NetlinkError} ENETUNREACH if there is no way.
   */
  lookup(destination: string, { mark }: { readonly mark?: number } = {}): Lookup {
    addressBytes(destination);
    const what = `find the route to ${destination}`;
    const route = decodeRoute(
      this.#socket.get(what, RTM_GETROUTE, ...encodeLookup(destination, mark)),
    );
    const device = route.device ?? 0;
    const { gateway, source, table } = route;
    return { device, gateway, source, table, mtu: route.mtu ?? this.link(device)?.mtu ?? 0 };
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #routes(version: 4 | 6, table: number | undefined): Uint8Array[] {
    const what = `list the routes of IPv${version}`;
    try {
      return this.#socket.dump(what, RTM_GETROUTE, ...encodeRoutes(version, table));
    } catch (error) {
      // The table has never had a route.
      if (table !== undefined && error instanceof NetlinkError && error.code === "ENOENT") {
        return [];
      }
      throw error;
    }
  }
}

function describe({ destination, device, gateway, table }: RouteSpec): string {
  const parts = [`the route ${destination}`];
  if (gateway !== undefined) parts.push(`via ${gateway}`);
  if (device !== undefined) parts.push(`to interface ${device}`);
  if (table !== undefined) parts.push(`in table ${table}`);
  return parts.join(" ");
}
