/**
 * What the forwarders are given.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { Admission, FlowLimits, RuleSettings } from "../flow/admit.ts";
import type { FlowOwner } from "../flow/flow.ts";
import type { AddressMap } from "../flow/maps.ts";
import type { DnsServer } from "../target/dns_client.ts";

/** Milliseconds, but for the count. */
export interface ForwardTimeouts {
  readonly tcpDialMs: number;
  readonly tcpHalfCloseMs: number;
  readonly tcpKeepAliveIdleMs: number;
  readonly tcpKeepAliveIntervalMs: number;
  readonly tcpKeepAliveCount: number;
  readonly udpIdleMs: number;
  readonly udpDnsIdleMs: number;
  readonly icmpIdleMs: number;
}

export function hasChanged(
  now: ForwardTimeouts,
  before: ForwardTimeouts,
  ...names: readonly (keyof ForwardTimeouts)[]
): boolean {
  return names.some((name) => now[name] !== before[name]);
}

/**
 * Whose replies reach a client's port (RFC 4787 §5): any endpoint's, those of an address that the
 * client has sent to, or only those of such an address and port.
 */
export type UdpFiltering = "endpoint" | "address" | "address-port";

/** What may change while running. */
export interface ForwardSettings extends RuleSettings {
  /** Who is asked for names of targets; none: the system. */
  readonly nameServers: readonly DnsServer[];
  /** The longest `from` first. */
  readonly maps: readonly AddressMap[];
  readonly timeouts: ForwardTimeouts;
  readonly limits: FlowLimits;
  readonly udpFiltering: UdpFiltering;
}

export interface ForwarderOptions {
  readonly admission: Admission;
  /**
   * Whose a client's flows are.
   *
   * @param from As given to `Stack.handlePacket` with the packet.
   */
  ownerOf(from: unknown, client: IpAddress): FlowOwner;
  /** Looked at whenever a value is needed. */
  readonly settings: Omit<ForwardSettings, "maps" | "nameServers" | keyof RuleSettings>;
  /** Milliseconds, monotonic. */
  now(): number;
  /** A deadline was set outside of the engine's turn, or there is something to send or to receive. */
  wake(): void;
}
