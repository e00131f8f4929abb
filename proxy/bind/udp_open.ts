/**
 * Which kind of UDP socket WireGuard gets.
 *
 * @module
 */

import { udpUnavailable } from "../../ffi/mod.ts";
import type { UdpBind, UdpBindOptions } from "./udp.ts";
import { DenoUdpBind } from "./udp_deno.ts";
import { FfiUdpBind } from "./udp_ffi.ts";

/** Whether datagrams go in batches, over FFI; where that was not said, why they do not. */
export interface UdpChoice {
  readonly ffi: boolean;
  readonly reason?: string;
}

/**
 * Batches by default, wherever they are available.
 *
 * @param wanted Undefined: whatever this system has.
 * @throws {Error} if they are wanted and not available, with the reason.
 */
export function chooseUdp(
  wanted: boolean | undefined,
  unavailable: () => string | undefined = udpUnavailable,
): UdpChoice {
  if (wanted === false) return { ffi: false };
  const reason = unavailable();
  if (reason === undefined) return { ffi: true };
  if (wanted) throw new Error(reason);
  return { ffi: false, reason };
}

/**
 * @param ffi Whether datagrams go in batches, over FFI.
 * @throws {BindError} if the system does not give that port or address.
 * @throws {Error} where there is no FFI, with the reason.
 */
export function openUdpBind(options: UdpBindOptions, ffi: boolean): UdpBind {
  if (!ffi) return new DenoUdpBind(options);
  const reason = udpUnavailable();
  if (reason !== undefined) throw new Error(`UDP over FFI ${reason}`);
  return new FfiUdpBind(options);
}
