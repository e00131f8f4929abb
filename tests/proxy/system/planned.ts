/**
 * What tests of plans begin with: a tunnel to nowhere, and a host that nobody has changed.
 *
 * @module
 */

import { parseInterfaceAddress, parsePrefix } from "../../../proxy/address.ts";
import type { HostView, TunnelSettings } from "../../../proxy/system/plan.ts";

export const SETTINGS: TunnelSettings = {
  device: "wg0",
  addresses: [parseInterfaceAddress("10.9.0.2/24")!],
  allowedIps: [],
  table: "auto",
  mtu: 1420,
  killSwitch: false,
  dns: { servers: [], domains: [] },
};

export const HOST: HostView = {
  tables: new Set([254, 255]),
  priorities: { 4: [0, 32766, 32767], 6: [0, 32766] },
  hasIpv6: true,
  sysctl: () => "0",
  dnsMethod: "file",
};

export function prefixes(...texts: string[]) {
  return texts.map((text) => parsePrefix(text)!);
}
