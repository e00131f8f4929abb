/**
 * UDP of programs of this host, whichever inbound they come by: admitted, sent from a port inside the
 * tunnel, and answered.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import type { TurnSource } from "../engine/engine.ts";
import type { IpAddress, UdpEndpoint } from "../../netstack/mod.ts";
import { Flow, type FlowOwner } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { Shares } from "../flow/shares.ts";
import { REFUSAL_WORDS } from "../flow/words.ts";
import type { UdpFiltering } from "../forward/options.ts";
import { SessionForwarder } from "../forward/session_forwarder.ts";
import type { UdpForwarderCounters } from "../forward/udp_counters.ts";
import type { UdpTargetsOptions } from "../target/udp.ts";
import type { InboundHost } from "./inbound.ts";
import { type InboundSessionOwner, InboundUdpSession, type UdpProgram } from "./udp_session.ts";

const log = getLogger(["wirestack", "inbound"]);

/** Sockets towards programs. */
export interface ProgramSockets extends TurnSource {
  close(): Promise<void>;
}

export interface InboundUdpOptions<Sockets extends ProgramSockets> {
  readonly owner: FlowOwner;
  openSockets(options: UdpTargetsOptions): Sockets;
}

export class InboundUdp<Sockets extends ProgramSockets>
  extends SessionForwarder<InboundUdpSession, Sockets>
  implements InboundSessionOwner {
  /** Its "client" is the program, its "target" inside the tunnel. */
  readonly counters: UdpForwarderCounters;
  readonly #host: InboundHost;
  readonly #owner: FlowOwner;

  constructor(host: InboundHost, { owner, openSockets }: InboundUdpOptions<Sockets>) {
    super({
      admission: host.admission,
      settings: host.settings,
      now: () => host.now(),
      wake: () => host.wake(),
      hasRoom: () => host.hasRoom(),
      ownerOf: () => owner,
      onNoSocket: () => false,
      openTargets: openSockets,
    });
    this.#host = host;
    this.#owner = owner;
    this.counters = host.counters.udp;
    host.addTimeouts(this);
    host.addTurns(this);
  }

  get filtering(): UdpFiltering {
    return this.options.settings.udpFiltering;
  }

  /**
   * The first datagram of a program's port.
   *
   * @returns undefined if it is refused, or there is no port inside the tunnel.
   */
  begins(
    program: UdpProgram,
    destination: IpAddress,
    port: number,
    now: number,
  ): InboundUdpSession | undefined {
    if (this.isClosing) {
      this.counters.closing++;
      return undefined;
    }
    const { admission } = this.options;
    const owner = this.#owner;
    let endpoint: UdpEndpoint | undefined;
    const flow = this.#admit(program, destination, port, now, () => {
      const refusal = admission.makeRoomForSession(owner, (giver) => this.idlest(giver), now);
      if (refusal !== undefined) return refusal;
      endpoint = this.#bind();
      return endpoint === undefined ? "full" : undefined;
    });
    if (flow === undefined || endpoint === undefined) return undefined;
    const session = new InboundUdpSession(this, endpoint, owner, program, now);
    this.begin(session);
    session.add(flow);
    this.touch(session, now); // whether it talks to a name server is known now
    this.options.wake();
    return session;
  }

  openFlow(
    { program }: InboundUdpSession,
    destination: IpAddress,
    port: number,
    now: number,
  ): Flow | undefined {
    return this.#admit(program, destination, port, now);
  }

  protected get shares(): Shares {
    return this.options.admission.sessions;
  }

  protected get maxSessions(): number {
    return this.options.settings.limits.maxUdpSessions;
  }

  protected idleMs({ isDnsOnly }: InboundUdpSession): number {
    const { udpIdleMs, udpDnsIdleMs } = this.options.settings.timeouts;
    return isDnsOnly ? udpDnsIdleMs : udpIdleMs;
  }

  #admit(
    { source, sourcePort }: UdpProgram,
    destination: IpAddress,
    port: number,
    now: number,
    makeRoom?: () => Refusal | undefined,
  ): Flow | undefined {
    const flow = new Flow("udp", this.#owner, source, sourcePort, destination, port, now);
    const refusal = port === 0 ? "no-peer" : this.options.admission.admit(flow, now, makeRoom);
    if (refusal === undefined) {
      this.noteAdmitted();
      return flow;
    }
    this.countRefusal(refusal);
    if (log.isEnabledFor("debug")) {
      log.debug("{inbound}, {source} port {sourcePort}: {target} port {port} is refused: {why}", {
        inbound: this.#owner.name,
        source,
        sourcePort,
        target: destination,
        port,
        why: REFUSAL_WORDS[refusal],
      });
    }
    return undefined;
  }

  /** A port of the stack's own, for one program's. */
  #bind(): UdpEndpoint | undefined {
    try {
      return this.#host.stack.bindUdp({});
    } catch {
      this.counters.socketErrors++; // all of them are taken
      return undefined;
    }
  }
}
