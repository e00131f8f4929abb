/**
 * One TCP connection of a program of this host: dialled inside the tunnel, then the two are joined.
 *
 * @module
 */

import type { TcpEndpoint } from "../../netstack/mod.ts";
import { type Flow, type FlowEnd, type FlowFigures, ownFigures } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { ByteStream, Dial, Dialer, DialError } from "../flow/stream.ts";
import { EndpointStream } from "../splice/endpoint_stream.ts";
import { Relay, type RelayOwner } from "../splice/relay.ts";

/** A program that waits to be connected. One of the two is called, once. */
export interface Incoming {
  /** The target is connected: the program is told, and its stream is the caller's. */
  accept(): ByteStream;
  /** It will not be. */
  refuse(why: Refusal | DialError | FlowEnd): void;
}

export class InboundConnection extends Relay {
  /** Inside the tunnel, once connected. */
  endpoint: TcpEndpoint | undefined = undefined;
  protected readonly owner: RelayOwner<InboundConnection>;
  /** Until the dial is over. */
  #incoming: Incoming | undefined;
  #dial: Dial | undefined = undefined;

  constructor(owner: RelayOwner<InboundConnection>, incoming: Incoming, flow: Flow) {
    super(flow);
    this.owner = owner;
    this.#incoming = incoming;
  }

  start(dialer: Dialer): void {
    const { dialled, dialledPort } = this.flow;
    this.#dial = dialer.dial(dialled!, dialledPort, this);
  }

  /** Towards the target: there is no segment of the program's to be seen. */
  inspect(flow: Flow): FlowFigures {
    const { endpoint } = this;
    if (endpoint === undefined) return ownFigures(flow);
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

  targetRttMs(flow: Flow): number {
    return this.inspect(flow).rttMs;
  }

  connected(target: ByteStream): void {
    const incoming = this.#incoming!;
    this.#incoming = undefined;
    this.#dial = undefined;
    if (target instanceof EndpointStream) this.endpoint = target.endpoint;
    const program = incoming.accept();
    this.join(program, target);
    this.owner.onConnected(this);
    program.resume();
  }

  dialFailed(why: DialError): void {
    this.#fail(why);
  }

  protected giveUp(why: FlowEnd): void {
    this.#fail(why);
  }

  #fail(why: DialError | FlowEnd): void {
    const incoming = this.#incoming;
    if (incoming === undefined) return;
    this.#incoming = undefined;
    this.#dial?.abort();
    this.#dial = undefined;
    incoming.refuse(why);
    this.owner.onDialFailed(this, why);
  }
}
