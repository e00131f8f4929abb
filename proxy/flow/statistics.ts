/**
 * What all flows did, by peer, by rule, by network of targets, and how fast.
 *
 * A packet pays nothing for it. Flows count their own bytes, as they do anyway; once a second, while
 * anything moves, the flows are looked at, and what is new is added to the groups they belong to. A
 * gateway that rests is not woken for it.
 *
 * @module
 */

import { FlowAccount } from "./account.ts";
import type { Flow, FlowEnd, FlowFigures, FlowProtocol, FlowRequest } from "./flow.ts";
import { Histogram } from "./histogram.ts";
import { NetworkTable } from "./networks.ts";
import { Rates } from "./rates.ts";
import type { Refusal } from "./refusal.ts";
import type { Rule } from "./rule.ts";
import type { FlowObserver, FlowTable } from "./table.ts";
import { Totals } from "./totals.ts";

/** How many there were, by reason. A reason that is missing has not occurred. */
export type Reasons<Reason extends string> = { [R in Reason]?: number };

const SAMPLE_MS = 1_000;
/** A connection's round trip, and what else only its endpoint knows, is asked for so often: in samples. */
const ROUNDS = 60;
/**
 * Flows that are looked at in one go, some 0.3 ms of them: of a hundred thousand everybody's packets
 * would have to wait for all.
 */
const STEP_FLOWS = 1_024;
/** Flows that are looked at in one go for who asks and does not wait: 2 to 5 ms of them. */
const MOST_AT_ONCE = 16_384;
/** From one step of a sample to the next. */
const STEP_MS = 1;

// What is done for every flow loops by index: an iterator for each loop was a kilobyte a connection.

export class FlowStatistics implements FlowObserver {
  /** All flows together. */
  readonly all: Totals = new Totals();
  readonly networks: NetworkTable;
  /** How long targets took to be connected. */
  readonly dialTimes: Histogram = new Histogram();
  /** Round trips to the source: one for each connection when it ends, and each minute before. */
  readonly roundTrips: Histogram = new Histogram();
  /** Round trips to the target, of connections and pings, as often. */
  readonly targetRoundTrips: Histogram = new Histogram();
  readonly begun: Record<FlowProtocol, number> = { tcp: 0, udp: 0, icmp: 0 };
  readonly endings: Record<FlowProtocol, Reasons<FlowEnd>> = { tcp: {}, udp: {}, icmp: {} };
  readonly refusals: Record<FlowProtocol, Reasons<Refusal>> = { tcp: {}, udp: {}, icmp: {} };
  readonly #table: FlowTable;
  /** Groups whose rates are not 0, or may not be. */
  #moving: Totals[] = [];
  /** When the last sample began, of the flows, and when it ended, of the groups. */
  #sampledAt = -Infinity;
  #groupsAt = -Infinity;
  #samples = 0;
  /** The flows of the sample that is under way, and when it began and goes on. */
  #walk: Iterator<Flow> | undefined = undefined;
  #beganAt = 0;
  #stepAt = 0;
  /** Nothing has moved in the last sample: the next is due when the engine turns again. */
  #rests = false;
  #hasRested = true;

  constructor(table: FlowTable, networks: NetworkTable = new NetworkTable()) {
    this.#table = table;
    this.networks = networks;
    table.observe(this);
  }

  began(flow: Flow): void {
    const { owner, protocol } = flow;
    const totals = owner.totals ??= new Totals();
    const network = this.networks.of(flow.dialled ?? flow.destination);
    begin(this.all);
    begin(totals);
    begin(network);
    flow.account = new FlowAccount(this.all, totals, network);
    flow.account.groups(flow.rule?.state);
    this.begun[protocol]++;
  }

  opened({ account, dialMs, rule }: Flow): void {
    this.dialTimes.observe(dialMs);
    if (account === undefined) return;
    const groups = account.groups(rule?.state);
    for (let i = 0; i < groups.length; i++) groups[i]!.dial.observe(dialMs);
  }

  ended(flow: Flow): void {
    const { account, protocol, end } = flow;
    const endings = this.endings[protocol];
    endings[end!] = (endings[end!] ?? 0) + 1;
    if (account === undefined) return;
    this.#countBytes(flow, account);
    const groups = account.groups(flow.rule?.state);
    countRest(account, groups, flow);
    if (protocol === "tcp") this.#observeRoundTrip(groups, flow.rttMs);
    this.#observeTargetRoundTrip(groups, flow.targetRttMs);
    for (let i = 0; i < groups.length; i++) groups[i]!.live--;
  }

  refused({ protocol, owner }: FlowRequest, why: Refusal, rule: Rule | undefined): void {
    const refusals = this.refusals[protocol];
    refusals[why] = (refusals[why] ?? 0) + 1;
    this.all.refused++;
    (owner.totals ??= new Totals()).refused++;
    if (rule !== undefined) (rule.state.totals ??= new Totals()).refused++;
  }

  /**
   * Counts what flows have done since the last sample: the totals are exact then. All at once, so of
   * more flows than may be held up for the last sample stands.
   */
  settle(): void {
    if (this.#table.size > MOST_AT_ONCE) return;
    for (const _ of this.settleInSteps());
  }

  /** The same, and others may have their turn wherever it yields: what moves then may be missing. */
  *settleInSteps(): Generator<void, void, undefined> {
    let left = STEP_FLOWS;
    for (const flow of this.#table.live) {
      const { account, carrier } = flow;
      if (account !== undefined) {
        this.#countBytes(flow, account);
        if (carrier !== undefined) {
          countRest(account, account.groups(flow.rule?.state), carrier.inspect(flow));
        }
      }
      if (--left > 0) continue;
      left = STEP_FLOWS;
      yield;
    }
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. Asked in every turn. */
  pollTimeout(): number {
    if (this.#walk !== undefined) return this.#stepAt;
    if (!this.#rests) return this.#sampledAt + SAMPLE_MS;
    // Nothing has moved in the last sample, and this turn sets no timer for the next: the turn in
    // which something moves again asks once more.
    this.#rests = false;
    return Infinity;
  }

  handleTimeout(now: number): void {
    if (this.#walk === undefined) {
      this.#walk = this.#table.live[Symbol.iterator]();
      this.#beganAt = now;
    }
    const walk = this.#walk;
    for (let left = STEP_FLOWS; left > 0; left--) {
      const { value: flow, done } = walk.next();
      if (done) return this.#finish(now);
      this.#sample(flow, now);
    }
    this.#stepAt = now + STEP_MS;
  }

  #sample(flow: Flow, now: number): void {
    const { account } = flow;
    if (account === undefined) return;
    this.#countBytes(flow, account);
    if (flow.bytesUp + flow.bytesDown > 0) {
      const rates = account.rates ??= new Rates(flow.startedAt);
      const since = this.#hasRested ? now : this.#sampledAt;
      rates.sample(now, since, flow.bytesUp, flow.bytesDown);
    }
    if (flow.sequence % ROUNDS !== this.#samples % ROUNDS || flow.carrier === undefined) return;
    const figures = flow.carrier.inspect(flow);
    const groups = account.groups(flow.rule?.state);
    countRest(account, groups, figures);
    if (flow.protocol === "tcp") this.#observeRoundTrip(groups, figures.rttMs);
    this.#observeTargetRoundTrip(groups, flow.carrier.targetRttMs?.(flow) ?? 0);
  }

  /** All flows have been looked at: now their groups. */
  #finish(now: number): void {
    const since = this.#hasRested ? now : this.#groupsAt;
    const moving = this.#moving;
    this.#moving = [];
    for (const group of moving) {
      const rates = group.rates ??= new Rates(since);
      rates.sample(now, since, group.bytesUp, group.bytesDown);
      group.isMoving = rates.isMoving || this.#hasRested; // then the next sample is the first that tells
      if (group.isMoving) this.#moving.push(group);
    }
    this.#walk = undefined;
    this.#samples++;
    this.#sampledAt = this.#beganAt;
    this.#groupsAt = now;
    this.#rests = this.#hasRested = this.#moving.length === 0;
  }

  #countBytes(flow: Flow, account: FlowAccount): void {
    const up = flow.bytesUp - account.bytesUp;
    const down = flow.bytesDown - account.bytesDown;
    if (up === 0 && down === 0) return;
    account.bytesUp = flow.bytesUp;
    account.bytesDown = flow.bytesDown;
    const groups = account.groups(flow.rule?.state);
    for (let i = 0; i < groups.length; i++) {
      const group = groups[i]!;
      group.bytesUp += up;
      group.bytesDown += down;
      if (group.isMoving) continue;
      group.isMoving = true;
      this.#moving.push(group);
    }
  }

  #observeRoundTrip(groups: readonly Totals[], rttMs: number): void {
    if (rttMs === 0) return;
    this.roundTrips.observe(rttMs);
    for (let i = 0; i < groups.length; i++) groups[i]!.rtt.observe(rttMs);
  }

  #observeTargetRoundTrip(groups: readonly Totals[], rttMs: number): void {
    if (rttMs === 0) return;
    this.targetRoundTrips.observe(rttMs);
    for (let i = 0; i < groups.length; i++) groups[i]!.targetRtt.observe(rttMs);
  }
}

function begin(group: Totals): void {
  group.flows++;
  group.live++;
}

function countRest(
  account: FlowAccount,
  groups: readonly Totals[],
  figures: Omit<FlowFigures, "state">,
): void {
  const packetsUp = figures.packetsUp - account.packetsUp;
  const packetsDown = figures.packetsDown - account.packetsDown;
  const retransmits = figures.retransmits - account.retransmits;
  const outOfOrder = figures.outOfOrder - account.outOfOrder;
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i]!;
    group.packetsUp += packetsUp;
    group.packetsDown += packetsDown;
    group.retransmits += retransmits;
    group.outOfOrder += outOfOrder;
  }
  account.packetsUp = figures.packetsUp;
  account.packetsDown = figures.packetsDown;
  account.retransmits = figures.retransmits;
  account.outOfOrder = figures.outOfOrder;
}
