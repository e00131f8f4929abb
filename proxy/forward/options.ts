/**
 * What the forwarders are given.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { Admission, FlowLimits } from "../flow/admit.ts";
import type { FlowOwner } from "../flow/flow.ts";
import type { AddressMap } from "../flow/maps.ts";

/** Milliseconds, but for the count. */
export interface ForwardTimeouts {
  readonly tcpDialMs: number;
  readonly tcpHalfCloseMs: number;
  readonly tcpKeepAliveIdleMs: number;
  readonly tcpKeepAliveIntervalMs: number;
  readonly tcpKeepAliveCount: number;
  readonly udpIdleMs: number;
  readonly udpDnsIdleMs: number;
}

/** Who may answer a client's port (RFC 4787 §5): anybody, an address that was asked, or only its port. */
export type UdpFiltering = "endpoint" | "address" | "address-port";

/** What may change while running. */
export interface ForwardSettings {
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
   * @param from What the stack was told about where the packet came from.
   */
  ownerOf(from: unknown, client: IpAddress): FlowOwner;
  /** Looked at whenever a value is needed. */
  readonly settings: Omit<ForwardSettings, "maps">;
  /** Milliseconds, monotonic. */
  now(): number;
  /** A deadline was set outside of the engine's turn, or there is something to send or to receive. */
  wake(): void;
}
