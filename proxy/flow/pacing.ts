/**
 * The limits of peers and rules, and the paces of the flows that they apply to.
 *
 * A flow without a limit has no pace, and costs nothing.
 *
 * @module
 */

import { Deadlines, type IpVersion } from "../../netstack/mod.ts";
import { Bucket, type BucketClock, type BucketRate } from "./bucket.ts";
import type { Flow, FlowProtocol } from "./flow.ts";
import { type Direction, type Rates, RULE_BURST_S, type SharedRates } from "./limits.ts";
import { Pace, type PacketShape, type ReadyPaces } from "./pace.ts";
import type { Rule } from "./rule.ts";

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const WHOLE_PACKETS: PacketShape = { header: 0, payload: 65_535 };
/** With timestamps. */
const TCP_HEADER = 32;

export interface PacingOptions {
  /** Of the tunnel, bytes. */
  readonly mtu: number;
  /** Milliseconds, monotonic. */
  now(): number;
  /** A deadline was set outside of the engine's turn. */
  wake(): void;
}

export class Pacing implements BucketClock, ReadyPaces {
  readonly #options: PacingOptions;
  readonly #deadlines = new Deadlines<Bucket>();
  #ready: Pace[] = [];

  constructor(options: PacingOptions) {
    this.#options = options;
  }

  /** Changes the rates of a peer or a rule, at once. Its flows follow with {@link apply}. */
  setRates(shared: SharedRates, rates: Rates): void {
    shared.up = this.#changed(shared.up, rates.up);
    shared.down = this.#changed(shared.down, rates.down);
  }

  /** Sets the rates of rules. Flows follow with {@link apply}. */
  setRules(rules: readonly Rule[]): void {
    for (const { state, rate } of rules) {
      this.setRates(state.rates, { up: ruleRate(rate), down: ruleRate(rate) });
    }
  }

  /** Gives a flow the paces that its peer and its rule want. May be called again when these change. */
  apply(flow: Flow): void {
    const { owner, rule } = flow;
    const isPaced = flow.up !== undefined || flow.down !== undefined ||
      owner.rates.isLimited && !flow.isTransit ||
      rule !== undefined && (rule.state.rates.isLimited || rule.flowRate !== undefined);
    if (!isPaced) return;
    flow.up = this.#pace(flow, "up");
    flow.down = this.#pace(flow, "down");
  }

  /** A pace for whole packets, by their length. It has no buckets yet. */
  packets(): Pace {
    return new Pace(WHOLE_PACKETS, this);
  }

  pollTimeout(): number {
    return this.#ready.length > 0 ? -Infinity : this.#deadlines.next();
  }

  handleTimeout(now: number): void {
    // Until nothing is due: those that have had a turn may want another one.
    while (this.pollTimeout() <= now) {
      for (let bucket; (bucket = this.#deadlines.popDue(now)) !== undefined;) bucket.serve(now);
      const ready = this.#ready;
      this.#ready = [];
      for (const pace of ready) {
        pace.isReady = false;
        pace.handler?.paceReady(pace);
      }
    }
  }

  schedule(bucket: Bucket, at: number): void {
    const isFirst = at < this.#deadlines.next();
    this.#deadlines.set(bucket, at);
    if (isFirst) this.#options.wake();
  }

  add(pace: Pace): void {
    pace.isReady = true;
    if (this.#ready.push(pace) === 1) this.#options.wake();
  }

  #changed(bucket: Bucket | undefined, rate: BucketRate | undefined): Bucket | undefined {
    if (rate === undefined) return undefined;
    const now = this.#options.now();
    if (bucket === undefined) return new Bucket(this, rate, now);
    bucket.setRate(rate, now);
    return bucket;
  }

  #pace(flow: Flow, direction: Direction): Pace | undefined {
    const { owner, rule } = flow;
    const known = flow[direction];
    const buckets: Bucket[] = [];
    // Of what passes through every packet of a peer is counted, whosever flow it is of: `PeerPolice`.
    const ofOwner = flow.isTransit ? undefined : owner.rates[direction];
    if (ofOwner !== undefined) buckets.push(ofOwner);
    const ofRule = rule?.state.rates[direction];
    if (ofRule !== undefined) buckets.push(ofRule);
    const own = this.#changed(known?.own, ruleRate(rule?.flowRate));
    if (own !== undefined) buckets.push(own);
    if (buckets.length === 0) {
      known?.setBuckets(buckets); // who waits goes on
      return undefined;
    }
    const pace = known ?? new Pace(packetShape(flow, this.#options.mtu), this);
    pace.own = own;
    pace.setBuckets(buckets);
    return pace;
  }
}

function ruleRate(rate: number | undefined): BucketRate | undefined {
  return rate === undefined ? undefined : { rate, burst: RULE_BURST_S };
}

function packetShape({ protocol, source }: Flow, mtu: number): PacketShape {
  const header = headerLength(protocol, source.version);
  return { header, payload: Math.max(1, mtu - header) };
}

function headerLength(protocol: FlowProtocol, version: IpVersion): number {
  return (version === 4 ? IPV4_HEADER : IPV6_HEADER) +
    (protocol === "tcp" ? TCP_HEADER : UDP_HEADER);
}
