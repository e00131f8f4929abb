/**
 * One port of a program of this host, and its port inside the tunnel: one NAT mapping, whoever the program
 * talks to, and a flow for each target.
 *
 * @module
 */

import type { IpAddress, UdpEndpoint, UdpHandler } from "../../netstack/mod.ts";
import type { Flow, FlowEnd, FlowOwner } from "../flow/flow.ts";
import type { UdpFiltering } from "../forward/options.ts";
import { Session, type SessionOwner } from "../forward/session.ts";
import type { UdpForwarderCounters } from "../forward/udp_counters.ts";
import { FilterEntry } from "../forward/udp_filter.ts";
import { TargetAddress } from "../target/address.ts";

/** The program that a session is for. */
export interface UdpProgram {
  readonly source: IpAddress;
  readonly sourcePort: number;
  /**
   * Sends it a reply, in the name of `from`. The bytes are copied.
   *
   * @returns false if there was no way, or no buffer for it.
   */
  reply(
    from: IpAddress,
    port: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): boolean;
  /** The session is over. */
  ended(): void;
}

/** What a session needs of the inbound that it belongs to. */
export interface InboundSessionOwner extends SessionOwner<InboundUdpSession> {
  readonly counters: UdpForwarderCounters;
  readonly filtering: UdpFiltering;
  /** An admitted flow; undefined if it is refused. */
  openFlow(
    session: InboundUdpSession,
    destination: IpAddress,
    port: number,
    now: number,
  ): Flow | undefined;
}

const DNS_PORT = 53;

export class InboundUdpSession extends Session implements UdpHandler {
  /** Whether the program has talked to name servers alone. */
  isDnsOnly = true;
  readonly program: UdpProgram;
  protected readonly owner: InboundSessionOwner;
  readonly #endpoint: UdpEndpoint;
  /** The sender last looked up. */
  #lastSender: IpAddress | undefined = undefined;
  #lastPort = 0;
  #lastEntry: FilterEntry | undefined = undefined;

  /** @param endpoint Inside the tunnel; the session's from now on. */
  constructor(
    owner: InboundSessionOwner,
    endpoint: UdpEndpoint,
    peer: FlowOwner,
    program: UdpProgram,
    now: number,
  ) {
    super(peer, now);
    this.owner = owner;
    this.#endpoint = endpoint;
    this.program = program;
    endpoint.handler = this;
  }

  /** Another flow of this session, an admitted one. */
  add(flow: Flow): FilterEntry {
    flow.state = "open";
    if (flow.destinationPort !== DNS_PORT) this.isDnsOnly = false;
    const entry = new FilterEntry(flow);
    this.enter(entry);
    this.#lastSender = undefined;
    return entry;
  }

  /** Sends a datagram of the program's to where it wanted to go, if it may. */
  forward(
    destination: IpAddress,
    port: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    let entry = this.filter.noteSent(destination, port);
    if (entry === undefined) {
      const flow = this.owner.openFlow(this, destination, port, now);
      if (flow === undefined) return;
      entry = this.add(flow);
    }
    this.owner.touch(this, now);
    this.send(entry, buffer, offset, length, now);
  }

  send(
    { flow }: FilterEntry,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const { counters } = this.owner;
    if (flow.up !== undefined && !flow.up.admits(length, now)) {
      counters.overRate++;
      return;
    }
    const { dialled, dialledPort } = flow;
    if (!this.#endpoint.send(dialled!, dialledPort, buffer, offset, length, now)) {
      counters.sendErrors++;
      return;
    }
    counters.datagramsUp++;
    counters.bytesUp += length;
    flow.packetsUp++;
    flow.bytesUp += length;
    flow.lastActivity = now;
  }

  datagram(
    _endpoint: UdpEndpoint,
    source: IpAddress,
    port: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): void {
    const { counters } = this.owner;
    const entry = this.#entryOf(source, port);
    if (entry === undefined) {
      counters.filtered++;
      return;
    }
    this.owner.touch(this, now);
    const { flow } = entry;
    if (flow.down !== undefined && !flow.down.admits(length, now)) {
      counters.overRate++;
      return;
    }
    if (!this.program.reply(source, port, buffer, offset, length, now)) {
      counters.noRoom++;
      return;
    }
    counters.datagramsDown++;
    counters.bytesDown += length;
    flow.packetsDown++;
    flow.bytesDown += length;
    flow.lastActivity = now;
  }

  protected closeSockets(): void {
    this.#endpoint.handler = undefined;
    this.#endpoint.close();
    this.program.ended();
  }

  protected override ended(entry: FilterEntry, why: FlowEnd): void {
    this.#lastSender = undefined;
    super.ended(entry, why);
  }

  /** Whose replies pass (RFC 4787 §5). One that was never sent to has no name to answer in. */
  #entryOf(source: IpAddress, port: number): FilterEntry | undefined {
    // The stack hands out the same object as long as the sender stays the same.
    if (source === this.#lastSender && port === this.#lastPort) return this.#lastEntry;
    const { words } = new TargetAddress(source, port);
    const entry = this.filter.at(words, 0) ??
      (this.owner.filtering === "address-port" ? undefined : this.filter.atAddress(words, 0));
    this.#lastSender = source;
    this.#lastPort = port;
    return this.#lastEntry = entry;
  }
}
