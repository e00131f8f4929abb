/**
 * Which kind of socket UDP sessions get.
 *
 * @module
 */

import { DenoTargetSockets } from "./udp_deno.ts";
import { FfiTargetSockets } from "./udp_ffi.ts";
import type { TargetSockets, TargetSocketsOptions } from "./udp.ts";

/**
 * @param ffi Whether datagrams go in batches, over FFI, which WireGuard's own socket then does as well.
 * @throws {Error} where there is no FFI.
 */
export function openTargetSockets(
  options: TargetSocketsOptions,
  ffi: boolean,
): TargetSockets {
  return ffi ? new FfiTargetSockets(options) : new DenoTargetSockets(options);
}
