/**
 * Forwarders without a gateway: what they are given, and peers that are told apart by the third byte of
 * a client's address.
 *
 * @module
 */

import { parsePrefix } from "../../../proxy/address.ts";
import {
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUTS,
  DEFAULT_UDP_FILTERING,
} from "../../../proxy/config/defaults.ts";
import { Admission, type AdmissionOptions, type FlowLimits } from "../../../proxy/flow/admit.ts";
import { FlowOwner } from "../../../proxy/flow/flow.ts";
import { OwnListeners } from "../../../proxy/flow/own_listeners.ts";
import { Pacing } from "../../../proxy/flow/pacing.ts";
import { FlowTable } from "../../../proxy/flow/table.ts";
import type { ForwarderOptions } from "../../../proxy/forward/options.ts";

export function map(from: string, to: string) {
  return { from: parsePrefix(from)!, to: parsePrefix(to)! };
}

/** Admits everything that is safe, with the defaults. */
export function admission(
  options: Partial<Omit<AdmissionOptions, "settings">> & { limits?: Partial<FlowLimits> } = {},
): Admission {
  const { limits, ...rest } = options;
  return new Admission({
    pacing: new Pacing({ mtu: 1420, now: () => 0, wake() {} }),
    table: new FlowTable(),
    isProxied: () => true,
    isOwnAddress: () => false,
    isHeld: () => true,
    listeners: new OwnListeners(),
    maps: [],
    settings: { limits: { ...DEFAULT_LIMITS, ...limits } },
    ...rest,
  });
}

/** With a map from 10.50.0.0/24 to loopback, and a clock that stands still until it is set. */
export function forwarderOptions(limits: Partial<FlowLimits> = {}) {
  const clock = { now: 0 };
  const owners = new Map<number, FlowOwner>();
  const options: ForwarderOptions = {
    admission: admission({ maps: [map("10.50.0.0/24", "127.0.0.0/24")], limits }),
    ownerOf: (_from, { bytes }) => {
      const peer = bytes[2]!;
      const owner = owners.get(peer) ?? new FlowOwner(() => `peer ${peer}`);
      owners.set(peer, owner);
      return owner;
    },
    settings: {
      timeouts: DEFAULT_TIMEOUTS,
      limits: { ...DEFAULT_LIMITS, ...limits },
      udpFiltering: DEFAULT_UDP_FILTERING,
    },
    now: () => clock.now,
    wake() {},
  };
  return { options, clock };
}
