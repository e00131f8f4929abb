/**
 * Answers for TCP targets behind NIC 2 (or NIC 1): dials first, then completes the client's
 * handshake, so that a closed port looks closed and a silent one silent.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import type { TcpForwarderHandler, TcpForwarderRequest } from "../../netstack/mod.ts";
import { Flow, type FlowEnd, type FlowOwner } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { Dialer, DialError } from "../flow/stream.ts";
import { DIAL_WORDS, REFUSAL_WORDS } from "../flow/words.ts";
import { LentBuffers } from "../splice/endpoint_stream.ts";
import type { ForwarderOptions } from "./options.ts";
import type { FlowDialer } from "./named_targets.ts";
import { TcpConnection, type TcpConnectionOwner } from "./tcp_connection.ts";
import { newTcpCounters, type TcpForwarderCounters } from "./tcp_counters.ts";
import { REFUSAL_ENDS } from "./tcp_outcomes.ts";
import { TcpRelays } from "./tcp_relays.ts";

const log = getLogger(["wirestack", "tcp"]);

export interface TcpForwarderOptions extends ForwarderOptions {
  readonly dialer: Dialer;
  /** Default: every flow is dialled at its address, and no more. */
  readonly targets?: FlowDialer;
  /** Ends something idle for want of a descriptor: see `SessionForwarder.giveWay`. Default: nothing. */
  readonly giveWay?: (owner: FlowOwner, now: number) => boolean;
}

export class TcpForwarder extends TcpRelays<TcpConnection, TcpForwarderOptions>
  implements TcpForwarderHandler, TcpConnectionOwner {
  readonly counters: TcpForwarderCounters = newTcpCounters();
  readonly buffers: LentBuffers = new LentBuffers();
  readonly #targets: FlowDialer;

  constructor(options: TcpForwarderOptions) {
    super(options);
    const { dialer } = options;
    this.#targets = options.targets ?? {
      dialFlow: ({ dialled, dialledPort }, handler) => dialer.dial(dialled!, dialledPort, handler),
    };
  }

  /** Connections and dials that are not over. */
  get size(): number {
    return this.options.admission.connections.total;
  }

  /** Dials in flight. */
  get dials(): number {
    return this.options.admission.dials.size;
  }

  protected relayOf({ carrier }: Flow): TcpConnection | undefined {
    return carrier instanceof TcpConnection ? carrier : undefined;
  }

  request(request: TcpForwarderRequest): void {
    const { counters } = this;
    counters.requests++;
    if (this.isClosing) {
      counters.closing++;
      request.reject("reset");
      return;
    }
    const { admission, ownerOf, settings } = this.options;
    const { client, clientPort, target, targetPort, from } = request;
    const now = this.now();
    const owner = ownerOf(from, client);
    const flow = new Flow("tcp", owner, client, clientPort, target, targetPort, now);
    const refusal = admission.admit(flow, now);
    if (refusal !== undefined) {
      this.#refuse(request, owner, refusal);
      return;
    }
    const connection = new TcpConnection(this, request, flow);
    this.deadlines.set(connection, now + settings.timeouts.tcpDialMs);
    try {
      connection.start(this.#targets);
    } catch (error) { // not permitted by the runtime
      log.error("{target} port {port}: {error}", { target, port: targetPort, error });
      connection.dialFailed("failed");
    }
  }

  /** Resets everything that is left. */
  abort(): void {
    for (const flow of this.options.admission.table.live) {
      if (flow.protocol === "tcp") flow.carrier?.endFlow(flow, "aborted");
    }
  }

  protected tellConnected(flow: Flow): void {
    // What a line needs costs more than to ask whether there will be one.
    if (log.isEnabledFor("debug")) {
      log.debug(
        "{peer}, {client} port {clientPort}: connected to {target} port {port}",
        addresses(flow),
      );
    }
  }

  protected onDialOver(flow: Flow, why: DialError | FlowEnd): void {
    if (log.isEnabledFor("debug")) {
      log.debug("{peer}, {client} port {clientPort}: {target} port {port}: {why}", {
        ...addresses(flow),
        why: DIAL_WORDS[why],
      });
    }
    if (why === "exhausted" && !this.options.giveWay?.(flow.owner, this.now())) {
      this.options.admission.noteExhausted(this.now());
    }
  }

  #refuse(request: TcpForwarderRequest, owner: FlowOwner, why: Refusal): void {
    const { counter, answer } = REFUSAL_ENDS[why];
    this.counters[counter]++;
    if (log.isEnabledFor("debug")) {
      log.debug("{peer}, {client} port {clientPort}: {target} port {port} is refused: {why}", {
        peer: owner.name,
        client: request.client,
        clientPort: request.clientPort,
        target: request.target,
        port: request.targetPort,
        why: REFUSAL_WORDS[why],
      });
    }
    request.reject(answer);
  }
}

function addresses({ owner, source, sourcePort, dialled, dialledName, dialledPort }: Flow) {
  return {
    peer: owner.name,
    client: source,
    clientPort: sourcePort,
    target: dialledName ?? dialled,
    port: dialledPort,
  };
}
