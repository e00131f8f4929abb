/**
 * One TCP connection of a program of this host: dialled inside the tunnel, then the two are joined.
 *
 * @module
 */

import type { TcpEndpoint, Timed } from "../../netstack/mod.ts";
import type { Flow, FlowCarrier, FlowEnd, FlowFigures } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type {
  ByteStream,
  Dial,
  Dialer,
  DialError,
  DialHandler,
  StreamError,
} from "../flow/stream.ts";
import { EndpointStream } from "../splice/endpoint_stream.ts";
import { Splice, type SpliceOwner } from "../splice/splice.ts";

/** A program that waits to be connected. One of the two is called, once. */
export interface Incoming {
  /** The target is connected: the program is told, and its stream is the caller's. */
  accept(): ByteStream;
  /** It will not be. */
  refuse(why: Refusal | DialError | FlowEnd): void;
}

/** What a connection needs of the inbound that it belongs to. */
export interface InboundConnectionOwner {
  now(): number;
  onConnected(connection: InboundConnection): void;
  /** Instead of {@link onConnected}. The program has been told. */
  onDialFailed(connection: InboundConnection, why: DialError | FlowEnd): void;
  /** The connection became half-closed, or was not idle while it is. */
  onHalfClosed(connection: InboundConnection): void;
  onReset(by: "source" | "target"): void;
  /** Last, and once: both sides are gone. */
  onEnded(connection: InboundConnection, why: FlowEnd): void;
}

export class InboundConnection implements FlowCarrier, DialHandler, SpliceOwner, Timed {
  deadline = Infinity;
  heapIndex = -1;
  readonly flow: Flow;
  /** Inside the tunnel, once connected. */
  endpoint: TcpEndpoint | undefined = undefined;
  readonly #owner: InboundConnectionOwner;
  /** Until the dial is over. */
  #incoming: Incoming | undefined;
  #dial: Dial | undefined = undefined;
  #splice: Splice | undefined = undefined;
  #why: FlowEnd = "closed";

  constructor(owner: InboundConnectionOwner, incoming: Incoming, flow: Flow) {
    this.#owner = owner;
    this.#incoming = incoming;
    this.flow = flow;
    flow.carrier = this;
  }

  get lastActivity(): number {
    return this.flow.lastActivity;
  }

  get isConnected(): boolean {
    return this.#splice !== undefined;
  }

  start(dialer: Dialer): void {
    const { dialled, dialledPort } = this.flow;
    this.#dial = dialer.dial(dialled!, dialledPort, this);
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
    if (this.#splice === undefined) this.#fail(why);
    else {
      this.#why = why;
      this.#splice.abort();
    }
  }

  /** Towards the target: there is no segment of the program's to be seen. */
  inspect({ state, packetsUp, packetsDown }: Flow): FlowFigures {
    const { endpoint } = this;
    if (endpoint === undefined) {
      return { state, rttMs: 0, retransmits: 0, outOfOrder: 0, packetsUp, packetsDown };
    }
    const info = endpoint.info();
    return {
      state: info.state,
      rttMs: info.rttMs,
      retransmits: info.retransmits,
      outOfOrder: info.segmentsOutOfOrder,
      packetsUp: info.segmentsOut,
      packetsDown: info.segmentsIn,
    };
  }

  connected(target: ByteStream): void {
    const incoming = this.#incoming!;
    this.#incoming = undefined;
    this.#dial = undefined;
    if (target instanceof EndpointStream) this.endpoint = target.endpoint;
    const program = incoming.accept();
    this.#splice = new Splice(this.flow, this, program, target);
    this.#owner.onConnected(this);
    program.resume();
  }

  dialFailed(why: DialError): void {
    this.#fail(why);
  }

  now(): number {
    return this.#owner.now();
  }

  onHalfClosed(): void {
    this.#owner.onHalfClosed(this);
  }

  onBroken(by: "source" | "target", error: StreamError): void {
    this.#why = error === "failed" ? "failed" : `reset-by-${by}`;
    if (error === "reset") this.#owner.onReset(by);
  }

  onEnded(): void {
    this.#owner.onEnded(this, this.#why);
  }

  #fail(why: DialError | FlowEnd): void {
    const incoming = this.#incoming;
    if (incoming === undefined) return;
    this.#incoming = undefined;
    this.#dial?.abort();
    this.#dial = undefined;
    incoming.refuse(why);
    this.#owner.onDialFailed(this, why);
  }
}
