/**
 * WireGuard's UDP socket, whatever carries the datagrams.
 *
 * @module
 */

import type { IpAddress, MemoryRegion } from "../../netstack/mod.ts";
import type { TransmitPool } from "../arena/transmit_pool.ts";
import { type Bind, BindError } from "./bind.ts";
import type { UdpAddress } from "./udp_address.ts";

export interface UdpBindOptions {
  /** Missing or 0: any free one. */
  readonly port?: number;
  /** The address of this host to bind. Missing: every one, IPv4 and IPv6. */
  readonly address?: string;
  /** As of {@link UdpBind.setMark}. Default 0. */
  readonly mark?: number;
  /** Slots that {@link UdpBind.send} sends without a copy. */
  readonly pool: TransmitPool;
  /** Where datagrams are received, if the bind lets the kernel write them. Default: its own. */
  readonly receiveRegion?: MemoryRegion;
}

/** One socket for IPv4 and IPv6 where the system has both. */
export interface UdpBind extends Bind {
  /** Bound port. */
  readonly port: number;
  /** What was last set by {@link setMark}. */
  readonly mark: number;
  readonly counters: UdpBindCounters;

  /**
   * Where an address and port are.
   *
   * @param scope The interface of a link-local address; 0, the default, for none.
   */
  endpoint(address: IpAddress, port: number, scope?: number): UdpAddress;

  /**
   * Moves to another port or address of this host. What has arrived is still handed over, and what
   * waits leaves by the old socket. The mark stays. Endpoints made before are those of a socket of the
   * old family.
   *
   * @throws {BindError} if the system does not give them; then the old socket stays.
   */
  rebind(to: { readonly port?: number; readonly address?: string }): void;

  /**
   * Marks what is sent, for the system's routing rules (wg-quick's `FwMark`); 0 for none.
   *
   * @throws {BindError} if this user or this kind of socket cannot; then the mark is what it was.
   * The first is caused by a `Deno.errors.PermissionDenied`.
   */
  setMark(mark: number): void;
}

/** Totals since the start. */
export interface UdpBindCounters {
  received: number;
  receivedBytes: number;
  sent: number;
  sentBytes: number;
  /** The system refused a datagram, for any reason; the next six say which. */
  sendErrors: number;
  /** Larger than the path or UDP takes. */
  sendTooLarge: number;
  sendUnreachable: number;
  /** A packet filter refused it. */
  sendNotPermitted: number;
  /** An ICMP error said that the port is closed. */
  sendRefused: number;
  sendNoBuffers: number;
  sendOther: number;
  receiveErrors: number;
  /** No transmit slot was free for a datagram that was built outside the slots. */
  noSlot: number;
}

export function newCounters(): UdpBindCounters {
  return {
    received: 0,
    receivedBytes: 0,
    sent: 0,
    sentBytes: 0,
    sendErrors: 0,
    sendTooLarge: 0,
    sendUnreachable: 0,
    sendNotPermitted: 0,
    sendRefused: 0,
    sendNoBuffers: 0,
    sendOther: 0,
    receiveErrors: 0,
    noSlot: 0,
  };
}

/** Counts a datagram that was refused. @param code Name of the errno. */
export function countSendError(counters: UdpBindCounters, code: string | undefined): void {
  counters.sendErrors++;
  counters[(code !== undefined && REASONS[code]) || "sendOther"]++;
}

const REASONS: Readonly<Record<string, keyof UdpBindCounters>> = {
  EMSGSIZE: "sendTooLarge",
  ENETUNREACH: "sendUnreachable",
  EHOSTUNREACH: "sendUnreachable",
  ENETDOWN: "sendUnreachable",
  EADDRNOTAVAIL: "sendUnreachable",
  EPERM: "sendNotPermitted",
  EACCES: "sendNotPermitted",
  ECONNREFUSED: "sendRefused",
  ENOBUFS: "sendNoBuffers",
  ENOMEM: "sendNoBuffers",
};

/** A socket to send and receive on. @param hostname The address to bind, or `any` of both families. */
export function openOn<Socket>(
  hostname: string | undefined,
  port: number,
  open: (hostname: string) => Socket,
): Socket {
  try {
    if (hostname !== undefined) return open(hostname);
    try {
      return open("::"); // IPv4 arrives here as ::ffff:a.b.c.d
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse || error instanceof Deno.errors.NotCapable) {
        throw error;
      }
      return open("0.0.0.0"); // a system without IPv6
    }
  } catch (error) {
    throw bindError(error, port, hostname);
  }
}

/** A mark that was refused. */
export function markError(message: string, cause?: unknown): BindError {
  return new BindError("mark", message, { cause });
}

function bindError(error: unknown, port: number, address: string | undefined): unknown {
  const options = { cause: error };
  if (error instanceof Deno.errors.AddrInUse) {
    return new BindError("port", `port ${port} is in use, expected a free UDP port`, options);
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    const message = `port ${port} is not permitted to this user, expected one from 1024`;
    return new BindError("port", message, options);
  }
  if (address !== undefined && error instanceof Deno.errors.AddrNotAvailable) {
    const message = `${address} is not an address of this host, expected one that is`;
    return new BindError("address", message, options);
  }
  return error;
}
