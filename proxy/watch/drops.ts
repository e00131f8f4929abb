/**
 * Which of the counters are of what was dropped, layer by layer.
 *
 * @module
 */

import type { Gateway } from "../gateway/gateway.ts";

/** Counters, by name. */
type Counters = Readonly<Record<string, number>>;

/** By layer, from outside to inside; a `*` ends what a counter's name begins with. */
export const DROPS: Readonly<Record<string, readonly string[]>> = {
  socket: [
    ...["sendTooLarge", "sendUnreachable", "sendNotPermitted", "sendRefused", "sendNoBuffers"],
    ...["sendOther", "receiveErrors", "noSlot"],
  ],
  wireguard: ["dropped*"],
  link: ["noSlot"],
  ip: [
    ...["malformed", "badChecksum", "badOptions", "sourceRouted", "badExtension", "badSource"],
    ...["badDestination", "noRoute", "hopLimitExceeded", "tooBig", "unknownProtocol", "noBuffer"],
    ...["badFragment", "reassemblyOverlap", "reassemblyTooMany", "reassemblyTimeout"],
    ...["reassemblyEvicted"],
  ],
  icmp: [
    ...["malformed", "badChecksum", "echoIgnored", "errorsIgnored", "errorsRateLimited"],
    ...["unhandled"],
  ],
  udp: [
    ...["malformed", "badChecksum", "portUnreachable", "prohibited", "dropped", "flowLimit"],
    ...["noRoute", "noBuffer"],
  ],
  tcp: [
    ...["malformed", "badFlags", "badChecksum", "noListener", "backlogFull", "halfOpenFull"],
    ...["halfOpenEvicted", "connectionsFull", "requestsExpired", "paws", "outOfWindow", "badAck"],
    ...["outOfOrderPruned", "droppedNoMemory", "memoryResets", "repliesDropped"],
    ...["challengeAcksSuppressed", "icmpIgnored", "timeWaitOverflow"],
  ],
  target: [
    ...["sendErrors", "noBuffer", "receiveErrors", "filtered", "noRoom", "socketErrors"],
    ...["outOfDescriptors"],
  ],
};

export interface Drop {
  readonly layer: string;
  /** In lower case, with `_` between words. */
  readonly reason: string;
  readonly count: number;
}

/** The counters of each layer. */
export function countersOf({ engine, udp, proxy }: Gateway): Readonly<Record<string, Counters>> {
  const { counters } = engine.stack;
  return {
    socket: { ...udp.counters },
    wireguard: { ...engine.device.counters },
    link: { noSlot: engine.link.noSlot },
    ip: { ...counters.ip },
    icmp: { ...counters.icmp },
    udp: { ...counters.udp },
    tcp: { ...counters.tcp },
    target: { ...proxy.udp.counters, outOfDescriptors: proxy.descriptors.failures },
  };
}

export function dropsOf(gateway: Gateway): Drop[] {
  return Object.entries(countersOf(gateway)).flatMap(([layer, counters]) =>
    Object.entries(counters).filter(([name]) => isDrop(layer, name)).map(([name, count]) => ({
      layer,
      reason: reasonOf(name),
      count,
    }))
  );
}

export function isDrop(layer: string, counter: string): boolean {
  return DROPS[layer]!.some((name) =>
    name.endsWith("*") ? counter.startsWith(name.slice(0, -1)) : counter === name
  );
}

function reasonOf(counter: string): string {
  const words = counter.replace(/^dropped(?=[A-Z])/, "").replace(/[A-Z]/g, "_$&").toLowerCase();
  return words.replace(/^_/, "");
}
