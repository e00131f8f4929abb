/**
 * Live flows as plain values, and one of them by its id.
 *
 * @module
 */

import { socketAddress } from "../address.ts";
import type { Flow, FlowProtocol } from "../flow/flow.ts";
import { NO_RATES, type RateStats } from "../flow/rates.ts";
import type { FlowTable } from "../flow/table.ts";

/** A connection, a UDP session with one target, or a ping, as it is now. */
export interface FlowStats {
  /** 32 hex digits; no other flow of any gateway has them, the first eight no other of this one. */
  readonly id: string;
  /** Of the source's packets. */
  readonly protocol: FlowProtocol;
  /** Whose it is: a peer's name, or its public key. */
  readonly peer: string;
  /** `ADDRESS:PORT` or `[IPV6]:PORT` inside the tunnel; a ping has its identifier there. */
  readonly source: string;
  /** As the source has it; a ping's port is 0. */
  readonly destination: string;
  /** Where it really goes: what maps and rules made of the destination. Null until a name is found. */
  readonly dialled: string | null;
  /** The name that a rule has dialled; null for none. */
  readonly dialledName: string | null;
  /** `dialling`, `open`, or `half-closed` when one side has sent its last byte. */
  readonly state: string;
  /** TCP's state towards the source; null for others, and until the target is connected. */
  readonly tcpState: string | null;
  /** The number of the rule that let it in; null for none. */
  readonly rule: number | null;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Since then. */
  readonly ageMs: number;
  /** Since a byte last went either way. */
  readonly idleMs: number;
  /** Payload towards the target. */
  readonly bytesUp: number;
  /** Payload back. */
  readonly bytesDown: number;
  /** From the source: TCP segments, those without data among them, or datagrams. */
  readonly packetsUp: number;
  /** To the source, as {@link packetsUp}. */
  readonly packetsDown: number;
  /** Bytes per second. */
  readonly rate: RateStats;
  /** Smoothed round trip to the source, of a ping to the target; null where none was measured. */
  readonly rttMs: number | null;
  /**
   * Smoothed round trip to the target: of TCP as this host's kernel measures it. Null where none was, for
   * UDP, and over Deno's sockets, which do not tell.
   */
  readonly targetRttMs: number | null;
  /** How long the target took to be connected; null until then, and for what is not dialled. */
  readonly dialMs: number | null;
  /** TCP segments towards the source that were sent again. */
  readonly retransmits: number;
  /** TCP segments of the source that came before those in front of them. */
  readonly outOfOrder: number;
}

/**
 * @param now Milliseconds, monotonic, as the flow's own times are.
 * @param wallNow The same moment since the Unix epoch.
 * @param targets Round trips to targets by local port, of those whose carriers do not tell, if they
 * were asked for.
 */
export function flowStats(
  flow: Flow,
  now: number,
  wallNow: number,
  targets?: ReadonlyMap<number, number>,
): FlowStats {
  const { protocol, state, dialMs, carrier } = flow;
  const figures = carrier?.inspect(flow) ?? flow;
  const rttMs = figures.rttMs > 0 ? microseconds(figures.rttMs) : null;
  const isEndpoint = protocol === "tcp" && dialMs >= 0;
  const rate = flow.account?.rates?.stats(now) ?? NO_RATES;
  return {
    id: flow.id,
    protocol,
    peer: flow.owner.name,
    source: socketAddress(flow.source, flow.sourcePort),
    destination: socketAddress(flow.destination, flow.destinationPort),
    dialled: flow.dialled === undefined ? null : socketAddress(flow.dialled, flow.dialledPort),
    dialledName: flow.dialledName ?? null,
    state,
    tcpState: isEndpoint ? figures.state : null,
    rule: flow.rule?.number ?? null,
    startedAt: new Date(wallNow - (now - flow.startedAt)).toISOString(),
    ageMs: Math.round(now - flow.startedAt),
    idleMs: Math.round(now - flow.lastActivity),
    bytesUp: flow.bytesUp,
    bytesDown: flow.bytesDown,
    packetsUp: figures.packetsUp,
    packetsDown: figures.packetsDown,
    rate,
    rttMs,
    targetRttMs: targetRtt(flow, targets),
    dialMs: dialMs < 0 ? null : microseconds(dialMs),
    retransmits: figures.retransmits,
    outOfOrder: figures.outOfOrder,
  };
}

function targetRtt(flow: Flow, targets?: ReadonlyMap<number, number>): number | null {
  const { carrier } = flow;
  const told = carrier?.targetRttMs?.(flow) ?? 0;
  if (told > 0) return microseconds(told);
  if (targets === undefined || carrier?.localPort === undefined) return null;
  return targets.get(carrier.localPort) ?? null;
}

/** Flows whose ids begin with the same digits, where only one was meant. */
export class AmbiguousFlow extends Error {
  /** For those who have no `instanceof`. */
  override readonly name = "AmbiguousFlow";
}

/**
 * @param id All of it, or as many of its first digits as no other live flow has.
 * @returns undefined if there is none.
 * @throws {AmbiguousFlow} if there are several.
 */
export function findFlow(table: FlowTable, id: string): Flow | undefined {
  const wanted = id.toLowerCase();
  // As numbers first: a hundred thousand ids as text would hold up everybody.
  const start = parseInt(wanted.slice(0, SHORT_ID), 16);
  const shift = 32 - 4 * Math.min(wanted.length, SHORT_ID);
  const found: Flow[] = [];
  for (const flow of table.live) {
    if (flow.idStart >>> shift === start && flow.id.startsWith(wanted)) found.push(flow);
  }
  if (found.length <= 1) return found[0];
  const some = found.slice(0, 3).map((flow) => flow.id.slice(0, SHORT_ID)).join(", ");
  throw new AmbiguousFlow(
    `${id}: begins the ids of ${found.length} flows (${some}${found.length > 3 ? ", …" : ""}), ` +
      "expected more digits",
  );
}

/** As many digits as tell every flow of a gateway from the others. */
export const SHORT_ID = 8;

function microseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
