/**
 * Closing a gateway: data under way is delivered, the rest is reset.
 *
 * @module
 */

import type { Stack, TcpEndpoint } from "../../netstack/mod.ts";
import type { Engine } from "../engine/engine.ts";
import type { SubnetProxy } from "../forward/subnet_proxy.ts";
import type { TunnelPeers } from "./peers.ts";

const POLL_MS = 10;
/** A proxied connection that has moved nothing for as long is idle. */
const IDLE_MS = 1_000;
/** Wait for the FIN of a peer that has all our data: then its side ends without retransmission. */
const LAST_FIN_MS = 200;

interface Running {
  readonly engine: Engine;
  readonly proxy: SubnetProxy;
  readonly peers: TunnelPeers;
}

/**
 * Waits until everything written has arrived, staged packets have left, and no proxied connection
 * moves any more.
 *
 * @returns how many connections, and peers with packets to send, are left after `limitMs`.
 */
export async function finishUnderWay(gateway: Running, limitMs: number): Promise<number> {
  const { engine } = gateway;
  const deadline = engine.now() + limitMs;
  for (;;) {
    const now = engine.now();
    const left = countDelivering(engine.stack, now) + countMoving(gateway, now) +
      countStaged(gateway);
    if (left === 0 || now >= deadline) return left;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Sends RST on every connection but those that have delivered everything and only await a FIN. */
export function resetConnections({ tcp }: Stack): void {
  for (const endpoint of [...tcp.connections()]) {
    const isDelivered = endpoint.isOrphaned && !endpoint.isDelivering;
    if (!isOver(endpoint) && !isDelivered) endpoint.abort();
  }
}

function countDelivering({ tcp }: Stack, now: number): number {
  let count = 0;
  for (const endpoint of tcp.connections()) {
    const awaitsFin = endpoint.isOrphaned && endpoint.state === "fin-wait-2" &&
      now - endpoint.lastReceived < LAST_FIN_MS;
    if (endpoint.isDelivering || awaitsFin) count++;
  }
  return count;
}

/** Peers with packets that wait for a handshake, where one can come about. */
function countStaged({ engine, peers }: Running): number {
  let count = 0;
  for (const peer of engine.device.peers()) {
    const isReachable = peer.endpoint !== undefined || peers.location(peer) !== undefined;
    if (peer.stagedPackets > 0 && isReachable) count++;
  }
  return count;
}

/** Proxied connections that move, beside those that have bytes for the peer. */
function countMoving({ proxy }: Running, now: number): number {
  let count = 0;
  for (const { flow, endpoint } of proxy.tcp.connections()) {
    if (endpoint?.isDelivering) continue;
    // What has just been sent over there may be on its way here.
    const isOpen = endpoint !== undefined && !isOver(endpoint);
    const at = isOpen ? Math.max(flow.lastActivity, endpoint.lastReceived) : flow.lastActivity;
    if (now - at < IDLE_MS) count++;
  }
  for (const { owner, protocol, lastActivity } of proxy.admission.table.live) {
    if (owner.isInbound && protocol === "tcp" && now - lastActivity < IDLE_MS) count++;
  }
  return count;
}

/** Both sides have closed, and the application is done. */
function isOver({ state }: TcpEndpoint): boolean {
  return state === "time-wait" || state === "closed";
}
