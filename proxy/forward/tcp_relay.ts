/**
 * One forwarded TCP connection: the dial, then bytes between the tunnel and the target until both
 * sides have closed or one of them broke.
 *
 * No queue grows. Towards the target at most one buffer is being written, and the receive ring,
 * whose window closes, holds the rest. Towards the client the send ring is full, at most one read is
 * left over, and the target is not read.
 *
 * @module
 */

import type {
  IpAddress,
  KeepAlive,
  TcpEndpoint,
  TcpError,
  TcpForwarderRequest,
  TcpHandler,
  Timed,
} from "../../netstack/mod.ts";
import { type DialError, type TargetHandler, TargetSocket } from "../target/tcp.ts";

/** What a relay needs of the forwarder it belongs to. */
export interface TcpRelayOwner {
  readonly keepAlive: KeepAlive;
  /** The dial has succeeded; the handshake with the client goes on. */
  onConnected(relay: TcpRelay): void;
  /** Instead of {@link onConnected}. The request has been answered. */
  onDialFailed(relay: TcpRelay, why: DialError | "aborted"): void;
  /** The connection became half-closed, or was not idle while it is. */
  onHalfClosed(relay: TcpRelay): void;
  onReset(relay: TcpRelay, by: "client" | "target"): void;
  /** Last, and once: nothing of the relay is left. */
  onEnded(relay: TcpRelay): void;
}

/** Buffers for writes to targets, in use only while a write is pending. */
export class WriteBuffers {
  readonly #free: Uint8Array[] = [];

  take(): Uint8Array {
    return this.#free.pop() ?? new Uint8Array(WRITE_SIZE);
  }

  give(buffer: Uint8Array): void {
    if (this.#free.length < KEPT_BUFFERS) this.#free.push(buffer);
  }
}

const WRITE_SIZE = 65536;
const KEPT_BUFFERS = 16;

export class TcpRelay implements TcpHandler, TargetHandler, Timed {
  deadline = Infinity;
  heapIndex = -1;
  readonly request: TcpForwarderRequest;
  readonly target: IpAddress;
  /** Bytes that went to the target, and to the client. */
  bytesUp = 0;
  bytesDown = 0;
  readonly startedAt: number;
  /** Whom the dial is counted with. */
  readonly sharer: object | undefined;
  readonly #owner: TcpRelayOwner;
  readonly #buffers: WriteBuffers;
  #socket: TargetSocket | undefined;
  #endpoint: TcpEndpoint | undefined;
  /** Pending write to the target. */
  #writing: Uint8Array | undefined;
  /** Read from the target, and not yet in the send ring from `#restOffset` on. */
  #rest: Uint8Array | undefined;
  #restOffset = 0;
  #hasClientEnded = false;
  #hasTargetEnded = false;
  /** The target is gone and the client is only given what was on its way. */
  #isDraining = false;
  #hasEnded = false;

  constructor(
    owner: TcpRelayOwner,
    buffers: WriteBuffers,
    request: TcpForwarderRequest,
    target: IpAddress,
    now: number,
    sharer: object | undefined,
  ) {
    this.sharer = sharer;
    this.#owner = owner;
    this.#buffers = buffers;
    this.request = request;
    this.target = target;
    this.startedAt = now;
  }

  /** Dials. @throws whatever the runtime throws when it has no permission to. */
  start(): void {
    this.request.onAborted = () => this.#dialFailed("aborted");
    this.#socket = new TargetSocket(this.target, this.request.targetPort, this);
  }

  get isConnected(): boolean {
    return this.#endpoint !== undefined;
  }

  get endpoint(): TcpEndpoint | undefined {
    return this.#endpoint;
  }

  /** The dial has taken too long, or a half-closed connection was idle too long. */
  expire(): void {
    if (this.isConnected) this.abort();
    else this.targetFailed("timeout");
  }

  /** Resets both sides. */
  abort(): void {
    if (this.#hasEnded) return;
    if (this.#endpoint === undefined) {
      this.request.reject("reset");
      this.#dialFailed("aborted");
    } else {
      this.#endpoint.handler = undefined;
      this.#endpoint.abort();
      this.#end();
    }
  }

  targetConnected(): void {
    this.request.onAborted = undefined;
    const endpoint = this.request.accept();
    if (endpoint === undefined) {
      this.#dialFailed("aborted");
      return;
    }
    this.#endpoint = endpoint;
    endpoint.handler = this;
    endpoint.setNoDelay(true); // the sender's own stack has decided already
    endpoint.setKeepAlive(this.#owner.keepAlive);
    this.#owner.onConnected(this);
  }

  targetFailed(why: DialError): void {
    this.request.reject(ANSWERS[why]);
    this.#dialFailed(why);
  }

  targetData(buffer: Uint8Array, length: number): boolean {
    this.bytesDown += length;
    this.#touch();
    const taken = this.#endpoint!.write(buffer, 0, length);
    if (taken === length) return true;
    this.#rest = buffer.slice(taken, length);
    this.#restOffset = 0;
    return false;
  }

  targetWritten(): void {
    this.#buffers.give(this.#writing!);
    this.#writing = undefined;
    this.readable();
  }

  targetEnded(): void {
    this.#hasTargetEnded = true;
    if (this.#rest === undefined) this.#endpoint!.shutdownWrite();
    this.#owner.onHalfClosed(this);
  }

  targetClosed(isBroken: boolean): void {
    this.#socket = undefined;
    if (!isBroken) {
      if (this.#endpoint!.handler === undefined) this.#end();
      return;
    }
    if (this.#hasTargetEnded) {
      // It answered, closed, and then did not want what the client still sends. A RST now would take
      // the answer from the client, so it gets that first.
      this.#isDraining = true;
      this.#drain();
      return;
    }
    this.#owner.onReset(this, "target");
    this.abort();
  }

  readable(): void {
    if (this.#isDraining) {
      this.#drain();
      return;
    }
    const endpoint = this.#endpoint!;
    this.#touch();
    while (this.#writing === undefined && endpoint.readable > 0) {
      const buffer = this.#buffers.take();
      const length = endpoint.read(buffer, 0, buffer.length);
      this.bytesUp += length;
      if (this.#socket!.write(buffer.subarray(0, length))) this.#buffers.give(buffer);
      else this.#writing = buffer;
    }
    if (endpoint.endOfFile && this.#writing === undefined && !this.#hasClientEnded) {
      this.#hasClientEnded = true;
      this.#socket!.end();
      this.#owner.onHalfClosed(this);
    }
  }

  writable(): void {
    const rest = this.#rest;
    if (rest === undefined) return;
    this.#touch();
    const length = rest.length - this.#restOffset;
    this.#restOffset += this.#endpoint!.write(rest, this.#restOffset, length);
    if (this.#restOffset < rest.length) return;
    this.#rest = undefined;
    if (this.#hasTargetEnded) this.#endpoint!.shutdownWrite();
    else this.#socket?.resume();
  }

  closed(error: TcpError | undefined): void {
    this.#endpoint!.handler = undefined;
    if (error !== undefined) {
      if (error.kind === "reset") this.#owner.onReset(this, "client");
      this.#end();
    } else if (this.#socket === undefined) {
      this.#end();
    } // else the target has yet to take the last bytes
  }

  /** Reads to nobody, until the client has everything that was for it, then resets it. */
  #drain(): void {
    const endpoint = this.#endpoint!;
    const buffer = this.#buffers.take();
    while (endpoint.readable > 0) endpoint.read(buffer, 0, buffer.length);
    this.#buffers.give(buffer);
    const isDelivered = this.#rest === undefined && endpoint.unsent + endpoint.unacknowledged === 0;
    if (!isDelivered || this.#hasEnded) return;
    this.#owner.onReset(this, "target");
    this.abort();
  }

  /** Only a half-closed connection has an idle limit. */
  #touch(): void {
    if (this.deadline !== Infinity) this.#owner.onHalfClosed(this);
  }

  #dialFailed(why: DialError | "aborted"): void {
    this.request.onAborted = undefined;
    this.#owner.onDialFailed(this, why);
    this.#end();
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#socket?.reset(); // harmless when the dial has failed
    this.#socket = undefined;
    this.#rest = undefined;
    this.#writing = undefined; // the runtime may still read it
    this.#owner.onEnded(this);
  }
}

/** What the client is told. */
const ANSWERS = {
  refused: "reset",
  host: "host",
  net: "net",
  prohibited: "prohibited",
  timeout: "host",
  failed: "host",
} as const satisfies Record<DialError, string>;
