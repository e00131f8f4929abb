/**
 * Members as plain values, for the state file.
 *
 * @module
 */

import { IpAddress, type Prefix } from "../../netstack/mod.ts";
import { parseIpAddress, parsePrefix } from "../address.ts";
import { decodeKey, encodeKey } from "../base64.ts";
import type { MapConfig } from "../config/checked.ts";
import { ParseFailure, parseMap, parsePeerName } from "../config/values.ts";
import type { Member, MemberState } from "./member.ts";

/** What a `Date` can be, ms. */
const MAX_TIME = 8.64e15;
const STATES: readonly MemberState[] = ["invited", "bound", "used", "revoked"];

export function memberToJson(member: Member): Record<string, unknown> {
  const { tokenKey, tlsPin, publicKey, link, addresses, allowedIps, subnets, maps, ...rest } =
    member;
  return {
    ...rest,
    tokenKey: encodeKey(tokenKey),
    ...(tlsPin && { tlsPin: encodeKey(tlsPin) }),
    ...(publicKey && { publicKey: encodeKey(publicKey) }),
    link: `${link}`,
    addresses: addresses.map(String),
    allowedIps: allowedIps.map(String),
    subnets: subnets.map(String),
    maps: maps.map(({ from, to }) => `${from} -> ${to}`),
  };
}

/** @throws {TypeError} naming the field that is wrong. */
export function memberFromJson(value: unknown): Member {
  const from = new Fields(value);
  const publicKey = from.optional("publicKey", keyOf);
  const state = from.one("state", (text) => STATES.find((state) => state === text));
  if ((state === "bound" || state === "used") && publicKey === undefined) {
    throw new TypeError("publicKey");
  }
  const [joinedAt, usedAt, revokedAt, certifiedAt] =
    (["joinedAt", "usedAt", "revokedAt", "certifiedAt"] as const).map((name) =>
      from.optional(name, timeOf)
    );
  const certificate = from.optional("certificate", textOf);
  const tlsPin = from.optional("tlsPin", keyOf);
  return {
    tokenKey: from.one("tokenKey", keyOf),
    name: from.one(
      "name",
      (text) => typeof text === "string" ? fit(parsePeerName(text)) : undefined,
    ),
    isClient: from.one("isClient", (flag) => typeof flag === "boolean" ? flag : undefined),
    state,
    invitedAt: from.one("invitedAt", timeOf),
    expiresAt: from.one("expiresAt", timeOf),
    link: from.one("link", addressOf),
    addresses: from.list("addresses", addressOf),
    allowedIps: from.list("allowedIps", prefixOf),
    subnets: from.list("subnets", prefixOf),
    maps: from.list("maps", mapOf),
    endpoints: from.list("endpoints", textOf),
    fallbacks: from.list("fallbacks", textOf),
    ...(tlsPin && { tlsPin }),
    ...(publicKey && { publicKey }),
    ...(joinedAt !== undefined && { joinedAt }),
    ...(usedAt !== undefined && { usedAt }),
    ...(revokedAt !== undefined && { revokedAt }),
    ...(certificate !== undefined && { certificate }),
    ...(certifiedAt !== undefined && { certifiedAt }),
  };
}

class Fields {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(value: unknown) {
    if (typeof value !== "object" || value === null) throw new TypeError("a member");
    this.#values = value as Record<string, unknown>;
  }

  one<T>(name: string, parse: (value: unknown) => T | undefined): T {
    const parsed = parse(this.#values[name]);
    if (parsed === undefined) throw new TypeError(name);
    return parsed;
  }

  optional<T>(name: string, parse: (value: unknown) => T | undefined): T | undefined {
    return this.#values[name] === undefined ? undefined : this.one(name, parse);
  }

  list<T>(name: string, parse: (value: unknown) => T | undefined): T[] {
    return this.one(name, (value) => {
      if (!Array.isArray(value)) return undefined;
      const parsed = value.map(parse);
      return parsed.every((one) => one !== undefined) ? parsed : undefined;
    });
  }
}

function fit<T>(parsed: T | ParseFailure): T | undefined {
  return parsed instanceof ParseFailure ? undefined : parsed;
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function timeOf(value: unknown): number | undefined {
  return Number.isInteger(value) && Math.abs(value as number) <= MAX_TIME
    ? value as number
    : undefined;
}

export function keyOf(value: unknown): Uint8Array | undefined {
  return typeof value === "string" ? decodeKey(value) : undefined;
}

function addressOf(value: unknown): IpAddress | undefined {
  return typeof value === "string" ? parseIpAddress(value) : undefined;
}

function prefixOf(value: unknown): Prefix | undefined {
  return typeof value === "string" ? parsePrefix(value) : undefined;
}

function mapOf(value: unknown): MapConfig | undefined {
  return typeof value === "string" ? fit(parseMap(value)) : undefined;
}
