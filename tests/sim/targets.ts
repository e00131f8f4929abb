/**
 * What a gateway dials, in simulated time: targets that echo, refuse, stay silent or break off, behind
 * sockets with a buffer. Which it is the port says.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { ByteStream, Dial, DialHandler, StreamHandler } from "../../proxy/flow/stream.ts";
import type { TargetAddress } from "../../proxy/target/address.ts";
import type { TargetHost } from "../../proxy/target/host.ts";
import type { After, NameAnswer, NameSource } from "../../proxy/target/names.ts";
import type {
  IcmpTargetHandler,
  IcmpTargets,
  IcmpTargetSocket,
  IcmpTargetsOptions,
} from "../../proxy/target/icmp.ts";
import type {
  UdpTargetHandler,
  UdpTargets,
  UdpTargetSocket,
  UdpTargetsOptions,
} from "../../proxy/target/udp.ts";
import type { Sim } from "./network.ts";

export const ECHO = 80;
export const REFUSING = 81;
/** Answers no SYN. */
export const SILENT = 82;
/** Resets the connection after {@link BREAKS_AFTER} bytes. */
export const BREAKING = 83;
export const BREAKS_AFTER = 20_000;
/** Takes what it is sent, and never reads more than a buffer of it. */
export const STALLED = 84;
/** Takes what it is sent, and sends nothing (RFC 863). */
export const SINK = 9;
/** Sends without end, whatever it is sent (RFC 864). */
export const SOURCE = 19;
const SENT_BY_SOURCE = new Uint8Array(8_192);

/** Answers {@link PATIENCE_MS} after the end of what it is sent: how many bytes that was. */
export const PATIENT = 87;
export const PATIENCE_MS = 20_000;

export interface SimTargetsOptions {
  /** To the target and back, ms. */
  readonly rttMs?: number;
  /** Bytes that a socket takes before it has to be waited for. */
  readonly buffer?: number;
  /** Bytes that a target echoes per ms. */
  readonly bytesPerMs?: number;
}

export class SimTargets implements TargetHost {
  /** Streams and UDP sockets that are not closed. */
  open = 0;
  /** So far. */
  dials = 0;
  onDial: () => void = () => {};
  readonly sim: Sim;
  readonly options: Required<SimTargetsOptions>;
  readonly dialer = {
    dial: (_destination: IpAddress, port: number, handler: DialHandler) =>
      this.#dial(port, handler),
  };

  constructor(sim: Sim, options: SimTargetsOptions = {}) {
    this.sim = sim;
    this.options = { rttMs: 2, buffer: 65_536, bytesPerMs: 10_000, ...options };
  }

  /** The addresses of a name. None: nobody answers. */
  readonly zone = new Map<string, readonly IpAddress[]>();

  names(): NameSource {
    return {
      questions: ["any"],
      staleMs: 86_400_000,
      ask: (name) => {
        const { promise, resolve, reject } = Promise.withResolvers<NameAnswer>();
        this.sim.after(this.options.rttMs, () => {
          const addresses = this.zone.get(name);
          if (addresses !== undefined) resolve({ addresses, ttlMs: 1_000 });
          else reject(new Error("no name server answers"));
        });
        return promise;
      },
    };
  }

  readonly after: After = (ms, run) => {
    let isWanted = true;
    this.sim.after(ms, () => isWanted && run());
    return () => isWanted = false;
  };

  openUdp(options: UdpTargetsOptions): UdpTargets {
    return new SimUdpTargets(this, options);
  }

  icmpUnavailable(): string | undefined {
    return undefined;
  }

  openIcmp(options: IcmpTargetsOptions): IcmpTargets {
    return new SimIcmpTargets(this, options);
  }

  isOwnAddress(): boolean {
    return false;
  }

  close(): void {}

  #dial(port: number, handler: DialHandler): Dial {
    this.dials++;
    this.onDial();
    let isOver = false;
    const dial: Dial = {
      abort: () => void (isOver = true),
    };
    if (port === SILENT) return dial;
    this.sim.after(this.options.rttMs, () => {
      if (isOver) return;
      isOver = true;
      if (port === REFUSING) handler.dialFailed("refused");
      else handler.connected(new SimStream(this, port));
    });
    return dial;
  }
}

/** A socket of this host, and the target at its other end. */
class SimStream implements ByteStream {
  handler: StreamHandler | undefined = undefined;
  readonly appetite = 65_536;
  readonly #targets: SimTargets;
  readonly #port: number;
  /** Written, and not yet echoed. */
  readonly #chunks: Uint8Array[] = [];
  #queued = 0;
  #total = 0;
  #isFull = false;
  #isStopped = false;
  #hasEnded = false;
  #isPumping = false;
  #isClosed = false;

  constructor(targets: SimTargets, port: number) {
    this.#targets = targets;
    this.#port = port;
    targets.open++;
  }

  write(buffer: Uint8Array, offset: number, length: number): boolean {
    if (this.#isFull || this.#hasEnded) throw new Error("written to while it is full, or ended");
    this.#chunks.push(buffer.slice(offset, offset + length));
    this.#queued += length;
    this.#total += length;
    this.#pump();
    this.#isFull = this.#queued > this.#targets.options.buffer;
    return !this.#isFull;
  }

  preface(bytes: Uint8Array): void {
    this.write(bytes, 0, bytes.length);
  }

  end(): void {
    this.#hasEnded = true;
    this.#pump();
  }

  resume(): void {
    this.#isStopped = false;
    this.#pump();
  }

  reset(): void {
    this.handler = undefined;
    this.#close();
  }

  resetOnceDelivered(): void {
    this.#close()?.closed(this, undefined);
  }

  /** Has the target echo what it got, at its pace. */
  #pump(): void {
    if (this.#isPumping || this.#isClosed) return;
    this.#isPumping = true;
    const { rttMs, bytesPerMs } = this.#targets.options;
    const length = this.#chunks[0]?.length ?? 0;
    this.#targets.sim.after(rttMs + length / bytesPerMs, () => {
      this.#isPumping = false;
      this.#step();
    });
  }

  #step(): void {
    const { handler } = this;
    if (handler === undefined || this.#isClosed || this.#isStopped) return;
    if (this.#port === STALLED) return;
    if (this.#port === BREAKING && this.#total >= BREAKS_AFTER) {
      this.#close()!.closed(this, "reset");
      return;
    }
    const chunk = this.#port === SOURCE ? SENT_BY_SOURCE : this.#chunks.shift();
    if (chunk !== undefined) {
      if (this.#port !== SOURCE) this.#queued -= chunk.length;
      const isEchoed = this.#port !== SINK && this.#port !== PATIENT;
      if (isEchoed) this.#isStopped = !handler.data(this, chunk, 0, chunk.length, false);
      if (this.#isFull && this.#queued <= this.#targets.options.buffer / 2) {
        this.#isFull = false;
        handler.drained(this);
      }
    }
    if (this.#chunks.length > 0 || this.#port === SOURCE) this.#pump();
    else if (this.#hasEnded && this.#port === PATIENT) this.#answerLate();
    else if (this.#hasEnded) this.#finish(handler);
  }

  #answerLate(): void {
    this.#targets.sim.after(PATIENCE_MS, () => {
      const { handler } = this;
      const answer = new TextEncoder().encode(`${this.#total} bytes`);
      handler?.data(this, answer, 0, answer.length, false);
      if (handler !== undefined) this.#finish(handler);
    });
  }

  #finish(handler: StreamHandler): void {
    handler.ended(this);
    this.#close()?.closed(this, undefined);
  }

  #close(): StreamHandler | undefined {
    const { handler } = this;
    if (!this.#isClosed) this.#targets.open--;
    this.#isClosed = true;
    this.handler = undefined;
    return handler;
  }
}

/** Datagrams that a turn hands on. */
const DRAIN_BUDGET = 128;

/** Targets that send every datagram back. */
class SimUdpTargets implements UdpTargets {
  readonly targets: SimTargets;
  readonly options: UdpTargetsOptions;
  readonly arrived: { socket: SimUdpSocket; from: TargetAddress; bytes: Uint8Array }[] = [];

  constructor(targets: SimTargets, options: UdpTargetsOptions) {
    this.targets = targets;
    this.options = options;
  }

  get hasReady(): boolean {
    return this.arrived.length > 0 && this.options.hasRoom();
  }

  open(_version: unknown, handler: UdpTargetHandler): UdpTargetSocket {
    return new SimUdpSocket(this, handler);
  }

  drain(now: number): void {
    for (let i = 0; i < DRAIN_BUDGET && this.hasReady; i++) {
      const { socket, from, bytes } = this.arrived.shift()!;
      if (!socket.isClosed) socket.handler.datagram(from.words, 0, bytes, 0, bytes.length, now);
    }
  }

  flush(): void {}

  close(): Promise<void> {
    return Promise.resolve();
  }
}

class SimUdpSocket implements UdpTargetSocket {
  isClosed = false;
  readonly handler: UdpTargetHandler;
  readonly #owner: SimUdpTargets;

  constructor(owner: SimUdpTargets, handler: UdpTargetHandler) {
    this.#owner = owner;
    this.handler = handler;
    owner.targets.open++;
  }

  send(to: TargetAddress, buffer: Uint8Array, offset: number, length: number): boolean {
    const { targets, arrived, options } = this.#owner;
    const bytes = buffer.slice(offset, offset + length);
    targets.sim.after(targets.options.rttMs, () => {
      arrived.push({ socket: this, from: to, bytes });
      options.wake();
    });
    return true;
  }

  close(): void {
    if (!this.isClosed) this.#owner.targets.open--;
    this.isClosed = true;
  }
}

/** Hop limit of what a target sends, and of what comes from it with no router between. */
const TARGET_HOP_LIMIT = 64;

/** Targets that answer every ping. */
class SimIcmpTargets implements IcmpTargets {
  readonly targets: SimTargets;
  readonly options: IcmpTargetsOptions;
  readonly arrived: { socket: SimIcmpSocket; from: TargetAddress; bytes: Uint8Array }[] = [];

  constructor(targets: SimTargets, options: IcmpTargetsOptions) {
    this.targets = targets;
    this.options = options;
  }

  get hasReady(): boolean {
    return this.arrived.length > 0 && this.options.hasRoom();
  }

  open(_version: unknown, handler: IcmpTargetHandler): IcmpTargetSocket {
    return new SimIcmpSocket(this, handler);
  }

  drain(now: number): void {
    for (let i = 0; i < DRAIN_BUDGET && this.hasReady; i++) {
      const { socket, from, bytes } = this.arrived.shift()!;
      if (socket.isClosed) continue;
      const { length } = bytes;
      socket.handler.reply(from.words, 0, bytes, 0, length, TARGET_HOP_LIMIT, now);
    }
  }

  flush(): void {}

  close(): Promise<void> {
    return Promise.resolve();
  }
}

class SimIcmpSocket implements IcmpTargetSocket {
  isClosed = false;
  readonly handler: IcmpTargetHandler;
  readonly #owner: SimIcmpTargets;
  readonly #identifier: number;

  constructor(owner: SimIcmpTargets, handler: IcmpTargetHandler) {
    this.#owner = owner;
    this.handler = handler;
    this.#identifier = owner.targets.open++;
  }

  send(
    to: TargetAddress,
    _hopLimit: number,
    _dontFragment: boolean,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): void {
    const { targets, arrived, options } = this.#owner;
    const bytes = buffer.slice(offset, offset + length);
    bytes[0] = to.version === 4 ? 0 : 129;
    bytes.set([0, 0, this.#identifier >> 8, this.#identifier], 2); // as the kernel gives it
    targets.sim.after(targets.options.rttMs, () => {
      arrived.push({ socket: this, from: to, bytes });
      options.wake();
    });
  }

  close(): void {
    if (!this.isClosed) this.#owner.targets.open--;
    this.isClosed = true;
  }
}
