/**
 * Answers for UDP targets behind NIC 2 (or NIC 1): one socket per client address and port, as a NAT
 * with endpoint-independent mapping (RFC 4787 §4.1). Whose replies pass is configured (§5: filtering).
 *
 * @module
 */

import { Flow, type FlowOwner } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { Shares } from "../flow/shares.ts";
import { REFUSAL_WORDS } from "../flow/words.ts";
import { getLogger } from "../log/logger.ts";
import type { IpAddress, UdpFlow, UdpForwarderHandler } from "../../netstack/mod.ts";
import type { UdpTargets } from "../target/udp.ts";
import type { UdpFiltering } from "./options.ts";
import { HeldBytes } from "./held_bytes.ts";
import { SessionForwarder } from "./session_forwarder.ts";
import { newUdpCounters, type UdpForwarderCounters } from "./udp_counters.ts";
import { UdpDetour } from "./udp_detour.ts";
import { UdpSession, type UdpSessionOwner } from "./udp_session.ts";

const log = getLogger(["wirestack", "udp"]);

type UdpVerdict = ReturnType<UdpForwarderHandler["datagram"]>;

export class UdpForwarder extends SessionForwarder<UdpSession, UdpTargets>
  implements UdpForwarderHandler, UdpSessionOwner {
  readonly counters: UdpForwarderCounters = newUdpCounters();
  /** What becomes of the datagrams of the flow last refused. */
  #answer: UdpVerdict = "prohibited";
  readonly #held = new HeldBytes();

  datagram(
    client: UdpFlow,
    destination: IpAddress,
    destinationPort: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): UdpVerdict {
    const session = client.session as UdpSession | undefined;
    if (session === undefined) {
      return this.#begin(client, destination, destinationPort, buffer, offset, length, now);
    }
    const entry = session.entryFor(destination, destinationPort, now);
    if (entry === undefined) return this.#answer;
    this.touch(session, now);
    session.send(entry, buffer, offset, length, now);
    return "accept";
  }

  protected get shares(): Shares {
    return this.options.admission.sessions;
  }

  protected get maxSessions(): number {
    return this.options.settings.limits.maxUdpSessions;
  }

  protected idleMs({ isDnsOnly }: UdpSession): number {
    const { udpIdleMs, udpDnsIdleMs } = this.options.settings.timeouts;
    return isDnsOnly ? udpDnsIdleMs : udpIdleMs;
  }

  get filtering(): UdpFiltering {
    return this.options.settings.udpFiltering;
  }

  get generation(): number {
    return this.options.admission.generation;
  }

  openFlow(
    { client, peer }: UdpSession,
    destination: IpAddress,
    port: number,
    now: number,
  ): Flow | undefined {
    return this.#admit(client, peer, destination, port, now);
  }

  detourOf(flow: Flow): UdpDetour | undefined {
    return UdpDetour.of(flow, this.#held);
  }

  reverse({ client, peer }: UdpSession, target: IpAddress, port: number): IpAddress | undefined {
    return this.options.admission.reverse({
      protocol: "udp",
      owner: peer,
      source: client.client,
      sourcePort: client.clientPort,
      destinationPort: port,
    }, target);
  }

  /** The first datagram of a client's port. */
  #begin(
    client: UdpFlow,
    destination: IpAddress,
    port: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): UdpVerdict {
    if (this.isClosing) {
      this.counters.closing++;
      return "drop";
    }
    const { admission, ownerOf } = this.options;
    const peer = ownerOf(client.from, client.client);
    const makeRoom = () => admission.makeRoomForSession(peer, (giver) => this.idlest(giver), now);
    const flow = this.#admit(client, peer, destination, port, now, makeRoom);
    if (flow === undefined) return this.#answer;
    const session = new UdpSession(this, client, peer, now);
    client.session = session;
    this.begin(session);
    const entry = session.add(flow);
    this.touch(session, now); // whether it talks to a name server is known now
    session.send(entry, buffer, offset, length, now);
    this.options.wake();
    return "accept";
  }

  #admit(
    { client, clientPort }: UdpFlow,
    peer: FlowOwner,
    destination: IpAddress,
    port: number,
    now: number,
    makeRoom?: () => Refusal | undefined,
  ): Flow | undefined {
    const flow = new Flow("udp", peer, client, clientPort, destination, port, now);
    const refusal = port === 0 ? "not-proxied" : this.options.admission.admit(flow, now, makeRoom);
    if (refusal === undefined) {
      this.noteAdmitted();
      return flow;
    }
    this.#answer = this.countRefusal(refusal);
    log.debug("{peer}, {client} port {clientPort}: {target} port {port} is refused: {why}", {
      peer: peer.name,
      client,
      clientPort,
      target: destination,
      port,
      why: REFUSAL_WORDS[refusal],
    });
    return undefined;
  }
}
