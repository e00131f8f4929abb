import assert from "node:assert/strict";
import type { TcpEndpoint, TcpError } from "../../netstack/mod.ts";
import type { Sim } from "../sim/network.ts";
import type { FuzzHost } from "./host.ts";
import { Census, watch } from "./watch.ts";

const scratch = new Uint8Array(60_000);

/** Every connection of a run, seen from both ends. */
export class Conversations {
  readonly speakers: Speaker[] = [];
  readonly #sim: Sim;
  readonly #census = new Census();

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  /** @param opened Whether this end counts as the client, which tells the two directions apart. */
  add(host: FuzzHost, endpoint: TcpEndpoint, opened: boolean): void {
    this.speakers.push(new Speaker(this.#sim, host, this.#census, endpoint, opened));
  }

  /** When everything is over: all bytes arrived where no end reports an error. */
  check(): void {
    assert.equal(this.#census.open, 0, "endpoints without their last callback");
    const byName = Map.groupBy(this.speakers, (speaker) => speaker.name);
    for (const speakers of byName.values()) {
      // The same ports may have been used again: which end belongs to which is then not known.
      if (speakers.length === 2) speakers[0]!.compare(speakers[1]!);
    }
  }
}

/** One end of a connection. Its bytes follow from ports and position, so the other end can tell. */
export class Speaker {
  readonly endpoint: TcpEndpoint;
  readonly opened: boolean;
  /** Both ends have the same. */
  readonly name: string;
  sent = 0;
  received = 0;
  sawEnd = false;
  isClosed = false;
  /** Never closed or aborted, so it read everything. */
  readsAll = true;
  error: TcpError | undefined;
  readonly #sim: Sim;
  readonly #salt: number;
  #isPaused = false;
  /** Leaves nothing unread: what is left alone is not announced again. */
  #isEager = false;

  constructor(sim: Sim, host: FuzzHost, census: Census, endpoint: TcpEndpoint, opened: boolean) {
    this.#sim = sim;
    this.endpoint = endpoint;
    this.opened = opened;
    const { localPort, remotePort, local } = endpoint;
    const ports = opened ? [localPort, remotePort] : [remotePort, localPort];
    this.name = `${ports} ${local.version} ${opened ? endpoint.remote : local}`;
    this.#salt = Math.imul(ports[0]! << 16 | ports[1]!, 0x85ebca6b);
    watch(endpoint, host, census, {
      readable: () => {
        if (!this.#isPaused) this.read(this.#isEager || sim.random.chance(0.8));
      },
      closed: (error) => {
        this.isClosed = true;
        this.error = error;
      },
    });
  }

  write(length: number): void {
    for (let i = 0; i < length; i++) scratch[i] = this.#byte(this.sent + i, this.opened);
    const taken = this.endpoint.write(scratch, 0, length);
    assert.ok(taken >= 0 && taken <= length);
    this.sent += taken;
  }

  /** @param all Otherwise one piece only. */
  read(all: boolean): void {
    for (;;) {
      const ready = this.endpoint.readable;
      const wanted = this.#sim.random.between(1, 20_000);
      const length = this.endpoint.read(scratch, 0, wanted);
      assert.ok(length <= wanted && length <= ready);
      for (let i = 0; i < length; i++) {
        if (scratch[i] !== this.#byte(this.received + i, !this.opened)) {
          assert.fail(`wrong byte at ${this.received + i}`);
        }
      }
      if (length > 0) assert.ok(!this.sawEnd, "data after the end");
      this.received += length;
      if (this.endpoint.endOfFile) this.sawEnd = true;
      if (length === 0 || !all) return;
    }
  }

  shutdown(): void {
    this.endpoint.shutdownWrite();
  }

  close(): void {
    this.readsAll = false;
    this.endpoint.close();
  }

  abort(): void {
    this.readsAll = false;
    this.endpoint.abort();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.read(true);
  }

  /** From now on takes all there is, and has nothing more to say. */
  finish(): void {
    this.#isEager = true;
    this.resume();
    this.shutdown();
  }

  /** What both ends of one connection say must agree. */
  compare(other: Speaker): void {
    if (this.opened === other.opened) return;
    if (!this.readsAll || !other.readsAll) return;
    if (this.error !== undefined || other.error !== undefined) return;
    assert.deepEqual(
      [this.received, other.received, this.sawEnd, other.sawEnd],
      [other.sent, this.sent, true, true],
      "bytes received and sent without an error",
    );
  }

  #byte(position: number, byOpener: boolean): number {
    const hash = Math.imul(position + 1, 0x9e3779b1) ^ this.#salt ^ (byOpener ? 0x5a5a5a5a : 0);
    return Math.imul(hash, 0xc2b2ae35) >>> 24;
  }
}
