/**
 * Which kind of socket UDP sessions get.
 *
 * @module
 */

import { DenoUdpTargets } from "./udp_deno.ts";
import { FfiUdpTargets } from "./udp_ffi.ts";
import type { UdpTargets, UdpTargetsOptions } from "./udp.ts";

/**
 * @param ffi Whether datagrams go in batches, over FFI, which WireGuard's own socket then does as well.
 * @throws {Error} where there is no FFI.
 */
export function openUdpTargets(options: UdpTargetsOptions, ffi: boolean): UdpTargets {
  return ffi ? new FfiUdpTargets(options) : new DenoUdpTargets(options);
}
