/**
 * Which kind of UDP socket WireGuard gets.
 *
 * @module
 */

import { udpUnavailable } from "../../ffi/mod.ts";
import type { UdpBind, UdpBindOptions } from "./udp.ts";
import { DenoUdpBind } from "./udp_deno.ts";
import { FfiUdpBind } from "./udp_ffi.ts";

/** What a gateway gets whose options do not say. Tests set it, so as to run over both kinds. */
export const udpBindDefault = { ffi: false };

/**
 * @param ffi Whether datagrams go in batches, over FFI.
 * @throws {SettingError} if the system does not give that port or address.
 * @throws {Error} where there is no FFI, with the reason.
 */
export function openUdpBind(options: UdpBindOptions, ffi = udpBindDefault.ffi): UdpBind {
  if (!ffi) return new DenoUdpBind(options);
  const reason = udpUnavailable();
  if (reason !== undefined) throw new Error(`UDP over FFI ${reason}`);
  return new FfiUdpBind(options);
}
