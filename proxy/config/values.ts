/**
 * Single values from text. Each parser returns the value, or a {@link ParseFailure} that says
 * `what is wrong, what was expected`.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../netstack/mod.ts";
import { parseInterfaceAddress, parseIpAddress, parsePrefix } from "../address.ts";
import type { MapConfig, StatusListen } from "./checked.ts";
import { decodeKey, KEY_LENGTH, KEY_TEXT_LENGTH } from "../base64.ts";

/** Why a string is not a value. */
export class ParseFailure {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

export type Parse<T> = (text: string) => T | ParseFailure;

/** Values of a list: separated by commas or blanks, as wg-quick takes them. */
export function splitList(text: string): string[] {
  // "a -> b" is one value: a Map.
  return text.replace(/\s*(->|=)\s*/g, "$1").split(/[\s,]+/).filter((part) => part !== "");
}

/** The same separated by commas alone: a peer's name may have a blank inside. */
export function splitNames(text: string): string[] {
  return text.split(",").map((part) => part.trim()).filter((part) => part !== "");
}

/** The values of a list in the text of a key. */
export function splitValues({ list }: { readonly list?: string }, text: string): string[] {
  return list === "names" ? splitNames(text) : splitList(text);
}

/** A private, public or preshared key. No part of the text is ever shown. */
export function parseKey(text: string): Uint8Array | ParseFailure {
  const expected = `expected ${KEY_TEXT_LENGTH} characters of base64, as wg writes them`;
  if (text === "") return new ParseFailure(`is empty, ${expected}`);
  if (text.length !== KEY_TEXT_LENGTH) {
    return new ParseFailure(`not a key: ${text.length} characters, ${expected}`);
  }
  return decodeKey(text) ?? new ParseFailure(`not a key: not base64 of 32 bytes, ${expected}`);
}

/** A key as {@link parseKey} takes it, or its bytes, which are copied. */
export function parseKeyInput(input: unknown): Uint8Array | ParseFailure {
  if (["string", "number", "boolean"].includes(typeof input)) {
    return parseKey(String(input).trim());
  }
  if (!(input instanceof Uint8Array)) {
    return new ParseFailure(
      `not a key, expected ${KEY_TEXT_LENGTH} characters of base64, or its bytes`,
    );
  }
  if (input.length === KEY_LENGTH) return Uint8Array.from(input);
  return new ParseFailure(`not a key: ${input.length} bytes, expected ${KEY_LENGTH}`);
}

export function integer(min: number, max: number): Parse<number> {
  const expected = `expected ${min} to ${max}`;
  return (text) => {
    if (!/^-?\d+$/.test(text)) {
      return new ParseFailure(`${quote(text)} is not a number, ${expected}`);
    }
    const value = Number(text) || 0; // "-0" is 0
    return value >= min && value <= max
      ? value
      : new ParseFailure(`${text} is out of range, ${expected}`);
  };
}

/** Bytes; k, M or G behind the number stand for powers of 1024. */
export function bytes(min: number, max: number): Parse<number> {
  const expected = `expected ${min} to ${max} bytes, or a number with k, M or G behind it`;
  return (text) => {
    const match = /^(-?\d+(?:\.\d+)?)([kmg]?)$/i.exec(text);
    if (match === null) return new ParseFailure(`${quote(text)} is not a size, ${expected}`);
    const unit = 1024 ** " kmg".indexOf(match[2]!.toLowerCase() || " ");
    const value = Math.round(Number(match[1]) * unit);
    return value >= min && value <= max
      ? value
      : new ParseFailure(`${text} is out of range, ${expected}`);
  };
}

/** Seconds, with a fraction if need be. @returns milliseconds. */
export function seconds(min: number, max: number): Parse<number> {
  const expected = `expected ${min} to ${max} seconds`;
  return (text) => {
    if (!/^-?\d+(?:\.\d+)?$/.test(text)) {
      return new ParseFailure(`${quote(text)} is not a number, ${expected}`);
    }
    const value = Number(text);
    if (value < min || value > max) return new ParseFailure(`${text} is out of range, ${expected}`);
    return Math.round(value * 1000);
  };
}

/** Seconds. `off` is 0, as for `wg`. */
export function parseKeepalive(text: string): number | ParseFailure {
  if (text.toLowerCase() === "off") return 0;
  const value = integer(0, 65535)(text);
  return value instanceof ParseFailure
    ? new ParseFailure(`${value.message} seconds, or off`)
    : value;
}

/** `off`, or 32 bits in decimal or hexadecimal. */
export function parseFwMark(text: string): number | ParseFailure {
  if (text.toLowerCase() === "off") return 0;
  const value = /^(?:0x[0-9a-f]{1,8}|\d{1,10})$/i.test(text) ? Number(text) : NaN;
  return value <= 0xffffffff
    ? value
    : new ParseFailure(`${quote(text)} is not a mark, expected 0 to 0xffffffff, or off`);
}

/** Tables that have a name everywhere, <linux/rtnetlink.h>. */
const TABLES: Readonly<Record<string, number>> = { default: 253, main: 254, local: 255 };

/** `off`, `auto`, or a table of routes by its number, or by a name that the kernel knows. */
export function parseTable(text: string): "off" | "auto" | number | ParseFailure {
  const name = text.toLowerCase();
  if (name === "off" || name === "auto") return name;
  if (Object.hasOwn(TABLES, name)) return TABLES[name]!;
  const value = /^(?:0x[0-9a-f]{1,8}|\d{1,10})$/.test(name) ? Number(name) : NaN;
  return value >= 1 && value <= 0xffffffff ? value : new ParseFailure(
    `${quote(text)} is no table of routes, expected off, auto, main, or 1 to 4294967295`,
  );
}

/** A name server's address, or a domain to search in, as in wg-quick's `DNS`. */
export function parseDns(text: string): string | ParseFailure {
  const address = parseIpAddress(text);
  if (address !== undefined) return `${address}`;
  return isHostName(text) ? text : new ParseFailure(
    `${quote(text)} is neither, expected the address of a name server, or a domain to search in`,
  );
}

const RATE_UNITS: Readonly<Record<string, number>> = { kbit: 1e3, mbit: 1e6, gbit: 1e9 };

/** A rate with its unit: `500kbit`, `20Mbit`, `2.5Gbit`. @returns bits/s. */
export function parseRate(text: string): number | ParseFailure {
  const expected = "expected one from 1kbit to 1000Gbit, such as 500kbit, 20Mbit or 2.5Gbit";
  const match = /^(\d+(?:\.\d+)?)([kmg]bit)$/i.exec(text);
  if (match === null) return new ParseFailure(`${quote(text)} is not a rate, ${expected}`);
  const value = Math.round(Number(match[1]) * RATE_UNITS[match[2]!.toLowerCase()]!);
  return value >= 1e3 && value <= 1e12
    ? value
    : new ParseFailure(`${text} is out of range, ${expected}`);
}

export function parseBoolean(text: string): boolean | ParseFailure {
  const lower = text.toLowerCase();
  if (lower === "true" || lower === "false") return lower === "true";
  return new ParseFailure(`${quote(text)} is neither, expected true or false`);
}

/** A network, to take addresses from. */
export function parsePool(text: string): Prefix | ParseFailure {
  const prefix = parsePrefixValue(text);
  if (prefix instanceof ParseFailure) return prefix;
  return prefix.length < prefix.address.bytes.length * 8 ? prefix : new ParseFailure(
    `${quote(text)} is a single address, expected a network such as 10.9.0.0/24 or fd09::/64`,
  );
}

/**
 * What a peer is called. Nothing that could be taken for an address, since a name may stand where an
 * address may, and nothing that could be a key.
 */
export function parsePeerName(text: string): string | ParseFailure {
  const isName = /^[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9._@-])?$/.test(text) &&
    !/[A-Za-z0-9]{40}/.test(text) && parsePrefix(text) === undefined;
  return isName ? text : new ParseFailure(
    `${
      quote(text)
    } is no name, expected 1 to 64 of a-z A-Z 0-9 . _ @ - and blanks inside, no address`,
  );
}

export function oneOf<const T extends string>(...choices: readonly T[]): Parse<T> {
  return (text) =>
    choices.find((choice) => choice === text.toLowerCase()) ??
      new ParseFailure(`${quote(text)} is unknown, expected ${choices.join(" or ")}`);
}

export function parseAddressWithLength(
  text: string,
): { address: IpAddress; length: number } | ParseFailure {
  return parseInterfaceAddress(text) ?? wrongPrefix(text, "10.9.0.1/24 or fd09::1/64");
}

export function parsePrefixValue(text: string): Prefix | ParseFailure {
  return parsePrefix(text) ?? wrongPrefix(text, "10.9.0.0/24 or fd09::/64");
}

export function parseListenAddress(text: string): string | ParseFailure {
  return parseIpAddress(text)?.toString() ??
    new ParseFailure(
      `${quote(text)} is not an address, expected one such as 192.0.2.1 or 2001:db8::1`,
    );
}

/** A path without what would make another of it; or `off`. */
export function parseFolder(text: string): string | ParseFailure {
  if (text.toLowerCase() === "off") return "off";
  const folder = text.length > 1 ? text.replace(/\/+$/, "") : text;
  return folder === "" || folder.includes("\0")
    ? new ParseFailure(`${quote(text)} is no folder, expected a path, or off`)
    : folder;
}

/** A path; `stderr` and `stdout` are what they are for whoever takes them. */
export function parseFile(text: string): string | ParseFailure {
  return text === "" || text.includes("\0") || text.endsWith("/")
    ? new ParseFailure(`${quote(text)} is no file, expected a path`)
    : text;
}

/** In lower case, without the dot at the end. */
export function parseHostName(text: string): string | ParseFailure {
  return isHostName(text) ? text.toLowerCase().replace(/\.$/, "") : new ParseFailure(
    `${quote(text)} is no name of a host, expected one such as gateway.corp.test`,
  );
}

/** `ADDRESS:PORT`, `localhost:PORT` or `unix:PATH`. */
export function parseStatusListen(text: string): StatusListen | ParseFailure {
  const expected = "expected ADDRESS:PORT, localhost:PORT or unix:PATH";
  if (text.startsWith("unix:")) {
    const path = parseFile(text.slice("unix:".length));
    if (path instanceof ParseFailure) {
      return new ParseFailure(`${quote(text)} has no path, ${expected}`);
    }
    // Struct sockaddr_un of Linux, with the NUL at its end.
    return new TextEncoder().encode(path).length < 108
      ? { transport: "unix", path }
      : new ParseFailure("the path is too long for a socket, expected fewer than 108 bytes");
  }
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (match === null) return new ParseFailure(`${quote(text)} is no place to listen, ${expected}`);
  const port = Number(match[3]);
  if (port > 65535) return new ParseFailure(`port ${port} is out of range, expected 0 to 65535`);
  const host = (match[1] ?? match[2]!).toLowerCase();
  const address = parseIpAddress(host);
  if (address === undefined && host !== "localhost") {
    return new ParseFailure(`${quote(host)} is not an address, ${expected}`);
  }
  return { transport: "tcp", hostname: address === undefined ? host : `${address}`, port };
}

/** `HOST:PORT` or `[IPV6]:PORT`. */
export function parseEndpoint(text: string): { hostname: string; port: number } | ParseFailure {
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null) {
    return new ParseFailure(`${quote(text)} is not an endpoint, expected HOST:PORT or [IPV6]:PORT`);
  }
  if (port < 1 || port > 65535) {
    return new ParseFailure(`port ${port} is out of range, expected 1 to 65535`);
  }
  const [, bracketed, host = ""] = match;
  if (bracketed !== undefined) {
    const address = parseIpAddress(bracketed);
    return address?.version === 6
      ? { hostname: address.toString(), port }
      : new ParseFailure(`${quote(bracketed)} is not an IPv6 address, expected [IPV6]:PORT`);
  }
  return parseIpAddress(host) !== undefined || isHostName(host)
    ? { hostname: host, port }
    : new ParseFailure(`${quote(host)} is neither an address nor a name, expected HOST:PORT`);
}

const DNS_PORT = 53;

/** `ADDRESS`, `ADDRESS:PORT` or `[IPV6]:PORT`. */
export function parseNameServer(text: string): { address: IpAddress; port: number } | ParseFailure {
  const alone = parseIpAddress(text);
  const match = alone ? null : /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const address = alone ?? parseIpAddress(match?.[1] ?? match?.[2] ?? "");
  const isBracketed = match?.[1] !== undefined;
  if (address === undefined || match !== null && isBracketed !== (address.version === 6)) {
    return new ParseFailure(
      `${quote(text)} is no name server, expected an address such as 192.168.1.53 or fd00::53, ` +
        "with a port as 192.168.1.53:5353 or [fd00::53]:5353",
    );
  }
  if (address.isUnspecified) {
    return new ParseFailure(`${text} is nobody's address, expected that of a name server`);
  }
  const port = match === null ? DNS_PORT : Number(match[3]);
  return port >= 1 && port <= 65535
    ? { address, port }
    : new ParseFailure(`port ${port} is out of range, expected 1 to 65535`);
}

/** `A/n -> B/n`, `A -> B` for single addresses; `=` may stand for the arrow. */
export function parseMap(text: string): MapConfig | ParseFailure {
  const match = /^([^=>]*?)\s*(?:->|=)\s*([^=>]*)$/.exec(text);
  if (match === null) {
    return new ParseFailure(`${quote(text)} is not a map, expected FROM/LENGTH -> TO/LENGTH`);
  }
  const from = parsePrefixValue(match[1]!);
  if (from instanceof ParseFailure) return from;
  const to = parsePrefixValue(match[2]!);
  if (to instanceof ParseFailure) return to;
  const single = isSingle(from) && isSingle(to);
  if (from.version !== to.version && !single) {
    return new ParseFailure(
      `${from} and ${to} differ in family, expected the same (only single addresses may differ)`,
    );
  }
  if (from.length !== to.length && !single) {
    return new ParseFailure(`${from} and ${to} differ in length, expected the same`);
  }
  return { from, to };
}

/** The text in quotes, short, on one line. What looks like a key is not shown. */
export function quote(text: string): string {
  if (looksLikeKey(text)) return "the value (withheld: it looks like a key)";
  const short = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  return JSON.stringify(short);
}

/** Also a damaged one: cut off, or with other characters inside. Host names seldom mix case. */
function looksLikeKey(text: string): boolean {
  const base64 = text.replaceAll(/[^A-Za-z0-9+/]/g, "");
  return /[A-Za-z0-9+/]{25}/.test(text) ||
    base64.length >= 20 && /[a-z]/.test(base64) && /[A-Z]/.test(base64);
}

/**
 * A path for a message. A key that stands in it, for a mistake or as a file's name, is not shown: of a
 * whole key `wg` would have its `=`, of one without it a run that mixes case and digits.
 */
export function shownPath(path: string): string {
  return path.replace(/[A-Za-z0-9+/]{42}[A-Za-z0-9+]=/g, WITHHELD)
    .replace(/[A-Za-z0-9+]{40,}/g, (run) => isMixed(run) ? WITHHELD : run);
}

const WITHHELD = "(withheld)";

function isMixed(run: string): boolean {
  return /[a-z]/.test(run) && /[A-Z]/.test(run) && /[0-9+]/.test(run);
}

export function wrongPrefix(text: string, example: string): ParseFailure {
  const slash = text.indexOf("/");
  const address = parseIpAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) {
    return new ParseFailure(
      `${quote(text)} is not an address or prefix, expected one such as ${example}`,
    );
  }
  const bits = address.version === 4 ? 32 : 128;
  return new ParseFailure(
    `${quote(text)} has a bad prefix length, expected ${address}/0 to ${address}/${bits}`,
  );
}

/** Whether a prefix is one address. */
export function isSingle(prefix: Prefix): boolean {
  return prefix.length === prefix.address.bytes.length * 8;
}

/** Whether a text may be a host's name. */
// RFC 1123 §2.1, and the underscore that people use. A name whose last label is a number would be
// taken for a malformed IPv4 address by resolvers.
export function isHostName(text: string): boolean {
  return text.length <= 253 &&
    /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i
      .test(text) &&
    !/(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$/i.test(text);
}
