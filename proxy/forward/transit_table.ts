/**
 * Flows that pass through, found by the addresses and ports of a packet.
 *
 * @module
 */

import { HalfSipHash, type TransitPacket } from "../../netstack/mod.ts";
import type { FlowProtocol } from "../flow/flow.ts";
import type { TransitFlow } from "./transit_flow.ts";

const PROTOCOLS: Readonly<Partial<Record<TransitPacket["kind"], FlowProtocol>>> = {
  "tcp": "tcp",
  "udp": "udp",
  "echo-request": "icmp",
  "echo-reply": "icmp",
};

/** The protocol of the flow that a packet may be of; undefined if it is of none. */
export function transitProtocol({ kind }: TransitPacket): FlowProtocol | undefined {
  return PROTOCOLS[kind];
}

/** Whether a packet is of the protocol of a flow. */
export function isOfProtocol({ flow }: TransitFlow, { kind }: TransitPacket): boolean {
  return flow.protocol === PROTOCOLS[kind];
}

export class TransitTable {
  readonly #hash: HalfSipHash;
  /** Chains by hash. */
  readonly #chains = new Map<number, TransitFlow>();

  constructor(random: (out: Uint8Array) => void) {
    this.#hash = new HalfSipHash(random);
  }

  /** The flow of a packet, in either direction. */
  find(packet: TransitPacket): TransitFlow | undefined {
    let transit = this.#chains.get(this.hashOf(packet));
    for (; transit !== undefined; transit = transit.next) {
      if (isOfProtocol(transit, packet) && (transit.isUp(packet) || transit.isDown(packet))) {
        return transit;
      }
    }
    return undefined;
  }

  /** @param transit With the hash of its first packet. */
  add(transit: TransitFlow): void {
    const { hash } = transit;
    transit.next = this.#chains.get(hash);
    this.#chains.set(hash, transit);
  }

  /** One that is in it. */
  remove(transit: TransitFlow): void {
    const { hash } = transit;
    const first = this.#chains.get(hash)!;
    if (first === transit) {
      if (transit.next === undefined) this.#chains.delete(hash);
      else this.#chains.set(hash, transit.next);
      return;
    }
    let before = first;
    while (before.next !== transit) before = before.next!;
    before.next = transit.next;
  }

  /** The same for both directions: the smaller end comes first. */
  hashOf(packet: TransitPacket): number {
    const { buffer, version, source, destination, sourcePort, destinationPort } = packet;
    const size = version === 4 ? 4 : 16;
    let order = 0;
    for (let i = 0; order === 0 && i < size; i++) {
      order = buffer[source + i]! - buffer[destination + i]!;
    }
    if (order === 0) order = sourcePort - destinationPort;
    const hash = this.#hash;
    hash.begin();
    hash.bytes(buffer, order < 0 ? source : destination, size);
    hash.bytes(buffer, order < 0 ? destination : source, size);
    hash.word(order < 0 ? sourcePort << 16 | destinationPort : destinationPort << 16 | sourcePort);
    hash.word(packet.protocol);
    return hash.end();
  }
}
