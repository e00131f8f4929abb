/**
 * What a device shares with its peers.
 *
 * @module
 */

import type { AllowedIps } from "./allowed_ips.ts";
import type { CookieChecker } from "./cookie.ts";
import type { DeviceCounters } from "./counters.ts";
import type { Crypto } from "./crypto.ts";
import type { Deadlines } from "./deadlines.ts";
import type { Endpoint } from "./endpoint.ts";
import type { IndexTable } from "./index_table.ts";
import type { StaticIdentity } from "./noise.ts";
import type { Rejection, Rejections } from "./rejections.ts";
import type { TimerSettings } from "./settings.ts";

/** Where a device's output goes. */
export interface Sink<Peer> {
  /**
   * A datagram to send.
   *
   * @param mayTake Whether the buffer may be kept beyond the call: it is the one that was given to
   * `Device.sendPacket`, 16 bytes before the packet. Any other is borrowed until the call returns.
   * @returns whether it was taken, which `Device.sendPacket` tells its caller
   * (`SendResult.Taken`); false if it was sent, copied or dropped.
   */
  transmit(
    endpoint: Endpoint,
    buffer: Uint8Array,
    offset: number,
    length: number,
    mayTake: boolean,
  ): boolean;

  /**
   * An inner packet: authenticated, its source one of the peer's allowed IPs, padding cut off.
   * Borrowed until the call returns; it may be modified, and sent again in place.
   */
  receive(peer: Peer, buffer: Uint8Array, offset: number, length: number, now: number): void;

  /** Rare things, for logs and embedders. */
  event?(event: Event<Peer>): void;
}

export type Event<Peer> =
  /** A session is ready for data both ways. */
  | { readonly type: "handshake-complete"; readonly peer: Peer; readonly initiator: boolean }
  /** An initiation was not answered in time and is sent again, for the nth time. */
  | { readonly type: "handshake-retry"; readonly peer: Peer; readonly attempt: number }
  /** No answer for REKEY_ATTEMPT_TIME: given up, waiting packets dropped. */
  | { readonly type: "handshake-failed"; readonly peer: Peer }
  /** The peer has been heard from a new address. */
  | { readonly type: "endpoint-changed"; readonly peer: Peer }
  /** Several answers to the peer's initiations in a row were not confirmed. At most once a minute. */
  | { readonly type: "handshake-unconfirmed"; readonly peer: Peer; readonly answers: number }
  /**
   * A packet of the peer was dropped because its source is not among the peer's allowed IPs. At most
   * once a minute, and never for link-local and unspecified addresses.
   */
  | {
    readonly type: "source-rejected";
    readonly peer: Peer;
    /** 4 or 16 bytes. */
    readonly address: Uint8Array;
    /** Such packets since the last event. */
    readonly suppressed: number;
  }
  /** Nothing for 540 s: the peer's keys have been wiped. */
  | { readonly type: "session-expired"; readonly peer: Peer }
  /** A handshake message was rejected. A few per second at most. */
  | Rejection<Peer>;

/** Secrets, borrowed until the call returns. With those of a handshake all of its session can be read. */
export interface SecretKeys {
  readonly localStaticPrivate: Uint8Array;
  /** Missing when only the device's own key is told. */
  readonly handshake?: {
    readonly remoteStaticPublic: Uint8Array;
    /** Not clamped. */
    readonly localEphemeralPrivate: Uint8Array;
    /** Zeros for none. */
    readonly presharedKey: Uint8Array;
  };
}

/** @typeParam Peer `Peer` of `peer.ts`, which knows this file and not the other way round. */
export interface Context<Peer> {
  readonly crypto: Crypto;
  readonly random: (out: Uint8Array) => void;
  readonly wallClock: () => number;
  readonly sink: Sink<Peer>;
  readonly settings: TimerSettings;
  /** Of inner packets; padding never passes it. */
  readonly mtu: number;
  readonly counters: DeviceCounters;
  readonly indices: IndexTable<Peer>;
  readonly deadlines: Deadlines;
  readonly allowedIps: AllowedIps<Peer>;
  readonly cookies: CookieChecker;
  readonly rejections: Rejections<Peer>;
  /** Peers whose initiation is due, in turn. */
  readonly initiations: Set<Peer>;
  /** Replaced when the private key changes. */
  identity: StaticIdentity;
  /** Told the secrets of every handshake, before it is sent; undefined unless somebody asked for them. */
  logKeys: ((keys: SecretKeys) => void) | undefined;
}

/** Sends a datagram and counts it. @returns as {@link Sink.transmit}. */
export function transmit<Peer>(
  context: Context<Peer>,
  endpoint: Endpoint,
  buffer: Uint8Array,
  offset: number,
  length: number,
  mayTake = false,
): boolean {
  context.counters.datagramsSent++;
  context.counters.bytesSent += length;
  return context.sink.transmit(endpoint, buffer, offset, length, mayTake);
}
