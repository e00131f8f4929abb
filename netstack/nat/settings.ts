/**
 * How a NAT is set up.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";

/** Who may send to a mapping (RFC 4787 §5): anybody, or whom its host has sent to. */
export type NatFiltering = "endpoint" | "address" | "address-port";

export interface NatOptions {
  /**
   * What hosts behind the NAT appear as: one address of a family at most. A family without one is
   * routed as it is.
   */
  readonly addresses: readonly IpAddress[];
  /** Fills its argument with unpredictable bytes: ports must not be guessed (RFC 6056). */
  random(out: Uint8Array): void;
  /** Default "address". */
  readonly filtering?: NatFiltering;
  /** External ports, and identifiers of pings, of each protocol and family. Default 1 to 65,535. */
  readonly ports?: { readonly first: number; readonly last: number };
  /** Remote ends of all mappings together; default 131,072. */
  readonly maxSessions?: number;
  /**
   * Whom the table is shared by when it is full: the addresses behind the NAT (for IPv6 their /64),
   * the default, or the senders that `Stack.handlePacket` was told.
   */
  readonly shareBy?: "address" | "sender";
  /** Without anything outbound, ms; at least 2 minutes (RFC 4787 REQ-5), default 5. */
  readonly udpMs?: number;
  /** At least 60 s (RFC 5508 REQ-2), the default. */
  readonly icmpMs?: number;
  /** At least 2 h 4 min (RFC 5382 REQ-5), the default. */
  readonly tcpEstablishedMs?: number;
  /** Of connections that begin, end or were reset; at least 4 min, the default. */
  readonly tcpTransitoryMs?: number;
}

export type NatSettings = Required<Omit<NatOptions, "addresses" | "random">>;

const LEAST_UDP_MS = 120_000;
const LEAST_ICMP_MS = 60_000;
const LEAST_ESTABLISHED_MS = 7_440_000;
const LEAST_TRANSITORY_MS = 240_000;

const DEFAULTS: NatSettings = {
  filtering: "address",
  ports: { first: 1, last: 65_535 },
  maxSessions: 131_072,
  shareBy: "address",
  udpMs: 300_000,
  icmpMs: LEAST_ICMP_MS,
  tcpEstablishedMs: LEAST_ESTABLISHED_MS,
  tcpTransitoryMs: LEAST_TRANSITORY_MS,
};

/**
 * Fills in the defaults.
 *
 * @throws {RangeError} for what is out of range.
 */
export function natSettings(options: NatOptions): NatSettings {
  const given = Object.entries(options).filter(([key, value]) =>
    key in DEFAULTS && value !== undefined
  );
  const settings: NatSettings = { ...DEFAULTS, ...Object.fromEntries(given) };
  const { first, last } = settings.ports;
  for (const port of [first, last]) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new RangeError(`a NAT's ports are 1 to 65535, got ${port}`);
    }
  }
  if (first > last) throw new RangeError(`a NAT's ports are from ${first} to ${last}: none`);
  if (!Number.isInteger(settings.maxSessions) || settings.maxSessions < 1) {
    throw new RangeError(`a NAT has 1 session or more, got ${settings.maxSessions}`);
  }
  atLeast("UDP", settings.udpMs, LEAST_UDP_MS, "RFC 4787 REQ-5");
  atLeast("ICMP", settings.icmpMs, LEAST_ICMP_MS, "RFC 5508 REQ-2");
  atLeast("established TCP", settings.tcpEstablishedMs, LEAST_ESTABLISHED_MS, "RFC 5382 REQ-5");
  atLeast("transitory TCP", settings.tcpTransitoryMs, LEAST_TRANSITORY_MS, "RFC 5382 REQ-5");
  const families = options.addresses.map(({ version }) => version);
  if (families.length === 0 || new Set(families).size < families.length) {
    throw new RangeError(
      `a NAT has one address of a family, or one of each, got ${options.addresses.join(", ")}`,
    );
  }
  return settings;
}

function atLeast(what: string, ms: number, least: number, why: string): void {
  if (ms >= least && Number.isFinite(ms)) return;
  throw new RangeError(`a NAT's time for ${what} is ${least} ms or more (${why}), got ${ms}`);
}
