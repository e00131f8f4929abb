/**
 * WireGuard's UDP socket over `Deno.listenDatagram`: a datagram at a time, on every system.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { ownRegion, type TransmitPool } from "../arena/transmit_pool.ts";
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
  readonly #sends: Send[] = [];
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
    // Pages that no datagram has been written to cost nothing.
    const { receiveRegion = ownRegion(MAX_RECEIVES * DATAGRAM_SIZE) } = options;
    const { memory, offset, length } = receiveRegion;
    this.#most = countOf(length);
    this.#idle = Array.from(
      { length: this.#most },
      (_, i) => this.#newReceive(memory, offset + i * DATAGRAM_SIZE),
    );
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
    const send = this.#sends.pop() ?? this.#newSend();
    send.slot = slot;
    send.length = length;
    const bytes = this.#pool.buffer.subarray(slot, slot + length);
    this.#socket.send(bytes, to.netAddr).then(send.onDone, send.onFailed);
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

  #settle(send: Send): void {
    this.#pool.give(send.slot);
    this.#sends.push(send);
    this.#sending--;
    if (this.#sending === 0) this.#lastSend.reached();
    if (this.#closed) this.#checkSettled();
    else this.#events?.onSent();
  }

  #receive(): void {
    while (!this.#closed && this.#pending < this.#wanted) {
      const receive = this.#idle.pop()!;
      this.#pending++;
      receive.socket = this.#socket;
      this.#socket.receive(receive.buffer).then(receive.onDone, receive.onFailed);
    }
  }

  #received(receive: Receive, length: number, from: Deno.NetAddr): void {
    this.#pending--;
    receive.length = length;
    receive.from = from;
    if (this.#ready.push(receive) === 1 && !this.#closed) this.#events!.onReadable();
    if (this.#closed) this.#checkSettled();
  }

  #notReceived(receive: Receive, error: Error): void {
    this.#pending--;
    this.#idle.push(receive);
    if (receive.socket !== this.#socket) this.#receive();
    else if (!this.#closed) this.#receiveFailed(error);
    if (this.#closed) this.#checkSettled();
  }

  #newReceive(memory: Uint8Array, offset: number): Receive {
    const receive: Receive = {
      memory,
      offset,
      buffer: memory.subarray(offset, offset + DATAGRAM_SIZE),
      length: 0,
      from: NOBODY,
      socket: undefined,
      onDone: ([bytes, from]) => this.#received(receive, bytes.length, from as Deno.NetAddr),
      onFailed: (error) => this.#notReceived(receive, error),
    };
    return receive;
  }

  #newSend(): Send {
    const send: Send = {
      slot: 0,
      length: 0,
      onDone: () => {
        this.counters.sent++;
        this.counters.sentBytes += send.length;
        this.#settle(send);
      },
      onFailed: ({ code }) => {
        if (!this.#closed) countSendError(this.counters, code);
        this.#settle(send);
      },
    };
    return send;
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

// What a promise calls is made once for each of these. An async function for each datagram cost 2 to
// 4 % of what a gateway needs without FFI.

/** A buffer that waits for a datagram, or holds one. */
interface Receive {
  /** For any size that UDP has, so that a peer with a larger MTU is not cut off. */
  readonly buffer: Uint8Array;
  /** The same, as a place in what it is a part of. */
  readonly memory: Uint8Array;
  readonly offset: number;
  length: number;
  from: Deno.NetAddr;
  /** That it waits on. */
  socket: Deno.DatagramConn | undefined;
  readonly onDone: (result: [Uint8Array, Deno.Addr]) => void;
  readonly onFailed: (error: Error) => void;
}

/** A datagram that the runtime is sending. */
interface Send {
  slot: number;
  length: number;
  readonly onDone: () => void;
  readonly onFailed: (error: { code?: string }) => void;
}

/** @throws {RangeError} if there is too little room. */
function countOf(length: number): number {
  const count = Math.min(MAX_RECEIVES, Math.floor(length / DATAGRAM_SIZE));
  if (count < MIN_RECEIVES) {
    throw new RangeError(`receiving takes ${MIN_RECEIVES * DATAGRAM_SIZE} bytes, got ${length}`);
  }
  return count;
}

function listen(port: number, address: string | undefined): Deno.DatagramConn {
  return openOn(
    address,
    port,
    (hostname) => Deno.listenDatagram({ transport: "udp", hostname, port }),
  );
}
