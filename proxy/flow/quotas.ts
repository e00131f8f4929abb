/**
 * How many connections and sessions a peer or a rule may have by its own limits, whatever room there is.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import type { Flow, FlowCarrier, FlowOwner, FlowProtocol } from "./flow.ts";
import type { Refusal } from "./refusal.ts";
import type { Rule } from "./rule.ts";
import type { Shares } from "./shares.ts";
import type { FlowTable } from "./table.ts";

const log = getLogger(["wirestack", "flow"]);

/** A session idle for this long gives way to a new one of the same peer, ms. */
const IDLE_MS = 10_000;
/** The least time between two log lines about one peer or rule, ms. */
const LOG_EVERY_MS = 60_000;

interface Refused {
  count: number;
  loggedAt: number;
}

export class Quotas {
  readonly #table: FlowTable;
  /** By peer or state of a rule. */
  readonly #refused = new WeakMap<object, Refused>();
  /** Until when an owner has no session that has been idle for long enough. */
  readonly #busyUntil = new WeakMap<FlowOwner, number>();

  constructor(table: FlowTable) {
    this.#table = table;
  }

  /** Whether `rule` may have no further flow. */
  isFull(rule: Rule | undefined, now: number): boolean {
    const limit = rule?.maxConnections;
    if (limit === undefined || rule!.state.flows < limit) return false;
    this.#note(rule!.state, `rule ${rule!.number}`, "connections", limit, now);
    return true;
  }

  /** Whether `owner` may have one more connection. */
  connection(owner: FlowOwner, connections: Shares, now: number): Refusal | undefined {
    const limit = owner.maxTcpConnections;
    if (connections.of(owner) < limit) return undefined;
    this.#note(owner, owner.name, "connections", limit, now);
    return "peer-full";
  }

  /**
   * The same for a session. One that has been idle for a while makes room: nobody closes a session.
   *
   * @param idlest Finds the most idle session of the owner.
   */
  session(
    owner: FlowOwner,
    sessions: Shares,
    idlest: () => FlowCarrier | undefined,
    now: number,
  ): Refusal | undefined {
    const limit = owner.maxUdpSessions;
    if (sessions.of(owner) < limit) return undefined;
    if (now >= (this.#busyUntil.get(owner) ?? 0)) {
      const session = idlest();
      const idleAt = (session?.lastActivity ?? now) + IDLE_MS;
      if (now >= idleAt) {
        session!.end("evicted");
        return undefined;
      }
      this.#busyUntil.set(owner, idleAt); // looking again sooner would find nothing
    }
    this.#note(owner, owner.name, "UDP sessions", limit, now);
    return "peer-full";
  }

  /** Ends what rules have above their limits, the most idle flows. @returns how many. */
  trimRules(rules: readonly Rule[]): number {
    let ended = 0;
    for (const rule of rules) {
      const count = rule.state.flows - (rule.maxConnections ?? Infinity);
      if (count <= 0) continue;
      const flows: Flow[] = [];
      for (const flow of this.#table.live) if (flow.rule?.state === rule.state) flows.push(flow);
      flows.sort((a, b) => a.lastActivity - b.lastActivity);
      for (const flow of flows.slice(0, count)) flow.carrier?.endFlow(flow, "revoked");
      ended += count;
    }
    return ended;
  }

  /** Ends what owners have above their limits, the most idle ones. @returns how many. */
  trim(protocol: FlowProtocol, shares: Shares): number {
    const excess = new Map<FlowOwner, number>();
    for (const owner of shares.owners()) {
      const limit = protocol === "tcp" ? owner.maxTcpConnections : owner.maxUdpSessions;
      const count = shares.of(owner) - limit;
      if (count > 0) excess.set(owner, count);
    }
    if (excess.size === 0) return 0;
    const idlest = this.#idlestLast(protocol, (owner) => excess.has(owner));
    let ended = 0;
    for (const [owner, count] of excess) {
      for (const carrier of idlest.get(owner)?.slice(-count) ?? []) {
        carrier.end("revoked");
        ended++;
      }
    }
    return ended;
  }

  /** Ends what is above `limit` in all, the most idle one of who has most each time. @returns how many. */
  trimTotal(protocol: FlowProtocol, shares: Shares, limit: number): number {
    if (shares.total <= limit) return 0;
    const idlest = this.#idlestLast(protocol, () => true);
    let ended = 0;
    for (; shares.total > limit; ended++) {
      const carrier = idlest.get(shares.greediest()!)?.pop();
      if (carrier === undefined) break;
      carrier.end("revoked");
    }
    return ended;
  }

  /** What carries the flows that end here, by owner, the most idle at the end. */
  #idlestLast(
    protocol: FlowProtocol,
    isOf: (owner: FlowOwner) => boolean,
  ): ReadonlyMap<FlowOwner, FlowCarrier[]> {
    const carriers = new Map<FlowOwner, Set<FlowCarrier>>();
    for (const { owner, protocol: of, isTransit, carrier } of this.#table.live) {
      if (of !== protocol || isTransit || carrier === undefined || !isOf(owner)) continue;
      const own = carriers.get(owner);
      if (own === undefined) carriers.set(owner, new Set([carrier]));
      else own.add(carrier);
    }
    const sorted = new Map<FlowOwner, FlowCarrier[]>();
    for (const [owner, own] of carriers) {
      sorted.set(owner, [...own].sort((a, b) => b.lastActivity - a.lastActivity));
    }
    return sorted;
  }

  /** @param of The peer or rule that is full. */
  #note(of: object, name: string, what: string, limit: number, now: number): void {
    let refused = this.#refused.get(of);
    if (refused === undefined) this.#refused.set(of, refused = { count: 0, loggedAt: -Infinity });
    refused.count++;
    if (now - refused.loggedAt < LOG_EVERY_MS) return;
    log.warn("{name} has all of its {limit} {what}: {count} more were refused so far", {
      name,
      limit,
      what,
      count: refused.count,
    });
    refused.loggedAt = now;
  }
}
