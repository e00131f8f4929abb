import assert from "node:assert/strict";
import { type Link, LINK_HEADROOM, LINK_TAILROOM, type Nic, Stack } from "../../../netstack/mod.ts";
import { ip, prefix } from "../../netstack/packets.ts";
import type { Random } from "../../sim/random.ts";
import { flaw } from "../wire.ts";

const MTU = 1400;
const SLOT = LINK_HEADROOM + MTU + LINK_TAILROOM;

/** A stack with one NIC (10.0.0.1/24, fd00::1/64) whose packets are collected and checked. */
export class SmallHost implements Link {
  readonly buffer = new Uint8Array(SLOT);
  readonly stack: Stack;
  readonly nic: Nic;
  /** Datagrams that endpoints took, for the balance. */
  udpTaken = 0;
  now = 1_000;
  readonly #sent: Uint8Array[] = [];
  #draining = false;

  constructor(random: Random) {
    this.stack = new Stack({ random: (out) => random.fill(out) });
    this.nic = this.stack.addNic({
      name: "small",
      mtu: MTU,
      link: this,
      addresses: [
        { address: ip("10.0.0.1"), length: 24 },
        { address: ip("fd00::1"), length: 64 },
      ],
    });
    for (const text of ["10.0.0.0/24", "fd00::/64"]) {
      this.stack.routes.insert(prefix(text), this.nic);
    }
  }

  /** Takes a packet and lets the stack answer, one millisecond later than the last. */
  receive(buffer: Uint8Array, offset: number, length: number): void {
    this.now++;
    this.#draining = true;
    this.stack.handlePacket(this.nic, buffer, offset, length, this.now);
    this.#draining = false;
    this.flush();
  }

  flush(): void {
    for (let turns = 0; this.stack.flush(this.now); turns++) assert.ok(turns < 100, "flush ends");
  }

  take(): Uint8Array[] {
    return this.#sent.splice(0);
  }

  /** Nothing is left, at the latest when every timer has run out. */
  end(): void {
    for (let rounds = 0; this.stack.pollTimeout() < Infinity; rounds++) {
      assert.ok(rounds < 1000, "timers end");
      this.now = Math.max(this.now, this.stack.pollTimeout());
      this.stack.handleTimeout(this.now);
      this.flush();
    }
    for (const [name, count] of Object.entries(this.stack.resources())) {
      assert.equal(count, 0, name);
    }
  }

  allocate(): number {
    return LINK_HEADROOM;
  }

  release(): void {}

  forward(buffer: Uint8Array, offset: number, length: number): boolean {
    this.transmit(buffer, offset, length);
    return true;
  }

  transmit(buffer: Uint8Array, offset: number, length: number): void {
    assert.ok(!this.#draining, "nothing is sent while packets come in");
    assert.ok(length <= MTU, `a packet of ${length} bytes`);
    const bytes = buffer.slice(offset, offset + length);
    assert.equal(flaw(bytes), undefined);
    this.#sent.push(bytes);
  }
}
