/**
 * Addresses that no gateway should expose by accident: its links, its cloud's metadata service, and
 * what its own stack would take for this host.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";

/**
 * Whether an address may be dialled without being named: neither this host, its links or a metadata
 * service, nor an IPv6 address that a translator or tunnel on the way turns into one of these.
 */
export function isSafeTarget(address: IpAddress): boolean {
  return address.version === 4
    ? isSafeIpv4(address.bytes, 0)
    : isSafeIpv6(address.bytes) && METADATA_IPV6.every((known) => !known.equals(address));
}

function isSafeIpv4(b: Uint8Array, at: number): boolean {
  const first = b[at]!;
  if (first === 0) return false; // 0.0.0.0/8: "this network", which Linux takes for this host
  if (first === 127) return false; // loopback
  if (first === 169 && b[at + 1] === 254) return false; // link-local, RFC 3927
  if ((first & 0xf0) === 0xe0) return false; // multicast
  if (isWord(b, at, 0xffff) && isWord(b, at + 2, 0xffff)) return false; // broadcast
  return METADATA_IPV4.every((known) => !known.matches(b, at, 4));
}

function isSafeIpv6(b: Uint8Array): boolean {
  if (b[0] === 0xff) return false; // multicast
  if (b[0] === 0xfe && (b[1]! & 0xc0) === 0x80) return false; // link-local
  // ::/96 is unspecified, loopback and the IPv4-compatible form; ::ffff:0:0/96 is an IPv4 address to
  // this host's sockets, and would walk past the IPv4 prefixes that are proxied.
  if (isZero(b, 0, 10) && (isWord(b, 10, 0) || isWord(b, 10, 0xffff))) return false;
  return carriedBy(b).every((v4) => isSafeIpv4(v4, 0));
}

/** The IPv4 addresses that a translator or tunnel on the way may make of an IPv6 address. */
export function carriedIpv4({ bytes, version }: IpAddress): IpAddress[] {
  return version === 4 ? [] : carriedBy(bytes).map((v4) => new IpAddress(v4));
}

function carriedBy(b: Uint8Array): Uint8Array[] {
  // ::ffff:0:a.b.c.d, stateless translation (RFC 2765 §2.1)
  if (isZero(b, 0, 8) && isWord(b, 8, 0xffff) && isWord(b, 10, 0)) return [b.slice(12)];
  // NAT64, RFC 6052 §2.1: 64:ff9b::/96
  if (isWord(b, 0, 0x64) && isWord(b, 2, 0xff9b)) {
    if (isZero(b, 4, 12)) return [b.slice(12)];
    if (isWord(b, 4, 1)) return carriedByLocalNat64(b);
  }
  // 6to4, RFC 3056 §2: 2002:a.b.c.d::/48
  if (isWord(b, 0, 0x2002)) return [b.slice(2, 6)];
  // Teredo, RFC 4380 §4: the server's address, and the client's inverted
  if (isWord(b, 0, 0x2001) && isWord(b, 2, 0)) {
    return [b.slice(4, 8), b.slice(12).map((byte) => ~byte)];
  }
  // ISATAP, RFC 5214 §6.1: any prefix, interface identifier [02]00:5efe:a.b.c.d
  if ((b[8]! & ~2) === 0 && b[9] === 0 && isWord(b, 10, 0x5efe)) return [b.slice(12)];
  return [];
}

/**
 * 64:ff9b:1::/48 (RFC 8215) is divided by the operator, so the IPv4 address may be in any of the
 * places of RFC 6052 §2.2, around byte 8 which is zero.
 */
function carriedByLocalNat64(b: Uint8Array): Uint8Array[] {
  const candidates = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
  return candidates
    .map((places) => Uint8Array.from(places, (place) => b[place]!))
    // Zeros lead where the address is in a later place.
    .filter((v4, i) => v4[0] !== 0 || i === candidates.length - 1);
}

// Metadata services outside the link-local range: Alibaba, Oracle, Azure's wire server; AWS, Google.
const METADATA_IPV4 = [
  IpAddress.v4(100, 100, 100, 200),
  IpAddress.v4(192, 0, 0, 192),
  IpAddress.v4(168, 63, 129, 16),
];
const METADATA_IPV6 = [
  new IpAddress(Uint8Array.fromHex("fd000ec2000000000000000000000254")),
  new IpAddress(Uint8Array.fromHex("fd2000ce000000000000000000000254")),
];

function isWord(b: Uint8Array, at: number, value: number): boolean {
  return (b[at]! << 8 | b[at + 1]!) === value;
}

function isZero(b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    if (b[i] !== 0) return false;
  }
  return true;
}
