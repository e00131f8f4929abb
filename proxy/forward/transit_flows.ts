/**
 * Packets that pass through from link to link, as flows: a verdict once for each, by the rules, and
 * what answers passes too. Without rules nothing of this is asked.
 *
 * @module
 */

import {
  Deadlines,
  IpAddress,
  type TransitFilter,
  type TransitPacket,
  type TransitVerdict,
} from "../../netstack/mod.ts";
import { Flow, type FlowEnd } from "../flow/flow.ts";
import type { HostGuard } from "../flow/host_guard.ts";
import type { Refusal } from "../flow/refusal.ts";
import { REFUSAL_WORDS } from "../flow/words.ts";
import { getLogger } from "../log/logger.ts";
import type { ForwarderOptions } from "./options.ts";
import { ACK, RST, SYN, TransitFlow, type TransitFlowOwner } from "./transit_flow.ts";
import { TransitFragments } from "./transit_fragments.ts";
import { TransitShares } from "./transit_shares.ts";
import { isOfProtocol, transitProtocol, TransitTable } from "./transit_table.ts";

const log = getLogger(["wirestack", "flow"]);

/** Totals since the start, by reason. */
export interface TransitCounters {
  /** Flows that passed. */
  flows: number;
  /** Packets of flows that a rule, or the default, is against. */
  forbidden: number;
  /** Answers to, and errors about, what has not passed. */
  unasked: number;
  /** Fragments behind a first one that has not passed, or not yet. */
  fragments: number;
  /** Packets of protocols that rules cannot name. */
  otherProtocols: number;
  malformed: number;
  /** Packets over a limit of rate. */
  overRate: number;
  /** Flows that made room for others, the one that was idle longest or nearly so. */
  evicted: number;
}

export interface TransitOptions extends Pick<ForwarderOptions, "admission" | "ownerOf"> {
  readonly settings: Pick<ForwarderOptions["settings"], "timeouts">;
  random(out: Uint8Array): void;
  /** What would pass from a peer to this host's own network. Default: nothing does. */
  readonly guard?: Pick<HostGuard, "covers"> | undefined;
  /** Default 32,768: some 20 MB. */
  readonly maxFlows?: number;
}

const MAX_FLOWS = 32_768;
/**
 * Remembered connections that were killed, or ended by the guard: their ends notice when they next
 * send.
 */
const MAX_KILLED = 256;
const DNS_PORT = 53;

export class TransitFlows implements TransitFilter, TransitFlowOwner {
  readonly counters: TransitCounters = {
    flows: 0,
    forbidden: 0,
    unasked: 0,
    fragments: 0,
    otherProtocols: 0,
    malformed: 0,
    overRate: 0,
    evicted: 0,
  };
  readonly #options: TransitOptions;
  readonly #table: TransitTable;
  readonly #shares: TransitShares;
  readonly #deadlines = new Deadlines<TransitFlow>();
  readonly #fragments: TransitFragments;
  readonly #quoted: TransitPacket;
  /**
   * The oldest first. Without that the next segment would begin the connection anew: one that the guard
   * has ended would pass as one that this host began.
   */
  readonly #killed = new Set<TransitFlow>();
  /** Of the last packet: traffic comes in runs. */
  #last: TransitFlow | undefined;

  /** @param quoted An object to describe quoted packets with. */
  constructor(options: TransitOptions, quoted: TransitPacket) {
    this.#options = options;
    this.#table = new TransitTable(options.random);
    this.#shares = new TransitShares(options.maxFlows ?? MAX_FLOWS);
    this.#fragments = new TransitFragments(options.random);
    this.#quoted = quoted;
  }

  get size(): number {
    return this.#shares.total;
  }

  handlePacket(packet: TransitPacket, now: number): TransitVerdict {
    switch (packet.kind) {
      case "tcp":
      case "udp":
      case "echo-request":
      case "echo-reply":
        return this.#handle(packet, now);
      case "icmp-error":
        return this.#handleError(packet, now);
      case "fragment":
        return this.#handleFragment(packet, now);
      case "malformed":
        this.counters.malformed++;
        return "drop";
      case "other":
        if (this.#passesOther(packet)) return "pass";
        this.counters.otherProtocols++;
        return this.#options.admission.rules.defaultAction === "drop" ? "drop" : "reject";
    }
  }

  pollTimeout(): number {
    return this.#deadlines.next();
  }

  handleTimeout(now: number): void {
    for (let transit; (transit = this.#deadlines.popDue(now)) !== undefined;) {
      const { expiresAt } = transit;
      if (expiresAt > now) this.#deadlines.set(transit, expiresAt);
      else transit.expire();
    }
  }

  /** Forgets all of them, because nothing is decided about any more, or because all is over. */
  clear(why: FlowEnd): void {
    for (let transit; (transit = this.#shares.any()) !== undefined;) this.remove(transit, why);
  }

  idleMs({ protocol, destinationPort }: Flow): number {
    const { udpIdleMs, udpDnsIdleMs, icmpIdleMs } = this.#options.settings.timeouts;
    if (protocol === "icmp") return icmpIdleMs;
    return destinationPort === DNS_PORT ? udpDnsIdleMs : udpIdleMs;
  }

  hasten(transit: TransitFlow): void {
    this.#deadlines.set(transit, transit.expiresAt);
  }

  remove(transit: TransitFlow, why: FlowEnd): void {
    const { flow } = transit;
    if (flow.end !== undefined) return;
    if (this.#last === transit) this.#last = undefined;
    this.#table.remove(transit);
    this.#deadlines.remove(transit);
    this.#shares.give(transit);
    if (why === "evicted") this.counters.evicted++;
    const isOver = why === "killed" || why === "revoked" && this.#options.guard?.covers(flow);
    if (isOver && flow.protocol === "tcp") this.#noteKilled(transit);
    this.#options.admission.table.remove(flow, why);
  }

  #handle(packet: TransitPacket, now: number): TransitVerdict {
    let transit = this.#last;
    let isUp = transit !== undefined && isOfProtocol(transit, packet) && transit.isUp(packet);
    if (
      transit === undefined || !isUp && !(isOfProtocol(transit, packet) && transit.isDown(packet))
    ) {
      transit = this.#table.find(packet);
      isUp = transit !== undefined && transit.isUp(packet);
    }
    const { flags } = packet;
    if (transit !== undefined && (flags & (SYN | ACK)) === SYN && transit.isClosing) {
      transit.end("closed"); // its ports are used again
      transit = undefined;
    }
    if (transit === undefined) return this.#begin(packet, now);
    this.#last = transit;
    if (!isUp && (flags & (SYN | ACK)) === SYN) {
      // The far end opens a connection of its own: that the flow passed does not allow that.
      const refused = this.#refusalOf(packet, now);
      if (refused !== undefined) return refused;
    }
    return this.#pass(transit, packet, isUp, flags, now);
  }

  #pass(
    transit: TransitFlow,
    packet: TransitPacket,
    isUp: boolean,
    flags: number,
    now: number,
  ): TransitVerdict {
    const { flow } = transit;
    const pace = isUp ? flow.up : flow.down;
    if (pace !== undefined && !pace.admitsPacket(packet.length, now)) {
      this.counters.overRate++;
      return "drop";
    }
    transit.note(isUp, packet.length, flags, now);
    if (packet.isFragmented && packet.kind !== "fragment") {
      const source = IpAddress.from(packet.buffer, packet.source, packet.version);
      const sender = this.#options.ownerOf(packet.from, source);
      this.#fragments.add(packet, sender, transit, isUp, now);
    }
    return "pass";
  }

  /** A packet of no known flow. */
  #begin(packet: TransitPacket, now: number): TransitVerdict {
    const { kind, flags } = packet;
    if (kind === "echo-reply") {
      this.counters.unasked++;
      return "drop";
    }
    const isTcp = kind === "tcp";
    const opens = !isTcp || (flags & (SYN | ACK | RST)) === SYN;
    const killed = isTcp ? this.#killedAt(packet) : undefined;
    if (killed !== undefined && !opens) return "reject"; // a RST for its sender
    if (killed !== undefined) this.#killed.delete(killed); // its ports are used again
    const { admission } = this.#options;
    let flow = this.#flowOf(packet, false, now);
    let isUp = true;
    if (!opens && admission.decide(flow).refusal !== undefined) {
      // The middle of a connection, as after a restart: the other end may be the one that opened it.
      const reverse = this.#flowOf(packet, true, now);
      if (admission.decide(reverse).refusal === undefined) {
        flow = reverse;
        isUp = false;
      }
    }
    const refusal = admission.admit(flow, now, () => {
      this.#shares.surplus(flow.owner)?.end("evicted");
      return undefined;
    });
    if (refusal !== undefined) return this.#refuse(flow, refusal);
    const transit = this.#enter(flow, this.#table.hashOf(packet));
    return this.#pass(transit, packet, isUp, flags, now);
  }

  /** With no rules the filter only serves the guard: what that does not cover passes. */
  #passesOther({ from, buffer, source, destination, version }: TransitPacket): boolean {
    const { admission, ownerOf, guard } = this.#options;
    return guard !== undefined && admission.rules.isEmpty && !guard.covers({
      owner: ownerOf(from, IpAddress.from(buffer, source, version)),
      destination: IpAddress.from(buffer, destination, version),
    });
  }

  #noteKilled(transit: TransitFlow): void {
    const [oldest] = this.#killed;
    if (this.#killed.size >= MAX_KILLED) this.#killed.delete(oldest!);
    this.#killed.add(transit);
  }

  #killedAt(packet: TransitPacket): TransitFlow | undefined {
    for (const transit of this.#killed) {
      if (transit.isUp(packet) || transit.isDown(packet)) return transit;
    }
    return undefined;
  }

  /** What becomes of a packet that could begin no flow of its own; undefined if it could. */
  #refusalOf(packet: TransitPacket, now: number): TransitVerdict | undefined {
    const { admission } = this.#options;
    const flow = this.#flowOf(packet, false, now);
    const { refusal, rule } = admission.decide(flow);
    if (refusal === undefined) return undefined;
    flow.rule = rule;
    admission.table.refuse(flow, refusal);
    return this.#refuse(flow, refusal);
  }

  #flowOf(packet: TransitPacket, isReverse: boolean, now: number): Flow {
    const { buffer, version, from } = packet;
    const source = IpAddress.from(buffer, packet.source, version);
    const destination = IpAddress.from(buffer, packet.destination, version);
    const protocol = transitProtocol(packet)!;
    const { ownerOf } = this.#options;
    if (isReverse) {
      const { sourcePort: near, destinationPort: far } = packet;
      const owner = ownerOf(undefined, destination);
      return new Flow(protocol, owner, destination, far, source, near, now, true);
    }
    const { sourcePort, destinationPort } = packet;
    const port = protocol === "icmp" ? 0 : destinationPort;
    return new Flow(
      protocol,
      ownerOf(from, source),
      source,
      sourcePort,
      destination,
      port,
      now,
      true,
    );
  }

  #enter(flow: Flow, hash: number): TransitFlow {
    const transit = new TransitFlow(this, flow, hash);
    this.#table.add(transit);
    this.#shares.take(transit);
    this.#deadlines.set(transit, transit.expiresAt);
    this.counters.flows++;
    return this.#last = transit;
  }

  #refuse(flow: Flow, refusal: Refusal): TransitVerdict {
    this.counters.forbidden++;
    const { owner, source, sourcePort, destination, destinationPort } = flow;
    log.debug("{peer}, {client} port {clientPort}: {target} port {port} is refused: {why}", {
      peer: owner.name,
      client: source,
      clientPort: sourcePort,
      target: destination,
      port: destinationPort,
      why: REFUSAL_WORDS[refusal],
    });
    return refusal === "dropped" ? "drop" : "reject";
  }

  /** ICMP about a packet passes if that packet's flow did. */
  #handleError(packet: TransitPacket, now: number): TransitVerdict {
    const quoted = this.#quoted;
    if (quoted.parseQuoted(packet) && transitProtocol(quoted) !== undefined) {
      const transit = this.#table.find(quoted);
      if (transit !== undefined) {
        // It goes to whom the quoted packet came from.
        return this.#pass(transit, packet, !transit.isUp(quoted), 0, now);
      }
    }
    this.counters.unasked++;
    return "drop";
  }

  #handleFragment(packet: TransitPacket, now: number): TransitVerdict {
    const found = this.#fragments.find(packet, now);
    if (found !== undefined) return this.#pass(found.transit, packet, found.isUp, 0, now);
    this.counters.fragments++;
    return "drop";
  }
}
