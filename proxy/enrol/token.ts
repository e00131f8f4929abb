/**
 * A token of enrolment as text: `wsk1`, then base64url of its length, its fields and a checksum. The
 * length is what tells a token that was cut off from one that was damaged. One that says how to come where
 * UDP does not get through begins with `wsk2`: older programs, which do not know of that, say so.
 *
 * Whoever has the text may enrol one machine, once: it goes into no log and no message.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { IpAddress } from "../../netstack/mod.ts";
import { KEY_LENGTH } from "../base64.ts";
import { parseFallback } from "../config/relay_values.ts";
import { parseEndpoint, ParseFailure, parsePeerName } from "../config/values.ts";

/** What a token says. */
export interface Token {
  /** 32 bytes: who the machine is until it has a key of its own. */
  readonly privateKey: Uint8Array;
  /** 32 bytes. */
  readonly hubKey: Uint8Array;
  /** When the hub stops taking it, ms since the Unix epoch, whole seconds. */
  readonly expiresAt: number;
  readonly isClient: boolean;
  /** Whether the hub signs a certificate for it. */
  readonly isCertified: boolean;
  /** What the machine is called. */
  readonly name: string;
  /** `HOST:PORT` each, one at least. */
  readonly endpoints: readonly string[];
  /** Where the hub is when UDP does not get through, `tls://HOST:PORT` or `grpc://HOST:PORT` each. */
  readonly fallbacks: readonly string[];
  /** SHA-256 of the hub's public key for TLS, 32 bytes; with {@link fallbacks} alone. */
  readonly hubPin?: Uint8Array;
  /** The machine's address in the tunnel while it enrols. */
  readonly link: IpAddress;
  /** Where the hub's service listens in the tunnel; of the same family as {@link link}. */
  readonly service: { readonly address: IpAddress; readonly port: number };
}

/** Why a text is no token. Says nothing of what is in it. */
export class TokenError extends Error {
  override readonly name = "TokenError";
}

const PREFIX = "wsk1";
const PREFIX_WITH_FALLBACKS = "wsk2";
/** Of the whole text, with a name, endpoints and fallbacks of full length. */
export const MAX_TOKEN_LENGTH = 6144;
export const MAX_ENDPOINTS = 8;
export const MAX_FALLBACKS = 8;
const CHECKSUM_LENGTH = 4;
const LENGTH_LENGTH = 2;
const IS_CLIENT = 1;
const IS_IPV6 = 2;
const IS_CERTIFIED = 4;
/** A fallback's first byte: over gRPC; at a place of its own, or at the host of the endpoint of this number. */
const IS_GRPC = 128;
const IS_ELSEWHERE = 64;
const KNOWN_FLAGS = IS_CLIENT | IS_IPV6 | IS_CERTIFIED;
/** Characters that tell the length: three hold two bytes. */
const HEAD = PREFIX.length + 3;

/** @throws {RangeError} for a name, an endpoint or a fallback that is too long, or too many of them. */
export function encodeToken(token: Token): string {
  const { link, service, endpoints, fallbacks, hubPin } = token;
  if (endpoints.length === 0 || endpoints.length > MAX_ENDPOINTS) {
    throw new RangeError(`a token has 1 to ${MAX_ENDPOINTS} endpoints, got ${endpoints.length}`);
  }
  if (fallbacks.length > MAX_FALLBACKS || fallbacks.length > 0 !== (hubPin !== undefined)) {
    throw new RangeError(`a token has ${MAX_FALLBACKS} fallbacks at most, and a pin with them`);
  }
  const isIpv6 = link.version === 6;
  const body = [
    new Uint8Array(LENGTH_LENGTH),
    token.privateKey,
    token.hubKey,
    unsigned(Math.floor(token.expiresAt / 1000), 5),
    unsigned(
      (token.isClient ? IS_CLIENT : 0) | (isIpv6 ? IS_IPV6 : 0) |
        (token.isCertified ? IS_CERTIFIED : 0),
      1,
    ),
    link.bytes,
    service.address.bytes,
    unsigned(service.port, 2),
    text(token.name),
    unsigned(endpoints.length, 1),
    ...endpoints.map(text),
    ...hubPin === undefined ? [] : [
      hubPin,
      unsigned(fallbacks.length, 1),
      ...fallbacks.flatMap((url) => fallbackBytes(url, endpoints)),
    ],
  ];
  const length = body.reduce((sum, part) => sum + part.length, CHECKSUM_LENGTH);
  body[0] = unsigned(length, LENGTH_LENGTH);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of body) {
    bytes.set(part, at);
    at += part.length;
  }
  bytes.set(checksum(bytes.subarray(0, at)), at);
  const prefix = hubPin === undefined ? PREFIX : PREFIX_WITH_FALLBACKS;
  return prefix + toBase64(bytes);
}

/**
 * @param given White space in it, of a line that was broken, is left out.
 * @throws {TokenError} saying what is wrong with it, without showing it.
 */
export function decodeToken(given: string): Token {
  const compact = given.length > 2 * MAX_TOKEN_LENGTH ? given : given.replace(/\s+/g, "");
  if (compact === "") throw new TokenError("is empty, expected what wirestack invite has printed");
  if (compact.length < PREFIX.length && PREFIX.startsWith(compact)) throw cutOff(compact.length);
  const hasFallbacks = compact.startsWith(PREFIX_WITH_FALLBACKS);
  if (!hasFallbacks && !compact.startsWith(PREFIX)) {
    throw new TokenError(
      /^wsk\d/.test(compact)
        ? "is of another version, expected one that begins with wsk1 or wsk2: is this Wirestack as new as the hub's?"
        : "is no token, expected what wirestack invite has printed, which begins with wsk1 or wsk2",
    );
  }
  if (compact.length > MAX_TOKEN_LENGTH || !/^\w[\w-]*$/.test(compact)) {
    throw new TokenError("has characters that no token has, expected it as it was printed");
  }
  if (compact.length < HEAD) throw cutOff(compact.length);
  const [high, low] = fromBase64(compact.slice(PREFIX.length, HEAD)) ?? [];
  const length = (high ?? 0) << 8 | (low ?? 0);
  const expected = PREFIX.length + Math.ceil(length * 4 / 3);
  if (expected < HEAD || expected > MAX_TOKEN_LENGTH) throw damaged();
  if (compact.length < expected) throw cutOff(compact.length, expected);
  if (compact.length > expected) {
    throw new TokenError(
      `is ${compact.length - expected} characters too long, expected it as it was printed`,
    );
  }
  const encoded = compact.slice(PREFIX.length);
  const bytes = fromBase64(encoded);
  // The last character has bits that tell nothing: with others it would be another text of the same token.
  if (bytes?.length !== length || toBase64(bytes) !== encoded) throw damaged();
  const end = length - CHECKSUM_LENGTH;
  if (end < 0 || !checksum(bytes.subarray(0, end)).every((byte, i) => bytes[end + i] === byte)) {
    throw damaged();
  }
  return parse(new Reader(bytes.subarray(LENGTH_LENGTH, end)), hasFallbacks);
}

function parse(reader: Reader, hasFallbacks: boolean): Token {
  const privateKey = reader.bytes(KEY_LENGTH).slice();
  const hubKey = reader.bytes(KEY_LENGTH).slice();
  const expiresAt = reader.unsigned(5) * 1000;
  const flags = reader.unsigned(1);
  if ((flags & ~KNOWN_FLAGS) !== 0) throw damaged();
  const size = (flags & IS_IPV6) !== 0 ? 16 : 4;
  const link = new IpAddress(reader.bytes(size).slice());
  const address = new IpAddress(reader.bytes(size).slice());
  const port = reader.unsigned(2);
  const name = reader.text();
  const count = reader.unsigned(1);
  if (count === 0 || count > MAX_ENDPOINTS || port === 0) throw damaged();
  const endpoints = Array.from({ length: count }, () => reader.text());
  const hubPin = hasFallbacks ? reader.bytes(KEY_LENGTH).slice() : undefined;
  const fallbackCount = hasFallbacks ? reader.unsigned(1) : 0;
  if (fallbackCount > MAX_FALLBACKS || hasFallbacks && fallbackCount === 0) throw damaged();
  const fallbacks = Array.from({ length: fallbackCount }, () => readFallback(reader, endpoints));
  if (!reader.isEmpty) throw damaged();
  // They are shown, and a token may be anybody's: no control characters, and nothing that is no place.
  if (
    parsePeerName(name) instanceof ParseFailure ||
    endpoints.some((endpoint) => parseEndpoint(endpoint) instanceof ParseFailure) ||
    fallbacks.some((url) => parseFallback(url) instanceof ParseFailure)
  ) throw damaged();
  return {
    privateKey,
    hubKey,
    expiresAt,
    isClient: (flags & IS_CLIENT) !== 0,
    isCertified: (flags & IS_CERTIFIED) !== 0,
    name,
    endpoints,
    fallbacks,
    ...(hubPin && { hubPin }),
    link,
    service: { address, port },
  };
}

/** Mostly it is the host of an endpoint, at another port. */
function fallbackBytes(url: string, endpoints: readonly string[]): Uint8Array[] {
  const [, transport, place] = /^(tls|grpc):\/\/(.+)$/.exec(url) ?? [];
  if (transport === undefined) throw new RangeError("a fallback in a token is tls:// or grpc://");
  const kind = transport === "grpc" ? IS_GRPC : 0;
  const [host, port] = hostAndPortOf(place!);
  const same = endpoints.findIndex((endpoint) => hostAndPortOf(endpoint)[0] === host);
  return same < 0
    ? [unsigned(kind | IS_ELSEWHERE, 1), text(place!)]
    : [unsigned(kind | same, 1), unsigned(Number(port), 2)];
}

function readFallback(reader: Reader, endpoints: readonly string[]): string {
  const first = reader.unsigned(1);
  const transport = (first & IS_GRPC) !== 0 ? "grpc" : "tls";
  const same = first & ~IS_GRPC;
  if (same === IS_ELSEWHERE) return `${transport}://${reader.text()}`;
  const endpoint = endpoints[same];
  if (endpoint === undefined) throw damaged();
  return `${transport}://${hostAndPortOf(endpoint)[0]}:${reader.unsigned(2)}`;
}

function hostAndPortOf(place: string): [string, string] {
  const at = place.lastIndexOf(":");
  return [place.slice(0, at), place.slice(at + 1)];
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isEmpty(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** @throws {TokenError} if there are fewer. */
  bytes(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw damaged();
    return this.#bytes.subarray(this.#at, this.#at += length);
  }

  unsigned(length: number): number {
    return this.bytes(length).reduce((sum, byte) => sum * 256 + byte, 0);
  }

  text(): string {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(this.bytes(this.unsigned(1)));
    } catch {
      throw damaged();
    }
  }
}

function unsigned(value: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = length - 1; at >= 0; at--) {
    bytes[at] = value % 256;
    value = Math.floor(value / 256);
  }
  return bytes;
}

function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  if (bytes.length > 255) throw new RangeError("a text in a token has 255 bytes at most");
  const all = new Uint8Array(bytes.length + 1);
  all[0] = bytes.length;
  all.set(bytes, 1);
  return all;
}

/** Against a slip of the hand, not against an enemy: the handshake is that. */
function checksum(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest().subarray(0, CHECKSUM_LENGTH);
}

function toBase64(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text, { alphabet: "base64url" });
  } catch {
    return undefined;
  }
}

function cutOff(length: number, expected?: number): TokenError {
  return new TokenError(
    expected === undefined
      ? "is cut off, expected all of what wirestack invite has printed"
      : `is cut off: ${length} of its ${expected} characters, expected all of them`,
  );
}

function damaged(): TokenError {
  return new TokenError("is damaged: a character is not as it was printed, expected a copy of it");
}
