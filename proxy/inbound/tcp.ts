/**
 * TCP of programs of this host, whichever inbound they come by: admitted, dialled inside the tunnel,
 * counted.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import type { IpAddress } from "../../netstack/mod.ts";
import { Flow, type FlowEnd, type FlowOwner } from "../flow/flow.ts";
import type { Dialer, DialError } from "../flow/stream.ts";
import { DIAL_WORDS, REFUSAL_WORDS } from "../flow/words.ts";
import type { TcpForwarderCounters } from "../forward/tcp_counters.ts";
import { REFUSAL_ENDS } from "../forward/tcp_outcomes.ts";
import { TcpRelays } from "../forward/tcp_relays.ts";
import { LentBuffers } from "../splice/endpoint_stream.ts";
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

export class InboundTcp extends TcpRelays<InboundConnection, InboundHost> {
  /** Its "client" is the program. */
  readonly counters: TcpForwarderCounters;
  readonly #owner: FlowOwner;
  readonly #dialer: Dialer;

  /** @param dialer Default: into the tunnel. */
  constructor(host: InboundHost, owner: FlowOwner, dialer?: Dialer) {
    super(host);
    this.#owner = owner;
    this.counters = host.counters.tcp;
    const { stack } = host;
    this.#dialer = dialer ??
      new TunnelDialer({ stack, now: () => host.now(), buffers: new LentBuffers() });
    host.addTimeouts(this);
  }

  /** A program wants to be connected. It may be refused within the call. */
  open(
    { source, sourcePort, destination, destinationPort }: TcpRequest,
    incoming: Incoming,
  ): void {
    const { counters } = this;
    counters.requests++;
    if (this.isClosing) {
      counters.closing++;
      incoming.refuse("aborted");
      return;
    }
    const { admission, settings } = this.options;
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
    this.deadlines.set(connection, now + settings.timeouts.tcpDialMs);
    connection.start(this.#dialer);
    this.options.wake();
  }

  /** Resets everything that is left. */
  abort(): void {
    this.isClosing = true;
    for (const connection of this.connections()) connection.end("aborted");
  }

  protected relayOf({ carrier, owner }: Flow): InboundConnection | undefined {
    return carrier instanceof InboundConnection && owner === this.#owner ? carrier : undefined;
  }

  override onConnected(connection: InboundConnection): void {
    connection.endpoint?.setKeepAlive(this.keepAlive);
    super.onConnected(connection);
  }

  protected tellConnected(flow: Flow): void {
    if (log.isEnabledFor("debug")) {
      log.debug(
        "{inbound}, {source} port {sourcePort}: connected to {target} port {port}",
        addresses(flow),
      );
    }
  }

  protected onDialOver(flow: Flow, why: DialError | FlowEnd): void {
    if (log.isEnabledFor("debug")) {
      log.debug("{inbound}, {source} port {sourcePort}: {target} port {port}: {why}", {
        ...addresses(flow),
        why: DIAL_WORDS[why],
      });
    }
  }

  protected override remove(connection: InboundConnection, why: FlowEnd): void {
    super.remove(connection, why);
    this.options.wake(); // what the stack has to say about it
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
