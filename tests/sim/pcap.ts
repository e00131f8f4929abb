/** Collects packets into a pcap file (LINKTYPE_RAW: each record starts with an IP header). */
export class PcapWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  constructor() {
    const header = new DataView(new ArrayBuffer(24));
    header.setUint32(0, 0xa1b2c3d4, true); // microseconds
    header.setUint16(4, 2, true);
    header.setUint16(6, 4, true);
    header.setUint32(16, 65_535, true);
    header.setUint32(20, 101, true); // LINKTYPE_RAW
    this.#append(new Uint8Array(header.buffer));
  }

  /** @param now ms */
  write(now: number, buffer: Uint8Array, offset: number, length: number): void {
    const header = new DataView(new ArrayBuffer(16));
    header.setUint32(0, Math.floor(now / 1000), true);
    header.setUint32(4, Math.floor(now % 1000 * 1000), true);
    header.setUint32(8, length, true);
    header.setUint32(12, length, true);
    this.#append(new Uint8Array(header.buffer));
    this.#append(buffer.slice(offset, offset + length));
  }

  /** The whole file so far. */
  bytes(): Uint8Array {
    const out = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  #append(part: Uint8Array): void {
    this.#parts.push(part);
    this.#length += part.length;
  }
}
