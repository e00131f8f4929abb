/**
 * This host's way to targets: what dials, what makes UDP sockets, and which addresses are its own.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { Dialer } from "../flow/stream.ts";
import { OwnAddresses } from "./own_address.ts";
import { HostDialer } from "./tcp.ts";
import type { UdpTargets, UdpTargetsOptions } from "./udp.ts";
import { openUdpTargets } from "./udp_open.ts";

/** A simulation has one of its own. */
export interface TargetHost {
  readonly dialer: Dialer;
  openUdp(options: UdpTargetsOptions): UdpTargets;
  /** Whether an address, not loopback, is one of this host's; undefined if that is not known. */
  isOwnAddress(target: IpAddress): boolean | undefined;
  close(): void;
}

/**
 * @param now Milliseconds, monotonic.
 * @param ffi Whether UDP sockets are over FFI.
 * @param onFailed Called with the system's code, such as `EMFILE`, when a socket could not be opened.
 */
export function openTargetHost(
  now: () => number,
  ffi: boolean,
  onFailed: (code: string | undefined) => void,
): TargetHost {
  const own = new OwnAddresses(now, ffi);
  return {
    dialer: new HostDialer(onFailed),
    openUdp: (options) => openUdpTargets(options, ffi),
    isOwnAddress: (target) => own.isOwn(target),
    close: () => own.close(),
  };
}
