/**
 * A device of the operating system in place of the stack's own addresses: what peers send goes to it,
 * but what is proxied or another peer's, and what comes from it goes to the peers.
 *
 * @module
 */

import type { Arena } from "../arena/arena.ts";
import type { GatewayConfig } from "../config/config.ts";
import type { EngineLink } from "../engine/link_port.ts";
import type { Engine } from "../engine/engine.ts";
import { FlowOwner } from "../flow/flow.ts";
import type { HostGuard } from "../flow/host_guard.ts";
import type { PacketLink } from "../link/packet_link.ts";
import { Prefix } from "../../netstack/mod.ts";

/** Opens a device in a gateway's memory. */
export type OpenDevice = (arena: Arena, options: DeviceLinkOptions) => PacketLink;

export interface DeviceLinkOptions {
  /** Bytes. */
  readonly mtu: number;
  /** Whether what comes from the device has somewhere to go. */
  readonly hasRoom: () => boolean;
}

/** A device that has been attached. */
export interface AttachedDevice {
  readonly port: EngineLink;
  /** Whose the packets are that come from it, or go to it. */
  readonly owner: FlowOwner;
}

/**
 * @param onClosed The device is gone: somebody has removed it.
 */
export function attachDevice(
  engine: Engine,
  arena: Arena,
  open: OpenDevice,
  { mtu, addresses, peerToPeer }: Pick<GatewayConfig, "mtu" | "addresses" | "peerToPeer">,
  onClosed: (error?: Error) => void,
): AttachedDevice {
  const link = open(arena, { mtu, hasRoom: () => engine.hasRoom });
  const { name } = link;
  const owner = new FlowOwner(() => name);
  const port = engine.addLink(link, {
    name,
    mtu,
    forwarding: true,
    keepsHopLimit: true, // as a device of WireGuard's own in the kernel
    from: owner,
    onClosed,
  });
  const { nic1 } = engine;
  nic1.forwarding = true;
  nic1.forwardsBack = peerToPeer;
  nic1.uplink = port.nic;
  for (const { address } of addresses) {
    // Of a peer that has everything, these would be too.
    engine.stack.routes.insert(Prefix.of(address), port.nic);
  }
  return { port, owner };
}

/** For a device by which peers get out: what they send there is held to what targets are held to. */
export function guardHost(
  { stack, nic1 }: Engine,
  device: FlowOwner,
  { addresses }: Pick<GatewayConfig, "addresses">,
): HostGuard {
  return {
    covers({ owner, destination: { bytes, version } }) {
      if (owner === device) return false;
      const nic = stack.routes.lookup(bytes, 0, version);
      return nic === undefined || nic === nic1.uplink || nic === nic1 && !nic1.forwardsBack;
    },
    isTunnels: (asked) => addresses.some(({ address }) => address.equals(asked)),
  };
}
