/**
 * Allowed IPs as WireGuard has them, and as the rest of a gateway does.
 *
 * @module
 */

import { IpAddress, Prefix } from "../../netstack/mod.ts";
import type { AllowedIp } from "../../wireguard/mod.ts";

export function toAllowedIp({ address, length }: Prefix): AllowedIp {
  return { address: address.bytes, length };
}

export function toPrefix({ address, length }: AllowedIp): Prefix {
  return new Prefix(new IpAddress(address), length);
}
