/**
 * A TCP connection that is dialled for somebody and then joined with who asked for it: what is the same
 * whoever that is.
 *
 * @module
 */

import type { Timed } from "../../netstack/mod.ts";
import type { Flow, FlowCarrier, FlowEnd, FlowFigures } from "../flow/flow.ts";
import type { ByteStream, DialError, DialHandler, StreamError } from "../flow/stream.ts";
import { Splice, type SpliceOwner } from "./splice.ts";

/** What a relay needs of who has it. */
export interface RelayOwner<R> {
  /** Milliseconds, monotonic. */
  now(): number;
  /** The dial has succeeded. */
  onConnected(relay: R): void;
  /** Instead of {@link onConnected}. Who asked has been told. */
  onDialFailed(relay: R, why: DialError | FlowEnd): void;
  /** The connection became half-closed, or was not idle while it is. */
  onHalfClosed(relay: R): void;
  onReset(by: "client" | "target"): void;
  /** Last, and once: both sides are gone. */
  onEnded(relay: R, why: FlowEnd): void;
}

export abstract class Relay implements FlowCarrier, DialHandler, SpliceOwner, Timed {
  deadline = Infinity;
  heapIndex = -1;
  readonly flow: Flow;
  #splice: Splice | undefined = undefined;
  #why: FlowEnd = "closed";

  constructor(flow: Flow) {
    this.flow = flow;
    flow.carrier = this;
  }

  protected abstract readonly owner: RelayOwner<this>;
  /** Ends it before it is connected. */
  protected abstract giveUp(why: FlowEnd): void;
  abstract connected(target: ByteStream): void;
  abstract dialFailed(why: DialError): void;
  abstract inspect(flow: Flow): FlowFigures;

  get lastActivity(): number {
    return this.flow.lastActivity;
  }

  get isConnected(): boolean {
    return this.#splice !== undefined;
  }

  /** The dial has taken too long, or a half-closed connection was idle too long. */
  expire(): void {
    if (this.isConnected) this.end("idle");
    else this.dialFailed("timeout");
  }

  endFlow(_flow: Flow, why: FlowEnd): void {
    this.end(why);
  }

  /** Resets both sides. */
  end(why: FlowEnd): void {
    if (this.#splice === undefined) this.giveUp(why);
    else {
      this.#why = why;
      this.#splice.abort();
    }
  }

  now(): number {
    return this.owner.now();
  }

  onHalfClosed(): void {
    this.owner.onHalfClosed(this);
  }

  onBroken(by: "source" | "target", error: StreamError): void {
    this.#why = error === "failed" ? "failed" : `reset-by-${by}`;
    if (error === "reset") this.owner.onReset(by === "source" ? "client" : "target");
  }

  onEnded(): void {
    this.owner.onEnded(this, this.#why);
  }

  protected join(source: ByteStream, target: ByteStream): void {
    this.#splice = new Splice(this.flow, this, source, target);
  }
}
