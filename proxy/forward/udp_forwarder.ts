/**
 * Answers for UDP targets behind NIC 2 (or NIC 1): one socket per client address and port, as a NAT
 * with endpoint-independent mapping (RFC 4787 §4.1). Whose replies pass is configured (§5: filtering).
 *
 * @module
 */

import { REFUSAL_WORDS } from "../flow/words.ts";
import { getLogger } from "../log/logger.ts";
import {
  Deadlines,
  type IpAddress,
  Roster,
  type UdpFlow,
  type UdpForwarderHandler,
} from "../../netstack/mod.ts";
import type { TurnSource } from "../engine/engine.ts";
import { Flow, type FlowEnd, type FlowOwner } from "../flow/flow.ts";
import type { UdpTargets, UdpTargetsOptions } from "../target/udp.ts";
import type { ForwarderOptions, ForwardTimeouts, UdpFiltering } from "./options.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { NamedTargets, NoTarget } from "./named_targets.ts";
import { HeldBytes, UdpDetour } from "./udp_detour.ts";
import { newUdpCounters, type UdpForwarderCounters } from "./udp_counters.ts";
import { UdpSession, type UdpSessionOwner } from "./udp_session.ts";

const log = getLogger(["wirestack", "udp"]);

export interface UdpForwarderOptions extends ForwarderOptions {
  /** Default: no name has an address. */
  readonly targets?: Pick<NamedTargets, "resolve">;
  /** Whether the tunnel takes more replies. */
  hasRoom(): boolean;
  /** A socket could not be opened. @returns whether for lack of a descriptor. */
  onNoSocket(error: unknown): boolean;
  /** Opens what makes sockets towards targets. */
  openTargets(options: UdpTargetsOptions): UdpTargets;
}

/** Flows per allowed session; with more in all, every session is kept to a few. */
const FLOWS_PER_SESSION = 4;

type UdpVerdict = ReturnType<UdpForwarderHandler["datagram"]>;

export class UdpForwarder implements UdpForwarderHandler, UdpSessionOwner, TurnSource {
  readonly counters: UdpForwarderCounters = newUdpCounters();
  readonly #options: UdpForwarderOptions;
  readonly #sessions = new Roster<UdpSession, "rosterIndex">("rosterIndex");
  #sockets: UdpTargets | undefined;
  readonly #deadlines = new Deadlines<UdpSession>();
  /** Flows of all sessions. */
  #flows = 0;
  /** What becomes of the datagrams of the flow last refused. */
  #answer: UdpVerdict = "prohibited";
  readonly #held = new HeldBytes();
  #isClosing = false;

  constructor(options: UdpForwarderOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#sessions.size;
  }

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

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return this.#deadlines.next();
  }

  handleTimeout(now: number): void {
    for (let session; (session = this.#deadlines.popDue(now)) !== undefined;) {
      this.counters.idle++;
      session.end("idle");
    }
  }

  /** Gives sessions the deadlines that they would have by the present timeouts. */
  timeoutsChanged(before: ForwardTimeouts): void {
    const { udpIdleMs, udpDnsIdleMs } = this.#options.settings.timeouts;
    if (udpIdleMs === before.udpIdleMs && udpDnsIdleMs === before.udpDnsIdleMs) return;
    for (const session of this.#sessions.items) this.touch(session, session.lastActivity);
    this.#options.wake();
  }

  /** No new sessions from now on. */
  close(): void {
    this.#isClosing = true;
  }

  /** Ends every session. Resolves when no socket is left. */
  async abort(): Promise<void> {
    this.#isClosing = true;
    for (const session of [...this.#sessions.items]) session.end("aborted");
    await this.#sockets?.close();
  }

  /** Opened with the first session. */
  get sockets(): UdpTargets {
    return this.#sockets ??= this.#options.openTargets({
      counters: this.counters,
      now: () => this.#options.now(),
      wake: () => this.#options.wake(),
      hasRoom: () => this.#options.hasRoom(),
    });
  }

  get hasReady(): boolean {
    return this.#sockets !== undefined && this.#sockets.hasReady;
  }

  drain(now: number): void {
    this.#sockets?.drain(now);
  }

  flush(): void {
    this.#sockets?.flush();
  }

  get filtering(): UdpFiltering {
    return this.#options.settings.udpFiltering;
  }

  get generation(): number {
    return this.#options.admission.generation;
  }

  get isCrowded(): boolean {
    return this.#flows >= FLOWS_PER_SESSION * this.#options.settings.limits.maxUdpSessions;
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

  resolve(flow: Flow, found: (target: IpAddress | NoTarget, now: number) => void): () => void {
    const { targets } = this.#options;
    const tell = (target: IpAddress | NoTarget) => {
      found(target, this.#options.now());
      this.#options.wake();
    };
    if (targets !== undefined) return targets.resolve(flow, tell);
    queueMicrotask(() => tell("host-unreachable"));
    return () => {};
  }

  reverse({ client, peer }: UdpSession, target: IpAddress, port: number): IpAddress | undefined {
    return this.#options.admission.reverse({
      protocol: "udp",
      owner: peer,
      source: client.client,
      sourcePort: client.clientPort,
      destinationPort: port,
    }, target);
  }

  isOwnHost(address: IpAddress): boolean {
    return this.#options.admission.isOwnHost(address);
  }

  touch(session: UdpSession, now: number): void {
    session.lastActivity = now;
    const { udpIdleMs, udpDnsIdleMs } = this.#options.settings.timeouts;
    this.#deadlines.set(session, now + (session.isDnsOnly ? udpDnsIdleMs : udpIdleMs));
  }

  onNoSocket({ peer }: UdpSession, error: unknown): void {
    this.counters.socketErrors++;
    if (!this.#options.onNoSocket(error)) return;
    const { admission, now } = this.#options;
    admission.noteExhausted(now());
    admission.makeRoomForConnection(peer, now()); // the client's next datagram tries again
  }

  onFlowEnded(flow: Flow, why: FlowEnd): void {
    this.#flows--;
    if (why === "evicted" || why === "revoked" || why === "killed") this.counters[why]++;
    this.#options.admission.table.remove(flow, why);
  }

  onEnded(session: UdpSession): void {
    this.#deadlines.remove(session);
    this.#sessions.delete(session);
    this.#options.admission.sessions.give(session.peer);
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
    if (this.#isClosing) {
      this.counters.closing++;
      return "drop";
    }
    const { admission, ownerOf } = this.#options;
    const peer = ownerOf(client.from, client.client);
    const makeRoom = () => admission.makeRoomForSession(peer, (giver) => this.#idlest(giver), now);
    const flow = this.#admit(client, peer, destination, port, now, makeRoom);
    if (flow === undefined) return this.#answer;
    admission.sessions.take(peer);
    const session = new UdpSession(this, client, peer, now);
    client.session = session;
    this.#sessions.add(session);
    this.counters.sessions++;
    this.touch(session, now);
    session.send(session.add(flow), buffer, offset, length, now);
    this.#options.wake();
    return "accept";
  }

  #idlest(peer: FlowOwner): UdpSession | undefined {
    let found: UdpSession | undefined;
    for (const session of this.#sessions.items) {
      if (session.peer !== peer) continue;
      if (found === undefined || session.lastActivity < found.lastActivity) found = session;
    }
    return found;
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
    const refusal = port === 0 ? "not-proxied" : this.#options.admission.admit(flow, now, makeRoom);
    if (refusal === undefined) {
      this.#flows++;
      return flow;
    }
    const isFull = refusal === "peer-full" || refusal === "rule-full";
    this.counters[isFull ? "overQuota" : "forbidden"]++;
    this.#answer = refusal === "dropped" ? "drop" : "prohibited";
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
