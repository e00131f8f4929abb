/**
 * Which kind of UDP socket WireGuard gets.
 *
 * @module
 */

import { udpUnavailable } from "../../ffi/mod.ts";
import type { UdpBind, UdpBindOptions } from "./udp.ts";
import { DenoUdpBind } from "./udp_deno.ts";
import { FfiUdpBind } from "./udp_ffi.ts";

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
