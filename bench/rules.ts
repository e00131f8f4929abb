/**
 * Rules by the thousand, for what is measured with them: as of a company whose peers may each reach
 * some services, so that a request finds its own among all the others'.
 *
 * @module
 */

import { DEFAULT_LIMITS } from "../proxy/config/defaults.ts";
import { IpAddress, Prefix } from "../netstack/mod.ts";
import { Admission } from "../proxy/flow/admit.ts";
import { FlowOwner, type FlowRequest } from "../proxy/flow/flow.ts";
import { OwnListeners } from "../proxy/flow/own_listeners.ts";
import type { RuleOptions } from "../proxy/flow/rule.ts";
import { Pacing } from "../proxy/flow/pacing.ts";
import { FlowTable } from "../proxy/flow/table.ts";

const PEERS = 500;

/** One for each place: a peer, a network of targets, and a port with a range behind it. */
export function manyRules(count: number): RuleOptions[] {
  return Array.from({ length: count }, (_, i) => ({
    from: i % 3 === 0 ? [`peer ${i % PEERS}`] : [new Prefix(clientOf(i), 32)],
    to: [new Prefix(targetOf(i), i % 5 === 0 ? 22 : 28)],
    ports: [
      { protocol: "tcp", first: 443, last: 443 },
      { protocol: "tcp", first: 8_000 + i % 50, last: 8_100 + i % 70 },
    ],
    action: i % 10 === 9 ? "reject" : "allow",
    warmConnections: 0,
  }));
}

/** A request that the rule at `place` matches, or, with another port, none. */
export function requestFor(place: number, destinationPort: number): FlowRequest {
  return {
    protocol: "tcp",
    owner: OWNERS[place % PEERS]!,
    source: clientOf(place),
    sourcePort: 40_000,
    destination: targetOf(place),
    destinationPort,
  };
}

/** What a file needs for rules about one client, none of which is about a target outside of {@link RULED_NETWORK}. */
export function rulesAsText(count: number, client: string): string {
  return manyRules(count).map(({ to, action }) =>
    `[Rule]\nFrom = ${client}\nTo = ${to.join(", ")}\nPorts = tcp/443\nAction = ${action}\n`
  ).join("");
}

/** The network that all their targets are in. */
export const RULED_NETWORK = "172.16.0.0/12";

/** What decides by rules, and finds nothing else against a request. */
export function admissionWith(rules: readonly RuleOptions[]): Admission {
  return new Admission({
    pacing: new Pacing({ mtu: 1420, now: () => 0, wake() {} }),
    table: new FlowTable(),
    isProxied: () => true,
    isOwnAddress: () => false,
    isHeld: () => true,
    listeners: new OwnListeners(),
    maps: [],
    rules: { rules, defaultAction: "allow" },
    settings: { limits: DEFAULT_LIMITS },
  });
}

const OWNERS = Array.from({ length: PEERS }, (_, i) => new FlowOwner(() => `peer ${i}`));

function clientOf(place: number): IpAddress {
  const peer = place % PEERS;
  return IpAddress.v4(10, 9, peer >> 8, peer & 255);
}

function targetOf(place: number): IpAddress {
  return IpAddress.v4(172, 16 + (place >> 12 & 15), place >> 4 & 255, (place & 15) << 4);
}
