/**
 * What lies between a client and a gateway on loopback, in the hands of a test: full datagrams overtake
 * each other, or are lost.
 *
 * @module
 */

/** Longer ones are full packets of a stream. */
const FULL = 1_000;
/** A datagram that waits to be overtaken, and is by none, goes on after so long. */
const PATIENCE_MS = 20;

export class UdpPath implements Disposable {
  /** Where the client sends to. */
  readonly port: number;
  /** Towards the gateway: of each two full datagrams the second goes first. */
  swaps = false;
  /** Towards the client: of so many full datagrams one is lost. */
  losesOneOf = Infinity;
  readonly #inner = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #outer = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #gateway: Deno.NetAddr;
  #client: Deno.Addr | undefined;
  #held: Uint8Array | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #full = 0;

  /** @param gatewayPort On loopback. */
  constructor(gatewayPort: number) {
    this.port = (this.#outer.addr as Deno.NetAddr).port;
    this.#gateway = { transport: "udp", hostname: "127.0.0.1", port: gatewayPort };
    this.#up();
    this.#down();
  }

  async #up(): Promise<void> {
    for await (const [datagram, from] of this.#outer) {
      this.#client = from;
      const held = this.#held;
      if (held === undefined && this.swaps && datagram.length > FULL) {
        this.#held = datagram;
        this.#timer = setTimeout(() => this.#letGo(), PATIENCE_MS);
        continue;
      }
      await this.#inner.send(datagram, this.#gateway).catch(() => 0);
      if (held !== undefined) this.#letGo();
    }
  }

  #letGo(): void {
    clearTimeout(this.#timer);
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) this.#inner.send(held, this.#gateway).catch(() => 0);
  }

  async #down(): Promise<void> {
    for await (const [datagram] of this.#inner) {
      if (datagram.length > FULL && ++this.#full % this.losesOneOf === 0) continue;
      await this.#outer.send(datagram, this.#client!).catch(() => 0);
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#inner.close();
    this.#outer.close();
  }
}
