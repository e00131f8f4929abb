/**
 * Addresses of interfaces in netlink messages, <linux/if_addr.h>.
 *
 * @module
 */

import { addressText, familyOf, prefixBytes } from "./address.ts";
import { attribute, decodeAttributes, readU32, u32, viewOf } from "./message.ts";
import { AF_INET6 } from "../sockaddr.ts";

/** <linux/rtnetlink.h> */
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;

/** Struct ifaddrmsg: u8 family, u8 length of the prefix, u8 flags, u8 scope, u32 index. */
const HEADER_SIZE = 8;
/** The other end's where there is one, else the same as the local one. */
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_F_TEMPORARY = 0x01;
const IFA_F_NODAD = 0x02;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;
const IFA_F_NOPREFIXROUTE = 0x200;
const RT_SCOPE_LINK = 253;

/** An address as the kernel has it. */
export interface InterfaceAddress {
  /** Of the interface. */
  readonly index: number;
  readonly version: 4 | 6;
  readonly address: string;
  readonly prefixLength: number;
  /** The other end of a point-to-point link. */
  readonly peer: string | undefined;
  readonly linkLocal: boolean;
  /** One that changes, RFC 8981. */
  readonly temporary: boolean;
  /** Not usable yet: the kernel still looks whether somebody else has it. */
  readonly tentative: boolean;
  /** Without a lifetime: not by DHCP or a router's advertisement. */
  readonly permanent: boolean;
}

/** Of an address to be added. */
export interface AddressOptions {
  /** Without the route to its network. */
  readonly noPrefixRoute?: boolean;
}

/**
 * The body of a request about one address. That of IPv6 is used at once: on a link without neighbours
 * nobody else has it.
 *
 * @param prefix `ADDRESS/LENGTH`.
 * @throws {RangeError} if `prefix` is anything else.
 */
export function encodeAddress(
  index: number,
  prefix: string,
  { noPrefixRoute = false }: AddressOptions = {},
): Uint8Array[] {
  const { bytes, length } = prefixBytes(prefix);
  const header = new Uint8Array(HEADER_SIZE);
  header[0] = familyOf(bytes);
  header[1] = length;
  viewOf(header).setUint32(4, index, true);
  const flags = (familyOf(bytes) === AF_INET6 ? IFA_F_NODAD : 0) |
    (noPrefixRoute ? IFA_F_NOPREFIXROUTE : 0);
  return [
    header,
    attribute(IFA_LOCAL, bytes),
    attribute(IFA_ADDRESS, bytes),
    ...(flags === 0 ? [] : [attribute(IFA_FLAGS, u32(flags))]),
  ];
}

/** The body of a request for all addresses. */
export function encodeAddresses(): Uint8Array[] {
  return [new Uint8Array(HEADER_SIZE)];
}

/** @param body Of an RTM_NEWADDR. */
export function decodeAddress(body: Uint8Array): InterfaceAddress {
  const attributes = decodeAttributes(body, HEADER_SIZE);
  const flags = readU32(attributes.get(IFA_FLAGS)) ?? body[2]!;
  const remote = attributes.get(IFA_ADDRESS);
  const local = attributes.get(IFA_LOCAL) ?? remote;
  const address = local === undefined ? "" : addressText(local);
  const other = remote === undefined ? "" : addressText(remote);
  return {
    index: viewOf(body).getUint32(4, true),
    version: body[0] === AF_INET6 ? 6 : 4,
    address,
    prefixLength: body[1]!,
    peer: other === address ? undefined : other,
    linkLocal: body[3] === RT_SCOPE_LINK,
    temporary: (flags & IFA_F_TEMPORARY) !== 0 && body[0] === AF_INET6,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    permanent: (flags & IFA_F_PERMANENT) !== 0,
  };
}
