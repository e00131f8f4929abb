/**
 * TCP of programs of this host, whichever inbound they come by: admitted, dialled inside the tunnel,
 * counted.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import { Deadlines, type IpAddress } from "../../netstack/mod.ts";
import { Flow, type FlowEnd, type FlowOwner } from "../flow/flow.ts";
import type { Dialer, DialError } from "../flow/stream.ts";
import { DIAL_WORDS, REFUSAL_WORDS } from "../flow/words.ts";
import type { TcpForwarderCounters } from "../forward/tcp_counters.ts";
import { dialEnd, REFUSAL_ENDS } from "../forward/tcp_outcomes.ts";
import { LentBuffers } from "../splice/endpoint_stream.ts";
import type { RelayOwner } from "../splice/relay.ts";
import { TunnelDialer } from "../tunnel/dialer.ts";
import type { InboundHost } from "./inbound.ts";
import { InboundConnection, type Incoming } from "./tcp_connection.ts";

const log = getLogger(["wirestack", "inbound"]);

/** Who asks for what. */
export interface TcpRequest {
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
}

export class InboundTcp implements RelayOwner<InboundConnection> {
  /** Its "client" is the program. */
  readonly counters: TcpForwarderCounters;
  readonly #host: InboundHost;
  readonly #owner: FlowOwner;
  readonly #dialer: Dialer;
  readonly #deadlines = new Deadlines<InboundConnection>();
  #isClosing = false;

  /** @param dialer Default: into the tunnel. */
  constructor(host: InboundHost, owner: FlowOwner, dialer?: Dialer) {
    this.#host = host;
    this.#owner = owner;
    this.counters = host.counters.tcp;
    const { stack } = host;
    this.#dialer = dialer ??
      new TunnelDialer({ stack, now: () => host.now(), buffers: new LentBuffers() });
    host.addTimeouts(this);
  }

  now(): number {
    return this.#host.now();
  }

  /** A program wants to be connected. It may be refused within the call. */
  open(
    { source, sourcePort, destination, destinationPort }: TcpRequest,
    incoming: Incoming,
  ): void {
    const { counters } = this;
    counters.requests++;
    if (this.#isClosing) {
      counters.closing++;
      incoming.refuse("aborted");
      return;
    }
    const { admission, settings } = this.#host;
    const now = this.now();
    const owner = this.#owner;
    const flow = new Flow("tcp", owner, source, sourcePort, destination, destinationPort, now);
    const refusal = admission.admit(flow, now);
    if (refusal !== undefined) {
      counters[REFUSAL_ENDS[refusal].counter]++;
      if (log.isEnabledFor("debug")) {
        log.debug("{inbound}, {source} port {sourcePort}: {target} port {port} is refused: {why}", {
          ...addresses(flow),
          why: REFUSAL_WORDS[refusal],
        });
      }
      incoming.refuse(refusal);
      return;
    }
    const connection = new InboundConnection(this, incoming, flow);
    this.#deadlines.set(connection, now + settings.timeouts.tcpDialMs);
    connection.start(this.#dialer);
    this.#host.wake();
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

  /** No new connections from now on; those that are stay. */
  close(): void {
    this.#isClosing = true;
  }

  /** Resets everything that is left. */
  abort(): void {
    this.#isClosing = true;
    for (const flow of this.#host.admission.table.flows()) {
      if (flow.carrier instanceof InboundConnection && flow.owner === this.#owner) {
        flow.carrier.end("aborted");
      }
    }
  }

  onConnected(connection: InboundConnection): void {
    const { flow, endpoint } = connection;
    const { admission, settings: { timeouts } } = this.#host;
    const now = this.now();
    admission.dials.end(flow, "answered", now);
    flow.dialMs = now - flow.startedAt;
    admission.table.open(flow);
    this.counters.connected++;
    this.#deadlines.remove(connection);
    endpoint?.setKeepAlive({
      idle: timeouts.tcpKeepAliveIdleMs,
      interval: timeouts.tcpKeepAliveIntervalMs,
      count: timeouts.tcpKeepAliveCount,
    });
    if (log.isEnabledFor("debug")) {
      log.debug(
        "{inbound}, {source} port {sourcePort}: connected to {target} port {port}",
        addresses(flow),
      );
    }
  }

  onDialFailed(connection: InboundConnection, why: DialError | FlowEnd): void {
    const { flow } = connection;
    const { counter, outcome, end } = dialEnd(why);
    if (counter !== undefined) this.counters[counter]++;
    this.#host.admission.dials.end(flow, outcome, this.now());
    if (log.isEnabledFor("debug")) {
      log.debug("{inbound}, {source} port {sourcePort}: {target} port {port}: {why}", {
        ...addresses(flow),
        why: DIAL_WORDS[why],
      });
    }
    this.#remove(connection, end ?? why as FlowEnd);
  }

  onHalfClosed(connection: InboundConnection): void {
    this.#deadlines.set(connection, this.now() + this.#host.settings.timeouts.tcpHalfCloseMs);
    this.#host.wake();
  }

  onReset(by: "client" | "target"): void {
    this.counters[by === "client" ? "resetByClient" : "resetByTarget"]++;
  }

  onEnded(connection: InboundConnection, why: FlowEnd): void {
    const { bytesUp, bytesDown } = connection.flow;
    this.counters.bytesUp += bytesUp;
    this.counters.bytesDown += bytesDown;
    this.#remove(connection, why);
  }

  #remove(connection: InboundConnection, why: FlowEnd): void {
    const { connections, table } = this.#host.admission;
    if (why === "evicted" || why === "revoked" || why === "killed") this.counters[why]++;
    this.#deadlines.remove(connection);
    connections.give(connection.flow.owner);
    table.remove(connection.flow, why);
    this.#host.wake(); // what the stack has to say about it
  }
}

function addresses({ owner, source, sourcePort, destination, destinationPort }: Flow) {
  return {
    inbound: owner.name,
    source,
    sourcePort,
    target: destination,
    port: destinationPort,
  };
}
