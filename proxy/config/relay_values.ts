/**
 * Values of [Relay], and of a peer's fallbacks, from text.
 *
 * @module
 */

import { hostAndPort, parseIpAddress } from "../address.ts";
import type { AllowedClient, RelayListen, RelayTransport, TunnelPlace } from "./checked.ts";
import { parseEndpoint, ParseFailure, quote } from "./values.ts";

/** A fallback of a peer's, as it is written. */
export interface FallbackPlace {
  readonly url: string;
  readonly transport: RelayTransport;
  readonly hostname: string;
  readonly port: number;
}

/** `tls:ADDRESS:PORT` or `grpc:ADDRESS:PORT`. Port 0 is any free one. */
export function parseRelayListen(text: string): RelayListen | ParseFailure {
  const expected = "expected tls:ADDRESS:PORT or grpc:ADDRESS:PORT, as tls:0.0.0.0:443";
  const [, transport, bracketed, plain, digits] =
    /^(tls|grpc):(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  if (transport === undefined) {
    return new ParseFailure(`${quote(text)} is no place to listen, ${expected}`);
  }
  const port = Number(digits);
  if (port > 65535) return new ParseFailure(`port ${port} is out of range, expected 0 to 65535`);
  const address = parseIpAddress(bracketed ?? plain!);
  if (address === undefined || (bracketed !== undefined) !== (address.version === 6)) {
    return new ParseFailure(`${quote(bracketed ?? plain!)} is not an address, ${expected}`);
  }
  return { transport: transport as RelayTransport, hostname: `${address}`, port };
}

/** As it is written. */
export function formatRelayListen({ transport, hostname, port }: RelayListen): string {
  return `${transport}:${hostAndPort(hostname, port)}`;
}

/** `tls://HOST:PORT` or `grpc://HOST:PORT`. */
export function parseFallback(text: string): FallbackPlace | ParseFailure {
  const [, transport, rest] = /^(tls|grpc):\/\/([^/?#@]*)\/?$/.exec(text) ?? [];
  const place = rest === undefined ? undefined : parseEndpoint(rest);
  if (place === undefined || place instanceof ParseFailure) {
    return new ParseFailure(
      `${quote(text)} is no fallback, expected tls://HOST:PORT or grpc://HOST:PORT`,
    );
  }
  return { url: text.replace(/\/$/, ""), transport: transport as RelayTransport, ...place };
}

/** `ADDRESS:PORT` or `[IPV6]:PORT`. */
export function parseRenewAt(text: string): TunnelPlace | ParseFailure {
  const place = parseEndpoint(text);
  const address = place instanceof ParseFailure ? undefined : parseIpAddress(place.hostname);
  return place instanceof ParseFailure || address === undefined
    ? new ParseFailure(
      `${quote(text)} is no place in the tunnel, expected ADDRESS:PORT or [IPV6]:PORT`,
    )
    : { address, port: place.port };
}

const PIN = /^sha256\/([A-Za-z0-9+/]{43}=)$/;

/** `sha256/` and the hash of a public key in base64, as of HTTP Public Key Pinning (RFC 7469 §2.4). */
export function parsePin(text: string): Uint8Array | ParseFailure {
  const digits = PIN.exec(text)?.[1];
  return digits !== undefined ? Uint8Array.fromBase64(digits) : new ParseFailure(
    `${quote(text)} is no pin, expected sha256/ and 44 characters of base64`,
  );
}

/** A pin, or a name in a certificate. */
export function parseAllowedClient(text: string): AllowedClient | ParseFailure {
  if (text.startsWith("sha256/")) return parsePin(text);
  return text.length <= 255 && !/[\p{Cc}/]/u.test(text) ? text.toLowerCase() : new ParseFailure(
    `${quote(text)} is neither, expected a name in a certificate, or its key as sha256/…`,
  );
}
