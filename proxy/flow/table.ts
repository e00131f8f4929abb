/**
 * All live flows.
 *
 * @module
 */

import type { Flow, FlowCarrier, FlowEnd, FlowOwner, FlowProtocol, FlowRequest } from "./flow.ts";
import { Idlest } from "./idlest.ts";
import { LiveFlows } from "./live_flows.ts";
import type { Refusal } from "./refusal.ts";
import type { Rule } from "./rule.ts";

/**
 * Is told of every flow. Called in the middle of a turn: it must not throw, wait, or end a flow, and
 * it is best quick, since there may be thousands a second.
 */
export interface FlowObserver {
  /** It was admitted, and is in the table; TCP is about to be dialled. */
  began?(flow: Flow): void;
  /** Its target is connected; {@link Flow.dialMs} says after how long. Of what is dialled alone. */
  opened?(flow: Flow): void;
  /** It is over, its figures are final, and {@link Flow.end} says why. */
  ended?(flow: Flow): void;
  /** It may not begin. A client that does not stop asking may make it one for each packet. */
  refused?(request: FlowRequest, why: Refusal, rule: Rule | undefined): void;
}

export class FlowTable {
  readonly #flows = new LiveFlows();
  readonly #idlest = {
    tcp: idlestOf("tcp", this.#flows),
    udp: idlestOf("udp", this.#flows),
    icmp: idlestOf("icmp", this.#flows),
  };
  #observers: readonly FlowObserver[] = [];

  get size(): number {
    return this.#flows.size;
  }

  /**
   * In the order in which they began, and only as far as they are asked for: a hundred thousand at once
   * would hold up everybody. Flows may begin and end meanwhile: see {@link LiveFlows}.
   */
  get live(): Iterable<Flow> {
    return this.#flows;
  }

  /** The same as they are now, all at once. */
  flows(): readonly Flow[] {
    return [...this.#flows];
  }

  /** Tells `observer` of every flow from now on. @returns a function that ends it. */
  observe(observer: FlowObserver): () => void {
    this.#observers = [...this.#observers, observer];
    return () => this.#observers = this.#observers.filter((other) => other !== observer);
  }

  add(flow: Flow): void {
    this.#flows.add(flow);
    if (flow.rule !== undefined) flow.rule.state.flows++;
    for (const observer of this.#observers) observer.began?.(flow);
  }

  /** For the admission: a live flow is another rule's from now on, as after a reload. */
  setRule(flow: Flow, rule: Rule | undefined): void {
    if (flow.rule !== undefined) flow.rule.state.flows--;
    if (rule !== undefined) rule.state.flows++;
    flow.rule = rule;
  }

  /** For carriers: the flow's target is connected. */
  open(flow: Flow): void {
    for (const observer of this.#observers) observer.opened?.(flow);
  }

  /** For the admission: the flow may not begin. */
  refuse(flow: Flow, why: Refusal): void {
    for (const observer of this.#observers) observer.refused?.(flow, why, flow.rule);
  }

  /** For carriers: the flow is over. */
  remove(flow: Flow, why: FlowEnd): void {
    if (flow.tablePlace < 0) return;
    this.#flows.delete(flow);
    if (flow.rule !== undefined) flow.rule.state.flows--;
    if (flow.carrier !== undefined) keepFigures(flow, flow.carrier);
    flow.state = "ended";
    flow.end = why;
    flow.carrier = undefined;
    flow.up?.close();
    flow.down?.close();
    for (const observer of this.#observers) observer.ended?.(flow);
  }

  /** The flow of `owner` that has been idle longest, of those that end here. */
  idlest(protocol: FlowProtocol, owner: FlowOwner): Flow | undefined {
    return this.#idlest[protocol].of(owner);
  }
}

/** Finds what ends here. */
function idlestOf(protocol: FlowProtocol, all: Iterable<Flow>): Idlest<Flow> {
  return new Idlest<Flow>({
    all,
    isOf: (flow, owner) => flow.protocol === protocol && flow.owner === owner && !flow.isTransit,
    activityOf: (flow) => (flow.carrier ?? flow).lastActivity,
    isLive: ({ tablePlace }) => tablePlace >= 0,
  });
}

/** Takes over the figures that only the carrier has had until now. */
function keepFigures(flow: Flow, carrier: FlowCarrier): void {
  const { rttMs, retransmits, outOfOrder, packetsUp, packetsDown } = carrier.inspect(flow);
  flow.rttMs = rttMs;
  flow.retransmits = retransmits;
  flow.outOfOrder = outOfOrder;
  flow.packetsUp = packetsUp;
  flow.packetsDown = packetsDown;
  flow.targetRttMs = carrier.targetRttMs?.(flow) ?? 0;
}
