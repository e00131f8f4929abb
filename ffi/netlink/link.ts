/**
 * Network interfaces in netlink messages, <linux/if_link.h>.
 *
 * @module
 */

import { AF_INET6 } from "../sockaddr.ts";
import { attribute, decodeAttributes, readText, readU32, text, u32, viewOf } from "./message.ts";

/** <linux/rtnetlink.h> */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;

/** Struct ifinfomsg: u8 family, u8 padding, u16 type, i32 index, u32 flags, u32 mask of flags. */
const HEADER_SIZE = 16;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_TXQLEN = 13;
const IFLA_LINKINFO = 18;
const IFLA_AF_SPEC = 26;
const IFLA_INFO_KIND = 1;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const ADDR_GEN_MODE_NONE = 1;
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
/** Up, and its cable is plugged in. */
const IFF_RUNNING = 0x40;

/** An interface as the kernel has it. */
export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  /** `tun`, `veth`, `bridge`, …; undefined for one of hardware, and loopback. */
  readonly kind: string | undefined;
  /** Bytes. */
  readonly mtu: number;
  /** Packets that may wait to be sent. */
  readonly queueLength: number;
  readonly up: boolean;
  readonly running: boolean;
  readonly loopback: boolean;
}

/** What of an interface is to be changed; the rest stays. */
export interface LinkChange {
  readonly mtu?: number;
  readonly up?: boolean;
  /** While it is down. */
  readonly name?: string;
  readonly queueLength?: number;
  /** Without an address of its own making, fe80::, when it comes up: as WireGuard's devices are. */
  readonly withoutLinkLocal?: boolean;
}

/** The body of a request about one interface, or all: index 0. */
export function encodeLink(index: number, change: LinkChange = {}): Uint8Array[] {
  const header = new Uint8Array(HEADER_SIZE);
  const view = viewOf(header);
  view.setInt32(4, index, true);
  if (change.up !== undefined) {
    view.setUint32(8, change.up ? IFF_UP : 0, true);
    view.setUint32(12, IFF_UP, true);
  }
  const parts: Uint8Array[] = [header];
  if (change.name !== undefined) parts.push(attribute(IFLA_IFNAME, text(change.name)));
  if (change.mtu !== undefined) parts.push(attribute(IFLA_MTU, u32(change.mtu)));
  if (change.queueLength !== undefined) {
    parts.push(attribute(IFLA_TXQLEN, u32(change.queueLength)));
  }
  if (change.withoutLinkLocal) {
    const mode = attribute(IFLA_INET6_ADDR_GEN_MODE, Uint8Array.of(ADDR_GEN_MODE_NONE));
    parts.push(attribute(IFLA_AF_SPEC, attribute(AF_INET6, mode)));
  }
  return parts;
}

/** The body of a request about the interface of that name. */
export function encodeLinkName(name: string): Uint8Array[] {
  return [new Uint8Array(HEADER_SIZE), attribute(IFLA_IFNAME, text(name))];
}

/** @param body Of an RTM_NEWLINK. */
export function decodeLink(body: Uint8Array): LinkInfo {
  const view = viewOf(body);
  const flags = view.getUint32(8, true);
  const attributes = decodeAttributes(body, HEADER_SIZE);
  const info = attributes.get(IFLA_LINKINFO);
  return {
    index: view.getInt32(4, true),
    name: readText(attributes.get(IFLA_IFNAME)) ?? "",
    kind: info && readText(decodeAttributes(info).get(IFLA_INFO_KIND)),
    mtu: readU32(attributes.get(IFLA_MTU)) ?? 0,
    queueLength: readU32(attributes.get(IFLA_TXQLEN)) ?? 0,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
  };
}
