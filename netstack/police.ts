/**
 * The seam for a limit on packets that pass through.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";

/** Says of every packet that is about to leave by another link whether it may. */
export interface TransitPolice {
  /**
   * @param from Who sent it, as `Stack.handlePacket` was told.
   * @param destination Where its destination address is in `buffer`.
   * @param length Of the packet, bytes.
   * @returns false if it is to be dropped.
   */
  admits(
    from: unknown,
    buffer: Uint8Array,
    destination: number,
    version: IpVersion,
    length: number,
    now: number,
  ): boolean;
}
