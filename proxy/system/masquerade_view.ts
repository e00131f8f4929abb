/**
 * What this host has to do with a masquerade, from the kernel.
 *
 * @module
 */

import { type LinuxSystem, type Nftables } from "../../ffi/mod.ts";
import { MAIN_TABLE, type Netlink, RouteProtocol } from "../../ffi/netlink/mod.ts";
import { closedForwardChains } from "./foreign_chains.ts";
import type { DefaultRoute, MasqueradeView } from "./masquerade.ts";
import { sysctlPath } from "./step.ts";

/** @param device The tunnel's. @throws {Error} if the kernel does not say. */
export function masqueradeView(
  device: string,
  { netlink, nftables, system }: {
    readonly netlink: Netlink;
    readonly nftables: Nftables;
    readonly system: LinuxSystem;
  },
): MasqueradeView {
  return {
    ...outletView(netlink),
    closedChains: closedForwardChains(nftables.run("list ruleset", { json: true }), device),
    sysctl: (key) => system.readText(sysctlPath(key))?.trim(),
  };
}

/** What a way out is chosen by, which everybody may ask for. */
export function outletView(netlink: Netlink): Pick<MasqueradeView, "devices" | "defaultRoutes"> {
  const names = new Map(netlink.links().map(({ index, name }) => [index, name]));
  const defaultRoutes = netlink.routes({ table: MAIN_TABLE })
    .filter(({ destination, type }) => destination.endsWith("/0") && type === "unicast")
    .toSorted((a, b) => a.metric - b.metric)
    .flatMap(({ version, device, nextHops, protocol }): DefaultRoute[] => {
      const name = names.get(device ?? nextHops[0]?.device ?? 0);
      const isAdvertised = protocol === RouteProtocol.RA;
      return name === undefined ? [] : [{ version, device: name, isAdvertised }];
    });
  return { devices: [...names.values()], defaultRoutes };
}
