/**
 * WireGuard's UDP socket over `Deno.listenDatagram`: a datagram at a time, on every system.
 *
 * @module
 */

import type { IpAddress, MemoryRegion } from "../../netstack/mod.ts";
import type { TransmitPool } from "../arena/transmit_pool.ts";
import type { BindEvents, DatagramHandler } from "./bind.ts";
import { NetAddress, NetSender } from "./net_address.ts";
import { copyToSlot, LastSend } from "./sends.ts";
import {
  countSendError,
  markError,
  newCounters,
  openOn,
  type UdpBind,
  type UdpBindOptions,
} from "./udp.ts";

// Several receives wait side by side: the runtime then hands over a batch per turn of its event loop,
// at two thirds of the cost per datagram. Datagrams keep their order.
const MIN_RECEIVES = 2;
const MAX_RECEIVES = 32;
const RETRY_MS = 100;
/** Any UDP datagram fits, with a byte to spare. */
const DATAGRAM_SIZE = 65_536;
const NOBODY: Deno.NetAddr = { transport: "udp", hostname: "0.0.0.0", port: 0 };

export class DenoUdpBind implements UdpBind {
  readonly name = "udp";
  readonly counters = newCounters();
  readonly mark = 0;
  readonly #pool: TransmitPool;
  #socket: Deno.DatagramConn;
  readonly #sender = new NetSender(this, NOBODY);
  readonly #idle: Receive[];
  #ready: Receive[] = [];
  #draining: Receive[] = [];
  readonly #most: number;
  #wanted = MIN_RECEIVES;
  #pending = 0;
  #sending = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  readonly #lastSend = new LastSend();
  /** Undefined before {@link start}. */
  #events: BindEvents | undefined;
  #settled: (() => void) | undefined;

  /** @throws {BindError} if the system does not give that port or address, or for a mark. */
  constructor(options: UdpBindOptions) {
    this.setMark(options.mark ?? 0);
    this.#pool = options.pool;
    this.#idle = receives(options.receiveRegion ?? ownRegion());
    this.#most = this.#idle.length;
    this.#socket = listen(options.port ?? 0, options.address);
  }

  get port(): number {
    return (this.#socket.addr as Deno.NetAddr).port;
  }

  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  start(events: BindEvents): void {
    this.#events = events;
    this.#receive();
  }

  endpoint(address: IpAddress, port: number): NetAddress {
    const { hostname } = this.#socket.addr as Deno.NetAddr;
    return NetAddress.of(this, address, port, hostname.includes(":"));
  }

  drain(handle: DatagramHandler): number {
    const batch = this.#ready;
    this.#ready = this.#draining;
    this.#draining = batch;
    for (let i = 0; i < batch.length; i++) {
      const receive = batch[i]!;
      this.counters.received++;
      this.counters.receivedBytes += receive.length;
      this.#sender.from = receive.from;
      handle(receive.memory, receive.offset, receive.length, this.#sender);
      this.#idle.push(receive);
    }
    const count = batch.length;
    if (count > 0 && this.#pending === 0) {
      this.#wanted = Math.min(this.#most, this.#wanted * 2);
    } else if (count * 4 < this.#wanted && this.#wanted > MIN_RECEIVES) {
      this.#wanted--;
    }
    batch.length = 0;
    this.#receive();
    return count;
  }

  send(
    to: NetAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
    isSlot: boolean,
  ): boolean {
    if (this.#closed) return false;
    const slot = isSlot ? offset : copyToSlot(this.#pool, this.counters, buffer, offset, length);
    if (slot < 0) return false;
    this.#sending++;
    this.#send(to, this.#pool.buffer.subarray(slot, slot + length), slot);
    return isSlot;
  }

  /** Nothing is collected: every send begins at once. */
  flush(): void {}

  async sent(limitMs: number): Promise<void> {
    if (this.#sending > 0) await this.#lastSend.wait(limitMs);
  }

  rebind({ port = 0, address }: { port?: number; address?: string }): void {
    const old = this.#socket;
    this.#socket = listen(port, address);
    old.close(); // its pending receives reject, and begin again on the new one
  }

  setMark(mark: number): void {
    if (mark === 0) return;
    throw markError("cannot be set on Deno's sockets, expected 0 or off, or the flag --ffi");
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      clearTimeout(this.#retry);
      this.#socket.close();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#settled = resolve;
    this.#checkSettled();
    return promise;
  }

  async #send(to: NetAddress, bytes: Uint8Array, slot: number): Promise<void> {
    try {
      await this.#socket.send(bytes, to.netAddr);
      this.counters.sent++;
      this.counters.sentBytes += bytes.length;
    } catch (error) {
      if (!this.#closed) countSendError(this.counters, (error as { code?: string }).code);
    }
    this.#pool.give(slot);
    this.#sending--;
    if (this.#sending === 0) this.#lastSend.reached();
    if (this.#closed) this.#checkSettled();
    else this.#events?.onSent();
  }

  #receive(): void {
    while (!this.#closed && this.#pending < this.#wanted) {
      const receive = this.#idle.pop()!;
      this.#pending++;
      this.#receiveInto(receive);
    }
  }

  async #receiveInto(receive: Receive): Promise<void> {
    const socket = this.#socket;
    try {
      const [bytes, from] = await socket.receive(receive.buffer);
      this.#pending--;
      receive.length = bytes.length;
      receive.from = from as Deno.NetAddr;
      if (this.#ready.push(receive) === 1 && !this.#closed) this.#events!.onReadable();
    } catch (error) {
      this.#pending--;
      this.#idle.push(receive);
      if (socket !== this.#socket) this.#receive();
      else if (!this.#closed) this.#receiveFailed(error as Error);
    }
    if (this.#closed) this.#checkSettled();
  }

  /** An error of one receive does not end the loop. */
  #receiveFailed(error: Error): void {
    this.counters.receiveErrors++;
    if (error instanceof Deno.errors.BadResource) {
      this.#events!.onFailed(error);
      return;
    }
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#receive();
    }, RETRY_MS);
  }

  #checkSettled(): void {
    if (this.#pending === 0 && this.#sending === 0) this.#settled?.();
  }
}

/** A buffer that waits for a datagram, or holds one. */
class Receive {
  /** For any size that UDP has, so that a peer with a larger MTU is not cut off. */
  readonly buffer: Uint8Array;
  /** The same, as a place in what it is a part of. */
  readonly memory: Uint8Array;
  readonly offset: number;
  length = 0;
  from: Deno.NetAddr = NOBODY;

  constructor(memory: Uint8Array, offset: number, size: number) {
    this.memory = memory;
    this.offset = offset;
    this.buffer = memory.subarray(offset, offset + size);
  }
}

/** @throws {RangeError} if there is too little room. */
function receives({ memory, offset, length }: MemoryRegion): Receive[] {
  const count = Math.min(MAX_RECEIVES, Math.floor(length / DATAGRAM_SIZE));
  if (count < MIN_RECEIVES) {
    throw new RangeError(`receiving takes ${MIN_RECEIVES * DATAGRAM_SIZE} bytes, got ${length}`);
  }
  return Array.from(
    { length: count },
    (_, i) => new Receive(memory, offset + i * DATAGRAM_SIZE, DATAGRAM_SIZE),
  );
}

/** Pages that no datagram has been written to cost nothing. */
function ownRegion(): MemoryRegion {
  const length = MAX_RECEIVES * DATAGRAM_SIZE;
  return { memory: new Uint8Array(length), offset: 0, length };
}

function listen(port: number, address: string | undefined): Deno.DatagramConn {
  return openOn(
    address,
    port,
    (hostname) => Deno.listenDatagram({ transport: "udp", hostname, port }),
  );
}
