/**
 * TCP of one stack: what an application may ask of it, and what IP hands it.
 *
 * @module
 */

import type { IpAddress } from "../address.ts";
import { readInt32, readUint16 } from "../bytes.ts";
import { finish, sum } from "../checksum.ts";
import type { IcmpErrorKind } from "../icmp_types.ts";
import { MemoryBudget } from "../memory_budget.ts";
import type { Nic } from "../nic.ts";
import { PROTOCOL_TCP } from "../protocols.ts";
import { type Inbound, type IpOutput, Path, type TransportProtocol } from "../transport.ts";
import { Connections } from "./connections.ts";
import type { TcpCounters } from "./counters.ts";
import type { TcpEndpoint } from "./endpoint.ts";
import type { TcpForwarderHandler } from "./forwarder.ts";
import { DESTINATION_PORT, Segment, SEQUENCE, SOURCE_PORT } from "./header.ts";
import { handleIcmpError } from "./icmp_error.ts";
import { handleSegment } from "./input.ts";
import type { TcpListener, TcpListenerHandler } from "./listener.ts";
import { checkPort, Ports } from "./ports.ts";
import type { RequestPacing } from "./request_queue.ts";
import { RingMemory } from "./ring_memory.ts";
import { resolveSettings, type TcpSettings } from "./settings.ts";
import { UnmatchedSegments } from "./unmatched_segments.ts";

export interface TcpConnectOptions {
  remote: IpAddress;
  remotePort: number;
  /** Default: by route. */
  local?: IpAddress;
  /** Default: an ephemeral port. */
  localPort?: number;
}

export interface TcpListenOptions {
  /** Default: every own address. */
  address?: IpAddress;
  /** 0 = an ephemeral port. */
  port: number;
  /** Connections in handshake at most. */
  backlog?: number;
}

export class Tcp implements TransportProtocol {
  readonly counters: TcpCounters;
  /** Where connections keep what they have sent and received. */
  readonly memory: RingMemory;
  readonly #ip: IpOutput;
  readonly #settings: TcpSettings;
  readonly #connections: Connections;
  readonly #unmatched: UnmatchedSegments;
  readonly #ports: Ports;
  readonly #segment = new Segment();
  #hasRequests = false;

  /** @throws {RangeError} for settings out of range. */
  constructor(
    ip: IpOutput,
    settings: Partial<TcpSettings>,
    memory = new RingMemory(),
    budget = new MemoryBudget(),
    pacing?: RequestPacing,
  ) {
    this.#ip = ip;
    this.memory = memory;
    this.#settings = resolveSettings(settings);
    this.#connections = new Connections(ip, this.#settings, memory, budget);
    this.counters = this.#connections.counters;
    this.#unmatched = new UnmatchedSegments(this.#connections, pacing);
    this.#ports = new Ports(
      this.#settings,
      this.#connections,
      (port) => this.#unmatched.isListening(port),
    );
  }

  // Commands.

  /**
   * Opens a connection. The endpoint's handler hears of success or failure.
   *
   * @throws {RangeError} for a port out of range.
   * @throws {Error} if no route leads there, no port is free, or the limit is reached.
   */
  connect(options: TcpConnectOptions, now: number): TcpEndpoint {
    const { remote, remotePort } = options;
    checkPort(remotePort, 1);
    const route = this.#ip.route(remote);
    if (route === undefined) throw new Error(`no route to ${remote}`);
    const connections = this.#connections;
    if (connections.isFull) {
      throw new Error(`${this.#settings.maxConnections} TCP connections are open already`);
    }
    const local = options.local ?? route.source;
    const localPort = this.#ports.local(local, remote, remotePort, options.localPort, now);
    const path = new Path(route.nic, PROTOCOL_TCP, local, remote);
    const { timeWait } = connections;
    const hash = connections.hash.ofFlow(local, localPort, remote, remotePort);
    const before = timeWait.find(hash, local, localPort, remote, remotePort);
    if (before !== undefined) {
      timeWait.remove(before);
      this.counters.timeWaitReused++;
    }
    const above = before?.sendNext;
    const c = connections.open(
      path,
      local,
      localPort,
      remote,
      remotePort,
      hash,
      undefined,
      above,
      now,
    );
    c.active = true;
    c.state = "syn-sent";
    c.synPending = true;
    connections.markDirty(c);
    return c.endpoint;
  }

  /**
   * Listens on own addresses.
   *
   * @throws {RangeError} for a port out of range.
   * @throws {Error} if the port is taken.
   */
  listen(options: TcpListenOptions, handler: TcpListenerHandler): TcpListener {
    const { address, backlog = this.#settings.backlog } = options;
    checkPort(options.port, 0);
    const port = options.port === 0 ? this.#ports.listen() : options.port;
    return this.#unmatched.listen(address, port, backlog, handler);
  }

  /** Who answers for foreign addresses behind `nic`; undefined = nobody. */
  setForwarder(nic: Nic, handler: TcpForwarderHandler | undefined): void {
    this.#unmatched.setForwarder(nic, handler);
  }

  /** Ends, in silence, what goes over `nic`, and what its forwarder would have been asked. */
  removeNic(nic: Nic): void {
    this.#unmatched.removeNic(nic);
    this.#connections.removeNic(nic);
  }

  // Inputs.

  handlePacket(inbound: Inbound, now: number): void {
    this.counters.segmentsIn++;
    const { buffer, transport, length, source, destination, version } = inbound;
    const segment = this.#segment;
    if (!segment.parse(buffer, transport, length)) {
      this.counters.malformed++;
      return;
    }
    const size = version === 4 ? 4 : 16;
    // Source and destination lie side by side in both headers: the pseudo header.
    const pseudo = sum(buffer, source, 2 * size, PROTOCOL_TCP + length);
    if (finish(this.#ip.sum(buffer, transport, length, pseudo)) !== 0) {
      this.counters.badChecksum++;
      return;
    }
    const { hash: flowHash, flows } = this.#connections;
    const localPort = readUint16(buffer, transport + DESTINATION_PORT);
    const remotePort = readUint16(buffer, transport + SOURCE_PORT);
    const hash = flowHash.of(buffer, destination, localPort, buffer, source, remotePort, size);
    const c = flows.lookup(
      hash,
      buffer,
      destination,
      localPort,
      buffer,
      source,
      remotePort,
      version,
    );
    if (c !== undefined) handleSegment(c, segment, now);
    else this.#unmatched.handleSegment(inbound, segment, hash, localPort, remotePort, now);
  }

  handleIcmpError(
    kind: IcmpErrorKind,
    mtu: number,
    version: 4 | 6,
    buffer: Uint8Array,
    source: number,
    destination: number,
    transport: number,
    length: number,
    _now: number,
  ): void {
    if (length < 8) return;
    const { hash: flowHash, flows } = this.#connections;
    const localPort = readUint16(buffer, transport + SOURCE_PORT);
    const remotePort = readUint16(buffer, transport + DESTINATION_PORT);
    const size = version === 4 ? 4 : 16;
    const hash = flowHash.of(buffer, source, localPort, buffer, destination, remotePort, size);
    const c = flows.lookup(
      hash,
      buffer,
      source,
      localPort,
      buffer,
      destination,
      remotePort,
      version,
    );
    const sequence = readInt32(buffer, transport + SEQUENCE);
    if (c === undefined || !handleIcmpError(c, kind, mtu, sequence)) {
      this.counters.icmpIgnored++;
    }
  }

  handleTimeout(now: number): void {
    this.#connections.handleTimeout(now);
    this.#unmatched.handleTimeout(now);
  }

  /**
   * The way to some addresses has changed: connections to them that got no answer try again at once,
   * instead of waiting for a timeout that has doubled with each attempt.
   *
   * @param isThere Whether an address is one of them.
   */
  tryAgain(isThere: (remote: IpAddress) => boolean, now: number): void {
    this.#connections.tryAgain(isThere, now);
  }

  // Outputs.

  pollTimeout(): number {
    return Math.min(this.#connections.pollTimeout(), this.#unmatched.pollTimeout());
  }

  flush(now: number, budget: number): boolean {
    const hasRequests = this.#unmatched.dispatch(now);
    this.#connections.dispatch();
    const done = this.#connections.flush(now, budget);
    this.#hasRequests = hasRequests;
    return hasRequests || !done || this.#connections.hasWork;
  }

  /** Whether the last {@link flush} left something to do besides what links had no slots for. */
  get hasWork(): boolean {
    return this.#hasRequests || !this.#connections.isBlocked;
  }

  // Figures.

  /** Every connection until its closed() callback. */
  connections(): Iterable<TcpEndpoint> {
    return this.#connections.endpoints();
  }

  get connectionCount(): number {
    return this.#connections.count;
  }

  get halfOpenCount(): number {
    return this.#unmatched.halfOpenCount;
  }

  get timeWaitCount(): number {
    return this.#connections.timeWait.size;
  }

  /** Remote addresses with established connections. */
  get ensembleCount(): number {
    return this.#connections.ensembleCount;
  }

  get listenerCount(): number {
    return this.#unmatched.listenerCount;
  }

  get timers(): number {
    return this.#connections.timers + this.#unmatched.timers;
  }
}
