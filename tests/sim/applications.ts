/**
 * Programs at the ends of simulated connections: an echo, and clients that check every byte of it.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type {
  IpAddress,
  Nic,
  Stack,
  TcpEndpoint,
  TcpForwarderRequest,
  UdpEndpoint,
} from "../../netstack/mod.ts";
import type { Engine } from "../../proxy/engine/engine.ts";
import { Random } from "./random.ts";

const CHUNK = 16384;

/** Bytes of a stream that lie side by side in {@link TABLE}, each so many at another place. */
const BLOCK = 65_521;
const TABLE = Buffer.from(new Random(0).bytes(2 * BLOCK));

/** The bytes of the stream `seed` from `position` on. No shift or repetition of it looks like it. */
function stream(seed: number, position: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const [from, size] = piece(seed, position + done, length - done);
    bytes.set(TABLE.subarray(from, from + size), done);
    done += size;
  }
  return bytes;
}

/** @returns The first byte that is not of the stream `seed` from `position` on, or -1. */
function firstWrong(
  seed: number,
  position: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
): number {
  for (let done = 0; done < length;) {
    const [from, size] = piece(seed, position + done, length - done);
    const right = TABLE.subarray(from, from + size);
    const there = buffer.subarray(offset + done, offset + done + size);
    // By the C library: gigabytes are compared.
    if (!right.equals(there)) return done + right.findIndex((byte, i) => byte !== there[i]);
    done += size;
  }
  return -1;
}

/** @returns Where in {@link TABLE} the stream goes on, and for how many of `length` bytes. */
function piece(seed: number, position: number, length: number): [from: number, size: number] {
  const within = position % BLOCK;
  let hash = Math.imul(seed, 0x9e3779b1) ^ Math.imul((position - within) / BLOCK + 1, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 15, 0x2c1b3c6d);
  return [(hash >>> 0) % BLOCK + within, Math.min(length, BLOCK - within)];
}

/** Behind `nic`: answers every TCP connection and every datagram with what it brings. */
export function echoBehind(stack: Stack, nic: Nic): void {
  stack.tcp.setForwarder(nic, { request: (request) => echoRequest(request) });
  stack.setUdpForwarder(nic, {
    datagram: (flow, destination, port, buffer, offset, length, now) => {
      flow.send(destination, port, buffer, offset, length, now);
      return "accept";
    },
  });
}

function echoRequest(request: TcpForwarderRequest): void {
  const endpoint = request.accept();
  if (endpoint !== undefined) echo(endpoint);
}

/** Sends back what comes, until the other side has closed. Takes no more than it can send. */
export function echo(endpoint: TcpEndpoint): void {
  const buffer = new Uint8Array(CHUNK);
  let [start, end] = [0, 0];
  const move = () => {
    for (;;) {
      if (start === end) {
        [start, end] = [0, endpoint.read(buffer, 0, CHUNK)];
        if (end === 0) break;
      }
      start += endpoint.write(buffer, start, end - start);
      if (start < end) return;
    }
    if (endpoint.endOfFile) endpoint.close();
  };
  endpoint.handler = { readable: move, writable: move };
  move();
}

/** A stream of its own that goes out, comes back as it was, and is closed. */
export class EchoClient {
  sent = 0;
  received = 0;
  /** Ended, well or not. */
  hasEnded = false;
  /** The connection's, or that a byte was wrong. */
  error: string | undefined;
  readonly length: number;
  readonly #endpoint: TcpEndpoint;
  readonly #seed: number;
  #limit: number;
  readonly #buffer = new Uint8Array(CHUNK);
  /** Of the stream, for the next write. */
  #next = new Uint8Array(0);

  /** @param options.pauseAt How many bytes to send before {@link resume}. */
  constructor(
    endpoint: TcpEndpoint,
    length: number,
    seed: number,
    { pauseAt = length }: { pauseAt?: number } = {},
  ) {
    this.#limit = pauseAt;
    this.#endpoint = endpoint;
    this.length = length;
    this.#seed = seed;
    endpoint.handler = {
      connected: () => this.#send(),
      writable: () => this.#send(),
      readable: () => this.#receive(),
      closed: (error) => {
        this.hasEnded = true;
        if (error !== undefined) this.error ??= error.kind;
        if (this.received !== length) this.error ??= `${this.received} of ${length} bytes`;
      },
    };
  }

  /** Sends the rest. */
  resume(): void {
    this.#limit = this.length;
    this.#send();
  }

  get isRight(): boolean {
    return this.hasEnded && this.error === undefined;
  }

  #send(): void {
    for (;;) {
      if (this.#next.length === 0) {
        const length = Math.min(CHUNK, this.#limit - this.sent);
        if (length === 0) break;
        this.#next = stream(this.#seed, this.sent, length);
      }
      const taken = this.#endpoint.write(this.#next, 0, this.#next.length);
      this.sent += taken;
      this.#next = this.#next.subarray(taken);
      if (this.#next.length > 0) return;
    }
    if (this.sent === this.length) this.#endpoint.shutdownWrite();
  }

  #receive(): void {
    const buffer = this.#buffer;
    while (this.#endpoint.readable > 0) {
      const length = this.#endpoint.read(buffer, 0, CHUNK);
      const wrong = firstWrong(this.#seed, this.received, buffer, 0, length);
      if (wrong >= 0) this.error ??= `byte ${this.received + wrong} is wrong`;
      this.received += length;
    }
    if (this.#endpoint.endOfFile) this.#endpoint.close();
  }
}

/** Asks an echo by datagrams, which may get lost, and checks the answers. */
export class Pinger {
  asked = 0;
  answered = 0;
  wrong = 0;
  /** Of the answers, ms. */
  readonly delays: number[] = [];
  readonly #engine: Engine;
  readonly #socket: UdpEndpoint;
  readonly #remote: IpAddress;
  readonly #port: number;
  readonly #askedAt = new Map<number, number>();

  constructor(engine: Engine, remote: IpAddress, port: number) {
    this.#engine = engine;
    this.#socket = engine.stack.bindUdp({});
    this.#remote = remote;
    this.#port = port;
    this.#socket.handler = {
      datagram: (_endpoint, source, sourcePort, buffer, offset, length) => {
        const number = new DataView(buffer.buffer, buffer.byteOffset + offset).getUint32(0);
        const askedAt = this.#askedAt.get(number);
        const isRight = source.equals(remote) && sourcePort === port && askedAt !== undefined &&
          firstWrong(number, 4, buffer, offset + 4, length - 4) < 0;
        if (!isRight) {
          if (askedAt !== undefined || number >= this.asked) this.wrong++;
          return; // a duplicate
        }
        this.#askedAt.delete(number);
        this.answered++;
        this.delays.push(engine.now() - askedAt);
      },
    };
  }

  /** @param length 4 at least. */
  ask(length: number): void {
    const now = this.#engine.now();
    const number = this.asked++;
    const bytes = stream(number, 0, length);
    new DataView(bytes.buffer).setUint32(0, number);
    this.#askedAt.set(number, now);
    this.#socket.send(this.#remote, this.#port, bytes, 0, length, now);
  }

  close(): void {
    this.#socket.close();
  }
}
