/**
 * Which flow a packet belongs to: of the live ones, and of those that ended a moment ago, whose last
 * packets are still to come.
 *
 * @module
 */

import type { Flow, FlowProtocol } from "../flow/flow.ts";
import { FlowReview } from "../flow/review.ts";
import type { FlowTable } from "../flow/table.ts";
import { SHORT_ID } from "../gateway/flow_stats.ts";
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from "../../netstack/mod.ts";
import type { CapturedPacket } from "./packet.ts";
import { commentOption } from "./pcapng.ts";

/** What of a packet says which flow it is of. */
export type FlowKey = Pick<
  CapturedPacket,
  | "buffer"
  | "version"
  | "protocol"
  | "source"
  | "destination"
  | "sourcePort"
  | "destinationPort"
  | "identifier"
>;

/** Characters of a comment that name the flow. */
export const FLOW_CHARACTERS = ", flow ".length + SHORT_ID;

/** Called with a flow that was made, its protocol by IANA's number, and its comment. */
export type FlowBegan = (flow: Flow, protocol: number, comment: () => Uint8Array) => void;

/** Flows that have ended and are kept. */
const MAX_ENDED = 1_024;

interface Entry {
  readonly flow: Flow;
  readonly hash: number;
  readonly protocol: number;
  /** Made with the first packet. */
  comment: Uint8Array | undefined;
  /** An older one with the same hash. */
  next: Entry | undefined;
}

export class FlowIndex {
  readonly #entries = new Map<number, Entry>();
  /** In the order in which they ended; the oldest at {@link #oldest}. */
  readonly #ended: Flow[] = [];
  #oldest = 0;
  readonly #isLink: (name: string) => boolean;
  readonly #observers = new Set<FlowBegan>();
  readonly #unobserve: () => void;
  /** Over the flows that were there before, some in each turn of the event loop. */
  readonly #walk: FlowReview;

  /** @param isLink Whether an owner of this name is a packet link. */
  constructor(table: FlowTable, isLink: (name: string) => boolean) {
    this.#isLink = isLink;
    this.#walk = new FlowReview(table, {
      look: (flow) => {
        this.#add(flow);
        return true;
      },
      finished: () => 0,
    });
    this.#walk.begin();
    this.#walkOn();
    this.#unobserve = table.observe({
      began: (flow) => {
        const entry = this.#add(flow);
        for (const began of this.#observers) {
          began(flow, entry.protocol, () => this.#comment(entry));
        }
      },
      ended: (flow) => this.#end(flow),
    });
  }

  /** Flows that it knows: the live ones, and a bounded number besides. */
  get size(): number {
    let size = 0;
    for (let entry of this.#entries.values() as Iterable<Entry | undefined>) {
      for (; entry !== undefined; entry = entry.next) size++;
    }
    return size;
  }

  /** @returns what ends it. */
  observe(began: FlowBegan): () => void {
    this.#observers.add(began);
    return () => this.#observers.delete(began);
  }

  /** No flow is noted any more. */
  close(): void {
    this.#unobserve();
    this.#walk.stop();
    this.#entries.clear();
  }

  /** The flow of a packet, or of the packet that an ICMP error is about. */
  flowOf(packet: CapturedPacket): Flow | undefined {
    return this.#find(packet.quoted ?? packet)?.flow;
  }

  /** Its peer and id, as an option of pcapng. */
  commentOf(packet: CapturedPacket): Uint8Array | undefined {
    const entry = this.#find(packet.quoted ?? packet);
    return entry && this.#comment(entry);
  }

  #walkOn(): void {
    if (!this.#walk.isUnderWay) return;
    setImmediate(() => {
      if (!this.#walk.isUnderWay) return;
      this.#walk.step();
      this.#walkOn();
    });
  }

  #comment(entry: Entry): Uint8Array {
    return entry.comment ??= this.#describe(entry.flow);
  }

  #describe({ owner: { name }, id }: Flow): Uint8Array {
    const whose = this.#isLink(name) ? "link" : "peer";
    return commentOption(`${whose} ${name}, flow ${id.slice(0, SHORT_ID)}`);
  }

  #find(packet: FlowKey): Entry | undefined {
    const { buffer, version, protocol, identifier } = packet;
    if (version === 0) return undefined;
    const isPing = identifier >= 0;
    if (!isPing && packet.sourcePort < 0) return undefined;
    const size = version === 4 ? 4 : 16;
    const ports = isPing ? identifier : packet.sourcePort + packet.destinationPort;
    const hash = hashOf(
      addressHash(buffer, packet.source, size) + addressHash(buffer, packet.destination, size),
      ports,
      protocol,
    );
    for (let entry = this.#entries.get(hash); entry !== undefined; entry = entry.next) {
      if (entry.protocol === protocol && isOf(entry.flow, packet)) return entry;
    }
    return undefined;
  }

  /** The newest first: an older one with the same addresses and ports has ended. */
  #add(flow: Flow): Entry {
    const protocol = protocolOf(flow.protocol, flow.source.version);
    const hash = hashOfFlow(flow, protocol);
    const next = this.#entries.get(hash);
    const entry: Entry = { flow, hash, protocol, comment: undefined, next };
    this.#entries.set(hash, entry);
    return entry;
  }

  #end(flow: Flow): void {
    if (this.#ended.length < MAX_ENDED) {
      this.#ended.push(flow);
      return;
    }
    this.#remove(this.#ended[this.#oldest]!);
    this.#ended[this.#oldest] = flow;
    this.#oldest = (this.#oldest + 1) % MAX_ENDED;
  }

  #remove(flow: Flow): void {
    const hash = hashOfFlow(flow, protocolOf(flow.protocol, flow.source.version));
    let before: Entry | undefined;
    for (let entry = this.#entries.get(hash); entry !== undefined; entry = entry.next) {
      if (entry.flow !== flow) {
        before = entry;
        continue;
      }
      if (before !== undefined) before.next = entry.next;
      else if (entry.next !== undefined) this.#entries.set(hash, entry.next);
      else this.#entries.delete(hash);
      return;
    }
  }
}

/** Whether a packet, of the flow's protocol, is of it, whichever way it goes. */
export function isOf(flow: Flow, packet: FlowKey): boolean {
  const { buffer, version, source, destination, sourcePort, destinationPort } = packet;
  if (version === 0) return false;
  const there = flow.source.matches(buffer, source, version) &&
    flow.destination.matches(buffer, destination, version);
  if (packet.identifier >= 0) {
    if (flow.sourcePort !== packet.identifier) return false;
    return there || flow.source.matches(buffer, destination, version) &&
        flow.destination.matches(buffer, source, version);
  }
  if (there && sourcePort === flow.sourcePort && destinationPort === flow.destinationPort) {
    return true;
  }
  return sourcePort === flow.destinationPort && destinationPort === flow.sourcePort &&
    flow.source.matches(buffer, destination, version) &&
    flow.destination.matches(buffer, source, version);
}

function hashOfFlow(flow: Flow, protocol: number): number {
  const { source, destination } = flow;
  return hashOf(
    addressHash(source.bytes, 0, source.bytes.length) +
      addressHash(destination.bytes, 0, destination.bytes.length),
    flow.sourcePort + flow.destinationPort,
    protocol,
  );
}

/** The same for both directions. A small integer, for which V8 makes no object. */
function hashOf(addresses: number, ports: number, protocol: number): number {
  const mixed = Math.imul(addresses ^ Math.imul(ports, 0x9e3779b1) ^ protocol << 24, 0x85ebca6b);
  return (mixed ^ mixed >>> 15) & 0x3fff_ffff;
}

function addressHash(buffer: Uint8Array, at: number, size: number): number {
  let hash = 0;
  for (let i = 0; i < size; i++) hash = Math.imul(hash, 31) + buffer[at + i]! | 0;
  return Math.imul(hash, 0x27d4eb2f);
}

function protocolOf(protocol: FlowProtocol, version: 4 | 6): number {
  if (protocol === "tcp") return PROTOCOL_TCP;
  if (protocol === "udp") return PROTOCOL_UDP;
  return version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
}
