/**
 * IP addresses and prefixes as the kernel has them, bytes, and as people write them.
 *
 * @module
 */

import { isIPv4, isIPv6 } from "node:net";
import { AF_INET, AF_INET6 } from "../sockaddr.ts";

/** A prefix, or an address with the length of its network. */
export interface PrefixBytes {
  /** 4 or 16 bytes. */
  readonly bytes: Uint8Array;
  readonly length: number;
}

/**
 * @returns 4 or 16 bytes.
 * @throws {RangeError} if `text` is no IPv4 or IPv6 address.
 */
export function addressBytes(text: string): Uint8Array {
  if (isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  if (!isIPv6(text) || text.includes("%")) throw new RangeError(`"${text}" is no IP address`);
  const dotted = text.lastIndexOf(".") < 0 ? undefined : text.slice(text.lastIndexOf(":") + 1);
  const groups = dotted === undefined
    ? text
    : `${text.slice(0, -dotted.length)}${asGroups(dotted)}`;
  const [before, after] = groups.split("::").map((half) => half.split(":").filter(Boolean));
  const missing = 8 - before!.length - (after?.length ?? 0);
  const all = [...before!, ...Array<string>(missing).fill("0"), ...after ?? []];
  return Uint8Array.from(all.flatMap((group) => {
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  }));
}

/** As RFC 5952 writes it. @param bytes 4 or 16. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => bytes[2 * i]! << 8 | bytes[2 * i + 1]!);
  const [start, length] = longestZeros(groups);
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(":");
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

/**
 * @param text `ADDRESS/LENGTH`; without a length it is a host.
 * @throws {RangeError} if it is anything else.
 */
export function prefixBytes(text: string): PrefixBytes {
  const [address, digits, more] = text.split("/");
  const bytes = addressBytes(address!);
  const length = digits === undefined ? bytes.length * 8 : Number(digits);
  const isLength = digits === undefined || /^\d{1,3}$/.test(digits);
  if (more !== undefined || !isLength || length > bytes.length * 8) {
    throw new RangeError(`"${text}" is no address with a prefix length`);
  }
  return { bytes, length };
}

/** Without the bits behind its length. */
export function masked({ bytes, length }: PrefixBytes): Uint8Array {
  return bytes.map((byte, i) => byte & 0xff << 8 - Math.min(8, Math.max(0, length - 8 * i)));
}

/** AF_INET or AF_INET6. */
export function familyOf(bytes: Uint8Array): number {
  return bytes.length === 4 ? AF_INET : AF_INET6;
}

/** The address nobody has, of a family: what the kernel leaves out. */
export function unspecified(family: number): Uint8Array {
  return new Uint8Array(family === AF_INET ? 4 : 16);
}

function asGroups(dotted: string): string {
  const [a, b, c, d] = dotted.split(".").map(Number);
  return `${(a! << 8 | b!).toString(16)}:${(c! << 8 | d!).toString(16)}`;
}

/** The first of the longest runs of zeros. @returns its start and length. */
function longestZeros(groups: readonly number[]): [number, number] {
  let [start, length] = [0, 0];
  for (let i = 0; i < groups.length; i++) {
    let end = i;
    while (groups[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
    if (end > i) i = end;
  }
  return [start, length];
}
