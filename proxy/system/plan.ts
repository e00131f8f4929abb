/**
 * From a configuration, and what the kernel says of this host, to the steps that make a tunnel of it:
 * what `wg-quick up` does, in its order.
 *
 * @module
 */

import { socketAddress } from "../address.ts";
import { killSwitchScript, killSwitchTable } from "./kill_switch_script.ts";
import { bypassScript, bypassSteps, type Destination } from "./bypass_steps.ts";
import { SystemTunnelError } from "./error.ts";
import {
  type BypassPriorities,
  bypassPriorities,
  freeTable,
  ownTableRoutes,
  ownTableSteps,
  protectionSteps,
  routeSteps,
  type RoutingSettings,
  type RoutingView,
} from "./routing.ts";
import type { DnsMethod, Step } from "./step.ts";

/** What of a configuration a plan is about. */
export interface TunnelSettings extends RoutingSettings {
  /** Where connections go that bear no mark, and yet carry the tunnel. Default: nowhere. */
  readonly bypass?: readonly Destination[];
  /** Of WireGuard's datagrams, and then the table of default routes too. Missing: chosen. */
  readonly fwMark?: number;
  /** Bytes. */
  readonly mtu: number;
  readonly killSwitch: boolean;
  readonly dns: { readonly servers: readonly string[]; readonly domains: readonly string[] };
}

/** What the kernel and this host say. */
export interface HostView extends RoutingView {
  readonly dnsMethod: DnsMethod;
}

export interface Plan {
  /** Of WireGuard's datagrams; missing: none is needed, and none was configured. */
  readonly mark?: number;
  readonly bypassPriorities: BypassPriorities;
  readonly steps: readonly Step[];
  /** Those of {@link steps} that a table of the tunnel's own takes. */
  readonly ownSteps: readonly Step[];
}

/** @throws {SystemTunnelError} if this host cannot have such a tunnel. */
export function planTunnel(settings: TunnelSettings, host: HostView): Plan {
  const { device, addresses, killSwitch, dns } = settings;
  checkIpv6(settings, host);
  const own = ownTableRoutes(settings);
  const mark = settings.fwMark ??
    (own.length > 0 || killSwitch ? freeTable(host.tables) : undefined);
  const priorities = bypassPriorities(own, host.priorities);
  const protection = protectionSteps(settings, host, mark!);
  const ownTable = ownTableSteps(settings, mark!, priorities);
  const bypass = settings.bypass ?? [];
  const steps: Step[] = [];
  if (killSwitch) {
    steps.push({
      title: `nft: nothing leaves around ${device} (KillSwitch)`,
      action: { kind: "nft", script: killSwitchScript(device, mark!) },
      undo: killSwitchTable(device),
    });
    if (bypass.length > 0) {
      steps.push({
        title: `nft: TCP to ${
          bypass.map(({ address, port }) => socketAddress(address, port)).join(", ")
        } passes`,
        action: { kind: "nft", script: bypassScript(device, bypass) },
      });
    }
  }
  for (const { address, length } of addresses) {
    steps.push({
      title: `address add ${address}/${length} dev ${device}`,
      action: { kind: "address", device, address: `${address}/${length}` },
    });
  }
  steps.push({
    title: `link set ${device} mtu ${settings.mtu} up`,
    action: { kind: "link", device, mtu: settings.mtu },
  });
  if (dns.servers.length > 0) steps.push(dnsStep(settings, host.dnsMethod));
  steps.push(...protection);
  // Before the routes: no connection that is there already goes astray in between.
  steps.push(...bypassSteps(bypass, priorities));
  steps.push(...routeSteps(settings));
  steps.push(...ownTable);
  return {
    ...(mark !== undefined && { mark }),
    bypassPriorities: priorities,
    steps,
    ownSteps: [...protection, ...ownTable],
  };
}

function dnsStep({ device, dns }: TunnelSettings, method: DnsMethod): Step {
  const how = { resolvconf: "resolvconf", resolvectl: "resolvectl", file: "/etc/resolv.conf" };
  return {
    title: `name servers ${[...dns.servers, ...dns.domains].join(" ")} by ${how[method]}`,
    action: { kind: "dns", method, device, ...dns },
    undo: { kind: "dns", method, device },
  };
}

/** @throws {SystemTunnelError} */
export function checkIpv6(
  { addresses, allowedIps }: Pick<TunnelSettings, "addresses" | "allowedIps">,
  host: Pick<HostView, "hasIpv6">,
): void {
  if (host.hasIpv6) return;
  const own = addresses.find(({ address }) => address.version === 6)?.address ??
    allowedIps.find(({ version }) => version === 6);
  if (own === undefined) return;
  throw new SystemTunnelError(`${own}: this host has no IPv6, expected addresses of IPv4 alone`);
}
