/**
 * A filter's tree as a function, which makes no object for a packet.
 *
 * @module
 */

import type { Prefix } from "../../netstack/mod.ts";
import type { FilterNode, Side } from "./filter.ts";
import type { CapturedPacket } from "./packet.ts";

export type Predicate = (packet: CapturedPacket) => boolean;

/** Whose a packet is. Asked only by filters that name one. */
export interface PacketSubjects {
  peerOf(packet: CapturedPacket): unknown;
  flowOf(packet: CapturedPacket): unknown;
}

export function compileFilter(node: FilterNode, subjects: PacketSubjects): Predicate {
  switch (node.kind) {
    case "and":
    case "or": {
      const left = compileFilter(node.left, subjects);
      const right = compileFilter(node.right, subjects);
      if (node.kind === "and") return (packet) => left(packet) && right(packet);
      return (packet) => left(packet) || right(packet);
    }
    case "not": {
      const of = compileFilter(node.of, subjects);
      return (packet) => !of(packet);
    }
    case "host": {
      const { address } = node;
      return ofSide(
        node.side,
        ({ buffer, version }, at) => version !== 0 && address.matches(buffer, at, version),
      );
    }
    case "net":
      return ofSide(node.side, holds(node.prefix));
    case "port": {
      const { side, first, last } = node;
      if (side === "src") return ({ sourcePort: port }) => port >= first && port <= last;
      if (side === "dst") return ({ destinationPort: port }) => port >= first && port <= last;
      return ({ sourcePort, destinationPort }) =>
        sourcePort >= first && sourcePort <= last ||
        destinationPort >= first && destinationPort <= last;
    }
    case "proto": {
      const { protocol } = node;
      return (packet) => packet.protocol === protocol;
    }
    case "peer": {
      const { subject } = node;
      return (packet) => subjects.peerOf(packet) === subject;
    }
    case "flow": {
      const { subject } = node;
      return (packet) => subjects.flowOf(packet) === subject;
    }
  }
}

/** What a packet's address at an offset must be. */
type AddressTest = (packet: CapturedPacket, at: number) => boolean;

function ofSide(side: Side, test: AddressTest): Predicate {
  if (side === "src") return (packet) => test(packet, packet.source);
  if (side === "dst") return (packet) => test(packet, packet.destination);
  return (packet) => test(packet, packet.source) || test(packet, packet.destination);
}

function holds({ address: { bytes, version: wanted }, length }: Prefix): AddressTest {
  const whole = length >> 3;
  const mask = 0xff00 >> (length & 7) & 0xff;
  return ({ buffer, version }, at) => {
    if (version !== wanted) return false;
    for (let i = 0; i < whole; i++) {
      if (buffer[at + i] !== bytes[i]) return false;
    }
    return mask === 0 || (buffer[at + whole]! & mask) === bytes[whole];
  };
}
