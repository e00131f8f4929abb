/**
 * Applications that keep packets of every kind on the wire while a fuzzer interferes. What their
 * connections carry is not checked, except for the one that nobody interferes with.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { IpAddress, TcpEndpoint, TcpHandler, UdpEndpoint } from "../../netstack/mod.ts";
import type { Sim } from "../sim/network.ts";
import type { FuzzHost } from "./host.ts";
import { type Census, watch } from "./watch.ts";

const scratch = new Uint8Array(8_192);

/** Whether applications begin anything new. */
export interface Running {
  on: boolean;
}

/** Writes, reads and ends in some way after some time. */
export function chat(
  sim: Sim,
  host: FuzzHost,
  census: Census,
  endpoint: TcpEndpoint,
  done: () => void = () => {},
): void {
  const random = sim.random;
  let isClosed = false;
  const reads = random.chance(0.85);
  const write = () => {
    if (!isClosed) endpoint.write(scratch, 0, random.below(random.chance(0.2) ? 8_000 : 600));
  };
  const read = () => {
    while (endpoint.read(scratch, 0, scratch.length) > 0);
  };
  const end = () => {
    if (isClosed) return;
    const choice = random.below(4);
    if (choice === 0) endpoint.abort();
    else if (choice < 3) endpoint.close();
    else {
      endpoint.shutdownWrite();
      sim.after(random.below(3_000), () => endpoint.close());
    }
  };
  const handler: TcpHandler = {
    connected: write,
    readable: () => {
      if (reads) read();
      if (random.chance(0.7)) write();
      if (endpoint.endOfFile) endpoint.close();
    },
    writable: write,
    closed: () => {
      isClosed = true;
      done();
    },
  };
  watch(endpoint, host, census, handler);
  if (random.chance(0.5)) endpoint.setNoDelay(true);
  const talk = () => {
    if (isClosed) return;
    write();
    sim.after(random.below(80), talk);
  };
  talk();
  sim.after(random.below(random.chance(0.5) ? 300 : 3_000), end);
}

/** Opens one connection after the other as long as `running`. */
export function client(
  sim: Sim,
  host: FuzzHost,
  census: Census,
  running: Running,
  remote: IpAddress,
  remotePort: number,
): void {
  const next = () => {
    if (!running.on) return;
    let endpoint: TcpEndpoint;
    try {
      endpoint = host.stack.tcp.connect({ remote, remotePort }, sim.now);
    } catch (error) {
      assert.match(String(error), /^Error: (?:no TCP port is free|\d+ TCP connections are open)/);
      sim.after(100, next);
      return;
    }
    chat(sim, host, census, endpoint, () => sim.after(1 + sim.random.below(100), next));
  };
  next();
}

/** Sends datagrams of all sizes, and answers those that come in. */
export function datagrams(
  sim: Sim,
  host: FuzzHost,
  running: Running,
  endpoint: UdpEndpoint,
  to: readonly IpAddress[],
  port: number,
): void {
  const random = sim.random;
  endpoint.handler = {
    datagram: (_endpoint, source, sourcePort, buffer, offset, length, now) => {
      host.udpTaken++;
      if (random.chance(0.1) && sourcePort > 0) {
        endpoint.send(source, sourcePort, buffer, offset, length, now);
      }
    },
    error: () => {},
  };
  const send = () => {
    if (!running.on) return;
    const size = random.chance(0.3) ? random.below(5_000) : random.below(200);
    endpoint.send(to[random.below(to.length)]!, port, scratch, 0, size, sim.now);
    sim.after(5 + random.below(40), send);
  };
  if (to.length > 0) send();
}

/** A connection whose every byte must come back. */
export class Echo {
  isConnected = false;
  received = 0;
  #sent = 0;
  error: unknown;
  isClosed = false;
  readonly #endpoint: TcpEndpoint;
  readonly #buffer = new Uint8Array(4_096);

  constructor(host: FuzzHost, census: Census, endpoint: TcpEndpoint) {
    this.#endpoint = endpoint;
    watch(endpoint, host, census, {
      connected: () => {
        this.isConnected = true;
      },
      readable: () => this.#read(),
      closed: (error) => {
        this.isClosed = true;
        this.error = error;
      },
    });
  }

  get isEven(): boolean {
    return this.#sent === this.received;
  }

  write(length: number): void {
    for (let i = 0; i < length; i++) this.#buffer[i] = pattern(this.#sent + i);
    this.#sent += this.#endpoint.write(this.#buffer, 0, length);
  }

  end(): void {
    this.#endpoint.shutdownWrite();
  }

  #read(): void {
    for (;;) {
      const length = this.#endpoint.read(this.#buffer, 0, this.#buffer.length);
      if (length === 0) break;
      for (let i = 0; i < length; i++) {
        assert.equal(this.#buffer[i], pattern(this.received + i), "a byte of the untouched flow");
      }
      this.received += length;
    }
  }
}

/** The other side of {@link Echo}. */
export function echoServer(host: FuzzHost, census: Census, endpoint: TcpEndpoint): void {
  const buffer = new Uint8Array(4_096);
  let pending = 0;
  const pump = () => {
    for (;;) {
      if (pending === 0) pending = endpoint.read(buffer, 0, buffer.length);
      if (pending === 0) break;
      const taken = endpoint.write(buffer, 0, pending);
      buffer.copyWithin(0, taken, pending);
      pending -= taken;
      if (pending > 0) return;
    }
    if (endpoint.endOfFile) endpoint.shutdownWrite();
  };
  watch(endpoint, host, census, { readable: pump, writable: pump });
  pump();
}

function pattern(position: number): number {
  return Math.imul(position + 1, 0x9e3779b1) >>> 24;
}
