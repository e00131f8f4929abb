/**
 * Single values of `[Link]` from text.
 *
 * @module
 */

import { hostAndPort, parseIpAddress } from "../address.ts";
import type { IpAddress } from "../../netstack/mod.ts";
import type { LinkPlace } from "./checked.ts";
import { isHostName, ParseFailure, quote } from "./values.ts";

/** Struct sockaddr_un of Linux, with the NUL at its end. */
const MOST_OF_A_PATH = 107;

/** Where a link listens: `unix:PATH`, `unixgram:PATH`, `tcp:ADDRESS:PORT` or `udp:ADDRESS:PORT`. */
export function parseLinkListen(text: string): LinkPlace | ParseFailure {
  const place = parsePlace(text);
  if (place instanceof ParseFailure || "path" in place) return place;
  return parseIpAddress(place.hostname) !== undefined ? place : new ParseFailure(
    `${quote(place.hostname)} is not an address of this host, expected one such as 127.0.0.1`,
  );
}

/** Where the other side of a link is: as {@link parseLinkListen}, or a name in place of the address. */
export function parseLinkConnect(text: string): LinkPlace | ParseFailure {
  const place = parsePlace(text);
  if (place instanceof ParseFailure || "path" in place || place.port > 0) return place;
  return new ParseFailure("port 0 is nobody's, expected 1 to 65535");
}

/** What hosts appear as: an address that packets may come from. */
export function parseNatAddress(text: string): IpAddress | ParseFailure {
  const address = parseIpAddress(text);
  if (address === undefined) {
    return new ParseFailure(`${quote(text)} is not an address, expected one such as 10.0.0.8`);
  }
  const { isUnspecified, isLoopback, isLinkLocal, isMulticast, isIpv4Mapped } = address;
  const isNobodys = isUnspecified || isLoopback || isLinkLocal || isMulticast || isIpv4Mapped ||
    address.version === 4 && address.bytes[0]! >= 224;
  return isNobodys
    ? new ParseFailure(`${address} is no host's elsewhere, expected one such as 10.0.0.8`)
    : address;
}

/** `20000-24999`. */
export function parseNatPorts(text: string): { first: number; last: number } | ParseFailure {
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  if (match !== null && first >= 1 && first <= last && last <= 65535) return { first, last };
  return new ParseFailure(`${quote(text)} is no range of ports, expected as 20000-24999`);
}

/** As it is written. */
export function formatPlace(place: LinkPlace): string {
  if ("path" in place) return `${place.transport}:${place.path}`;
  const { transport, hostname, port } = place;
  return `${transport}:${hostAndPort(hostname, port)}`;
}

function parsePlace(text: string): LinkPlace | ParseFailure {
  const expected = "expected unix:PATH, unixgram:PATH, tcp:ADDRESS:PORT or udp:ADDRESS:PORT";
  const [, transport, rest = ""] = /^(unix|unixgram|tcp|udp):(.*)$/s.exec(text) ?? [];
  if (transport === undefined) return new ParseFailure(`${quote(text)} is no place, ${expected}`);
  if (transport === "unix" || transport === "unixgram") {
    if (rest === "" || rest.endsWith("/") || rest.includes("\0")) {
      return new ParseFailure(`${quote(text)} has no path, ${expected}`);
    }
    return new TextEncoder().encode(rest).length <= MOST_OF_A_PATH
      ? { transport, path: rest }
      : new ParseFailure("the path is too long for a socket, expected fewer than 108 bytes");
  }
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(rest);
  if (match === null) return new ParseFailure(`${quote(text)} is no place, ${expected}`);
  const port = Number(match[3]);
  if (port > 65535) return new ParseFailure(`port ${port} is out of range, expected 0 to 65535`);
  const host = (match[1] ?? match[2]!).toLowerCase();
  const address = parseIpAddress(host);
  if (
    match[1] !== undefined ? address?.version !== 6 : address === undefined && !isHostName(host)
  ) {
    return new ParseFailure(`${quote(host)} is not an address, ${expected}`);
  }
  const hostname = address === undefined ? host : `${address}`;
  return { transport: transport as "tcp" | "udp", hostname, port };
}
