/**
 * What keeps packets that pass through to this host's own network away from this host itself.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { FlowRequest } from "./flow.ts";
import { isSingle } from "./maps.ts";
import type { Rule } from "./rule.ts";

/** For a server whose clients get out by a device of its own: the kernel behind it would serve them. */
export interface HostGuard {
  /** Whether a flow would begin at a peer, and leave by that device. */
  covers(request: Pick<FlowRequest, "owner" | "destination">): boolean;
  /** Whether an address is the tunnel's own, which may be pinged as one without a device. */
  isTunnels(address: IpAddress): boolean;
}

/** Whether a rule names an address by itself, and so may let clients have what is this host's. */
export function namesAddress(rule: Rule | undefined, address: IpAddress): boolean {
  return rule?.to.some((to) => typeof to !== "string" && isSingle(to) && to.contains(address)) ??
    false;
}
