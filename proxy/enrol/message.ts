/**
 * What a machine and the hub say to each other when it enrols, and when it wants another certificate: one
 * line of JSON each way, over a TCP connection in the tunnel. Both sides parse as if the other were an
 * enemy.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../netstack/mod.ts";
import { parseIpAddress, parsePrefix, socketAddress } from "../address.ts";
import { decodeKey, encodeKey } from "../base64.ts";
import type { MapConfig, TunnelPlace } from "../config/checked.ts";
import { parseRenewAt } from "../config/relay_values.ts";
import { parseEndpoint, ParseFailure } from "../config/values.ts";

/** A machine hands in its key; or, as the peer with that key, asks for another certificate. */
export interface EnrolRequest {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** A request for a certificate (RFC 2986), PEM. */
  readonly certificateRequest?: string;
  /** Whether it asks for another certificate before the one it gets is over. */
  readonly renews?: boolean;
}

/** Another way to the hub, where UDP does not get through. */
export interface FallbackGrant {
  /** `tls://HOST:PORT` or `grpc://HOST:PORT`. */
  readonly url: string;
  /** `sha256/…` each. */
  readonly pins: readonly string[];
}

/** What a machine is to be configured with. */
export interface Grant {
  readonly isClient: boolean;
  /** In the tunnel, one of each family at most. */
  readonly addresses: readonly IpAddress[];
  /** What it sends through the tunnel, and takes from it. */
  readonly allowedIps: readonly Prefix[];
  /** What an agent serves. */
  readonly subnets: readonly Prefix[];
  /** How others reach some of them. */
  readonly maps: readonly MapConfig[];
  /** `HOST:PORT` each. */
  readonly endpoints: readonly string[];
  /** Bytes. */
  readonly mtu: number;
  readonly fallbacks: readonly FallbackGrant[];
  /** Its own, for them, PEM. */
  readonly certificate?: string;
  /** Where it gets another one, in the tunnel. */
  readonly renewAt?: TunnelPlace;
}

/** Why a machine is not enrolled. */
export const REFUSALS = [
  /** The token's machine has had its first handshake. */
  "used",
  /** Another key was handed in with this token. */
  "bound",
  "expired",
  "revoked",
  /** The key is somebody's already. */
  "key",
  /** No address is free any more. */
  "full",
  /** The hub cannot write its state. */
  "state",
  /** The hub cannot sign the request for a certificate. */
  "certificate",
  /** Another peer has its name by now. */
  "name",
  "malformed",
] as const;
export type RefusalReason = typeof REFUSALS[number];

/** A certificate in PEM is what a peer has asked for that is enrolled. */
export type EnrolAnswer =
  | { readonly grant: Grant }
  | { readonly renewed: string }
  | { readonly refused: RefusalReason };

/** Bytes of a line, the line break included. */
export const MAX_REQUEST = 8192;
export const MAX_ANSWER = 65_536;
const MAX_LIST = 256;
const MAX_PEM = 4096;

export function formatRequest({ publicKey, certificateRequest, renews }: EnrolRequest): string {
  return line({
    version: 1,
    publicKey: encodeKey(publicKey),
    ...(certificateRequest !== undefined && { certificateRequest }),
    ...(renews && { renews }),
  });
}

/** @returns undefined unless it is one. */
export function parseRequest(text: string): EnrolRequest | undefined {
  const value = parseObject(text, MAX_REQUEST);
  if (value === undefined || value.version !== 1 || typeof value.publicKey !== "string") {
    return undefined;
  }
  const publicKey = decodeKey(value.publicKey);
  const { certificateRequest } = value;
  if (publicKey === undefined) return undefined;
  if (certificateRequest === undefined) return { publicKey };
  return isPem(certificateRequest, "CERTIFICATE REQUEST")
    ? { publicKey, certificateRequest, ...(value.renews === true && { renews: true }) }
    : undefined;
}

export function formatAnswer(answer: EnrolAnswer): string {
  if ("refused" in answer) return line({ version: 1, refused: answer.refused });
  if ("renewed" in answer) return line({ version: 1, renewed: answer.renewed });
  const { grant } = answer;
  return line({
    version: 1,
    grant: {
      ...grant,
      addresses: grant.addresses.map(String),
      allowedIps: grant.allowedIps.map(String),
      subnets: grant.subnets.map(String),
      maps: grant.maps.map(({ from, to }) => [`${from}`, `${to}`]),
      ...(grant.renewAt && { renewAt: socketAddress(grant.renewAt.address, grant.renewAt.port) }),
    },
  });
}

/** @returns undefined unless it is one, complete and with nothing in it that is not to be there. */
export function parseAnswer(text: string): EnrolAnswer | undefined {
  const value = parseObject(text, MAX_ANSWER);
  if (value === undefined || value.version !== 1) return undefined;
  const refused = REFUSALS.find((reason) => reason === value.refused);
  if (refused !== undefined) return { refused };
  const { renewed } = value;
  if (renewed !== undefined) return isPem(renewed, "CERTIFICATE") ? { renewed } : undefined;
  const grant = isObject(value.grant) ? parseGrant(value.grant) : undefined;
  return grant && { grant };
}

function parseGrant(value: Readonly<Record<string, unknown>>): Grant | undefined {
  const { isClient, mtu } = value;
  const addresses = listOf(value.addresses, parseIpAddress);
  const allowedIps = listOf(value.allowedIps, parsePrefix);
  const subnets = listOf(value.subnets, parsePrefix);
  const maps = listOf(value.maps, parseMapPair);
  const endpoints = listOf(value.endpoints, parseEndpointText);
  const fallbacks = listOf(value.fallbacks, parseFallback);
  const { certificate } = value;
  const renewAt = typeof value.renewAt === "string" ? parseRenewAt(value.renewAt) : undefined;
  if (
    renewAt instanceof ParseFailure || typeof isClient !== "boolean" || !Number.isInteger(mtu) ||
    (mtu as number) < 576 ||
    (mtu as number) > 65_535 || addresses === undefined || addresses.length === 0 ||
    allowedIps === undefined || allowedIps.length === 0 || subnets === undefined ||
    maps === undefined || endpoints === undefined || endpoints.length === 0 ||
    fallbacks === undefined || certificate !== undefined && !isPem(certificate, "CERTIFICATE")
  ) return undefined;
  return {
    isClient,
    mtu: mtu as number,
    addresses,
    allowedIps,
    subnets,
    maps,
    endpoints,
    fallbacks,
    ...(certificate !== undefined && { certificate }),
    ...(renewAt !== undefined && { renewAt }),
  };
}

function listOf<T>(value: unknown, parse: (text: never) => T | undefined): T[] | undefined {
  if (!Array.isArray(value) || value.length > MAX_LIST) return undefined;
  const parsed = value.map((one) => {
    const isFit = typeof one === "string" || typeof one === "object";
    return isFit ? parse(one as never) : undefined;
  });
  return parsed.every((one) => one !== undefined) ? parsed : undefined;
}

function parseMapPair(value: unknown): MapConfig | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [from, to] = value.map((text) => typeof text === "string" ? parsePrefix(text) : undefined);
  return from !== undefined && to !== undefined && from.version === to.version &&
      from.length === to.length
    ? { from, to }
    : undefined;
}

function parseEndpointText(text: string): string | undefined {
  return typeof text === "string" && !(parseEndpoint(text) instanceof ParseFailure)
    ? text
    : undefined;
}

function parseFallback(value: unknown): FallbackGrant | undefined {
  if (!isObject(value)) return undefined;
  const { url } = value;
  const pins = listOf(
    value.pins,
    (pin: string) =>
      typeof pin === "string" && /^sha256\/[A-Za-z0-9+/]{43}=$/.test(pin) ? pin : undefined,
  );
  if (typeof url !== "string" || pins === undefined) return undefined;
  const place = /^(?:tls|grpc):\/\/(.+)$/.exec(url)?.[1];
  return place !== undefined && parseEndpointText(place) !== undefined ? { url, pins } : undefined;
}

/** One block, and nothing around it. */
function isPem(value: unknown, label: string): value is string {
  return typeof value === "string" && value.length <= MAX_PEM &&
    new RegExp(`^-----BEGIN ${label}-----\\n[A-Za-z0-9+/=\\n]+\\n-----END ${label}-----\\n?$`)
      .test(value);
}

function parseObject(text: string, limit: number): Readonly<Record<string, unknown>> | undefined {
  if (text.length > limit) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}
