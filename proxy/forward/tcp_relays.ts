/**
 * What becomes of TCP connections that are dialled for somebody, clients or programs of this host: their
 * deadlines, and how they count.
 *
 * @module
 */

import { Deadlines, type KeepAlive, type TcpEndpoint } from "../../netstack/mod.ts";
import type { Flow, FlowEnd } from "../flow/flow.ts";
import { FlowReview } from "../flow/review.ts";
import type { DialError } from "../flow/stream.ts";
import type { Relay, RelayOwner } from "../splice/relay.ts";
import { type ForwarderOptions, type ForwardTimeouts, hasChanged } from "./options.ts";
import type { TcpForwarderCounters } from "./tcp_counters.ts";
import { dialEnd } from "./tcp_outcomes.ts";

export type TcpRelaysOptions = Omit<ForwarderOptions, "ownerOf">;

/** A relay with an end in the stack. */
export interface StackRelay extends Relay {
  /** Undefined before it is connected. */
  readonly endpoint: TcpEndpoint | undefined;
}

export abstract class TcpRelays<R extends StackRelay, Options extends TcpRelaysOptions>
  implements RelayOwner<R> {
  abstract readonly counters: TcpForwarderCounters;
  protected readonly options: Options;
  protected readonly deadlines: Deadlines<R> = new Deadlines<R>();
  protected isClosing = false;
  /** Kinds of timeouts that have changed, until all connections have them. */
  readonly #changed = { dial: false, halfClose: false, keepAlive: false };
  /** Gives them to all connections, some in each turn. */
  readonly #walk: FlowReview;
  #stepAt = 0;

  constructor(options: Options) {
    this.options = options;
    this.#walk = new FlowReview(options.admission.table, {
      look: (flow) => {
        const relay = this.relayOf(flow);
        if (relay !== undefined) this.#retime(relay);
        return true;
      },
      finished: () => {
        if (!this.#walk.isUnderWay) {
          Object.assign(this.#changed, { dial: false, halfClose: false, keepAlive: false });
        }
        return 0;
      },
    });
  }

  /** The relay of a flow, if it is one of its own. */
  protected abstract relayOf(flow: Flow): R | undefined;
  /** For the log: the dial has succeeded. */
  protected abstract tellConnected(flow: Flow): void;
  /** The dial has failed or was given up; the connection is not over yet. */
  protected abstract onDialOver(flow: Flow, why: DialError | FlowEnd): void;

  /** Its connections that are not over, dials included. */
  *connections(): Generator<R, void, undefined> {
    for (const flow of this.options.admission.table.live) {
      const relay = this.relayOf(flow);
      if (relay !== undefined) yield relay;
    }
  }

  /** For a connection that begins now. */
  get keepAlive(): KeepAlive {
    const { tcpKeepAliveIdleMs, tcpKeepAliveIntervalMs, tcpKeepAliveCount } =
      this.options.settings.timeouts;
    return {
      idle: tcpKeepAliveIdleMs,
      interval: tcpKeepAliveIntervalMs,
      count: tcpKeepAliveCount,
    };
  }

  now(): number {
    return this.options.now();
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return Math.min(this.#walk.isUnderWay ? this.#stepAt : Infinity, this.deadlines.next());
  }

  handleTimeout(now: number): void {
    if (this.#walk.isUnderWay && now >= this.#stepAt) {
      this.#walk.step();
      this.#stepAt = now; // there are others, whose turn is before the next
    }
    for (let relay; (relay = this.deadlines.popDue(now)) !== undefined;) {
      if (relay.isConnected) this.counters.halfClosedTooLong++;
      relay.expire();
    }
  }

  /**
   * Gives connections that are under way the deadlines that they would have by the present timeouts. Of
   * more than some hundred the rest in the turns that follow.
   */
  timeoutsChanged(before: ForwardTimeouts): void {
    const { timeouts } = this.options.settings;
    const changed = this.#changed;
    const isDial = hasChanged(timeouts, before, "tcpDialMs");
    const isHalfClose = hasChanged(timeouts, before, "tcpHalfCloseMs");
    const isKeepAlive = hasChanged(
      ...[timeouts, before] as const,
      ...["tcpKeepAliveIdleMs", "tcpKeepAliveIntervalMs", "tcpKeepAliveCount"] as const,
    );
    if (!isDial && !isHalfClose && !isKeepAlive) return;
    changed.dial ||= isDial;
    changed.halfClose ||= isHalfClose;
    changed.keepAlive ||= isKeepAlive;
    this.#walk.begin();
    this.#stepAt = this.now();
    this.options.wake();
  }

  #retime(relay: R): void {
    const { flow, isConnected, endpoint } = relay;
    const { timeouts } = this.options.settings;
    const { dial, halfClose, keepAlive } = this.#changed;
    if (!isConnected && dial) {
      this.deadlines.set(relay, flow.startedAt + timeouts.tcpDialMs);
    } else if (flow.state === "half-closed" && halfClose) {
      this.deadlines.set(relay, flow.lastActivity + timeouts.tcpHalfCloseMs);
    }
    // This restarts the keepalive timer, so not for a change of something else.
    if (keepAlive) endpoint?.setKeepAlive(this.keepAlive);
  }

  /** No new connections from now on; those that are stay. */
  close(): void {
    this.isClosing = true;
  }

  onConnected(relay: R): void {
    const { flow } = relay;
    const { admission } = this.options;
    const now = this.now();
    admission.dials.end(flow, "answered", now);
    flow.dialMs = now - flow.startedAt;
    admission.table.open(flow);
    this.counters.connected++;
    this.deadlines.remove(relay);
    this.tellConnected(flow);
  }

  onDialFailed(relay: R, why: DialError | FlowEnd): void {
    const { flow } = relay;
    const { counter, outcome, end } = dialEnd(why);
    if (counter !== undefined) this.counters[counter]++;
    this.options.admission.dials.end(flow, outcome, this.now());
    this.onDialOver(flow, why);
    this.remove(relay, end ?? why as FlowEnd);
  }

  onHalfClosed(relay: R): void {
    this.deadlines.set(relay, this.now() + this.options.settings.timeouts.tcpHalfCloseMs);
    this.options.wake();
  }

  onReset(by: "client" | "target"): void {
    if (by === "client") this.counters.resetByClient++;
    else this.counters.resetByTarget++;
  }

  onEnded(relay: R, why: FlowEnd): void {
    const { bytesUp, bytesDown } = relay.flow;
    this.counters.bytesUp += bytesUp;
    this.counters.bytesDown += bytesDown;
    this.remove(relay, why);
  }

  protected remove(relay: R, why: FlowEnd): void {
    const { connections, table } = this.options.admission;
    if (why === "evicted" || why === "revoked" || why === "killed") this.counters[why]++;
    this.deadlines.remove(relay);
    connections.give(relay.flow.owner);
    table.remove(relay.flow, why);
  }
}
