/**
 * Answers for TCP targets behind NIC 2 (or NIC 1): dials first, then completes the client's
 * handshake, so that a closed port looks closed and a silent one silent.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import {
  Deadlines,
  type KeepAlive,
  type TcpForwarderHandler,
  type TcpForwarderRequest,
} from "../../netstack/mod.ts";
import { Flow, type FlowEnd, type FlowOwner } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { Dialer, DialError } from "../flow/stream.ts";
import { DIAL_WORDS, REFUSAL_WORDS } from "../flow/words.ts";
import { LentBuffers } from "../splice/endpoint_stream.ts";
import type { ForwarderOptions, ForwardTimeouts } from "./options.ts";
import type { FlowDialer } from "./named_targets.ts";
import { TcpConnection, type TcpConnectionOwner } from "./tcp_connection.ts";
import { newTcpCounters, type TcpForwarderCounters } from "./tcp_counters.ts";
import { dialEnd, REFUSAL_ENDS } from "./tcp_outcomes.ts";

const log = getLogger(["wirestack", "tcp"]);

export interface TcpForwarderOptions extends ForwarderOptions {
  readonly dialer: Dialer;
  /** Default: every flow is dialled at its address, and no more. */
  readonly targets?: FlowDialer;
  /** Ends something idle for want of a descriptor: see `SessionForwarder.giveWay`. Default: nothing. */
  readonly giveWay?: (owner: FlowOwner, now: number) => boolean;
}

export class TcpForwarder implements TcpForwarderHandler, TcpConnectionOwner {
  readonly counters: TcpForwarderCounters = newTcpCounters();
  readonly buffers: LentBuffers = new LentBuffers();
  readonly #options: TcpForwarderOptions;
  readonly #targets: FlowDialer;
  readonly #deadlines = new Deadlines<TcpConnection>();
  #isClosing = false;

  constructor(options: TcpForwarderOptions) {
    this.#options = options;
    const { dialer } = options;
    this.#targets = options.targets ?? {
      dialFlow: ({ dialled, dialledPort }, handler) => dialer.dial(dialled!, dialledPort, handler),
    };
  }

  /** For a connection that begins now. */
  get keepAlive(): KeepAlive {
    const { tcpKeepAliveIdleMs, tcpKeepAliveIntervalMs, tcpKeepAliveCount } =
      this.#options.settings.timeouts;
    return {
      idle: tcpKeepAliveIdleMs,
      interval: tcpKeepAliveIntervalMs,
      count: tcpKeepAliveCount,
    };
  }

  /** Connections and dials that are not over. */
  get size(): number {
    return this.#options.admission.connections.total;
  }

  /** Dials in flight. */
  get dials(): number {
    return this.#options.admission.dials.size;
  }

  *connections(): Iterable<TcpConnection> {
    for (const { carrier } of this.#options.admission.table.flows()) {
      if (carrier instanceof TcpConnection) yield carrier;
    }
  }

  now(): number {
    return this.#options.now();
  }

  request(request: TcpForwarderRequest): void {
    const { counters } = this;
    counters.requests++;
    if (this.#isClosing) {
      counters.closing++;
      request.reject("reset");
      return;
    }
    const { admission, ownerOf, settings } = this.#options;
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
    this.#deadlines.set(connection, now + settings.timeouts.tcpDialMs);
    try {
      connection.start(this.#targets);
    } catch (error) { // not permitted by the runtime
      log.error("{target} port {port}: {error}", { target, port: targetPort, error });
      connection.dialFailed("failed");
    }
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return this.#deadlines.next();
  }

  handleTimeout(now: number): void {
    for (let connection; (connection = this.#deadlines.popDue(now)) !== undefined;) {
      if (connection.isConnected) this.counters.halfClosedTooLong++;
      connection.expire();
    }
  }

  /** Gives connections that are under way the deadlines that they would have by the present timeouts. */
  timeoutsChanged(before: ForwardTimeouts): void {
    const { settings: { timeouts }, admission } = this.#options;
    const hasChanged = (...names: (keyof ForwardTimeouts)[]) =>
      names.some((name) => timeouts[name] !== before[name]);
    const isDial = hasChanged("tcpDialMs");
    const isHalfClose = hasChanged("tcpHalfCloseMs");
    const isKeepAlive = hasChanged(
      "tcpKeepAliveIdleMs",
      "tcpKeepAliveIntervalMs",
      "tcpKeepAliveCount",
    );
    if (!isDial && !isHalfClose && !isKeepAlive) return;
    for (const { carrier } of admission.table.live) {
      if (!(carrier instanceof TcpConnection)) continue;
      const { flow, isConnected, endpoint } = carrier;
      if (!isConnected && isDial) {
        this.#deadlines.set(carrier, flow.startedAt + timeouts.tcpDialMs);
      } else if (flow.state === "half-closed" && isHalfClose) {
        this.#deadlines.set(carrier, flow.lastActivity + timeouts.tcpHalfCloseMs);
      }
      // It begins to count anew: not for a change of something else.
      if (isKeepAlive) endpoint?.setKeepAlive(this.keepAlive);
    }
    this.#options.wake();
  }

  /** No new connections from now on; those that are stay. */
  close(): void {
    this.#isClosing = true;
  }

  /** Resets everything that is left. */
  abort(): void {
    for (const flow of [...this.#options.admission.table.flows()]) {
      if (flow.protocol === "tcp") flow.carrier?.endFlow(flow, "aborted");
    }
  }

  onConnected(connection: TcpConnection): void {
    const { flow } = connection;
    const now = this.now();
    this.#options.admission.dials.end(flow, "answered", now);
    flow.dialMs = now - flow.startedAt;
    this.#options.admission.table.open(flow);
    this.counters.connected++;
    this.#deadlines.remove(connection);
    // What a line needs costs more than to ask whether there will be one.
    if (log.isEnabledFor("debug")) {
      log.debug(
        "{peer}, {client} port {clientPort}: connected to {target} port {port}",
        addresses(flow),
      );
    }
  }

  onDialFailed(connection: TcpConnection, why: DialError | FlowEnd): void {
    const { flow } = connection;
    const { counter, outcome, end } = dialEnd(why);
    if (counter !== undefined) this.counters[counter]++;
    this.#options.admission.dials.end(flow, outcome, this.now());
    if (log.isEnabledFor("debug")) {
      log.debug("{peer}, {client} port {clientPort}: {target} port {port}: {why}", {
        ...addresses(flow),
        why: DIAL_WORDS[why],
      });
    }
    if (why === "exhausted" && !this.#options.giveWay?.(flow.owner, this.now())) {
      this.#options.admission.noteExhausted(this.now());
    }
    this.#remove(connection, end ?? why as FlowEnd);
  }

  onHalfClosed(connection: TcpConnection): void {
    this.#deadlines.set(connection, this.now() + this.#options.settings.timeouts.tcpHalfCloseMs);
    this.#options.wake();
  }

  onReset(by: "client" | "target"): void {
    if (by === "client") this.counters.resetByClient++;
    else this.counters.resetByTarget++;
  }

  onEnded(connection: TcpConnection, why: FlowEnd): void {
    const { bytesUp, bytesDown } = connection.flow;
    this.counters.bytesUp += bytesUp;
    this.counters.bytesDown += bytesDown;
    this.#remove(connection, why);
  }

  #remove(connection: TcpConnection, why: FlowEnd): void {
    const { connections, table } = this.#options.admission;
    if (why === "evicted" || why === "revoked" || why === "killed") this.counters[why]++;
    this.#deadlines.remove(connection);
    connections.give(connection.flow.owner);
    table.remove(connection.flow, why);
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
