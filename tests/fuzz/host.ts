import assert from "node:assert/strict";
import {
  type IpAddress,
  type Nic,
  type NicOptions,
  type Prefix,
  Stack,
  type StackOptions,
  type TcpListener,
} from "../../netstack/mod.ts";
import type { Sim, SimHost, SimPort } from "../sim/network.ts";
import { assertBalanced } from "./balance.ts";
import { misconduct } from "./conduct.ts";
import { checksum, flaw } from "./wire.ts";

/** Connections' text is partly here and partly in buffers of their own. */
const RING_BYTES = 1 << 16;

/** An address with its network. */
export interface Network {
  readonly address: IpAddress;
  readonly prefix: Prefix;
}

/**
 * A stack run the way the engine runs it, flushed only when there is a reason to: packets, a timeout,
 * or its own wake-up. Watches what must hold at every step.
 */
export class FuzzHost implements SimHost {
  readonly stack: Stack;
  /** Datagrams that this host's endpoints and forwarders accepted: counted by whoever does. */
  udpTaken = 0;
  /** Callbacks of TCP may come only now. */
  isFlushing = false;
  #due = false;
  #woken = false;
  #draining = false;
  /** What the stack was handed, the only thing it may send while it drains: a forwarded packet. */
  #handed: Uint8Array | undefined;
  readonly #sim: Sim;
  readonly #budget: number;

  constructor(sim: Sim, options: Partial<StackOptions> = {}) {
    this.#sim = sim;
    this.#budget = sim.random.chance(0.3) ? sim.random.between(1, 8) : 256;
    this.stack = new Stack({
      random: (out) => sim.random.fill(out),
      ringRegion: { memory: new Uint8Array(RING_BYTES + 100), offset: 100, length: RING_BYTES },
      wake: () => {
        assert.ok(!this.#woken, "woken twice before a flush");
        assert.ok(!this.#draining && !this.isFlushing, "woken within the stack's own turn");
        this.#woken = true;
        this.#due = true;
      },
      ...options,
    });
    sim.addHost(this);
  }

  addNic(
    port: SimPort,
    networks: readonly Network[],
    options: Partial<NicOptions> = {},
  ): Nic {
    const nic = this.stack.addNic({
      name: "nic",
      mtu: port.mtu,
      link: port,
      ...options,
      addresses: networks.map(({ address, prefix }) => ({ address, length: prefix.length })),
    });
    for (const { prefix } of networks) this.stack.routes.insert(prefix, nic);
    port.receive = (buffer, offset, length, now) => this.receive(nic, buffer, offset, length, now);
    return nic;
  }

  receive(nic: Nic, buffer: Uint8Array, offset: number, length: number, now: number): void {
    this.#draining = true;
    this.#handed = buffer;
    try {
      this.stack.handlePacket(nic, buffer, offset, length, now);
    } finally {
      this.#draining = false;
      this.#handed = undefined;
    }
    assertBalanced(this.stack.counters, this.udpTaken);
    this.#due = true;
  }

  /** To be called for every packet that leaves by a link of this host. */
  checkSent(buffer: Uint8Array, offset: number, length: number): void {
    const bytes = buffer.subarray(offset, offset + length);
    if (buffer === this.#handed) {
      const version = bytes[0]! >> 4;
      assert.ok(bytes[version === 4 ? 8 : 7]! > 0, "forwarded with no hops left");
      if (version === 4) assert.equal(checksum(bytes, 0, (bytes[0]! & 15) * 4), 0);
      return;
    }
    assert.ok(!this.#draining, "nothing is sent while packets come in");
    assert.equal(flaw(bytes), undefined);
    assert.equal(misconduct(bytes), undefined);
  }

  flush(now: number): boolean {
    if (!this.#due) return false;
    this.#due = false;
    this.#woken = false;
    this.isFlushing = true;
    const more = this.stack.flush(now, this.#budget);
    this.isFlushing = false;
    if (more) this.#due = true;
    return more;
  }

  pollTimeout(): number {
    return this.stack.pollTimeout();
  }

  handleTimeout(now: number): void {
    this.#draining = true;
    this.stack.handleTimeout(now);
    this.#draining = false;
    assert.ok(this.stack.pollTimeout() > now, "what is due is dealt with");
    this.#due = true;
  }

  /** A backlog is full when it is; whoever brings a SYN cookie is established already. */
  checkBacklog({ halfOpen, backlog }: TcpListener): void {
    const { synCookiesAccepted } = this.stack.counters.tcp;
    assert.ok(halfOpen >= 0 && halfOpen <= backlog + synCookiesAccepted, `${halfOpen} half-open`);
  }

  /** Figures that are numbers, and memory within `bytes` a connection, `unread` for the reader. */
  checkConnections(bytes: number, unread = Infinity): void {
    const { memory, tcp } = this.stack;
    // Two buffers of each connection are never refused their least.
    const unrefused = 2 * 2_048 * tcp.connectionCount;
    assert.ok(tcp.memory.used <= memory.total + unrefused, `${tcp.memory.used} bytes`);
    assert.ok(memory.used >= tcp.memory.used, "all is accounted");
    for (const endpoint of this.stack.tcp.connections()) {
      const info = endpoint.info();
      for (const [name, value] of Object.entries(info)) {
        if (typeof value === "number") assert.ok(value >= 0, `${name} is ${value}`);
      }
      assert.ok(info.bufferBytes <= bytes, `a connection holds ${info.bufferBytes} bytes`);
      assert.ok(endpoint.readable >= 0 && endpoint.writable >= 0);
      assert.ok(endpoint.readable <= unread, `${endpoint.readable} bytes taken`);
    }
  }

  /** Nothing is left. */
  checkEmpty(): void {
    for (const [name, count] of Object.entries(this.stack.resources())) {
      assert.equal(count, 0, `${count} ${name} are left at ${this.#sim.now} ms`);
    }
    assert.equal(this.stack.pollTimeout(), Infinity);
  }
}
