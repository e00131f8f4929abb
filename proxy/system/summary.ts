/**
 * What a tunnel has made of this host, in one line of the log.
 *
 * @module
 */

import type { HostView, TunnelSettings } from "./plan.ts";
import { ownTableRoutes, routeSteps } from "./routing.ts";
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
  const { device, mtu, killSwitch, dns, bypass = [] } = settings;
  const own = ownTableRoutes(settings);
  const defaults = ([4, 6] as const).filter((version) =>
    own.some((prefix) => prefix.length === 0 && prefix.version === version)
  );
  const circular = own.filter(({ length }) => length > 0);
  const count = routeSteps(settings).length + circular.length;
  const around = [...new Set(bypass.map(({ address }) => `${address}`))];
  const parts = [
    `device ${device}`,
    `MTU ${mtu}`,
    ...(count > 0 ? [`routes ${count}`] : []),
    ...(defaults.length > 0
      ? [`default route of IPv${defaults.join(" and IPv")} by table ${mark}`]
      : []),
    ...(around.length > 0 && (own.length > 0 || killSwitch)
      ? [`fallbacks around it to ${around.join(" and ")}`]
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
