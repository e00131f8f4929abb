/**
 * The stack: IP, ICMP, UDP and TCP behind one interface.
 *
 * @module
 */

import { type IpAddress, Prefix } from "./address.ts";
import { type Sum, sum } from "./checksum.ts";
import { IcmpCounters, IpCounters, UdpCounters } from "./counters.ts";
import { type EchoReplyHandler, Icmp } from "./icmp.ts";
import type { IcmpForwarderHandler } from "./echo_flows.ts";
import { Identification } from "./identification.ts";
import type { IngressFilter } from "./ingress.ts";
import { Input } from "./input.ts";
import { MemoryBudget } from "./memory_budget.ts";
import { addNatCounters, NatCounters } from "./nat/counters.ts";
import type { Nat } from "./nat/nat.ts";
import { NatPath } from "./nat/path.ts";
import type { Report } from "./nat/unsolicited.ts";
import { Nic, type NicOptions } from "./nic.ts";
import { Output } from "./output.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "./protocols.ts";
import { Reassembly, type ReassemblySettings } from "./reassembly.ts";
import { RouteTable } from "./route.ts";
import type { TcpCounters } from "./tcp/counters.ts";
import type { RequestPacing } from "./tcp/request_queue.ts";
import { type MemoryRegion, RingMemory } from "./tcp/ring_memory.ts";
import type { TcpSettings } from "./tcp/settings.ts";
import { Tcp } from "./tcp/tcp.ts";
import type { TransitFilter } from "./transit.ts";
import type { TransitPolice } from "./police.ts";
import { type TransportProtocol } from "./transport.ts";
import { Udp } from "./udp.ts";
import type { UdpEndpoint, UdpEndpointOptions } from "./udp_endpoint.ts";
import type { UdpForwarderHandler } from "./udp_flows.ts";

const DEFAULT_HOP_LIMIT = 64;
const DEFAULT_MAX_UDP_FLOWS = 65_536;
/** Free buffers kept for new connections, bytes. Not in the budget, so less if that is small. */
const MOST_KEPT = 16 << 20;
/** Segments that one flush sends at most, unless told otherwise. */
const DEFAULT_BUDGET = 256;
/** Queued packets sent before TCP's; the rest is sent after them. */
const QUEUED_BEFORE_TCP = 8;

export interface StackOptions {
  /** Fills its argument with unpredictable bytes. */
  random(out: Uint8Array): void;
  /**
   * Called when an application call from outside of the stack's own turns left something to send: a
   * {@link Stack.flush} is due. Not called again before that.
   */
  wake?: () => void;
  tcp?: Partial<TcpSettings>;
  reassembly?: Partial<ReassemblySettings>;
  /** The checksum's sum over a segment, where there is a faster one. Same as {@link sum}, if folded. */
  sum?: Sum;
  /**
   * Memory for the buffers of connections, used while it lasts: a part of the buffer that packets and
   * links are in, so that data is copied within one buffer, which makes no object. Default: each
   * connection has buffers of its own.
   */
  ringRegion?: MemoryRegion;
  /** Bounds what connections and reassembly hold, and may be shared by stacks. Default: no limit. */
  memory?: MemoryBudget;
  /**
   * How connection requests of a sender of packets, as {@link Stack.handlePacket} was told, are held
   * back from forwarders while others move data fast. Default: they are told as they come.
   */
  requestPacing?: RequestPacing;
  /** TTL and hop limit of what this stack sends; default 64. */
  hopLimit?: number;
  /** UDP flows of all forwarders together; default 65,536. */
  maxUdpFlows?: number;
}

/** Packets, and what became of them, by layer. */
export interface StackCounters {
  readonly ip: Readonly<IpCounters>;
  readonly icmp: Readonly<IcmpCounters>;
  readonly udp: Readonly<UdpCounters>;
  readonly tcp: Readonly<TcpCounters>;
}

/** What is in use. All zero when everything has ended. */
export interface StackResources {
  tcpConnections: number;
  tcpHalfOpen: number;
  tcpTimeWait: number;
  tcpListeners: number;
  /** Memory that connections hold for data, bytes. */
  tcpBufferBytes: number;
  /** What the {@link MemoryBudget} has given out, to others as well, bytes. */
  memoryBytes: number;
  udpEndpoints: number;
  udpFlows: number;
  echoFlows: number;
  /** Of all NATs, and the remote ends of them. */
  natMappings: number;
  natSessions: number;
  /** Packets in fragments that a NAT remembers. */
  natFragments: number;
  /** Datagrams that wait for fragments. */
  reassemblies: number;
  /** Deadlines armed. */
  timers: number;
}

/**
 * An IP host and router without any input or output of its own: packets come in by
 * {@link handlePacket}, leave through the links of its NICs during {@link flush}, and time is an
 * argument. Call {@link handleTimeout} when {@link pollTimeout} is due, and flush after each batch
 * of packets and after each timeout.
 */
export class Stack {
  readonly routes = new RouteTable();
  readonly counters: StackCounters;
  readonly tcp: Tcp;
  readonly memory: MemoryBudget;
  readonly #nics = new Set<Nic>();
  /** Those with a NAT, and the routes that were made for it. */
  readonly #nats = new Set<Nic>();
  readonly #natRoutes = new Map<Nic, Prefix[]>();
  #natPath: NatPath | undefined;
  /** What NATs counted that are gone. */
  readonly #pastNats = new NatCounters();
  readonly #udp: Udp;
  readonly #icmp: Icmp;
  readonly #output: Output;
  readonly #input: Input;
  readonly #reassembly: Reassembly;
  #nextNicId = 1;
  #isTcpFirst = false;
  #waitsForLinks = false;

  /** @throws {RangeError} for a setting out of range. */
  constructor(options: StackOptions) {
    const { hopLimit = DEFAULT_HOP_LIMIT, maxUdpFlows = DEFAULT_MAX_UDP_FLOWS } = options;
    if (!Number.isInteger(hopLimit) || hopLimit < 1 || hopLimit > 255) {
      throw new RangeError(`the hop limit is 1 to 255, got ${hopLimit}`);
    }
    const random = (out: Uint8Array) => options.random(out);
    const ip = new IpCounters();
    const icmp = new IcmpCounters();
    const udp = new UdpCounters();
    this.#output = new Output(
      this.#nics,
      this.routes,
      ip,
      icmp,
      random,
      options.sum ?? sum,
      hopLimit,
      options.wake ?? (() => {}),
    );
    this.memory = options.memory ?? new MemoryBudget();
    this.#reassembly = new Reassembly(options.reassembly ?? {}, ip, random, this.memory);
    this.#udp = new Udp(this.#output, this.routes, udp, maxUdpFlows);
    this.tcp = new Tcp(
      this.#output,
      options.tcp ?? {},
      new RingMemory(options.ringRegion, Math.min(MOST_KEPT, this.memory.total / 16)),
      this.memory,
      options.requestPacing,
    );
    const transports = new Map<number, TransportProtocol>([
      [PROTOCOL_TCP, this.tcp],
      [PROTOCOL_UDP, this.#udp],
    ]);
    this.#icmp = new Icmp(this.#output, icmp, transports);
    this.#input = new Input(
      this.routes,
      this.#output,
      this.#reassembly,
      this.#icmp,
      transports,
      ip,
    );
    this.counters = { ip, icmp, udp, tcp: this.tcp.counters };
  }

  /**
   * Adds an interface. Its addresses make no routes; insert those.
   *
   * @throws {RangeError} for an MTU out of range.
   */
  addNic(options: NicOptions): Nic {
    const nic = new Nic(this.#nextNicId++, options);
    this.#nics.add(nic);
    return nic;
  }

  /**
   * Takes an interface out, with its routes, forwarders, connections and flows, and half-built
   * datagrams. Whoever was behind it hears nothing: there is no link to say it by.
   */
  removeNic(nic: Nic): void {
    this.setNat(nic, undefined);
    this.#nics.delete(nic);
    this.routes.removeNic(nic);
    this.#reassembly.removeNic(nic);
    this.#udp.flows.removeNic(nic);
    this.#icmp.flows.removeNic(nic);
    this.tcp.removeNic(nic);
    nic.queue.clear();
  }

  get nics(): Iterable<Nic> {
    return this.#nics;
  }

  /**
   * One packet that came in by `nic`. Nothing is sent before the next {@link flush}, except that a
   * forwarded packet goes to its link at once.
   *
   * @param buffer Borrowed until the call returns; a forwarded packet is changed in place.
   * @param from Who sent it, as far as the caller knows. Opaque to the stack, which hands it to those
   * who decide about requests, flows and datagrams, and puts no fragments of two senders together.
   */
  handlePacket(
    nic: Nic,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    from?: unknown,
  ): void {
    const wasAwake = this.#begin();
    this.#output.holding = true;
    try {
      this.#input.handlePacket(nic, buffer, offset, length, now, from);
    } finally {
      this.#output.holding = false;
      this.#output.awake = wasAwake;
    }
  }

  /**
   * Calls back what happened, and sends what is due.
   *
   * @param budget TCP segments to send at most; what waits besides is sent as far as it goes.
   * @returns Whether work remains: call again, when the links have slots.
   */
  flush(now: number, budget: number = DEFAULT_BUDGET): boolean {
    this.#begin();
    try {
      if (!this.#isTcpFirst) this.#output.drain(now, QUEUED_BEFORE_TCP);
      const more = this.tcp.flush(now, budget);
      const isLeft = this.#output.drain(now);
      // With few slots left the first to send takes all of them, so the two take turns.
      this.#isTcpFirst = isLeft && !this.#isTcpFirst;
      this.#waitsForLinks = !this.tcp.hasWork;
      return isLeft || more;
    } finally {
      this.#output.awake = false;
    }
  }

  /** Whether all that the last {@link flush} has left waits for slots of links. */
  get waitsForLinks(): boolean {
    return this.#waitsForLinks;
  }

  /** When {@link handleTimeout} is due, ms; Infinity = never. */
  pollTimeout(): number {
    const next = Math.min(this.tcp.pollTimeout(), this.#reassembly.pollTimeout());
    return this.#natPath === undefined ? next : Math.min(next, this.#nextOfNats(this.#natPath));
  }

  /** Time has passed. Only takes note of what has to be sent. */
  handleTimeout(now: number): void {
    const wasAwake = this.#begin();
    this.#output.holding = true;
    try {
      this.tcp.handleTimeout(now);
      if (this.#reassembly.pollTimeout() <= now) {
        this.#reassembly.handleTimeout(now, (nic, buffer, offset, length) => {
          this.#output.errors.timeExceeded(true, nic, buffer, offset, length, now);
        });
      }
      this.#natPath?.fragments.handleTimeout(now);
      for (const { nat } of this.#nats) nat!.handleTimeout(now, this.#reportSyn);
    } finally {
      this.#output.holding = false;
      this.#output.awake = wasAwake;
    }
  }

  /**
   * Takes a UDP port on own addresses.
   *
   * @throws {RangeError} for a port out of range, or an address that is not the stack's.
   * @throws {PortInUseError} if it is taken, or if none is free.
   */
  bindUdp(local: UdpEndpointOptions): UdpEndpoint {
    if (local.address !== undefined && !this.#owns(local.address)) {
      throw new RangeError(`${local.address} is not an address of this stack`);
    }
    return this.#udp.bind(local);
  }

  /** Who answers datagrams for foreign addresses behind `nic`; undefined = port unreachable. */
  setUdpForwarder(nic: Nic, handler: UdpForwarderHandler | undefined): void {
    this.#udp.setForwarder(nic, handler);
  }

  /** Who answers pings of foreign addresses behind `nic`; undefined = silence. */
  setIcmpForwarder(nic: Nic, handler: IcmpForwarderHandler | undefined): void {
    this.#icmp.flows.setHandler(nic, handler);
  }

  /** Who is told of echo replies to own addresses; undefined: they are counted as unhandled. */
  set onEchoReply(handler: EchoReplyHandler | undefined) {
    this.#icmp.onEchoReply = handler;
  }

  /**
   * Puts a port NAT between those behind `nic` and the links of other NICs; undefined = none. Replies
   * must be routed to `nic` as what they are for, so its addresses become routes. What the stack
   * itself delivers, NIC 2's packets too, is not translated. One NAT stands at one NIC.
   *
   * @throws {RangeError} if an address of the NAT is the stack's own: its ports are its endpoints'.
   */
  setNat(nic: Nic, nat: Nat | undefined): void {
    const own = nat?.addresses.find((address) => this.#owns(address));
    if (own !== undefined) {
      throw new RangeError(`${own} is the stack's own, and cannot be a NAT's too`);
    }
    if (nic.nat !== undefined) {
      addNatCounters(this.#pastNats, nic.nat.counters);
      for (const prefix of this.#natRoutes.get(nic) ?? []) this.routes.remove(prefix, nic);
      this.#natRoutes.delete(nic);
      this.#nats.delete(nic);
    }
    nic.nat = nat;
    if (nat === undefined) return;
    this.#nats.add(nic);
    if (this.#natPath === undefined) {
      const random = (out: Uint8Array) => this.#output.random(out);
      this.#natPath = new NatPath(random, new Identification(random));
      this.#input.forwarding.nat = this.#natPath;
    }
    const prefixes = nat.addresses.map((address) => new Prefix(address, 8 * address.bytes.length))
      .filter((prefix) => this.routes.get(prefix) !== nic);
    for (const prefix of prefixes) this.routes.insert(prefix, nic);
    this.#natRoutes.set(nic, prefixes);
  }

  /** What all NATs have counted since the start. */
  natCounters(): NatCounters {
    const sum = new NatCounters();
    addNatCounters(sum, this.#pastNats);
    for (const { nat } of this.#nats) addNatCounters(sum, nat!.counters);
    return sum;
  }

  /** Who decides about packets that pass through, from link to link; undefined = all pass. */
  setTransitFilter(filter: TransitFilter | undefined): void {
    this.#input.forwarding.filter = filter;
  }

  /** Who limits packets that pass through, from link to link; undefined = nobody. */
  setTransitPolice(police: TransitPolice | undefined): void {
    this.#input.forwarding.police = police;
  }

  /** Who decides about packets that come in, before they are routed; undefined = all may. */
  setIngressFilter(filter: IngressFilter | undefined): void {
    this.#input.filter = filter;
  }

  resources(): StackResources {
    return {
      tcpConnections: this.tcp.connectionCount,
      tcpHalfOpen: this.tcp.halfOpenCount,
      tcpTimeWait: this.tcp.timeWaitCount,
      tcpListeners: this.tcp.listenerCount,
      tcpBufferBytes: this.tcp.memory.used,
      memoryBytes: this.memory.used,
      udpEndpoints: this.#udp.endpointCount,
      udpFlows: this.#udp.flows.size,
      echoFlows: this.#icmp.flows.size,
      natMappings: sumOf(this.#nats, ({ nat }) => nat!.mappings),
      natSessions: sumOf(this.#nats, ({ nat }) => nat!.sessions + nat!.waiting),
      natFragments: this.#natPath?.fragments.size ?? 0,
      reassemblies: this.#reassembly.size,
      timers: this.tcp.timers + this.#reassembly.size,
    };
  }

  #nextOfNats({ fragments }: NatPath): number {
    let next = fragments.pollTimeout();
    for (const { nat } of this.#nats) next = Math.min(next, nat!.pollTimeout());
    return next;
  }

  readonly #reportSyn: Report = (ingress, buffer, offset, length, now) => {
    for (const nic of this.#nics) {
      if (nic.id !== ingress) continue;
      this.#output.errors.unreachable("port", nic, buffer, offset, length, now);
    }
  };

  /** Within a turn `wake` need not be called. @returns The value to restore after it. */
  #begin(): boolean {
    const wasAwake = this.#output.awake;
    this.#output.awake = true;
    return wasAwake;
  }

  #owns(address: IpAddress): boolean {
    for (const nic of this.#nics) if (nic.owns(address.bytes, 0, address.version)) return true;
    return false;
  }
}

function sumOf<T>(items: Iterable<T>, count: (item: T) => number): number {
  let total = 0;
  for (const item of items) total += count(item);
  return total;
}
