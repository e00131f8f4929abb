/**
 * TCP listeners and UDP sockets inside the tunnel, in the shape of Deno's own.
 *
 * @module
 */

import type { IpAddress, TcpEndpoint, TcpListener, UdpEndpoint } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import type { ProxyEnds } from "../target/proxy_protocol.ts";
import { checkBytes, netAddr, TunnelConn, Waiters } from "./conn.ts";
import type { ProxyHeaders } from "./proxy_header.ts";

/** A TCP listener inside the tunnel, shaped like `Deno.TcpListener`. */
export class TunnelListener implements Deno.Listener<TunnelConn, Deno.NetAddr> {
  /** Where it listens; the unspecified address for every one of the tunnel's own. */
  readonly addr: Deno.NetAddr;
  readonly #listener: TcpListener;
  readonly #accepted: TunnelConn[] = [];
  readonly #waiters = new Waiters();
  readonly #options: TunnelListenerOptions;
  #isClosed = false;

  /**
   * Made by `Wirestack.listen`.
   *
   * @param listen Starts to listen, with what takes the connections.
   */
  constructor(
    listen: (accepted: (endpoint: TcpEndpoint) => void) => TcpListener,
    options: TunnelListenerOptions,
  ) {
    this.#options = options;
    this.#listener = listen((endpoint) => this.#accept(endpoint));
    this.addr = netAddr("tcp", options.address, this.#listener.port);
  }

  /**
   * Waits for a connection.
   *
   * @throws {Deno.errors.BadResource} once the listener is closed.
   */
  async accept(): Promise<TunnelConn> {
    for (;;) {
      if (this.#isClosed) throw new Deno.errors.BadResource("the listener is closed");
      const conn = this.#accepted.shift();
      if (conn !== undefined) return conn;
      await this.#waiters.wait();
    }
  }

  /** Connections that were accepted stay; those that wait for it are reset. */
  close(): void {
    if (this.#isClosed) throw new Deno.errors.BadResource("the listener is closed");
    this.#isClosed = true;
    this.#listener.close();
    this.#options.headers?.close();
    for (const conn of this.#accepted.splice(0)) conn.reset();
    this.#options.onClosed(this);
    this.#waiters.wake();
  }

  /** The gateway's socket keeps the program running, not a listener: no effect. */
  ref(): void {}
  /** As {@link ref}: no effect. */
  unref(): void {}

  /** Connections that were reset for want of the header that `proxyProtocol` requires. */
  get refused(): number {
    return this.#options.headers?.refused ?? 0;
  }

  /** Every connection, until the listener is closed. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<TunnelConn> {
    while (!this.#isClosed) {
      try {
        yield await this.accept();
      } catch (error) {
        if (this.#isClosed && error instanceof Deno.errors.BadResource) return;
        throw error;
      }
    }
  }

  /** {@link close}, unless that was done. */
  [Symbol.dispose](): void {
    if (!this.#isClosed) this.close();
  }

  #accept(endpoint: TcpEndpoint): void {
    const { backlog, headers } = this.#options;
    if (this.#accepted.length + (headers?.size ?? 0) >= backlog) endpoint.abort();
    else if (headers === undefined) this.#hand(endpoint);
    else headers.read(endpoint, (ends) => this.#hand(endpoint, ends));
  }

  #hand(endpoint: TcpEndpoint, ends?: ProxyEnds): void {
    this.#accepted.push(this.#options.connOf(endpoint, ends));
    this.#waiters.wake();
  }
}

/** @internal */
export interface TunnelListenerOptions {
  /** What was asked for: one of the tunnel's own, or the unspecified one of a family. */
  readonly address: IpAddress;
  /** Connections that may wait for {@link TunnelListener.accept}; more are reset. */
  readonly backlog: number;
  readonly connOf: (endpoint: TcpEndpoint, ends?: ProxyEnds) => TunnelConn;
  /** Missing: connections have no header. */
  readonly headers?: ProxyHeaders | undefined;
  readonly onClosed: (listener: TunnelListener) => void;
}

/** Datagrams that wait for `receive`, with what each costs; more are dropped, as a socket does. */
const MAX_WAITING_BYTES = 1 << 20;

/**
 * What a datagram takes beside its bytes: array, buffer, address and place, as measured. Linux
 * counts some 700 for each (`truesize`).
 */
const DATAGRAM_OVERHEAD = 512;

/** How long a datagram waits for room: the engine makes some in every turn that it has. */
const SEND_LIMIT_MS = 5_000;
const SENDS_PER_TURN = 32;

/** @internal */
export interface TunnelDatagramOptions {
  /** What was asked for: one of the tunnel's own, or the unspecified one of a family. */
  readonly address: IpAddress;
  readonly now: () => number;
  /** Throws if no peer can be reached at that address. */
  readonly checkReach: (address: IpAddress) => void;
  readonly onClosed: (socket: TunnelDatagramConn) => void;
}

/** A UDP socket inside the tunnel, shaped like `Deno.DatagramConn`. */
export class TunnelDatagramConn implements AsyncIterable<[Uint8Array<ArrayBuffer>, Deno.NetAddr]> {
  /** Where it receives; the unspecified address for every one of the tunnel's own. */
  readonly addr: Deno.NetAddr;
  /** Datagrams that nobody received in time. */
  dropped = 0;
  readonly #endpoint: UdpEndpoint;
  readonly #options: TunnelDatagramOptions;
  readonly #received: [Uint8Array<ArrayBuffer>, Deno.NetAddr][] = [];
  readonly #waiters = new Waiters();
  #waitingBytes = 0;
  #sends = 0;
  #isClosed = false;

  /** Made by `Wirestack.listenDatagram`. */
  constructor(endpoint: UdpEndpoint, options: TunnelDatagramOptions) {
    this.#endpoint = endpoint;
    this.#options = options;
    this.addr = netAddr("udp", options.address, endpoint.port);
    endpoint.handler = {
      datagram: (_endpoint, source, sourcePort, buffer, offset, length) =>
        this.#queue(source, sourcePort, buffer, offset, length),
    };
  }

  /**
   * Waits for a datagram.
   *
   * @param into Takes its bytes, and cuts off what does not fit. Missing: it comes in its own array.
   */
  async receive(into?: Uint8Array<ArrayBuffer>): Promise<[Uint8Array<ArrayBuffer>, Deno.NetAddr]> {
    if (into !== undefined) checkBytes("receive", into);
    for (;;) {
      this.#checkOpen();
      const received = this.#received.shift();
      if (received === undefined) {
        await this.#waiters.wait();
        continue;
      }
      const [bytes, from] = received;
      this.#waitingBytes -= bytes.length + DATAGRAM_OVERHEAD;
      if (into === undefined) return received;
      const length = Math.min(into.length, bytes.length);
      into.set(bytes.subarray(0, length));
      return [into.subarray(0, length), from];
    }
  }

  /**
   * Sends a datagram of up to 65,507 bytes, once there is room for it.
   *
   * @returns its length.
   * @throws {TypeError} if `to` is not an address inside the tunnel, or `bytes` is something else.
   * @throws {RangeError} if its port is none.
   * @throws {Deno.errors.NetworkUnreachable} if nothing leads there: no peer has the address, or it
   * is not known where that peer is.
   */
  async send(bytes: Uint8Array, to: Deno.Addr): Promise<number> {
    this.#checkOpen();
    checkBytes("send", bytes);
    if (to.transport !== "udp") throw new TypeError(`expected a UDP address, got ${to.transport}`);
    const address = tunnelAddress(to.hostname);
    if (!(Number.isInteger(to.port) && to.port > 0 && to.port < 65536)) {
      throw new RangeError(`send: a UDP port is 1 to 65535, got ${to.port}`);
    }
    const { checkReach, now } = this.#options;
    checkReach(address);
    const deadline = now() + SEND_LIMIT_MS;
    while (!this.#endpoint.send(address, to.port, bytes, 0, bytes.length, now())) {
      if (now() > deadline) throw new Deno.errors.TimedOut("send: no room in the gateway");
      await turn();
      this.#checkOpen();
    }
    // A program that only sends leaves nobody else a turn, the handshake included.
    if (++this.#sends % SENDS_PER_TURN === 0) await turn();
    return bytes.length;
  }

  /** Gives the port back; datagrams that wait are dropped. */
  close(): void {
    this.#checkOpen();
    this.#isClosed = true;
    this.#received.length = 0;
    this.#endpoint.close();
    this.#options.onClosed(this);
    this.#waiters.wake();
  }

  /** Every datagram, until the socket is closed. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<[Uint8Array<ArrayBuffer>, Deno.NetAddr]> {
    while (!this.#isClosed) {
      try {
        yield await this.receive();
      } catch (error) {
        if (this.#isClosed && error instanceof Deno.errors.BadResource) return;
        throw error;
      }
    }
  }

  /** {@link close}, unless that was done. */
  [Symbol.dispose](): void {
    if (!this.#isClosed) this.close();
  }

  #queue(
    source: IpAddress,
    port: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): void {
    if (this.#waitingBytes + length + DATAGRAM_OVERHEAD > MAX_WAITING_BYTES) {
      this.dropped++;
      return;
    }
    this.#waitingBytes += length + DATAGRAM_OVERHEAD;
    const bytes = buffer.slice(offset, offset + length);
    this.#received.push([bytes, netAddr("udp", source, port)]);
    this.#waiters.wake();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new Deno.errors.BadResource("the socket is closed");
  }
}

/** Lets the engine, and everything else in the event loop, have a turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * An address as Deno takes it, IPv6 with or without brackets.
 *
 * @throws {TypeError} Names are not looked up inside the tunnel.
 */
export function tunnelAddress(hostname: string): IpAddress {
  const text = typeof hostname === "string" ? hostname.replace(/^\[(.*:.*)\]$/, "$1") : "";
  const address = parseIpAddress(text);
  if (address !== undefined) return address;
  const got = typeof hostname === "string" ? JSON.stringify(hostname) : typeof hostname;
  throw new TypeError(`hostname: expected an IP address inside the tunnel, got ${got}`);
}
