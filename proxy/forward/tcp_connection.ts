/**
 * One forwarded TCP connection: the target is dialled, then the client's handshake is completed, then
 * the two are joined.
 *
 * @module
 */

import type { KeepAlive, TcpEndpoint, TcpForwarderRequest, Timed } from "../../netstack/mod.ts";
import type { Flow, FlowCarrier, FlowEnd, FlowFigures } from "../flow/flow.ts";
import type { ByteStream, Dial, DialError, DialHandler, StreamError } from "../flow/stream.ts";
import { EndpointStream, type LentBuffers } from "../splice/endpoint_stream.ts";
import { Splice, type SpliceOwner } from "../splice/splice.ts";
import type { FlowDialer } from "./named_targets.ts";

/** What a connection needs of the forwarder it belongs to. */
export interface TcpConnectionOwner {
  readonly buffers: LentBuffers;
  readonly keepAlive: KeepAlive;
  now(): number;
  /** The dial has succeeded; the handshake with the client goes on. */
  onConnected(connection: TcpConnection): void;
  /** Instead of {@link onConnected}. The request has been answered. */
  onDialFailed(connection: TcpConnection, why: DialError | FlowEnd): void;
  /** The connection became half-closed, or was not idle while it is. */
  onHalfClosed(connection: TcpConnection): void;
  onReset(by: "client" | "target"): void;
  /** Last, and once: both sides are gone. */
  onEnded(connection: TcpConnection, why: FlowEnd): void;
}

export class TcpConnection implements FlowCarrier, DialHandler, SpliceOwner, Timed {
  deadline = Infinity;
  heapIndex = -1;
  readonly flow: Flow;
  readonly #owner: TcpConnectionOwner;
  /** Until the dial is over. */
  #request: TcpForwarderRequest | undefined;
  #dial: Dial | undefined = undefined;
  #client: EndpointStream | undefined = undefined;
  #splice: Splice | undefined = undefined;
  #target: ByteStream | undefined = undefined;
  #why: FlowEnd = "closed";

  constructor(owner: TcpConnectionOwner, request: TcpForwarderRequest, flow: Flow) {
    this.#owner = owner;
    this.#request = request;
    this.flow = flow;
    flow.carrier = this;
  }

  get lastActivity(): number {
    return this.flow.lastActivity;
  }

  get isConnected(): boolean {
    return this.#splice !== undefined;
  }

  /** Towards the client, once connected. */
  get endpoint(): TcpEndpoint | undefined {
    return this.#client?.endpoint;
  }

  get localPort(): number | undefined {
    return this.#target?.localPort;
  }

  /** @throws whatever the runtime throws when it has no permission to. */
  start(dialer: FlowDialer): void {
    // By a variable first: V8 allocates a function that is assigned to a property directly in the old
    // generation, where it would keep both connections alive until the next full collection.
    const onAborted = () => this.#dialFailed("abandoned");
    this.#request!.onAborted = onAborted;
    this.#dial = dialer.dialFlow(this.flow, this);
  }

  /** The dial has taken too long, or a half-closed connection was idle too long. */
  expire(): void {
    if (this.isConnected) this.end("idle");
    else this.dialFailed("timeout");
  }

  endFlow(_flow: Flow, why: FlowEnd): void {
    this.end(why);
  }

  /** Resets both sides. A dial that gives way to another ends in silence: the client tries again. */
  end(why: FlowEnd): void {
    const request = this.#request;
    if (request === undefined) {
      this.#why = why;
      this.#splice!.abort();
      return;
    }
    request.reject(why === "evicted" ? "drop" : "reset");
    this.#dialFailed(why);
  }

  inspect(): FlowFigures {
    const endpoint = this.#client?.endpoint;
    if (endpoint === undefined) {
      const { state, packetsUp, packetsDown } = this.flow;
      return { state, rttMs: 0, retransmits: 0, outOfOrder: 0, packetsUp, packetsDown };
    }
    const { state, rttMs, retransmits, segmentsOutOfOrder, segmentsIn, segmentsOut } = endpoint
      .info();
    return {
      state,
      rttMs,
      retransmits,
      outOfOrder: segmentsOutOfOrder,
      packetsUp: segmentsIn,
      packetsDown: segmentsOut,
    };
  }

  connected(target: ByteStream): void {
    const request = this.#request!;
    request.onAborted = undefined;
    const endpoint = request.accept();
    if (endpoint === undefined) { // the client has given up
      target.reset();
      this.#dial = undefined;
      this.#dialFailed("abandoned");
      return;
    }
    this.#request = undefined;
    this.#dial = undefined;
    endpoint.setNoDelay(true); // the sender's own stack has decided already
    endpoint.setKeepAlive(this.#owner.keepAlive);
    this.#client = new EndpointStream(endpoint, this.#owner.buffers);
    this.#target = target;
    this.#splice = new Splice(this.flow, this, this.#client, target);
    this.#owner.onConnected(this);
  }

  dialFailed(why: DialError): void {
    this.#request!.reject(ANSWERS[why]);
    this.#dialFailed(why);
  }

  now(): number {
    return this.#owner.now();
  }

  onHalfClosed(): void {
    this.#owner.onHalfClosed(this);
  }

  onBroken(by: "source" | "target", error: StreamError): void {
    this.#why = error === "failed"
      ? "failed"
      : by === "source"
      ? "reset-by-source"
      : "reset-by-target";
    if (error === "reset") this.#owner.onReset(by === "source" ? "client" : "target");
  }

  onEnded(): void {
    this.#owner.onEnded(this, this.#why);
  }

  #dialFailed(why: DialError | FlowEnd): void {
    const request = this.#request;
    if (request === undefined) return;
    request.onAborted = undefined;
    this.#request = undefined;
    this.#dial?.abort();
    this.#dial = undefined;
    this.#owner.onDialFailed(this, why);
  }
}

/** What the client is told. */
const ANSWERS = {
  refused: "reset",
  host: "host",
  net: "net",
  prohibited: "prohibited",
  timeout: "host",
  exhausted: "drop", // in silence: the client's next SYN may find one
  failed: "host",
} as const satisfies Record<DialError, string>;
