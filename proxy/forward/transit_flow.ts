/**
 * One connection, session or ping whose packets pass through from link to link.
 *
 * @module
 */

import type { Timed, TransitPacket } from "../../netstack/mod.ts";
import {
  type Flow,
  type FlowCarrier,
  type FlowEnd,
  type FlowFigures,
  ownFigures,
} from "../flow/flow.ts";

// TCP's flags (RFC 9293 §3.1).
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const ACK = 0x10;

/** Idle times of TCP, ms. The others are configured. */
const TCP_OPENING_MS = 30_000;
/** RFC 5382 REQ-5: at least two hours and four minutes. */
const TCP_OPEN_MS = 7_440_000;
/** A last ACK, and what is sent again. */
const TCP_CLOSING_MS = 10_000;

/** What a flow needs of the table that it is in. */
export interface TransitFlowOwner {
  /** Of UDP and pings, ms. */
  idleMs(flow: Flow): number;
  /** {@link TransitFlow.expiresAt} has become earlier. */
  hasten(transit: TransitFlow): void;
  remove(transit: TransitFlow, why: FlowEnd): void;
}

export class TransitFlow implements FlowCarrier, Timed {
  deadline = Infinity;
  heapIndex = -1;
  readonly flow: Flow;
  readonly hash: number;
  /** In the table's chain. */
  next: TransitFlow | undefined = undefined;
  /** Neighbours in its owner's list, which is in the order of eviction. */
  older: TransitFlow | undefined = undefined;
  newer: TransitFlow | undefined = undefined;
  /** Its last activity when it was put at that list's end, ms. */
  seenAt = 0;
  /** The other end's port in packets: an echo has its identifier at both ends. */
  readonly #farPort: number;
  readonly #owner: TransitFlowOwner;
  #isAnswered = false;
  #hasFinUp = false;
  #hasFinDown = false;
  #reset: FlowEnd | undefined = undefined;

  constructor(owner: TransitFlowOwner, flow: Flow, hash: number) {
    this.#owner = owner;
    this.flow = flow;
    this.hash = hash;
    this.#farPort = flow.protocol === "icmp" ? flow.sourcePort : flow.destinationPort;
    flow.carrier = this;
  }

  get lastActivity(): number {
    return this.flow.lastActivity;
  }

  /**
   * Whether a packet, of this flow's protocol, belongs to it in the direction of the first one. Echo
   * requests only go that way: in the other direction they are another flow's.
   */
  isUp(packet: TransitPacket): boolean {
    const { kind, buffer, version, source, destination, sourcePort, destinationPort } = packet;
    const { flow } = this;
    return sourcePort === flow.sourcePort && destinationPort === this.#farPort &&
      kind !== "echo-reply" && flow.source.matches(buffer, source, version) &&
      flow.destination.matches(buffer, destination, version);
  }

  /** The same in the other direction. */
  isDown(packet: TransitPacket): boolean {
    const { kind, buffer, version, source, destination, sourcePort, destinationPort } = packet;
    const { flow } = this;
    return destinationPort === flow.sourcePort && sourcePort === this.#farPort &&
      kind !== "echo-request" && flow.source.matches(buffer, destination, version) &&
      flow.destination.matches(buffer, source, version);
  }

  /** Whether a SYN with its addresses and ports would begin another connection. */
  get isClosing(): boolean {
    return this.#reset !== undefined || this.#hasFinUp && this.#hasFinDown;
  }

  /** A packet of it passes. @param isUp In the direction of its first one. */
  note(isUp: boolean, length: number, flags: number, now: number): void {
    const { flow } = this;
    flow.lastActivity = now;
    if (isUp) {
      flow.packetsUp++;
      flow.bytesUp += length;
    } else {
      flow.packetsDown++;
      flow.bytesDown += length;
    }
    // Both sides have sent: segments of one side alone, as if of an old connection, are not taken for one.
    if (!this.#isAnswered && flow.packetsUp > 0 && flow.packetsDown > 0) {
      this.#isAnswered = true;
      flow.state = "open";
    }
    // Plain data is no end; a RST that the receiver did not believe is forgotten with the next packet.
    if (flow.protocol === "tcp" && ((flags & (FIN | RST)) !== 0 || this.#reset !== undefined)) {
      this.#noteEnd(isUp, flags);
    }
  }

  /** When it ends unless more comes, ms. */
  get expiresAt(): number {
    return this.flow.lastActivity + this.#idleMs();
  }

  /** Nothing came for long enough. */
  expire(): void {
    const hasClosed = this.#hasFinUp && this.#hasFinDown;
    this.#owner.remove(this, this.#reset ?? (hasClosed ? "closed" : "idle"));
  }

  /** Nobody is told; further packets are decided on anew. */
  endFlow(_flow: Flow, why: FlowEnd): void {
    this.end(why);
  }

  end(why: FlowEnd): void {
    this.#owner.remove(this, why);
  }

  inspect(flow: Flow): FlowFigures {
    return ownFigures(flow);
  }

  #noteEnd(isUp: boolean, flags: number): void {
    const { flow } = this;
    this.#reset = (flags & RST) === 0 ? undefined : isUp ? "reset-by-source" : "reset-by-target";
    if ((flags & FIN) !== 0) {
      if (isUp) this.#hasFinUp = true;
      else this.#hasFinDown = true;
      flow.state = "half-closed";
    }
    if (this.isClosing) this.#owner.hasten(this);
  }

  #idleMs(): number {
    const { flow } = this;
    if (flow.protocol !== "tcp") return this.#owner.idleMs(flow);
    if (this.isClosing) return TCP_CLOSING_MS;
    return this.#isAnswered ? TCP_OPEN_MS : TCP_OPENING_MS;
  }
}
