/**
 * What of this host decides over a tunnel: its routes, rules and settings.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { Errno, hasNetAdmin, type LinuxSystem } from "../../ffi/mod.ts";
import { MAIN_TABLE, NetlinkError } from "../../ffi/netlink/mod.ts";
import { chooseDnsMethod } from "./dns.ts";
import { SystemTunnelError } from "./error.ts";
import type { LinuxHost } from "./host.ts";
import type { NetworkNamespace } from "./namespace.ts";
import { isSameNamespace } from "./namespace.ts";
import type { HostView } from "./plan.ts";
import type { RoutingView } from "./routing.ts";
import type { FoundState } from "./state_file.ts";
import type { SysctlUndo } from "./step.ts";

const TUN = "/dev/net/tun";

/**
 * What no tunnel can be without.
 *
 * @throws {SystemTunnelError} naming what is missing.
 */
export function checkAbilities(system: LinuxSystem): void {
  if (!hasNetAdmin()) {
    throw new SystemTunnelError(
      "--tun: this user may not administer the network, expected root, or CAP_NET_ADMIN",
    );
  }
  const problem = system.whyNotUsable(TUN);
  if (problem?.errno === Errno.ENOENT) {
    throw new SystemTunnelError(
      `${TUN}: is not there, expected the kernel's module tun (modprobe tun), or in a container ` +
        "that device to be passed on",
    );
  }
  if (problem !== undefined) {
    throw new SystemTunnelError(
      `${problem.message}, expected this user to read and write it (mode 666, as udev has it)`,
    );
  }
}

/** @throws {SystemTunnelError} if there is a device of that name. */
export function checkDeviceName(host: LinuxHost, device: string): void {
  if (host.netlink.link(device) === undefined) return;
  throw new SystemTunnelError(
    `${device}: is another device of this host, expected another name (--tun=NAME)`,
  );
}

/** @param others The tunnels of this namespace that run, or have left something. */
export function viewOf(host: LinuxHost, others: readonly FoundState[]): HostView {
  return { ...routingView(host, others), dnsMethod: chooseDnsMethod() };
}

/** What of it routes depend on, which takes no program. @param others As for {@link viewOf}. */
export function routingView(host: LinuxHost, others: readonly FoundState[]): RoutingView {
  const { netlink } = host;
  const priorities = (family: 4 | 6) => {
    try {
      return netlink.rules(family).map(({ priority }) => priority);
    } catch (error) {
      if (error instanceof NetlinkError && family === 6) return []; // there is no IPv6
      throw error;
    }
  };
  return {
    tables: new Set(netlink.routes().map(({ table }) => table)),
    priorities: { 4: priorities(4), 6: priorities(6) },
    // Off by default it would be off for the tunnel's device.
    hasIpv6: host.sysctl("net.ipv6.conf.default.disable_ipv6") === "0",
    sysctl: (key) => originalValue(key, others) ?? host.sysctl(key),
  };
}

const ALL_IPV6_FORWARDING = "net.ipv6.conf.all.forwarding";
const IPV6_FORWARDING = /^net\.ipv6\.conf\.[^.]+\.forwarding$/;

/**
 * Of a setting that another tunnel has changed: what it was before that one.
 *
 * @param others As for {@link viewOf}.
 */
export function originalValue(key: string, others: readonly FoundState[]): string | undefined {
  const undos = others.flatMap(({ steps }) => steps.map(({ undo }) => undo));
  const before = (key: string) =>
    undos.find((undo) => undo.kind === "sysctl" && undo.key === key) as SysctlUndo | undefined;
  const found = before(key)?.before;
  if (found !== undefined || !IPV6_FORWARDING.test(key)) return found;
  // The switch for all has put every device's on; who had it on by itself is written down.
  return before(ALL_IPV6_FORWARDING)?.before === "0" ? "0" : undefined;
}

/** Bytes of a packet on the way to an address; undefined without a way, or if it is this host itself. */
export function routeMtu({ netlink }: LinuxHost, address: IpAddress): number | undefined {
  try {
    const { device, mtu } = netlink.lookup(`${address}`);
    return netlink.link(device)?.loopback ? undefined : mtu;
  } catch (error) {
    if (error instanceof NetlinkError) return undefined;
    throw error;
  }
}

/** Of the default route, IPv4's first. */
export function defaultRouteMtu({ netlink }: LinuxHost): number | undefined {
  const route = netlink.routes({ table: MAIN_TABLE }).find(({ destination, device }) =>
    device !== undefined && /\/0$/.test(destination)
  );
  return route && (route.mtu ?? netlink.link(route.device!)?.mtu);
}

/** Those of a namespace that run, but this one. */
export function runningBeside(
  states: readonly FoundState[],
  namespace: NetworkNamespace,
  device: string,
): FoundState[] {
  return recordedBeside(states, namespace, device).filter(({ isRunning }) => isRunning);
}

/**
 * Those and what others have left: they say what a setting was before any tunnel, also where the one
 * that has changed it was killed.
 */
export function recordedBeside(
  states: readonly FoundState[],
  namespace: NetworkNamespace,
  device: string,
): FoundState[] {
  return states.filter(({ record }) =>
    record.device !== device && isSameNamespace(record.namespace, namespace)
  );
}
