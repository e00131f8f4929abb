/**
 * What a tunnel has made of this host, in one line of the log.
 *
 * @module
 */

import { type HostView, routeSteps, type TunnelSettings } from "./plan.ts";
import type { Step } from "./step.ts";

/**
 * @param mark Of WireGuard's datagrams, and then the table of default routes.
 * @param more Steps beside the tunnel's own; the first one's title says what they are for.
 */
export function describeTunnel(
  settings: TunnelSettings,
  { dnsMethod }: Pick<HostView, "dnsMethod">,
  mark: number | undefined,
  more: readonly Step[] = [],
): string {
  const { device, mtu, allowedIps, table, killSwitch, dns } = settings;
  const count = routeSteps(settings).length;
  const defaults = table === "auto"
    ? ([4, 6] as const).filter((version) =>
      allowedIps.some((prefix) => prefix.length === 0 && prefix.version === version)
    )
    : [];
  const parts = [
    `device ${device}`,
    `MTU ${mtu}`,
    ...(count > 0 ? [`routes ${count}`] : []),
    ...(defaults.length > 0
      ? [`default route of IPv${defaults.join(" and IPv")} by table ${mark}`]
      : []),
    ...(dns.servers.length > 0
      ? [
        `name servers ${dns.servers.join(" ")} by ${
          dnsMethod === "file" ? "/etc/resolv.conf" : dnsMethod
        }`,
      ]
      : []),
    ...(killSwitch ? ["kill switch"] : []),
    ...more.slice(0, 1).map(({ title }) => title.replace(/^nft: /, "")),
  ];
  return parts.join(", ");
}
