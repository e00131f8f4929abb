/**
 * A server's way out by the kernel, `up --tun --masquerade`: from the configuration, and what the
 * kernel says of this host, to the steps that let the tunnel's clients out by one device, and nothing
 * else.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import { SystemTunnelError } from "./error.ts";
import { type ForeignChain, openingCommands, openingRules, openingUndo } from "./foreign_chains.ts";
import {
  type Masquerade,
  masqueradeScript,
  masqueradeTable,
  type Outlets,
} from "./masquerade_script.ts";
import { isDevice, type Step, sysctlSteps } from "./step.ts";

export interface MasqueradeSettings {
  /** The tunnel's. */
  readonly device: string;
  /** Of the tunnel, bytes. */
  readonly mtu: number;
  /** Whose packets get out: the tunnel's networks, the pool's, the peers' allowed IPs. */
  readonly networks: readonly Prefix[];
  /** Missing: that of the default route, of each family. */
  readonly outlet?: string;
  /** Whether somebody else's chain that drops what is forwarded is opened. */
  readonly force: boolean;
}

/** A default route of the main table. */
export interface DefaultRoute {
  readonly version: 4 | 6;
  /** A device's name. */
  readonly device: string;
  /** By a router's advertisement. */
  readonly isAdvertised: boolean;
}

/** What the kernel and this host say. */
export interface MasqueradeView {
  /** Names of this host's devices. */
  readonly devices: readonly string[];
  /** The best first. */
  readonly defaultRoutes: readonly DefaultRoute[];
  /** Somebody else's that drop what is forwarded. */
  readonly closedChains: readonly ForeignChain[];
  /** Value of a setting of sysctl; undefined if there is none. */
  sysctl(key: string): string | undefined;
}

export interface MasqueradePlan {
  readonly steps: readonly Step[];
  /** What was planned, for later changes of the networks. */
  readonly masquerade: Masquerade;
  /** A line each, for the user. */
  readonly warnings: readonly string[];
}

/** @throws {SystemTunnelError} if there is no such way out. */
export function planMasquerade(
  settings: MasqueradeSettings,
  view: MasqueradeView,
): MasqueradePlan {
  const { device, mtu, force } = settings;
  const networks = settings.networks.filter(({ length }) => length > 0);
  const outlets = outletsOf(settings, view);
  const closed = view.closedChains.filter((chain) => standsInTheWay(chain, outlets));
  const switches = [
    ...(outlets[4] === undefined ? [] : ipv4Switches(device, outlets[4], view)),
    ...(outlets[6] === undefined ? [] : ipv6Switches(device, outlets[6], view)),
  ];
  const masquerade: Masquerade = {
    device,
    mtu,
    outlets,
    networks,
    closesIpv6: switches.some(({ action }) =>
      action.kind === "sysctl" && action.key === ALL_IPV6 && view.sysctl(ALL_IPV6) === "0"
    ),
  };
  const steps: Step[] = [
    // Before anything is forwarded: nobody gets through in between.
    {
      title: `nft: masquerade ${device} by ${[...new Set(Object.values(outlets))].join(" and ")}`,
      action: { kind: "nft", script: masqueradeScript(masquerade) },
      undo: masqueradeTable(device),
    },
    ...switches,
    ...(force ? closed.map((chain) => openingStep(chain, device, outlets)) : []),
  ];
  return {
    steps,
    masquerade,
    warnings: force ? [] : closed.map((chain) => closedWarning(chain, device, outlets)),
  };
}

/** Whether a chain sees packets of a family that gets out. */
export function standsInTheWay({ family }: ForeignChain, outlets: Outlets): boolean {
  return family === "inet" || outlets[family === "ip" ? 4 : 6] !== undefined;
}

/** That a chain drops what clients send, and how it is opened. */
export function closedWarning(chain: ForeignChain, device: string, outlets: Outlets): string {
  // On one line, as a shell takes it.
  const lines = openingCommands(chain, device, outlets).join("; ");
  return `${chain.family} ${chain.table} ${chain.chain}: drops what is forwarded ` +
    `(${chain.why}), so no client gets out until it is opened by --masquerade-force, or by: ${lines}`;
}

const ALL_IPV6 = "net.ipv6.conf.all.forwarding";

/** As sysctl names a setting of a device: dots of its name are slashes. */
export function deviceSetting(version: 4 | 6, device: string, name: string): string {
  return `net.ipv${version}.conf.${device.replaceAll(".", "/")}.${name}`;
}

/** @throws {SystemTunnelError} if there is none. */
export function outletsOf(
  settings: Pick<MasqueradeSettings, "device" | "networks" | "outlet">,
  { devices, defaultRoutes }: Pick<MasqueradeView, "devices" | "defaultRoutes">,
): Outlets {
  const { device, outlet } = settings;
  const networks = settings.networks.filter(({ length }) => length > 0);
  if (outlet !== undefined) {
    if (outlet === device) {
      throw new SystemTunnelError(
        `--masquerade: ${outlet} is the tunnel itself, expected the device that leads out`,
      );
    }
    if (!devices.includes(outlet) || !isDevice(outlet) || outlet === "lo") {
      const known = devices.filter((name) => name !== "lo" && name !== device);
      const what = outlet === "lo" ? "lo leads nowhere" : `there is no device ${outlet}`;
      throw new SystemTunnelError(`--masquerade: ${what}, expected one of ${known.join(", ")}`);
    }
  }
  const versions = ([4, 6] as const).filter((version) =>
    networks.some((network) => network.version === version)
  );
  if (versions.length === 0) {
    throw new SystemTunnelError(
      "--masquerade: the tunnel has no network, expected one in Address, AddressPool or AllowedIPs",
    );
  }
  const found = versions.flatMap((version) => {
    const route = defaultRoutes.find((route) =>
      route.version === version && route.device !== device && isDevice(route.device)
    );
    const name = outlet ?? route?.device;
    return name === undefined ? [] : [[version, name] as const];
  });
  if (found.length === 0) {
    throw new SystemTunnelError(
      "--masquerade: this host has no default route, expected --masquerade=DEVICE",
    );
  }
  return Object.fromEntries(found);
}

function ipv4Switches(device: string, outlet: string, view: MasqueradeView): Step[] {
  return [
    ...tunnelSwitch(deviceSetting(4, device, "forwarding")),
    ...sysctlSteps(deviceSetting(4, outlet, "forwarding"), "1", view),
  ];
}

/**
 * From Linux 6.17 on a device can forward by itself. Before, all do or none: then a host that takes its
 * default route from advertisements would lose it, unless it is told to go on listening to them.
 */
function ipv6Switches(device: string, outlet: string, view: MasqueradeView): Step[] {
  const own = deviceSetting(6, outlet, "force_forwarding");
  if (view.sysctl(own) !== undefined) {
    return [
      ...tunnelSwitch(deviceSetting(6, device, "force_forwarding")),
      ...sysctlSteps(own, "1", view),
    ];
  }
  const isOn = view.sysctl(ALL_IPV6) === "1";
  const steps: Step[] = [];
  if (!isOn) {
    const advertised = view.defaultRoutes.filter((route) =>
      route.version === 6 && route.isAdvertised
    ).map((route) => route.device);
    for (const name of new Set(advertised)) {
      const key = deviceSetting(6, name, "accept_ra");
      if (view.sysctl(key) === "1") steps.push(...sysctlSteps(key, "2", view));
    }
    for (const name of view.devices) {
      // Taking the switch back puts all of them to 0: this one is put to 1 again after that.
      const key = deviceSetting(6, name, "forwarding");
      if (view.sysctl(key) !== "1") continue;
      steps.push({
        title: `sysctl ${key}=1, as it is`,
        action: { kind: "sysctl", key, value: "1" },
        undo: { kind: "sysctl", key, value: "0", before: "1" },
      });
    }
  }
  return [...steps, ...sysctlSteps(ALL_IPV6, "1", view)];
}

/** The tunnel's device takes its settings along when it goes. */
function tunnelSwitch(key: string): Step[] {
  return [{ title: `sysctl ${key}=1`, action: { kind: "sysctl", key, value: "1" } }];
}

/** @throws {SystemTunnelError} for a chain that its owner alone can change. */
export function openingStep(chain: ForeignChain, device: string, outlets: Outlets): Step {
  const { family, table, chain: name } = chain;
  if (chain.isOwned) {
    throw new SystemTunnelError(
      `--masquerade-force: ${family} ${table} ${name} can be changed by its owner alone, expected ${
        openingCommands(chain, device, outlets).join(" and ")
      }`,
    );
  }
  return {
    title: `nft: ${family} ${table} ${name} lets ${device} through`,
    action: {
      kind: "nft",
      script: openingRules(chain, device, outlets).join("\n"),
    },
    undo: openingUndo(chain, device),
  };
}
