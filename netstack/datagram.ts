/**
 * One datagram that is being reassembled.
 *
 * @module
 */

import { copyBytes, equalBytes } from "./bytes.ts";
import type { Timed } from "./deadlines.ts";
import { FRAGMENT_HEADER_LENGTH, IPV6_HEADER_LENGTH } from "./ipv6.ts";
import type { Nic } from "./nic.ts";

/** In front of the data: an IPv4 header, or an IPv6 header and a Fragment header. */
export const HEADROOM = IPV6_HEADER_LENGTH + FRAGMENT_HEADER_LENGTH;
/** A datagram of which some fragments are still missing. */
export class Datagram implements Timed {
  deadline = Infinity;
  heapIndex = -1;
  /** Same hash. */
  next: Datagram | undefined;
  accounted = 0;
  poisoned = false;
  /** {@link HEADROOM} bytes for the headers, then data in the order of arrival. */
  buffer = new Uint8Array(0);
  /** Length of the whole data, -1 = the last fragment has not arrived. */
  total = -1;

  readonly nic: Nic;
  /** Whose fragments these are. */
  readonly from: unknown;
  readonly key: number;
  readonly identification: number;
  readonly protocol: number;
  readonly addresses: Uint8Array;

  /** Sorted by start; `#position` is where the bytes are in {@link buffer}. */
  readonly #start: number[] = [];
  readonly #end: number[] = [];
  readonly #position: number[] = [];
  #received = 0;
  isInOrder = true;

  constructor(
    nic: Nic,
    from: unknown,
    key: number,
    identification: number,
    protocol: number,
    addresses: Uint8Array,
  ) {
    this.nic = nic;
    this.from = from;
    this.key = key;
    this.identification = identification;
    this.protocol = protocol;
    this.addresses = addresses;
  }

  get isComplete(): boolean {
    return this.#received === this.total;
  }

  /** Bytes of data in the first fragment, 0 if it has not arrived. */
  get firstLength(): number {
    return this.#start[0] === 0 ? this.#end[0]! : 0;
  }

  saveHeader(packet: Uint8Array, offset: number, length: number): void {
    copyBytes(packet, offset, this.buffer, 0, length);
  }

  add(
    packet: Uint8Array,
    data: number,
    start: number,
    length: number,
    more: boolean,
    maxFragments: number,
  ): "added" | "duplicate" | "overlap" | "too-many" {
    const end = start + length;
    const count = this.#start.length;
    let index = count;
    while (index > 0 && this.#start[index - 1]! >= start) index--;
    if (this.#start[index] === start && this.#end[index] === end) {
      // An exact copy is no overlap: the network may duplicate a fragment (RFC 8200 §4.5).
      const same = equalBytes(this.buffer, this.#position[index]!, packet, data, length) &&
        more === (end !== this.total);
      return same ? "duplicate" : "overlap";
    }
    const overlaps = (index > 0 && this.#end[index - 1]! > start) ||
      (index < count && this.#start[index]! < end);
    const contradicts = more
      ? this.total >= 0 && end >= this.total
      : this.total >= 0 || (count > 0 && this.#end[count - 1]! > end);
    if (overlaps || contradicts) return "overlap";
    if (count >= maxFragments) return "too-many";
    if (!more) this.total = end;
    if (index !== count || (count === 0 ? start !== 0 : this.#end[count - 1] !== start)) {
      this.isInOrder = false;
    }
    const position = HEADROOM + this.#received;
    this.#reserve(position + length);
    copyBytes(packet, data, this.buffer, position, length);
    this.#received += length;
    this.#start.splice(index, 0, start);
    this.#end.splice(index, 0, end);
    this.#position.splice(index, 0, position);
    return "added";
  }

  /** Copies the data in the order of its offsets. */
  copyData(into: Uint8Array, offset: number): void {
    for (let i = 0; i < this.#start.length; i++) {
      const start = this.#start[i]!;
      copyBytes(this.buffer, this.#position[i]!, into, offset + start, this.#end[i]! - start);
    }
  }

  copyFirst(into: Uint8Array, offset: number): void {
    copyBytes(this.buffer, this.#position[0]!, into, offset, this.#end[0]!);
  }

  /** Frees the memory: fragments overlapped, so the datagram will never be complete. */
  poison(): void {
    this.poisoned = true;
    this.buffer = new Uint8Array(0);
    this.#start.length = 0;
    this.#end.length = 0;
    this.#position.length = 0;
  }

  #reserve(needed: number): void {
    if (needed <= this.buffer.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.buffer.length));
    grown.set(this.buffer);
    this.buffer = grown;
  }
}
