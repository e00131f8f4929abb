/**
 * Packets of no flow that one may be made because of, in the very turn in which they are looked at: their
 * comments have room for it until they are read.
 *
 * @module
 */

import type { Flow } from "../flow/flow.ts";
import { type FlowKey, isOf } from "./flow_index.ts";
import type { CapturedPacket } from "./packet.ts";

/** Of a turn, or of a moment in which nobody reads. More have no room. */
const MAX_WAITING = 256;

/** What of a packet says whose it is; reused. */
class Waiting implements FlowKey {
  /** Both addresses, one behind the other. */
  readonly buffer = new Uint8Array(32);
  version: 0 | 4 | 6 = 0;
  protocol = 0;
  readonly source = 0;
  destination = 0;
  sourcePort = 0;
  destinationPort = 0;
  identifier = 0;
  /** Where its room is. */
  at = 0;
  bytes = 0;

  set(packet: CapturedPacket, at: number, bytes: number): void {
    const { buffer, version, source, destination } = packet;
    const size = version === 4 ? 4 : 16;
    for (let i = 0; i < size; i++) {
      this.buffer[i] = buffer[source + i]!;
      this.buffer[size + i] = buffer[destination + i]!;
    }
    this.version = version;
    this.protocol = packet.protocol;
    this.destination = size;
    this.sourcePort = packet.sourcePort;
    this.destinationPort = packet.destinationPort;
    this.identifier = packet.identifier;
    this.at = at;
    this.bytes = bytes;
  }
}

export class FirstPackets {
  readonly #all: Waiting[] = [];
  #count = 0;

  /** Whether a flow may be made because of a packet, and there is a place for it here. */
  mayBegin(packet: CapturedPacket): boolean {
    return this.#count < MAX_WAITING && packet.direction === "in" && packet.version !== 0 &&
      packet.quoted === undefined && (packet.sourcePort >= 0 || packet.identifier >= 0);
  }

  /** @param at Where it has so many `bytes` for its comment. */
  add(packet: CapturedPacket, at: number, bytes: number): void {
    (this.#all[this.#count++] ??= new Waiting()).set(packet, at, bytes);
  }

  /** They are read: what has no flow by now has none. */
  forget(): void {
    this.#count = 0;
  }

  /** Has `write` fill the room of those that a flow, just made, is the flow of. */
  began(flow: Flow, protocol: number, write: (at: number, bytes: number) => void): void {
    for (let i = 0; i < this.#count; i++) {
      const waiting = this.#all[i]!;
      if (waiting.protocol !== protocol) continue;
      if (isOf(flow, waiting)) write(waiting.at, waiting.bytes);
    }
  }
}
