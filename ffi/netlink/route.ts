/**
 * Routes in netlink messages, <linux/rtnetlink.h>.
 *
 * @module
 */

import {
  addressBytes,
  addressText,
  familyOf,
  masked,
  prefixBytes,
  unspecified,
} from "./address.ts";
import { attribute, decodeAttributes, readU32, u32, viewOf } from "./message.ts";
import { AF_INET, AF_INET6 } from "../sockaddr.ts";

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

/** Struct rtmsg: u8 family, destination's bits, source's, TOS, table, protocol, scope, type; u32 flags. */
const HEADER_SIZE = 12;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_MARK = 16;
/** A gateway of the other family: u16 family, address. */
const RTA_VIA = 18;
const RTAX_MTU = 2;
/** Struct rtnexthop: u16 length, u8 flags, u8 weight less one, i32 index; attributes. */
const NEXT_HOP_SIZE = 8;

const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_HOST = 254;
const RT_SCOPE_NOWHERE = 255;
const RTNH_F_ONLINK = 4;
/** Of an entry that the kernel keeps for itself, e.g. a path MTU. */
const RTM_F_CLONED = 0x200;
const RTM_F_LOOKUP_TABLE = 0x1000;

/** The table of ordinary routes. */
export const MAIN_TABLE = 254;

const TYPES = [
  ...["unspecified", "unicast", "local", "broadcast", "anycast", "multicast"],
  ...["blackhole", "unreachable", "prohibit", "throw", "nat"],
] as const;
/** Types that lead to no device. */
const NOWHERE: readonly string[] = ["blackhole", "unreachable", "prohibit", "throw"];

/** What becomes of packets that a route is for. */
export type RouteType = typeof TYPES[number];

/** Who made a route, <linux/rtnetlink.h>; others have their number. */
export const RouteProtocol = {
  KERNEL: 2,
  BOOT: 3,
  STATIC: 4,
  /** A router's advertisement. */
  RA: 9,
  DHCP: 16,
} as const;

export interface NextHop {
  /** An interface's index. */
  readonly device: number;
  readonly gateway: string | undefined;
}

/** A route to be added or removed; as a request for one, what must be so. */
export interface RouteSpec {
  /** `ADDRESS/LENGTH`; the default one is `0.0.0.0/0` or `::/0`. */
  readonly destination: string;
  /** {@link MAIN_TABLE} if it is not given. */
  readonly table?: number;
  /** An interface's index. */
  readonly device?: number;
  readonly gateway?: string;
  /** The sender's address for what this host sends. */
  readonly source?: string;
  /** Bytes, instead of the device's. */
  readonly mtu?: number;
  /** Lower comes first. */
  readonly metric?: number;
  /** `unicast` if it is not given. */
  readonly type?: RouteType;
  /** One of {@link RouteProtocol}; as from `ip` if it is not given. */
  readonly protocol?: number;
  /** The gateway is on the device's link whatever its addresses say. */
  readonly onLink?: boolean;
}

/** A route as the kernel has it. */
export interface Route {
  readonly version: 4 | 6;
  readonly destination: string;
  readonly table: number;
  readonly type: RouteType;
  readonly protocol: number;
  readonly device: number | undefined;
  readonly gateway: string | undefined;
  readonly source: string | undefined;
  readonly mtu: number | undefined;
  /** 0 if it has none. */
  readonly metric: number;
  /** Of a route over several: these instead of `device` and `gateway`. */
  readonly nextHops: readonly NextHop[];
}

/**
 * The body of a request about one route.
 *
 * @throws {RangeError} for what is no address, or of two families.
 */
export function encodeRoute(route: RouteSpec, isRemoval = false): Uint8Array[] {
  const prefix = prefixBytes(route.destination);
  const family = familyOf(prefix.bytes);
  const table = route.table ?? MAIN_TABLE;
  const type = route.type ?? "unicast";
  const header = new Uint8Array(HEADER_SIZE);
  header.set([family, prefix.length]);
  header[4] = table < 256 ? table : 0;
  // A removal without a protocol, scope or type matches any.
  header[5] = route.protocol ?? (isRemoval ? 0 : RouteProtocol.BOOT);
  header[6] = isRemoval ? RT_SCOPE_NOWHERE : scopeOf(route, type, family);
  header[7] = isRemoval && route.type === undefined ? 0 : TYPES.indexOf(type);
  if (route.onLink) viewOf(header).setUint32(8, RTNH_F_ONLINK, true);
  const parts: Uint8Array[] = [header];
  if (prefix.length > 0) parts.push(attribute(RTA_DST, masked(prefix)));
  parts.push(attribute(RTA_TABLE, u32(table)));
  if (route.device !== undefined) parts.push(attribute(RTA_OIF, u32(route.device)));
  if (route.gateway !== undefined) parts.push(gatewayOf(route.gateway, family));
  if (route.source !== undefined) {
    parts.push(attribute(RTA_PREFSRC, ofFamily(route.source, family)));
  }
  if (route.metric !== undefined) parts.push(attribute(RTA_PRIORITY, u32(route.metric)));
  if (route.mtu !== undefined) {
    parts.push(attribute(RTA_METRICS, attribute(RTAX_MTU, u32(route.mtu))));
  }
  return parts;
}

/** The body of a request for all routes of a family, of one table if it is given. */
export function encodeRoutes(version: 4 | 6, table?: number): Uint8Array[] {
  const header = new Uint8Array(HEADER_SIZE);
  header[0] = version === 4 ? AF_INET : AF_INET6;
  return table === undefined ? [header] : [header, attribute(RTA_TABLE, u32(table))];
}

/** The body of the question where packets to an address go. @param mark Of their socket. */
export function encodeLookup(destination: string, mark?: number): Uint8Array[] {
  const bytes = addressBytes(destination);
  const header = new Uint8Array(HEADER_SIZE);
  header.set([familyOf(bytes), bytes.length * 8]);
  // IPv6 tells the table in any case, and takes no such flag.
  if (bytes.length === 4) viewOf(header).setUint32(8, RTM_F_LOOKUP_TABLE, true);
  const parts: Uint8Array[] = [header, attribute(RTA_DST, bytes)];
  if (mark !== undefined && mark !== 0) parts.push(attribute(RTA_MARK, u32(mark)));
  return parts;
}

/** @param body Of an RTM_NEWROUTE. */
export function decodeRoute(body: Uint8Array): Route {
  const attributes = decodeAttributes(body, HEADER_SIZE);
  const family = body[0]!;
  const metrics = attributes.get(RTA_METRICS);
  const source = attributes.get(RTA_PREFSRC);
  return {
    version: family === AF_INET6 ? 6 : 4,
    destination: `${addressText(attributes.get(RTA_DST) ?? unspecified(family))}/${body[1]}`,
    table: readU32(attributes.get(RTA_TABLE)) ?? body[4]!,
    type: TYPES[body[7]!] ?? "unspecified",
    protocol: body[5]!,
    device: readU32(attributes.get(RTA_OIF)),
    gateway: gatewayIn(attributes),
    source: source && addressText(source),
    mtu: metrics && readU32(decodeAttributes(metrics).get(RTAX_MTU)),
    metric: readU32(attributes.get(RTA_PRIORITY)) ?? 0,
    nextHops: nextHops(attributes.get(RTA_MULTIPATH)),
  };
}

/** Whether it is a note of the kernel's and no route that somebody made. */
export function isCached(body: Uint8Array): boolean {
  return (viewOf(body).getUint32(8, true) & RTM_F_CLONED) !== 0;
}

/** As `ip route` chooses it: how far the destination is. */
function scopeOf({ gateway }: RouteSpec, type: RouteType, family: number): number {
  if (type === "local" || type === "nat") return RT_SCOPE_HOST;
  if (family === AF_INET6 || NOWHERE.includes(type)) return RT_SCOPE_UNIVERSE;
  return gateway === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
}

function gatewayOf(text: string, family: number): Uint8Array {
  const bytes = addressBytes(text);
  if (familyOf(bytes) === family) return attribute(RTA_GATEWAY, bytes);
  return attribute(RTA_VIA, Uint8Array.of(familyOf(bytes), 0), bytes);
}

function gatewayIn(attributes: ReadonlyMap<number, Uint8Array>): string | undefined {
  const gateway = attributes.get(RTA_GATEWAY) ?? attributes.get(RTA_VIA)?.subarray(2);
  return gateway && addressText(gateway);
}

function nextHops(value: Uint8Array | undefined): NextHop[] {
  const found: NextHop[] = [];
  if (value === undefined) return found;
  const view = viewOf(value);
  for (let at = 0; at + NEXT_HOP_SIZE <= value.length;) {
    const length = view.getUint16(at, true);
    if (length < NEXT_HOP_SIZE) break;
    const attributes = decodeAttributes(value.subarray(at, at + length), NEXT_HOP_SIZE);
    found.push({ device: view.getInt32(at + 4, true), gateway: gatewayIn(attributes) });
    at += length + 3 & ~3;
  }
  return found;
}

function ofFamily(text: string, family: number): Uint8Array {
  const bytes = addressBytes(text);
  if (familyOf(bytes) !== family) throw new RangeError(`${text} is of the other family`);
  return bytes;
}
