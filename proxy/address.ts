/**
 * Addresses and prefixes from text, as people write them in files and on command lines. Strict:
 * neither the octal, hexadecimal and short forms of inet_aton(3) (`010.1`, `0x7f.1`, `127.1`) nor
 * zone identifiers, because what one program reads as 10.1.0.1 another reads as 8.1.0.1.
 *
 * @module
 */

import ipaddr from "npm:ipaddr.js@2.5.0";
import { IpAddress, Prefix } from "../netstack/mod.ts";

/** @returns undefined if `text` is not an IPv4 or IPv6 address. */
export function parseIpAddress(text: string): IpAddress | undefined {
  try {
    if (!text.includes(":")) {
      if (!ipaddr.IPv4.isValidFourPartDecimal(text)) return undefined;
      return new IpAddress(Uint8Array.from(ipaddr.IPv4.parse(text).toByteArray()));
    }
    if (!isStrictIpv6(text)) return undefined;
    return new IpAddress(Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray()));
  } catch { // ipaddr.js throws on what it cannot parse
    return undefined;
  }
}

/**
 * An address with the length of the network it is in, as in wg-quick's `Address`. Without a length
 * it is a host: /32 or /128.
 *
 * @returns undefined if `text` is anything else.
 */
export function parseInterfaceAddress(
  text: string,
): { address: IpAddress; length: number } | undefined {
  const slash = text.indexOf("/");
  const address = parseIpAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  const bits = address.version === 4 ? 32 : 128;
  if (slash < 0) return { address, length: bits };
  const digits = text.slice(slash + 1);
  if (!/^(?:0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > bits) return undefined;
  return { address, length: Number(digits) };
}

/** `ADDRESS:PORT` as in RFC 3986 §3.2.2. */
export function socketAddress(address: IpAddress, port: number): string {
  return hostAndPort(`${address}`, port);
}

/** `HOST:PORT`, of a name or an address: one of IPv6 in brackets. */
export function hostAndPort(host: string, port: number): string {
  return `${uriHost(host)}:${port}`;
}

/** A host without the brackets that an IPv6 address has in front of a port. */
export function bareHost(text: string): string {
  return text.replace(/^\[(.*)\]$/, "$1");
}

/** Where a URL leads: a name or an address, IPv6 without brackets, and a port. */
export function placeOfUrl(url: URL, defaultPort: number): { hostname: string; port: number } {
  return { hostname: bareHost(url.hostname), port: Number(url.port || defaultPort) };
}

/** A name or an address as it stands in front of a port, RFC 3986 §3.2.2. */
export function uriHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** A prefix. Bits behind its length are dropped without a word, as `wg` does. */
export function parsePrefix(text: string): Prefix | undefined {
  const parsed = parseInterfaceAddress(text);
  return parsed && new Prefix(parsed.address, parsed.length);
}

/** What ipaddr.js takes beyond RFC 4291 §2.2: zones, long groups, octal in an embedded address. */
function isStrictIpv6(text: string): boolean {
  if (!/^[0-9a-f:.]+$/i.test(text) || /[0-9a-f]{5}/i.test(text)) return false;
  const last = text.slice(text.lastIndexOf(":") + 1);
  return !last.includes(".") || ipaddr.IPv4.isValidFourPartDecimal(last);
}
