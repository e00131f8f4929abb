/**
 * The seam between UDP sessions and their sockets towards targets.
 *
 * @module
 */

import type { IcmpErrorKind, IpAddress, IpVersion } from "../../netstack/mod.ts";
import type { TargetAddress } from "./address.ts";

/** What a socket hands on, in the engine's turn or outside of it. */
export interface UdpTargetHandler {
  /**
   * A datagram has come. The bytes are borrowed until the call returns.
   *
   * @param senders Holds the sender's socket address (struct sockaddr_in or sockaddr_in6) as words
   * from `sender` on.
   */
  datagram(
    senders: Int32Array,
    sender: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void;

  /**
   * The network, or this host, says what became of a datagram.
   *
   * @param receivers Holds the socket address it went to, from `receiver` on.
   * @param mtu For "too-big".
   * @param offender Who says so; undefined if this host does.
   */
  report(
    receivers: Int32Array,
    receiver: number,
    kind: IcmpErrorKind,
    mtu: number,
    offender: IpAddress | undefined,
    now: number,
  ): void;

  /** The socket is of no use any more, and not closed yet. */
  failed(): void;
}

export interface UdpTargetSocket {
  /**
   * Sends a datagram, at the latest at the end of the engine's turn. The bytes are copied.
   *
   * @param hopLimit It leaves with, where the system's sockets can; 0 for the system's own choice.
   * @returns false if there was no buffer for it.
   */
  send(
    to: TargetAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
    hopLimit: number,
  ): boolean;
  /** Sends what is to be sent, and closes. The handler is not called again. */
  close(): void;
}

/** All sockets of a gateway towards its UDP targets. */
export interface UdpTargets {
  /** Whether {@link drain} has something to do. */
  readonly hasReady: boolean;
  /** Opens a socket on a port of its own. @throws if the system has none. */
  open(version: IpVersion, handler: UdpTargetHandler): UdpTargetSocket;
  /** Hands on what has come, a bounded batch, as long as the tunnel has room. */
  drain(now: number): void;
  /** Sends what has been collected. */
  flush(): void;
  /** Resolves when nothing is left of any socket. Each has been closed by its owner. */
  close(): Promise<void>;
}

/** Totals since the start. */
export interface UdpTargetCounters {
  /** The system refused a datagram for a target. */
  sendErrors: number;
  /** No buffer was free for a datagram to a target. */
  noBuffer: number;
  receiveErrors: number;
}

export interface UdpTargetsOptions {
  readonly counters: UdpTargetCounters;
  /** Milliseconds, monotonic. */
  now(): number;
  /** Asks for a turn of the engine's. */
  wake(): void;
  /** Whether the tunnel takes more. What it does not take waits in the kernel. */
  hasRoom(): boolean;
}
