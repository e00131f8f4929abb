/**
 * What changes in the network of this host, as it changes, rtnetlink(7).
 *
 * @module
 */

import { SocketWatch } from "../socket_watch.ts";
import {
  decodeAddress,
  type InterfaceAddress,
  RTM_DELADDR,
  RTM_NEWADDR,
} from "./interface_address.ts";
import { decodeLink, type LinkInfo, RTM_DELLINK, RTM_NEWLINK } from "./link.ts";
import type { Message } from "./message.ts";
import { decodeRoute, isCached, type Route, RTM_DELROUTE, RTM_NEWROUTE } from "./route.ts";
import { decodeRule, RTM_DELRULE, RTM_NEWRULE, type Rule } from "./rule.ts";
import { NetlinkSocket } from "./socket.ts";

/** <linux/rtnetlink.h>, RTNLGRP_*: interfaces; addresses, routes and rules of both families. */
const GROUPS = [1, 5, 7, 8, 9, 11, 19];

/** One change: `removed`, or there and as it is now. */
export type NetlinkEvent =
  | { readonly kind: "link"; readonly removed: boolean; readonly link: LinkInfo }
  | { readonly kind: "address"; readonly removed: boolean; readonly address: InterfaceAddress }
  | { readonly kind: "route"; readonly removed: boolean; readonly route: Route }
  | { readonly kind: "rule"; readonly removed: boolean; readonly rule: Rule }
  /** More than the kernel keeps has come at once: anything may have changed. */
  | { readonly kind: "lost" };

export type NetlinkHandler = (event: NetlinkEvent) => void;

/** Watches until it is closed. */
export class NetlinkMonitor implements AsyncDisposable {
  readonly #socket = new NetlinkSocket();
  readonly #watch: SocketWatch;
  readonly #handler: NetlinkHandler;
  #isClosed = false;

  /** @throws {Error} if the system gives no socket, or no way to wait for it. */
  constructor(handler: NetlinkHandler) {
    this.#handler = handler;
    try {
      for (const group of GROUPS) this.#socket.join(group);
      this.#watch = new SocketWatch(() => this.#drain());
      this.#watch.add(this.#socket.fd, 1, true);
    } catch (error) {
      this.#socket.close();
      throw error;
    }
  }

  /** The handler is not called again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#watch.close();
    this.#socket.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #drain(): void {
    for (let got; !this.#isClosed && (got = this.#socket.receive()) !== undefined;) {
      if (got === "lost") this.#handler({ kind: "lost" });
      else {
        for (const message of got) {
          const event = eventOf(message);
          if (event !== undefined) this.#handler(event);
        }
      }
    }
  }
}

/** @returns undefined for what is told of nothing here. */
export function eventOf({ type, body }: Message): NetlinkEvent | undefined {
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      // AF_BRIDGE and others tell of ports: the interface itself stays.
      if (body[0] !== 0) return undefined;
      return { kind: "link", removed: type === RTM_DELLINK, link: decodeLink(body) };
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { kind: "address", removed: type === RTM_DELADDR, address: decodeAddress(body) };
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      if (isCached(body)) return undefined;
      return { kind: "route", removed: type === RTM_DELROUTE, route: decodeRoute(body) };
    case RTM_NEWRULE:
    case RTM_DELRULE:
      return { kind: "rule", removed: type === RTM_DELRULE, rule: decodeRule(body) };
    default:
      return undefined;
  }
}
