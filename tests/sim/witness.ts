import { PROTOCOL_TCP } from "../../netstack/protocols.ts";
import type { SimPort } from "./network.ts";

/**
 * Stands at one end of a link, sees what TCP sends there (IPv4) and what the link does to it, and
 * so knows which retransmissions there was no need for. TCP itself can only guess.
 */
export class Witness {
  /** Segments whose every byte is already on its way, or there. */
  spurious = 0;
  /** Segments with at least one byte that was sent before. */
  retransmits = 0;
  /** By port of the sender. */
  readonly #flows = new Map<number, Delivered>();

  constructor(port: SimPort) {
    const { counters } = port;
    const transmit = port.transmit.bind(port);
    port.transmit = (buffer, offset, length, now) => {
      const gone = counters.lost + counters.overflowed;
      const copies = counters.duplicated;
      const corrupt = counters.corrupted;
      const header = offset + 4 * (buffer[offset]! & 15);
      const from = buffer[header]! << 8 | buffer[header + 1]!;
      const sequence = buffer[header + 4]! << 24 | buffer[header + 5]! << 16 |
        buffer[header + 6]! << 8 | buffer[header + 7]!;
      const syn = (buffer[header + 13]! & 2) !== 0;
      const text = offset + length - header - 4 * (buffer[header + 12]! >> 4);
      const tcp = buffer[offset + 9] === PROTOCOL_TCP;
      transmit(buffer, offset, length, now);
      if (!tcp) return;
      if (syn) this.#flows.set(from, new Delivered(sequence + 1 | 0));
      const flow = this.#flows.get(from);
      if (flow === undefined || text === 0) return;
      const arrives = counters.lost + counters.overflowed === gone &&
        counters.corrupted - corrupt <= counters.duplicated - copies;
      const start = flow.position(sequence);
      if (start < flow.highest) this.retransmits++;
      if (flow.has(start, start + text)) this.spurious++;
      flow.highest = Math.max(flow.highest, start + text);
      if (arrives) flow.add(start, start + text);
    };
  }
}

/** Which bytes of a flow have been sent in packets that arrive whole, by position. */
class Delivered {
  highest = 0;
  /** All before this one. */
  #upTo = 0;
  /** And these ranges: starts and ends, ascending, apart from each other. */
  #edges: number[] = [];
  #sequence: number;
  #position = 0;

  constructor(sequence: number) {
    this.#sequence = sequence;
  }

  /** Of the byte with the sequence number `sequence`, which is within 2^31 of the last one asked for. */
  position(sequence: number): number {
    this.#position += sequence - this.#sequence | 0;
    this.#sequence = sequence;
    return this.#position;
  }

  has(start: number, end: number): boolean {
    if (end <= this.#upTo) return true;
    const at = this.#edges.findIndex((edge) => edge > start);
    return at % 2 === 1 && end <= this.#edges[at]!;
  }

  add(start: number, end: number): void {
    if (start <= this.#upTo) {
      this.#upTo = Math.max(this.#upTo, end);
      while (this.#edges.length > 0 && this.#edges[0]! <= this.#upTo) {
        this.#upTo = Math.max(this.#upTo, this.#edges[1]!);
        this.#edges.splice(0, 2);
      }
      return;
    }
    const edges = this.#edges;
    // Mostly at the end: what was sent last.
    let from = edges.length;
    while (from > 0 && edges[from - 1]! >= start) from -= 2;
    let to = from;
    while (to < edges.length && edges[to]! <= end) to += 2;
    if (to > from) {
      start = Math.min(start, edges[from]!);
      end = Math.max(end, edges[to - 1]!);
    }
    edges.splice(from, to - from, start, end);
  }
}
