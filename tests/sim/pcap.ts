/** Collected before the file is written to. */
const PART = 1 << 20;

/** Writes packets as a pcap file (LINKTYPE_RAW: each record starts with an IP header). */
export class PcapWriter {
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #close: () => void;
  readonly #part = new Uint8Array(PART);
  readonly #view = new DataView(this.#part.buffer);
  #length = 0;

  /** @param sink Takes the bytes of the file, in order; borrowed until it returns. */
  constructor(sink: (bytes: Uint8Array) => void, close: () => void = () => {}) {
    this.#sink = sink;
    this.#close = close;
    const view = this.#view;
    view.setUint32(0, 0xa1b23c4d, true); // nanoseconds
    view.setUint16(4, 2, true);
    view.setUint16(6, 4, true);
    view.setUint32(16, 65_535, true);
    view.setUint32(20, 101, true); // LINKTYPE_RAW
    this.#length = 24;
  }

  /** A file, replaced if it exists. @throws {Error} if it cannot be created. */
  static open(path: string): PcapWriter {
    const file = Deno.openSync(path, { write: true, create: true, truncate: true });
    const write = (bytes: Uint8Array) => {
      for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
    };
    return new PcapWriter(write, () => file.close());
  }

  /** @param now ms */
  write(now: number, buffer: Uint8Array, offset: number, length: number): void {
    if (this.#length + 16 + length > PART) this.#flush();
    const at = this.#length;
    const seconds = Math.floor(now / 1000);
    this.#view.setUint32(at, seconds, true);
    this.#view.setUint32(at + 4, Math.floor((now - 1000 * seconds) * 1e6), true);
    this.#view.setUint32(at + 8, length, true);
    this.#view.setUint32(at + 12, length, true);
    this.#part.set(buffer.subarray(offset, offset + length), at + 16);
    this.#length = at + 16 + length;
  }

  close(): void {
    this.#flush();
    this.#close();
  }

  #flush(): void {
    this.#sink(this.#part.subarray(0, this.#length));
    this.#length = 0;
  }
}
