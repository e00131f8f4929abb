/**
 * WireGuard's UDP socket over FFI: datagrams in batches, cut and coalesced by the kernel.
 *
 * @module
 */

import {
  DescriptorWait,
  errnoName,
  MESSAGE_BYTES,
  openUdpLibc,
  ReceiveRing,
  SendBatch,
  type SettledHandler,
  type UdpLibc,
  UdpSocket,
} from "../../ffi/mod.ts";
import type { IpAddress } from "../../netstack/mod.ts";
import { ownRegion, type TransmitPool } from "../arena/transmit_pool.ts";
import { getLogger } from "../log/logger.ts";
import type { BindEvents, DatagramHandler } from "./bind.ts";
import { copyToSlot, LastSend } from "./sends.ts";
import { SocketAddress, SocketSender } from "./socket_address.ts";
import {
  countSendError,
  markError,
  newCounters,
  openOn,
  type UdpBind,
  type UdpBindOptions,
} from "./udp.ts";

const log = getLogger(["wirestack", "engine"]);

/** Memory of the ring of messages, unless it is given. Pages that are never written cost nothing. */
const RING_BYTES = 64 * MESSAGE_BYTES;
/** Datagrams that a turn hands over, so that a flood does not keep targets' sockets waiting. */
const DRAIN_BUDGET = 128;
/** After this many errors in a row receiving pauses. */
const MAX_ERRORS = 16;
const PAUSE_MS = 100;
/** How long a thread waits for room to send at a time: closing waits for it. */
const WRITABLE_MS = 200;

export class FfiUdpBind implements UdpBind {
  readonly name = "udp";
  readonly counters = newCounters();
  readonly #pool: TransmitPool;
  readonly #libc: UdpLibc;
  readonly #ring: ReceiveRing;
  readonly #batch: SendBatch;
  readonly #sender: SocketSender;
  #socket: UdpSocket;
  #wait: DescriptorWait;
  /** For datagrams; nothing is received meanwhile. */
  #isWaiting = true;
  readonly #onReadable = () => {
    this.#isWaiting = false;
    if (this.hasReady) this.#events!.onReadable(true);
  };
  /** A wait for room to send; nothing is sent meanwhile. */
  #blocked: Promise<void> | undefined;
  #mark: number;
  #errors = 0;
  #pause: ReturnType<typeof setTimeout> | undefined;
  /** Sockets that were left, until nothing waits for them. */
  #left: Promise<void> = Promise.resolve();
  readonly #lastSend = new LastSend();
  /** Undefined before {@link start}. */
  #events: BindEvents | undefined;
  #closing: Promise<void> | undefined;
  readonly #onSettled: SettledHandler = (offset, length, errno) => {
    if (errno === 0) {
      this.counters.sent++;
      this.counters.sentBytes += length;
    } else {
      countSendError(this.counters, errnoName(errno));
    }
    this.#pool.give(offset);
  };

  /**
   * @throws {BindError} if the system does not give that port, address or mark.
   * @throws {Error} where there is no such socket; `udpUnavailable` says why.
   */
  constructor(options: UdpBindOptions) {
    const { pool, receiveRegion = ownRegion(RING_BYTES) } = options;
    this.#mark = options.mark ?? 0;
    this.#pool = pool;
    this.#libc = openUdpLibc();
    try {
      const { memory, offset, length } = receiveRegion;
      this.#ring = new ReceiveRing(this.#libc, memory, offset, length);
      [this.#socket, this.#wait] = this.#open(options.port ?? 0, options.address);
    } catch (error) {
      this.#libc.close();
      throw error;
    }
    const { receiveBuffer, sendBuffer, hasGro, hasGso } = this.#socket;
    log.info("UDP over FFI: buffers {receiveBuffer} and {sendBuffer} bytes, GRO {gro}, GSO {gso}", {
      receiveBuffer,
      sendBuffer,
      gro: hasGro,
      gso: hasGso,
    });
    this.#sender = new SocketSender(this, this.#ring.senders, 0);
    this.#batch = new SendBatch(this.#libc, pool.buffer, pool.slots, hasGso);
    this.#batch.sources = hasSources(this.#socket);
  }

  get port(): number {
    return this.#socket.address.port;
  }

  get hasReady(): boolean {
    return !this.#isWaiting && this.#closing === undefined;
  }

  get holdsMore(): boolean {
    return this.hasReady && !this.#ring.isEmpty;
  }

  start(events: BindEvents): void {
    this.#events = events;
    this.#startWaiting();
  }

  endpoint(address: IpAddress, port: number, scope = 0): SocketAddress {
    const isDualStack = this.#socket.address.hostname.includes(":");
    return SocketAddress.of(this, address, port, scope, isDualStack);
  }

  drain(handle: DatagramHandler): number {
    if (!this.hasReady) return 0;
    const ring = this.#ring;
    this.#fill(); // first: it is the kernel's queue that overflows
    let count = 0;
    while (count < DRAIN_BUDGET && ring.next()) {
      count++;
      this.counters.received++;
      this.counters.receivedBytes += ring.length;
      this.#sender.at = ring.sender;
      handle(ring.memory, ring.offset, ring.length, this.#sender);
    }
    ring.release();
    if (ring.isEmpty && (ring.isExhausted || this.#errors >= MAX_ERRORS)) this.#startWaiting();
    return count;
  }

  send(
    to: SocketAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
    isSlot: boolean,
  ): boolean {
    if (this.#closing !== undefined) return false;
    const slot = isSlot ? offset : copyToSlot(this.#pool, this.counters, buffer, offset, length);
    if (slot < 0) return false;
    this.#batch.push(to, slot, length);
    return isSlot;
  }

  flush(): void {
    if (this.#blocked !== undefined || this.#closing !== undefined) return;
    if (this.#batch.flush(this.#socket.fd, this.#onSettled)) return;
    this.#blocked = this.#untilWritable().then(() => {
      this.#blocked = undefined;
      this.flush();
      if (this.#blocked === undefined) this.#lastSend.reached();
      if (this.#closing === undefined) this.#events?.onSent();
    });
  }

  async sent(limitMs: number): Promise<void> {
    this.flush();
    if (this.#blocked !== undefined) await this.#lastSend.wait(limitMs);
  }

  rebind({ port = 0, address }: { port?: number; address?: string }): void {
    const old = this.#socket;
    const oldWait = this.#wait;
    const [next, wait] = this.#open(port, address);
    this.flush();
    if (this.hasReady) this.#fill();
    this.#socket = next;
    this.#wait = wait;
    this.#batch.sources = hasSources(next);
    // Ends the wait for it, after which the new one is looked at.
    const closed = oldWait.close().then(() => old.close());
    this.#left = Promise.all([this.#left, closed]).then(() => {});
  }

  get mark(): number {
    return this.#mark;
  }

  setMark(mark: number): void {
    if (mark === this.#mark) return;
    markSocket(this.#socket, mark);
    this.#mark = mark;
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    this.flush();
    await undefined; // from here on #closing is set
    clearTimeout(this.#pause);
    await this.#wait.close();
    this.#socket.close();
    await this.#left;
    await this.#blocked;
    for (let left; (left = this.#batch.shift()) !== undefined;) {
      countSendError(this.counters, undefined);
      this.#pool.give(left.offset);
    }
    this.#libc.close();
  }

  /** Opens a socket, and sets it up before anything has arrived. @returns what waits for it, too. */
  #open(port: number, address: string | undefined): [UdpSocket, DescriptorWait] {
    const libc = this.#libc;
    const socket = openOn(address, port, (hostname) => new UdpSocket(libc, { hostname, port }));
    try {
      if (this.#mark !== 0) markSocket(socket, this.#mark);
      if (hasSources(socket)) socket.tellLocal();
      socket.coalesce();
      return [socket, new DescriptorWait(socket.fd)];
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /** Takes over what the kernel has. */
  #fill(): void {
    const messages = this.#ring.fill(this.#socket.fd);
    if (this.#ring.error !== 0) this.#countReceiveError();
    else if (messages > 0) this.#errors = 0;
  }

  #startWaiting(): void {
    this.#isWaiting = true;
    // An error of one receive does not end the loop; after many it looks again a little later.
    if (this.#errors < MAX_ERRORS) this.#wait.wait(this.#onReadable);
    else {
      this.#errors = 0;
      this.#pause = setTimeout(this.#onReadable, PAUSE_MS);
    }
  }

  #countReceiveError(): void {
    this.counters.receiveErrors++;
    this.#errors++;
  }

  /** The socket's buffer is full. Also ends when another socket takes its place. */
  async #untilWritable(): Promise<void> {
    const socket = this.#socket;
    while (socket === this.#socket && this.#closing === undefined) {
      if (await socket.writable(WRITABLE_MS)) return;
    }
  }
}

function markSocket(socket: UdpSocket, mark: number): void {
  try {
    socket.setMark(mark);
  } catch (error) {
    throw markError((error as Error).message, error);
  }
}

/** Whether it has several addresses to send from. Bound to one address it sends from that. */
function hasSources({ address: { hostname } }: UdpSocket): boolean {
  return hostname === "::" || hostname === "0.0.0.0";
}
