/**
 * How many connections and sessions a peer or a rule may have by its own limits, whatever room there is.
 *
 * @module
 */

import { Deadlines, type Timed } from "../../netstack/mod.ts";
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

/** Work that is done in one go: of a flow that is looked at 1, of one that is ended more. */
const STEP = 2_048;
const END_COST = 8;

/** What may be ended, ordered by when it last moved. */
interface Idle extends Timed {
  readonly flow: Flow;
  readonly carrier: FlowCarrier;
  foundAt: number;
}

interface Refused {
  count: number;
  loggedAt: number;
}

export class Quotas {
  readonly #table: FlowTable;
  /** How many have been ended for being above a limit. */
  trimmed = 0;
  #left = STEP;
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

  /**
   * Ends the most idle flows that rules have above their limits. Others have their turns where it yields;
   * {@link trimmed} says how many have ended.
   */
  *trimRules(rules: readonly Rule[]): Generator<undefined, void, undefined> {
    const isOver = ({ state, maxConnections = Infinity }: Rule) => state.flows > maxConnections;
    const over = new Map(rules.filter(isOver).map((rule) => [rule.state, rule]));
    if (over.size === 0) return;
    const idlest = yield* this.#idlest(({ rule }) =>
      rule !== undefined && over.has(rule.state) ? rule.state : undefined
    );
    for (const [state, rule] of over) {
      for (let idle; isOver(rule) && (idle = takeIdlest(idlest.get(state))) !== undefined;) {
        idle.carrier.endFlow(idle.flow, "revoked");
        this.trimmed++;
        if (this.#isStepOver(END_COST)) yield;
      }
    }
  }

  /** The same of what carries the flows of owners, by their own limits. */
  *trim(protocol: FlowProtocol, shares: Shares): Generator<undefined, void, undefined> {
    const isOver = (owner: FlowOwner) =>
      shares.of(owner) > (protocol === "tcp" ? owner.maxTcpConnections : owner.maxUdpSessions);
    const over = new Set(shares.owners().filter(isOver));
    if (over.size === 0) return;
    const idlest = yield* this.#idlestCarriers(protocol, (owner) => over.has(owner));
    for (const owner of over) {
      for (let idle; isOver(owner) && (idle = takeIdlest(idlest.get(owner))) !== undefined;) {
        idle.carrier.end("revoked");
        this.trimmed++;
        if (this.#isStepOver(END_COST)) yield;
      }
    }
  }

  /**
   * The same of what is above `limit` in all, the most idle one of who has most each time.
   *
   * @param limit Asked again and again, for it may change meanwhile.
   */
  *trimTotal(
    protocol: FlowProtocol,
    shares: Shares,
    limit: () => number,
  ): Generator<undefined, void, undefined> {
    if (shares.total <= limit()) return;
    const idlest = yield* this.#idlestCarriers(protocol, () => true);
    while (shares.total > limit()) {
      const idle = takeIdlest(idlest.get(shares.greediest()!));
      if (idle === undefined) return;
      idle.carrier.end("revoked");
      this.trimmed++;
      if (this.#isStepOver(END_COST)) yield;
    }
  }

  /** What carries the flows that end here, each once, by owner. */
  #idlestCarriers(
    protocol: FlowProtocol,
    isOf: (owner: FlowOwner) => boolean,
  ): Generator<undefined, ReadonlyMap<FlowOwner, Deadlines<Idle>>, undefined> {
    const known = new Set<FlowCarrier>();
    return this.#idlest(({ owner, protocol: of, isTransit, carrier }) => {
      if (of !== protocol || isTransit || known.has(carrier!) || !isOf(owner)) return undefined;
      known.add(carrier!);
      return owner;
    });
  }

  /** Flows by what they are above the limit of: those for which `keyOf` says something. */
  *#idlest<Key>(
    keyOf: (flow: Flow) => Key | undefined,
  ): Generator<undefined, ReadonlyMap<Key, Deadlines<Idle>>, undefined> {
    const idlest = new Map<Key, Deadlines<Idle>>();
    for (const flow of this.#table.live) {
      const { carrier } = flow;
      const key = carrier && keyOf(flow);
      if (key !== undefined) {
        const heap = idlest.get(key) ?? new Deadlines<Idle>();
        idlest.set(key, heap);
        const foundAt = carrier!.lastActivity;
        const idle = { flow, carrier: carrier!, foundAt, deadline: Infinity, heapIndex: -1 };
        heap.set(idle, foundAt);
      }
      if (this.#isStepOver(1)) yield;
    }
    return idlest;
  }

  #isStepOver(cost: number): boolean {
    this.#left -= cost;
    if (this.#left > 0) return false;
    this.#left = STEP;
    return true;
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

/** The most idle one that is still there, and takes it out. */
function takeIdlest(heap: Deadlines<Idle> | undefined): Idle | undefined {
  for (let idle; (idle = heap?.popDue(Number.MAX_VALUE)) !== undefined;) {
    const { flow, carrier } = idle;
    if (flow.carrier !== carrier) continue; // it has ended
    if (carrier.lastActivity <= idle.foundAt) return idle;
    idle.foundAt = carrier.lastActivity; // it has moved since
    heap!.set(idle, idle.foundAt);
  }
  return undefined;
}
