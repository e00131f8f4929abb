/**
 * One forwarded TCP connection: the target is dialled, then the client's handshake is completed, then
 * the two are joined.
 *
 * @module
 */

import type { KeepAlive, TcpEndpoint, TcpForwarderRequest } from "../../netstack/mod.ts";
import { type Flow, type FlowEnd, type FlowFigures, ownFigures } from "../flow/flow.ts";
import type { ByteStream, Dial, DialError } from "../flow/stream.ts";
import { EndpointStream, type LentBuffers } from "../splice/endpoint_stream.ts";
import { Relay, type RelayOwner } from "../splice/relay.ts";
import type { FlowDialer } from "./named_targets.ts";

/** What a connection needs of the forwarder it belongs to. */
export interface TcpConnectionOwner extends RelayOwner<TcpConnection> {
  readonly buffers: LentBuffers;
  readonly keepAlive: KeepAlive;
}

export class TcpConnection extends Relay {
  protected readonly owner: TcpConnectionOwner;
  /** Until the dial is over. */
  #request: TcpForwarderRequest | undefined;
  #dial: Dial | undefined = undefined;
  #client: EndpointStream | undefined = undefined;
  #target: ByteStream | undefined = undefined;

  constructor(owner: TcpConnectionOwner, request: TcpForwarderRequest, flow: Flow) {
    super(flow);
    this.owner = owner;
    this.#request = request;
  }

  /** Towards the client, once connected. */
  get endpoint(): TcpEndpoint | undefined {
    return this.#client?.endpoint;
  }

  get localPort(): number | undefined {
    return this.#target?.localPort;
  }

  targetRttMs(): number {
    return this.#target?.rttMs ?? 0;
  }

  /** @throws whatever the runtime throws when it has no permission to. */
  start(dialer: FlowDialer): void {
    // By a variable first: V8 allocates a function that is assigned to a property directly in the old
    // generation, where it would keep both connections alive until the next full collection.
    const onAborted = () => this.#dialFailed("abandoned");
    this.#request!.onAborted = onAborted;
    this.#dial = dialer.dialFlow(this.flow, this);
  }

  /** A dial that gives way to another ends in silence: the client tries again. */
  protected giveUp(why: FlowEnd): void {
    this.#request!.reject(why === "evicted" ? "drop" : "reset");
    this.#dialFailed(why);
  }

  inspect(): FlowFigures {
    const endpoint = this.#client?.endpoint;
    if (endpoint === undefined) return ownFigures(this.flow);
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
    endpoint.setKeepAlive(this.owner.keepAlive);
    this.#client = new EndpointStream(endpoint, this.owner.buffers);
    this.#target = target;
    this.join(this.#client, target);
    this.owner.onConnected(this);
  }

  dialFailed(why: DialError): void {
    this.#request!.reject(ANSWERS[why]);
    this.#dialFailed(why);
  }

  #dialFailed(why: DialError | FlowEnd): void {
    const request = this.#request;
    if (request === undefined) return;
    request.onAborted = undefined;
    this.#request = undefined;
    this.#dial?.abort();
    this.#dial = undefined;
    this.owner.onDialFailed(this, why);
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
