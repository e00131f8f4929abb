/**
 * The seam for a limit on who may send what to whom, before anything is routed.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";

/** Says of every packet that comes in whether it may be here. What may not is refused by ICMP. */
export interface IngressFilter {
  /**
   * @param from Who sent it, as `Stack.handlePacket` was told.
   * @param offset Of its IP header, which is whole, as the packet is.
   * @param length Of the packet, bytes.
   */
  admits(
    from: unknown,
    buffer: Uint8Array,
    offset: number,
    length: number,
    version: IpVersion,
  ): boolean;
}
