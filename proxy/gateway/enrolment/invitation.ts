/**
 * An invitation as it was asked for, checked against the gateway that gives it.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { bareHost, hostAndPort, parseIpAddress } from "../../address.ts";
import type { GatewayConfig, MapConfig } from "../../config/checked.ts";
import { ConfigError } from "../../config/error.ts";
import {
  parseEndpoint,
  ParseFailure,
  parsePeerName,
  parsePrefixValue,
  quote,
  splitList,
} from "../../config/values.ts";
import { parseFallback } from "../../config/relay_values.ts";
import { parseDuration } from "../../enrol/duration.ts";
import { type Member, servedPrefixes } from "../../enrol/member.ts";
import { MAX_ENDPOINTS, MAX_FALLBACKS } from "../../enrol/token.ts";
import { isSafeTarget } from "../../flow/safe_targets.ts";
import { outermost } from "../prefix_list.ts";

/** As on a command line. */
export interface InvitationRequest {
  readonly name: string;
  /** `HOST:PORT`, or `HOST` with the gateway's port. */
  readonly endpoints: readonly string[];
  readonly subnets: readonly string[];
  /** The first is how others reach the first of the subnets, and so on. */
  readonly maps: readonly string[];
  readonly isClient: boolean;
  /** Default an hour. */
  readonly expires?: string;
  readonly allowedIps?: string;
  readonly fallbacks: readonly string[];
}

/** What is known of a machine that is invited. */
export type Invitation =
  & Pick<
    Member,
    "name" | "isClient" | "allowedIps" | "subnets" | "maps" | "endpoints" | "fallbacks"
  >
  & { readonly lifetimeMs: number };

/** Whom an invitation must not get in the way of. */
export interface Site {
  readonly config: Pick<GatewayConfig, "addresses" | "addressPool">;
  /** Bound UDP port. */
  readonly port: number;
  isNameTaken(name: string): boolean;
  /** Where peers come when UDP does not get through to it; undefined if it signs no certificates. */
  readonly relay: readonly { readonly transport: string; readonly port: number }[] | undefined;
  readonly members: readonly Member[];
  /** What others have, with their names. */
  readonly taken: readonly { readonly name: string; readonly prefix: Prefix }[];
}

const DEFAULT_LIFETIME = "1h";
/** Where agents' networks are mapped to. A client that has all of it needs nothing for a later one. */
const SHARED_SPACE = new Prefix(IpAddress.v4(100, 64, 0, 0), 10);
const MAX_PREFIXES = 64;

/** @throws {ConfigError} naming everything that is wrong with it. */
export function checkInvitation(request: InvitationRequest, site: Site): Invitation {
  const problems: string[] = [];
  const take = <T>(parsed: T | ParseFailure, where: string): T[] => {
    if (!(parsed instanceof ParseFailure)) return [parsed];
    problems.push(`${where}: ${parsed.message}`);
    return [];
  };
  const { name, isClient, allowedIps } = request;
  take(parsePeerName(name), "NAME");
  if (problems.length === 0 && site.isNameTaken(name)) {
    problems.push(
      `NAME: ${name} is taken, expected another one, or wirestack revoke ${quote(name)} first`,
    );
  }
  const endpoints = request.endpoints.flatMap((text) =>
    take(endpointOf(text, site.port), "--endpoint")
  );
  if (request.endpoints.length === 0) {
    problems.push("--endpoint: missing, expected HOST[:PORT] where the machine reaches this hub");
  }
  if (endpoints.length > MAX_ENDPOINTS) {
    problems.push(`--endpoint: ${endpoints.length} of them, expected ${MAX_ENDPOINTS} at most`);
  }
  const lifetime = take(parseDuration(request.expires ?? DEFAULT_LIFETIME), "--expires");
  const prefixes = (texts: readonly string[], flag: string) =>
    texts.flatMap(splitList).flatMap((text) => take(parsePrefixValue(text), flag));
  const subnets = prefixes(request.subnets, "--subnet");
  const froms = prefixes(request.maps, "--map");
  if (isClient && request.subnets.length + request.maps.length > 0) {
    problems.push("--client: has no subnets, expected --subnet and --map without it");
  } else if (!isClient && request.subnets.length === 0) {
    problems.push(
      "--subnet: missing, expected what the machine is to serve, such as 192.168.1.0/24, or --client",
    );
  }
  const fallbacks = request.fallbacks.length > 0
    ? request.fallbacks.flatMap((text) => take(parseFallback(text), "--fallback")).map(urlOf)
    : defaultFallbacks(endpoints, site.relay ?? []);
  if (request.fallbacks.length > 0 && site.relay === undefined) {
    problems.push(
      "--fallback: needs a certificate of its own on the machine, expected [Relay] with a ClientCaKey",
    );
  }
  if (fallbacks.length > MAX_FALLBACKS) {
    problems.push(`--fallback: ${fallbacks.length} of them, expected ${MAX_FALLBACKS} at most`);
  }
  const maps = mapsOf(froms, subnets, problems);
  const unsafe = [...subnets, ...froms].filter(({ address, length }) =>
    length > 0 && !isSafeTarget(address)
  );
  for (const prefix of unsafe) {
    const flag = subnets.includes(prefix) ? "--subnet" : "--map";
    problems.push(`${flag}: ${prefix} is no network of others, expected one behind the machine`);
  }
  if (unsafe.length === 0) {
    for (const prefix of servedPrefixes({ subnets, maps })) {
      problems.push(...overlaps(prefix, maps, site));
    }
  }
  const allowed = allowedIps === undefined
    ? defaultAllowedIps(site.config, isClient)
    : prefixes([allowedIps], "--allowed-ips");
  if (allowed.length === 0 && problems.length === 0) {
    problems.push("--allowed-ips: is empty, expected what the machine sends through the tunnel");
  }
  for (const [what, list] of [["--subnet", subnets], ["--allowed-ips", allowed]] as const) {
    if (list.length > MAX_PREFIXES) {
      problems.push(`${what}: ${list.length} of them, expected ${MAX_PREFIXES} at most`);
    }
  }
  if (problems.length > 0) throw new ConfigError([...new Set(problems)]);
  return {
    name,
    isClient,
    allowedIps: allowed,
    subnets,
    maps,
    endpoints,
    fallbacks,
    lifetimeMs: lifetime[0]!,
  };
}

/** Who serves the same network under the same addresses: one takes over when the other is gone. */
export function twinsOf(invitation: Pick<Member, "subnets" | "maps">, members: readonly Member[]) {
  const own = new Set(servedPrefixes(invitation).map(String));
  return members.filter((member) => servedPrefixes(member).some((prefix) => own.has(`${prefix}`)));
}

/** At the same hosts, at each port of [Relay]. */
function defaultFallbacks(
  endpoints: readonly string[],
  relay: NonNullable<Site["relay"]>,
): string[] {
  const hosts = endpoints.map((text) => text.replace(/:\d+$/, ""));
  return [...new Set(hosts)].flatMap((host) =>
    relay.map(({ transport, port }) => `${transport}://${host}:${port}`)
  ).slice(0, MAX_FALLBACKS);
}

function urlOf({ url }: { readonly url: string }): string {
  return url;
}

function endpointOf(text: string, port: number): string | ParseFailure {
  const parsed = parseEndpoint(text);
  if (!(parsed instanceof ParseFailure)) return hostAndPort(parsed.hostname, parsed.port);
  const host = parseIpAddress(bareHost(text))?.toString() ?? text;
  const withPort = hostAndPort(host, port);
  return parseEndpoint(withPort) instanceof ParseFailure ? parsed : withPort;
}

function mapsOf(
  froms: readonly Prefix[],
  subnets: readonly Prefix[],
  problems: string[],
): MapConfig[] {
  if (froms.length > subnets.length) {
    problems.push(
      `--map: ${froms.length} for ${subnets.length} subnets, expected one for each --subnet at most`,
    );
    return [];
  }
  return froms.flatMap((from, i) => {
    const to = subnets[i]!;
    if (from.version === to.version && from.length === to.length) return [{ from, to }];
    problems.push(`--map: ${from} is not as large as ${to}, expected a prefix of the same length`);
    return [];
  });
}

/** Addresses can lead to one network alone. */
function overlaps(prefix: Prefix, maps: readonly MapConfig[], site: Site): string[] {
  const flag = maps.some(({ from }) => from.equals(prefix)) ? "--map" : "--subnet";
  const { addresses, addressPool } = site.config;
  const own = [
    ...addresses.map(({ address, length }) => new Prefix(address, length)),
    ...addressPool,
  ];
  const inside = own.find((network) => network.covers(prefix));
  if (inside !== undefined) {
    return [
      `${flag}: ${prefix} is in the tunnel's own network ${inside}, expected another (--map)`,
    ];
  }
  const to = maps.find(({ from }) => from.equals(prefix))?.to ?? prefix;
  for (const member of site.members) {
    const same = servedPrefixes(member).findIndex((other) => other.equals(prefix));
    if (same < 0) continue;
    const theirs = member.subnets[same]!;
    if (theirs.equals(to)) continue;
    return [
      `${flag}: ${prefix} leads to ${theirs} behind ${member.name} already, expected other addresses ` +
      `for ${to}`,
    ];
  }
  const other = site.taken.find(({ prefix: taken }) =>
    !taken.equals(prefix) && taken.length > 0 && prefix.length > 0 &&
    (prefix.covers(taken) || taken.covers(prefix))
  );
  return other === undefined ? [] : [
    `${flag}: ${prefix} overlaps ${other.prefix} of ${other.name}, expected other addresses (--map)`,
  ];
}

function defaultAllowedIps(
  { addresses, addressPool }: Site["config"],
  isClient: boolean,
): Prefix[] {
  return outermost([
    ...addresses.map(({ address, length }) => new Prefix(address, length)),
    ...addressPool,
    ...isClient ? [SHARED_SPACE] : [],
  ]);
}
