/**
 * The network outside of the tunnels, in simulated time: hosts at IPv4 addresses, each behind an access
 * link of its own that delays, loses, reorders and duplicates; and the bind of an engine on such a
 * host, with the buffers of a socket.
 *
 * @module
 */

import type { MemoryRegion } from "../../netstack/mod.ts";
import type { TransmitPool } from "../../proxy/arena/transmit_pool.ts";
import type { Bind, BindEndpoint, BindEvents, DatagramHandler } from "../../proxy/bind/bind.ts";
import type { Endpoint, Sender } from "../../wireguard/mod.ts";
import type { SimCpu } from "./cpu.ts";
import type { Impairments, Sim, SimPort } from "./network.ts";

/** In front of each datagram: source, its port, destination, its port. */
const HEADER = 12;
/** Of a datagram with its header. */
const MAX_SIZE = 2048;
/** Datagrams that a drain hands over at most, as the bind over FFI. */
const DRAIN_BUDGET = 128;

export interface SimBindOptions {
  /** As `192.0.2.1`. */
  readonly address: string;
  readonly port: number;
  readonly pool: TransmitPool;
  readonly receiveRegion: MemoryRegion;
  readonly cpu: SimCpu;
  /** Of the access link. `rate` is what the socket's send buffer empties at. */
  readonly up?: Impairments;
  readonly down?: Impairments;
  /** Bytes that wait for the link before sends wait in their slots. Default: any number. */
  readonly sendBuffer?: number;
  /** Bytes that wait to be drained; more is lost. Default 4 MiB, as over FFI. */
  readonly receiveBuffer?: number;
}

/** Routes datagrams by address. */
export class OuterNetwork {
  readonly sim: Sim;
  /** Datagrams to an address or port where nobody is. */
  unroutable = 0;
  readonly #binds = new Map<number, SimBind>();
  readonly #blocked = new Set<string>();

  constructor(sim: Sim) {
    this.sim = sim;
  }

  /** Nothing gets from one address to the other any more, or back. */
  block(a: string, b: string): void {
    const [from, to] = [parseAddress(a), parseAddress(b)];
    this.#blocked.add(`${from} ${to}`).add(`${to} ${from}`);
  }

  /** For binds: whoever was there is there no more. */
  register(bind: SimBind, address: number): void {
    this.#binds.set(address, bind);
  }

  unregister(bind: SimBind, address: number): void {
    if (this.#binds.get(address) === bind) this.#binds.delete(address);
  }

  /** For binds: a datagram that has passed the sender's link. */
  route(buffer: Uint8Array, offset: number, length: number, now: number): void {
    const to = readAddress(buffer, offset + 6);
    const isBlocked = this.#blocked.size > 0 &&
      this.#blocked.has(`${readAddress(buffer, offset)} ${to}`);
    const bind = isBlocked ? undefined : this.#binds.get(to);
    if (bind === undefined) this.unroutable++;
    else bind.deliver(buffer, offset, length, now);
  }
}

/** Of the access link and the socket. */
export class SimBindCounters {
  received = 0;
  sent = 0;
  /** Lost for want of room in the receive buffer. */
  overflowed = 0;
  /** For another port. */
  closedPort = 0;
  noSlot = 0;
}

interface Sending {
  readonly to: SimEndpoint;
  readonly slot: number;
  readonly length: number;
}

export class SimBind implements Bind {
  readonly name = "sim";
  readonly counters = new SimBindCounters();
  readonly #network: OuterNetwork;
  readonly #options: SimBindOptions;
  /** This host's end of its link, and the network's. */
  readonly #near: SimPort;
  readonly #far: SimPort;
  readonly #frame = new Uint8Array(MAX_SIZE);
  readonly #sender = new SimSender(this);
  #address: number;
  #port: number;
  #events: BindEvents | undefined;
  #isClosed = false;
  /** Frames that wait to be drained. */
  readonly #arrived: Uint8Array[] = [];
  #arrivedBytes = 0;
  /** Waits for a flush, or for room in the send buffer. */
  readonly #sending: Sending[] = [];
  /** When the send buffer is empty, ms. */
  #emptyAt = 0;
  #isBlocked = false;

  constructor(network: OuterNetwork, options: SimBindOptions) {
    this.#network = network;
    this.#options = options;
    this.#address = parseAddress(options.address);
    this.#port = options.port;
    const link = network.sim.link({
      mtu: MAX_SIZE,
      slots: 1,
      aToB: { ...options.up },
      bToA: { ...options.down },
    });
    this.#near = link.a;
    this.#far = link.b;
    link.a.receive = (buffer, offset, length) => this.#arrive(buffer, offset, length);
    link.b.receive = (buffer, offset, length, now) => network.route(buffer, offset, length, now);
    network.register(this, this.#address);
  }

  get port(): number {
    return this.#port;
  }

  get hasReady(): boolean {
    return this.#arrived.length > 0;
  }

  get holdsMore(): boolean {
    return this.hasReady;
  }

  /** Of the link towards the network, and back: may be changed. */
  get up(): Impairments {
    return this.#near.impairments;
  }

  get down(): Impairments {
    return this.#far.impairments;
  }

  /** The host is somewhere else now, or behind another NAT: what is on its way to it is lost. */
  move(address: string, port: number): void {
    this.#network.unregister(this, this.#address);
    this.#address = parseAddress(address);
    this.#port = port;
    this.#network.register(this, this.#address);
  }

  endpoint(address: string, port: number): SimEndpoint {
    return new SimEndpoint(this, parseAddress(address), port);
  }

  start(events: BindEvents): void {
    this.#events = events;
  }

  drain(handle: DatagramHandler): number {
    const { memory, offset } = this.#options.receiveRegion;
    const count = Math.min(DRAIN_BUDGET, this.#arrived.length);
    for (const frame of this.#arrived.splice(0, count)) {
      const length = frame.length - HEADER;
      this.#arrivedBytes -= length;
      this.counters.received++;
      this.#options.cpu.spendOnDatagram();
      memory.set(frame.subarray(HEADER), offset);
      this.#sender.set(readAddress(frame, 0), readPort(frame, 4));
      handle(memory, offset, length, this.#sender);
    }
    return count;
  }

  send(
    to: SimEndpoint,
    buffer: Uint8Array,
    offset: number,
    length: number,
    isSlot: boolean,
  ): boolean {
    if (this.#isClosed) return false;
    const { pool } = this.#options;
    const slot = isSlot ? offset : pool.take();
    if (slot < 0) {
      this.counters.noSlot++;
      return false;
    }
    if (!isSlot) pool.buffer.set(buffer.subarray(offset, offset + length), slot);
    this.#options.cpu.spendOnDatagram();
    this.#sending.push({ to, slot, length });
    return isSlot;
  }

  flush(): void {
    if (!this.#isBlocked) this.#flush(this.#network.sim.now);
  }

  sent(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#network.unregister(this, this.#address);
    for (const { slot } of this.#sending.splice(0)) this.#options.pool.give(slot);
    return Promise.resolve();
  }

  /** For the network. */
  deliver(buffer: Uint8Array, offset: number, length: number, now: number): void {
    this.#far.forward(buffer, offset, length, now);
  }

  #flush(now: number): void {
    const { sendBuffer = Infinity, pool } = this.#options;
    const { rate = Infinity } = this.up;
    while (this.#sending.length > 0) {
      const { to, slot, length } = this.#sending[0]!;
      const waiting = Math.max(0, this.#emptyAt - now) * rate / 8000;
      if (waiting + length > sendBuffer && waiting > 0) {
        const late = 0.001; // or rounding would find it full by a millionth of a byte
        this.#block(now + (waiting + length - sendBuffer) * 8000 / rate + late);
        return;
      }
      this.#sending.shift();
      if (rate !== Infinity) {
        this.#emptyAt = Math.max(now, this.#emptyAt) + (HEADER + length) * 8000 / rate;
      }
      this.#transmit(to, slot, length, now);
      pool.give(slot);
    }
  }

  /** No room for the next one: as a socket that is not writable. */
  #block(until: number): void {
    this.#isBlocked = true;
    this.#network.sim.at(until, (now) => {
      this.#isBlocked = false;
      if (this.#isClosed) return;
      this.#flush(now);
      this.#events!.onSent();
    });
  }

  #transmit(to: SimEndpoint, slot: number, length: number, now: number): void {
    const frame = this.#frame;
    writeAddress(frame, 0, this.#address);
    writePort(frame, 4, this.#port);
    frame.set(to.address, 6);
    writePort(frame, 10, to.port);
    frame.set(this.#options.pool.buffer.subarray(slot, slot + length), HEADER);
    this.counters.sent++;
    this.#near.forward(frame, 0, HEADER + length, now);
  }

  #arrive(buffer: Uint8Array, offset: number, length: number): void {
    if (this.#isClosed || readPort(buffer, offset + 10) !== this.#port) {
      this.counters.closedPort++;
      return;
    }
    const { receiveBuffer = 4 << 20 } = this.#options;
    if (this.#arrivedBytes + length > receiveBuffer) {
      this.counters.overflowed++;
      return;
    }
    this.#arrivedBytes += length - HEADER;
    if (this.#arrived.push(buffer.slice(offset, offset + length)) === 1) {
      this.#events!.onReadable();
    }
  }
}

export class SimEndpoint implements BindEndpoint {
  readonly bind: SimBind;
  readonly address = new Uint8Array(4);
  readonly port: number;

  constructor(bind: SimBind, address: number, port: number) {
    this.bind = bind;
    this.port = port;
    writeAddress(this.address, 0, address);
  }

  toString(): string {
    return `${this.address.join(".")}:${this.port}`;
  }
}

/** As a bind's is: one object, filled anew for each datagram. */
class SimSender implements Sender {
  port = 0;
  readonly #bind: SimBind;
  #address = 0;

  constructor(bind: SimBind) {
    this.#bind = bind;
  }

  set(address: number, port: number): void {
    this.#address = address;
    this.port = port;
  }

  readAddress(out: Uint8Array): number {
    writeAddress(out, 0, this.#address);
    return 4;
  }

  isAt(endpoint: Endpoint): boolean {
    return endpoint instanceof SimEndpoint && endpoint.bind === this.#bind &&
      endpoint.port === this.port && readAddress(endpoint.address, 0) === this.#address;
  }

  toEndpoint(): Endpoint {
    return new SimEndpoint(this.#bind, this.#address, this.port);
  }

  copy(): Sender {
    const copy = new SimSender(this.#bind);
    copy.set(this.#address, this.port);
    return copy;
  }
}

function parseAddress(text: string): number {
  const [a, b, c, d] = text.split(".").map(Number);
  return (a! << 24 | b! << 16 | c! << 8 | d!) >>> 0;
}

function readAddress(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>> 0;
}

function writeAddress(bytes: Uint8Array, at: number, address: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = address >>> 24 - 8 * i;
}

function readPort(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

function writePort(bytes: Uint8Array, at: number, port: number): void {
  bytes[at] = port >> 8;
  bytes[at + 1] = port;
}
