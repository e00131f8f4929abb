/**
 * WireGuard's UDP socket, over `Deno.listenDatagram`.
 *
 * @module
 */

import type { IpAddress } from "../netstack/mod.ts";
import { SettingError } from "./config_error.ts";
import { ReceiveBuffers } from "./datagram_buffers.ts";
import { EndpointCache, type UdpAddress } from "./endpoint_cache.ts";
import type { TransmitPool } from "./transmit_pool.ts";

export interface UdpBindOptions {
  /** Missing or 0: any free one. */
  readonly port?: number;
  /** The address of this host to bind. Missing: every one, IPv4 and IPv6. */
  readonly address?: string;
  /** Slots that {@link UdpBind.send} sends without a copy. */
  readonly pool: TransmitPool;
  /** Datagrams wait for {@link UdpBind.drain}. Once until then. */
  onReadable(): void;
  /** A send has settled. */
  onSent(): void;
  /** The socket is dead and will not receive again. */
  onFailed(error: Error): void;
}

/** Totals since the start. */
export interface UdpBindCounters {
  received: number;
  receivedBytes: number;
  sent: number;
  sentBytes: number;
  /** The system refused a datagram (no route, no buffer space, not permitted). */
  sendErrors: number;
  receiveErrors: number;
  /** No transmit slot was free for a datagram that was built outside the slots. */
  noSlot: number;
}

/** Takes the datagrams of a drain. The bytes are valid until the call returns. */
export type DatagramHandler = (
  buffer: Uint8Array,
  offset: number,
  length: number,
  from: UdpAddress,
) => void;

// Several receives wait side by side: the runtime then hands over a batch per turn of its event loop,
// at two thirds of the cost per datagram. Datagrams keep their order.
const MIN_RECEIVES = 2;
const MAX_RECEIVES = 32;
const RETRY_MS = 100;

/** One socket for IPv4 and IPv6 where the system has both. */
export class UdpBind {
  readonly port: number;
  readonly counters: UdpBindCounters = {
    received: 0,
    receivedBytes: 0,
    sent: 0,
    sentBytes: 0,
    sendErrors: 0,
    receiveErrors: 0,
    noSlot: 0,
  };
  readonly #options: UdpBindOptions;
  readonly #pool: TransmitPool;
  readonly #socket: Deno.DatagramConn;
  readonly #endpoints: EndpointCache;
  readonly #buffers = new ReceiveBuffers();
  readonly #idle: Receive[] = [];
  #ready: Receive[] = [];
  #draining: Receive[] = [];
  #wanted = MIN_RECEIVES;
  #pending = 0;
  #sending = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  #allSent: (() => void) | undefined;
  #settled: (() => void) | undefined;

  /** @throws {SettingError} if the system does not give that port or address. */
  constructor(options: UdpBindOptions) {
    this.#options = options;
    this.#pool = options.pool;
    this.#socket = openSocket(options.port ?? 0, options.address);
    const { port, hostname } = this.#socket.addr as Deno.NetAddr;
    this.port = port;
    this.#endpoints = new EndpointCache(hostname.includes(":"));
    this.#receive();
  }

  /** The one object for this address and port. */
  endpoint(address: IpAddress, port: number): UdpAddress {
    return this.#endpoints.of(address, port);
  }

  /** Hands over what has arrived, at most one batch, and asks for more. @returns how many. */
  drain(handle: DatagramHandler): number {
    const batch = this.#ready;
    this.#ready = this.#draining;
    this.#draining = batch;
    for (let i = 0; i < batch.length; i++) {
      const receive = batch[i]!;
      this.counters.received++;
      this.counters.receivedBytes += receive.length;
      handle(receive.buffer, 0, receive.length, receive.from!);
      this.#idle.push(receive);
    }
    const count = batch.length;
    if (count > 0 && this.#pending === 0) {
      this.#wanted = Math.min(MAX_RECEIVES, this.#wanted * 2);
    } else if (count * 4 < this.#wanted && this.#wanted > MIN_RECEIVES) {
      this.#wanted--;
    }
    batch.length = 0;
    this.#receive();
    return count;
  }

  /**
   * Sends a datagram. One in a slot of the pool leaves as it is, and the slot with it; any other
   * buffer is copied. What cannot be sent is lost and counted, as UDP is.
   */
  send(to: UdpAddress, buffer: Uint8Array, offset: number, length: number): void {
    if (this.#closed) return;
    let slot = offset;
    let bytes: Uint8Array;
    if (buffer === this.#pool.buffer) {
      bytes = buffer.subarray(offset, offset + length);
    } else {
      slot = length <= this.#pool.slotSize ? this.#pool.take() : -1;
      if (slot < 0) {
        this.counters.noSlot++;
        return;
      }
      bytes = this.#pool.buffer.subarray(slot, slot + length);
      bytes.set(length === buffer.length ? buffer : buffer.subarray(offset, offset + length));
    }
    this.#pool.setInFlight(slot);
    this.#sending++;
    this.#send(to, bytes, slot);
  }

  /** Whether datagrams wait for {@link drain}. */
  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  /** Resolves when every send has settled, or after `limitMs`. */
  async sent(limitMs: number): Promise<void> {
    if (this.#sending === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, limitMs);
    this.#allSent = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** Resolves when nothing of the socket is left. */
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

  async #send(to: UdpAddress, bytes: Uint8Array, slot: number): Promise<void> {
    try {
      await this.#socket.send(bytes, to.netAddr);
      this.counters.sent++;
      this.counters.sentBytes += bytes.length;
    } catch {
      if (!this.#closed) this.counters.sendErrors++;
    }
    this.#pool.give(slot);
    this.#sending--;
    if (this.#sending === 0) this.#allSent?.();
    if (this.#closed) this.#checkSettled();
    else this.#options.onSent();
  }

  #receive(): void {
    while (!this.#closed && this.#pending < this.#wanted) {
      const receive = this.#idle.pop() ?? new Receive(this.#buffers.take());
      this.#pending++;
      this.#receiveInto(receive);
    }
  }

  async #receiveInto(receive: Receive): Promise<void> {
    try {
      const [bytes, from] = await this.#socket.receive(receive.buffer);
      this.#pending--;
      receive.length = bytes.length;
      receive.from = this.#endpoints.from(from as Deno.NetAddr);
      if (this.#ready.push(receive) === 1 && !this.#closed) this.#options.onReadable();
    } catch (error) {
      this.#pending--;
      this.#idle.push(receive);
      if (!this.#closed) this.#receiveFailed(error as Error);
    }
    if (this.#closed) this.#checkSettled();
  }

  /** One bad datagram, or one bad moment of the network, does not end the loop. */
  #receiveFailed(error: Error): void {
    this.counters.receiveErrors++;
    if (error instanceof Deno.errors.BadResource) {
      this.#options.onFailed(error);
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
  length = 0;
  from: UdpAddress | undefined = undefined;

  constructor(buffer: Uint8Array) {
    this.buffer = buffer;
  }
}

function openSocket(port: number, address: string | undefined): Deno.DatagramConn {
  const open = (hostname: string) => Deno.listenDatagram({ transport: "udp", hostname, port });
  try {
    if (address !== undefined) return open(address);
    try {
      return open("::"); // IPv4 arrives here as ::ffff:a.b.c.d
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse || error instanceof Deno.errors.NotCapable) {
        throw error;
      }
      return open("0.0.0.0"); // a system without IPv6
    }
  } catch (error) {
    throw settingError(error, port, address);
  }
}

function settingError(error: unknown, port: number, address: string | undefined): unknown {
  const options = { cause: error };
  if (error instanceof Deno.errors.AddrInUse) {
    const message = `port ${port} is in use, expected a free UDP port`;
    return new SettingError(["interface", "listenPort"], message, options);
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    const message = `port ${port} is not permitted to this user, expected one from 1024`;
    return new SettingError(["interface", "listenPort"], message, options);
  }
  if (address !== undefined && error instanceof Deno.errors.AddrNotAvailable) {
    const message = `${address} is not an address of this host, expected one that is`;
    return new SettingError(["interface", "listenAddress"], message, options);
  }
  return error;
}
