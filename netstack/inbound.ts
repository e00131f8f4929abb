/**
 * The description of a packet on its way up.
 *
 * @module
 */

import type { IpVersion } from "./address.ts";
import type { Nic } from "./nic.ts";
import type { Inbound } from "./transport.ts";

/** Describes a packet on its way up. One object, refilled for each. */
export class InboundPacket implements Inbound {
  nic!: Nic;
  ingress!: Nic;
  from: unknown = undefined;
  version: IpVersion = 4;
  local = false;
  buffer: Uint8Array = new Uint8Array(0);
  ipOffset = 0;
  source = 0;
  destination = 0;
  transport = 0;
  length = 0;
  hopLimit = 0;
  trafficClass = 0;
}
