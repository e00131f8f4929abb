/**
 * Connections inside the tunnel that begin with a header of the PROXY protocol.
 *
 * @module
 */

import type { IpAddress, TcpEndpoint } from "../../netstack/mod.ts";
import { getLogger } from "../log/logger.ts";
import { parseProxyHeader, type ProxyEnds } from "../target/proxy_protocol.ts";

const log = getLogger(["wirestack", "tunnel"]);

/** How long a header may take, ms. */
const PATIENCE_MS = 5_000;
/** Nearly every header; what is longer gets more. */
const FIRST_BYTES = 128;

/** @internal */
export interface ProxyHeaderOptions {
  /** Whether headers are taken from an address. */
  isTrusted(address: IpAddress): boolean;
  /** Default 5,000. */
  readonly patienceMs?: number;
}

/** @internal Reads headers, and refuses connections that are without one. */
export class ProxyHeaders {
  readonly #options: ProxyHeaderOptions;
  readonly #waiting = new Set<Reader>();
  /** Connections that were reset: from elsewhere, without a header, too slow. */
  refused = 0;

  constructor(options: ProxyHeaderOptions) {
    this.#options = options;
  }

  /** Connections whose header is not complete. */
  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Reads the header of a connection, and not a byte more.
   *
   * @param accepted Called once it is there, perhaps from within the call. Who speaks for itself has no
   * other ends than the connection's own.
   */
  read(endpoint: TcpEndpoint, accepted: (ends: ProxyEnds | undefined) => void): void {
    if (!this.#options.isTrusted(endpoint.remote)) {
      this.#refuse(endpoint, "not among those whose header is taken");
      return;
    }
    const reader: Reader = new Reader(endpoint, this.#options.patienceMs ?? PATIENCE_MS, {
      done: (ends) => {
        this.#waiting.delete(reader);
        accepted(ends);
      },
      failed: (why) => {
        this.#waiting.delete(reader);
        this.#refuse(endpoint, why);
      },
    });
    this.#waiting.add(reader);
    reader.readable();
  }

  /** Resets the connections whose header is not complete. */
  close(): void {
    for (const reader of this.#waiting) reader.abort();
    this.#waiting.clear();
  }

  #refuse(endpoint: TcpEndpoint, why: string): void {
    this.refused++;
    log.debug("{remote} port {port} is refused: {why}", {
      remote: endpoint.remote,
      port: endpoint.remotePort,
      why,
    });
    endpoint.abort();
  }
}

interface ReaderOwner {
  done(ends: ProxyEnds | undefined): void;
  failed(why: string): void;
}

class Reader {
  readonly #endpoint: TcpEndpoint;
  readonly #owner: ReaderOwner;
  readonly #timer: ReturnType<typeof setTimeout>;
  #bytes = new Uint8Array(FIRST_BYTES);
  #length = 0;
  #isOver = false;

  constructor(endpoint: TcpEndpoint, patienceMs: number, owner: ReaderOwner) {
    this.#endpoint = endpoint;
    this.#owner = owner;
    this.#timer = setTimeout(() => this.#fail("no header in time"), patienceMs);
    endpoint.handler = {
      readable: () => this.readable(),
      closed: () => this.#fail("it ended before its header"),
    };
  }

  readable(): void {
    while (!this.#isOver) {
      const parsed = parseProxyHeader(this.#bytes.subarray(0, this.#length));
      if (parsed.kind === "wrong") {
        this.#fail(`no header of the PROXY protocol: ${parsed.why}`);
      } else if (parsed.kind === "header") {
        this.#end();
        this.#owner.done(parsed.ends);
      } else if (!this.#take(parsed.length)) return;
    }
  }

  abort(): void {
    this.#end();
    this.#endpoint.abort();
  }

  /** Reads up to `length` bytes. @returns whether there were any. */
  #take(length: number): boolean {
    if (this.#length + length > this.#bytes.length) {
      const more = new Uint8Array(this.#length + length);
      more.set(this.#bytes);
      this.#bytes = more;
    }
    const read = this.#endpoint.read(this.#bytes, this.#length, length);
    this.#length += read;
    if (read === 0 && this.#endpoint.endOfFile) this.#fail("it ended before its header");
    return read > 0;
  }

  #fail(why: string): void {
    if (this.#isOver) return;
    this.#end();
    this.#owner.failed(why);
  }

  #end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#endpoint.handler = undefined;
  }
}
