/**
 * Which kind of socket UDP sessions get.
 *
 * @module
 */

import { DenoTargetSockets } from "./target_socket_deno.ts";
import { FfiTargetSockets } from "./target_socket_ffi.ts";
import type { TargetSockets, TargetSocketsOptions } from "./target_socket.ts";
import { udpBindDefault } from "./udp_bind_open.ts";

/**
 * @param ffi Whether datagrams go in batches, over FFI, which WireGuard's own socket then does as well.
 * @throws {Error} where there is no FFI.
 */
export function openTargetSockets(
  options: TargetSocketsOptions,
  ffi = udpBindDefault.ffi,
): TargetSockets {
  return ffi ? new FfiTargetSockets(options) : new DenoTargetSockets(options);
}
