import assert from "node:assert/strict";
import type { TcpEndpoint, TcpError } from "../../netstack/mod.ts";
import type { FuzzHost } from "../fuzz/host.ts";
import { type Census, watch } from "../fuzz/watch.ts";
import type { Random, Sim } from "./network.ts";

/** How an application ends its side. */
export type Ending = "shutdown" | "close" | "abort";

/**
 * An application with a mood: writes and reads in random portions at random times, and ends its side
 * when it has said everything, or before. Knows every byte it has to get.
 */
export class Actor {
  readonly endpoint: TcpEndpoint;
  readonly goal: number;
  readonly ending: Ending;
  readonly isSlow: boolean;
  sent = 0;
  received = 0;
  wasConnected = false;
  /** The end of the file was read. */
  sawEnd = false;
  error: TcpError | undefined;
  readonly #sim: Sim;
  readonly #random: Random;
  readonly #side: 0 | 1;
  readonly #buffer = new Uint8Array(20_000);
  #hasEnded = false;

  /**
   * @param side 0 is the client.
   * @param most Bytes it has to say at most.
   */
  constructor(
    sim: Sim,
    random: Random,
    host: FuzzHost,
    census: Census,
    endpoint: TcpEndpoint,
    side: 0 | 1,
    most: number,
  ) {
    this.#sim = sim;
    this.#random = random;
    this.endpoint = endpoint;
    this.#side = side;
    const goal = random.chance(0.2) ? 0 : random.below(random.chance(0.3) ? 300_000 : 5_000);
    this.goal = Math.min(goal, most);
    this.isSlow = random.chance(0.3);
    this.ending = random.chance(0.15) ? "abort" : random.chance(0.2) ? "close" : "shutdown";
    if (random.chance(0.5)) endpoint.setNoDelay(true);
    watch(endpoint, host, census, {
      connected: () => {
        this.wasConnected = true;
        this.#write();
      },
      readable: () => this.isSlow ? this.#later(() => this.#read(), 300) : this.#read(),
      writable: () => this.#write(),
      closed: (error) => {
        this.error = error;
      },
    });
    // Data may be queued before the handshake is complete.
    if (random.chance(0.2)) this.#write();
    // Somebody who loses patience.
    if (this.ending === "abort" && random.chance(0.5)) {
      this.#later(() => this.endpoint.abort(), 3_000);
    }
  }

  isPeerOf(other: Actor): boolean {
    return this.endpoint.remotePort === other.endpoint.localPort &&
      this.endpoint.localPort === other.endpoint.remotePort;
  }

  #write(): void {
    while (this.sent < this.goal) {
      const length = Math.min(1 + this.#random.below(15_000), this.goal - this.sent);
      for (let i = 0; i < length; i++) this.#buffer[i] = pattern(this.sent + i, this.#side);
      const taken = this.endpoint.write(this.#buffer, 0, length);
      this.sent += taken;
      if (taken < length) return;
      if (this.#random.chance(0.2)) return this.#later(() => this.#write(), 500);
    }
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#later(() => {
      if (this.ending === "shutdown") this.endpoint.shutdownWrite();
      else if (this.ending === "close") this.endpoint.close();
      else this.endpoint.abort();
    }, 200);
  }

  #read(): void {
    for (;;) {
      const length = this.endpoint.read(this.#buffer, 0, 1 + this.#random.below(20_000));
      for (let i = 0; i < length; i++) {
        if (this.#buffer[i] !== pattern(this.received + i, 1 - this.#side)) {
          assert.fail(`wrong byte at ${this.received + i}`);
        }
      }
      this.received += length;
      if (this.endpoint.endOfFile) this.sawEnd = true;
      if (length === 0) return;
      if (this.isSlow && this.#random.chance(0.5)) return this.#later(() => this.#read(), 100);
    }
  }

  #later(run: () => void, most: number): void {
    this.#sim.after(this.#random.below(most), run);
  }
}

function pattern(position: number, side: number): number {
  return (Math.imul(position + 1, 0x9e3779b1) >>> 24) ^ (side * 0x5a);
}
