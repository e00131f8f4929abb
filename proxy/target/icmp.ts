/**
 * The seam between sessions of pings and their sockets towards targets.
 *
 * @module
 */

import type { IcmpErrorKind, IpAddress, IpVersion } from "../../netstack/mod.ts";
import type { TargetAddress } from "./address.ts";
import type { UdpTargetsOptions } from "./udp.ts";

/** What a socket hands on, in the engine's turn or outside of it. */
export interface IcmpTargetHandler {
  /**
   * An echo reply has come. The bytes are borrowed until the call returns.
   *
   * @param senders Holds the sender's socket address, its port 0, as words from `sender` on.
   * @param buffer Holds the ICMP message, header included, in `length` bytes from `offset` on.
   * @param hopLimit It came with.
   * @param now Of the turn.
   * @param arrivedAt When it came, where that was in the turn. Default: `now`.
   */
  reply(
    senders: Int32Array,
    sender: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    hopLimit: number,
    now: number,
    arrivedAt?: number,
  ): void;

  /**
   * The network, or this host, says what became of a request.
   *
   * @param receivers Holds the socket address it went to, from `receiver` on.
   * @param sequence The request's.
   * @param mtu For "too-big".
   * @param offender Who says so; undefined if this host does.
   */
  report(
    receivers: Int32Array,
    receiver: number,
    sequence: number,
    kind: IcmpErrorKind,
    mtu: number,
    offender: IpAddress | undefined,
    now: number,
  ): void;
}

/** One identifier towards targets of one family. */
export interface IcmpTargetSocket {
  /**
   * Sends an echo request, at the latest at the end of the engine's turn. The bytes are copied.
   *
   * @param hopLimit It leaves with, 1 to 255.
   * @param dontFragment Of IPv4: it must not be cut. Otherwise this host cuts it if need be.
   * @param buffer Holds the ICMP message of the target's family; the socket sets identifier and checksum.
   */
  send(
    to: TargetAddress,
    hopLimit: number,
    dontFragment: boolean,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): void;
  /** Sends what is to be sent, and closes. The handler is not called again. */
  close(): void;
}

/** All sockets of a gateway that ping. */
export interface IcmpTargets {
  /** Whether {@link drain} has something to do. */
  readonly hasReady: boolean;
  /** Opens a socket with an identifier of its own. @throws if the system has none. */
  open(version: IpVersion, handler: IcmpTargetHandler): IcmpTargetSocket;
  /** Hands on what has come, a bounded batch, as long as the tunnel has room. */
  drain(now: number): void;
  /** Sends what has been collected. */
  flush(): void;
  /** Resolves when nothing is left of any socket. Each has been closed by its owner. */
  close(): Promise<void>;
}

export type IcmpTargetsOptions = UdpTargetsOptions;
