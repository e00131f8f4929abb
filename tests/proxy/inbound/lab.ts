/**
 * What an inbound is given, without a gateway: two stacks at the ends of a wire, and a clock.
 *
 * @module
 */

import { IpAddress, type Stack, type UdpHandler } from "../../../netstack/mod.ts";
import { FlowOwner } from "../../../proxy/flow/flow.ts";
import { DEFAULT_UDP_FILTERING } from "../../../proxy/config/defaults.ts";
import type { ForwardTimeouts, UdpFiltering } from "../../../proxy/forward/options.ts";
import type { FlowLimits } from "../../../proxy/flow/admit.ts";
import { OwnListeners } from "../../../proxy/flow/own_listeners.ts";
import { newInboundCounters } from "../../../proxy/inbound/counters.ts";
import type { InboundHost } from "../../../proxy/inbound/inbound.ts";
import type { TimeoutSource, TurnSource } from "../../../proxy/engine/engine.ts";
import { admission, forwarderOptions } from "../forward/lab.ts";
import { wireEnd } from "../wire.ts";

export const HERE = IpAddress.v4(10, 9, 0, 1);
export const THERE = IpAddress.v4(10, 9, 0, 2);
/** No stack has it. */
export const ELSEWHERE = IpAddress.v4(192, 0, 2, 1);
/** A program's. */
export const PROGRAM = IpAddress.v4(198, 51, 100, 7);

/** @param limits Of flows, beside the defaults. */
export function inboundLab(
  limits: Partial<FlowLimits> = {},
  udpFiltering: UdpFiltering = DEFAULT_UDP_FILTERING,
) {
  const [here, there] = [wireEnd(HERE), wireEnd(THERE)];
  const { options, clock } = forwarderOptions(limits);
  const sources: TimeoutSource[] = [];
  const turns: TurnSource[] = [];
  const wire = { isCut: false };
  const settings = { ...options.settings, udpFiltering };
  const host: InboundHost = {
    stack: here.stack,
    counters: newInboundCounters(),
    listeners: new OwnListeners(),
    admission: admission({
      isProxied: () => false,
      isTunnels: (address) => address.equals(HERE),
      isTunnelled: (address) => here.stack.routes.lookupAddress(address) !== undefined,
      // Of a peer: an inbound's flows are held by nobody.
      isHeld: () => false,
      limits,
    }),
    settings,
    now: () => clock.now,
    wake() {},
    hasRoom: () => true,
    addTimeouts: (source) => void sources.push(source),
    addTurns: (source) => void turns.push(source),
  };
  /** Carries packets to and fro until none is left, `ms` later. */
  const run = (ms = 0) => {
    clock.now += ms;
    for (const source of sources) {
      if (source.pollTimeout() <= clock.now) source.handleTimeout(clock.now);
    }
    for (let idle = 0; idle < 3; idle++) {
      for (const turn of turns) {
        turn.drain(clock.now);
        turn.flush();
      }
      for (const [from, to] of [[here, there], [there, here]] as const) {
        from.stack.handleTimeout(clock.now);
        from.stack.flush(clock.now);
        const packets = from.wire.sent.splice(0);
        if (wire.isCut || packets.length === 0) continue;
        idle = 0;
        for (const packet of packets) {
          to.stack.handlePacket(to.nic, packet, 0, packet.length, clock.now);
        }
      }
    }
  };
  /** As a reload changes them. @returns what they were. */
  const setTimeouts = (timeouts: Partial<ForwardTimeouts>): ForwardTimeouts => {
    const before = settings.timeouts;
    settings.timeouts = { ...before, ...timeouts };
    return before;
  };
  return {
    host,
    setTimeouts,
    owner: new FlowOwner(() => "redirect", true),
    there: there.stack,
    clock,
    run,
    /** What is sent while it is cut is lost. */
    wire,
  };
}

/** Answers every datagram with it, and `!` behind. */
export function answering(
  stack: Stack,
  port: number,
): { handler: UdpHandler; seen: [source: string, text: string][] } {
  const endpoint = stack.bindUdp({ port });
  const seen: [string, string][] = [];
  const handler: UdpHandler = {
    datagram(endpoint, source, sourcePort, buffer, offset, length, now) {
      const text = new TextDecoder().decode(buffer.subarray(offset, offset + length));
      seen.push([`${source}`, text]);
      const answer = new TextEncoder().encode(`${text}!`);
      endpoint.send(source, sourcePort, answer, 0, answer.length, now);
    },
  };
  endpoint.handler = handler;
  return { handler, seen };
}
