/**
 * Whether a flow is allowed: the one place that decides, for TCP, UDP and pings alike, whichever peer
 * or inbound they come from. When the rules change, live flows are decided again.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { Dials } from "./dials.ts";
import type { Flow, FlowCarrier, FlowOwner, FlowProtocol, FlowRequest } from "./flow.ts";
import { AddressMaps, dialledAs, mapAddress, namesOwnHost } from "./maps.ts";
import type { AddressMap } from "./maps.ts";
import type { OwnListeners } from "./own_listeners.ts";
import type { Refusal } from "./refusal.ts";
import { carriedIpv4, isSafeTarget } from "./safe_targets.ts";
import { Shares } from "./shares.ts";
import type { FlowTable } from "./table.ts";
import { getLogger } from "../log/logger.ts";

const log = getLogger(["wirestack", "flow"]);

export interface FlowLimits {
  /** Dials in flight. */
  readonly maxDials: number;
  readonly maxTcpConnections: number;
  readonly maxUdpSessions: number;
  /** Of clients that ping, one for each identifier. */
  readonly maxPingSessions: number;
  /** Pings per second of one owner. */
  readonly maxPingRate: number;
}

export interface AdmissionOptions {
  readonly table: FlowTable;
  /** Whether the protocol is proxied for an address. */
  isProxied(address: IpAddress, protocol: FlowProtocol): boolean;
  /** Whether a target, not loopback, is an address of this host; undefined if that is not known. */
  isOwnAddress(target: IpAddress): boolean | undefined;
  /** Whether what is sent to `source` still goes to `owner`. */
  isHeld(source: IpAddress, owner: FlowOwner): boolean;
  readonly listeners: OwnListeners;
  /** The longest `from` first. */
  readonly maps: readonly AddressMap[];
  /** May change while running. */
  readonly settings: { readonly limits: FlowLimits };
}

/** A connection idle for this long may be ended to make room for another, ms. */
const IDLE_MS = 10_000;
/** How long a lack of descriptors limits the connections, ms; then more are tried again. */
const CEILING_MS = 60_000;
/** Descriptors left free meanwhile, for sockets that are being closed and for UDP. */
const SPARE = 4;
/** The least time between two log lines about evictions, ms. */
const LOG_EVERY_MS = 60_000;

export class Admission {
  readonly table: FlowTable;
  readonly dials: Dials = new Dials();
  /** Of TCP, those being dialled included. */
  readonly connections: Shares = new Shares();
  /** Of UDP: one for each address and port of a client, whatever its targets. */
  readonly sessions: Shares = new Shares();
  /** Of pings: one for each address and identifier of a client, whatever its targets. */
  readonly pings: Shares = new Shares();
  readonly #options: AdmissionOptions;
  readonly #maps: AddressMaps;
  /** Until when an owner has no connection that has been idle for long enough. */
  readonly #busyUntil = new WeakMap<FlowOwner, number>();
  /** Changes with every {@link review}: what was decided before may be decided otherwise. */
  generation = 0;
  #evicted = 0;
  #loggedAt = -Infinity;
  /** Most connections until {@link #ceilingUntil}: the system has no descriptors for more. */
  #ceiling = Infinity;
  #ceilingUntil = -Infinity;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.table = options.table;
    this.#maps = new AddressMaps(options.maps);
  }

  /** Replaces the maps. {@link review} follows. */
  setMaps(maps: readonly AddressMap[]): void {
    this.#maps.set(maps);
  }

  isMapped(address: IpAddress): boolean {
    return this.#maps.find(address) !== undefined;
  }

  /**
   * Lets a flow begin: sets what is dialled for it, and enters it into the table. Its carrier takes it
   * out again. What is refused is told to the table's observers.
   */
  admit(flow: Flow, now: number): Refusal | undefined {
    const refusal = this.#admit(flow, now);
    if (refusal === undefined) this.table.add(flow);
    else this.table.refuse(flow, refusal);
    return refusal;
  }

  #admit(flow: Flow, now: number): Refusal | undefined {
    const verdict = this.decide(flow);
    if (typeof verdict === "string") return verdict;
    flow.dialled = verdict;
    if (flow.protocol === "tcp") {
      const refusal = this.#makeRoomForDial(flow, now) ??
        this.makeRoomForConnection(flow.owner, now);
      if (refusal !== undefined) return refusal;
      this.connections.take(flow.owner);
      this.dials.begin(flow, now);
    }
    return undefined;
  }

  /**
   * Decides by the rules alone, without the limits.
   *
   * @param inDoubt Whether a target counts as this host's own if that cannot be found out.
   * @returns what is to be dialled, or why it is refused.
   */
  decide(request: FlowRequest, inDoubt = true): IpAddress | Refusal {
    const { protocol, destination, destinationPort } = request;
    const { isProxied, isOwnAddress, listeners } = this.#options;
    if (!isProxied(destination, protocol)) return "not-proxied";
    // The place for rules: first match wins, and a rewrite takes the map's place.
    const map = this.#maps.find(destination);
    if (map === undefined && !isSafeTarget(destination)) return "unsafe";
    const target = map === undefined ? dialledAs(destination) : mapAddress(destination, map);
    const isOwn = (target: IpAddress) => target.isLoopback || (isOwnAddress(target) ?? inDoubt);
    if (map === undefined || !namesOwnHost(map)) {
      if (isOwn(target) || carriedIpv4(target).some(isOwn)) return "own-host";
    }
    if (listeners.has(protocol, target, destinationPort, isOwn)) return "own-listener";
    return target;
  }

  /** Whether an address is this host's. If that cannot be found out it counts as one. */
  isOwnHost(address: IpAddress): boolean {
    return address.isLoopback || (this.#options.isOwnAddress(address) ?? true);
  }

  /** The address at which a client reaches `target`; undefined if it may not. */
  reverse(request: Omit<FlowRequest, "destination">, target: IpAddress): IpAddress | undefined {
    for (const destination of this.#maps.sources(target)) {
      const verdict = this.decide({ ...request, destination });
      if (typeof verdict !== "string" && verdict.equals(target)) return destination;
    }
    return undefined;
  }

  /**
   * Makes room for one more UDP session, by ending the most idle one of the owner that has most: a
   * client that opens port after port loses its own.
   *
   * @param idlest Finds the most idle session of an owner. The table could do it, but slowly: it has
   * an entry for every target of every session.
   */
  makeRoomForSession(
    owner: FlowOwner,
    idlest: (giver: FlowOwner) => FlowCarrier | undefined,
  ): void {
    const { maxUdpSessions } = this.#options.settings.limits;
    makeRoom(this.sessions, maxUdpSessions, owner, idlest);
  }

  /** The same for one more session of pings. */
  makeRoomForPing(
    owner: FlowOwner,
    idlest: (giver: FlowOwner) => FlowCarrier | undefined,
  ): void {
    makeRoom(this.pings, this.#options.settings.limits.maxPingSessions, owner, idlest);
  }

  /**
   * A socket could not be opened for lack of a descriptor: the present number of connections becomes
   * the limit, to be shared. The connection that needed the socket is still counted.
   */
  noteExhausted(now: number): void {
    this.#ceiling = Math.max(1, this.connections.total - 1 - SPARE);
    this.#ceilingUntil = now + CEILING_MS;
  }

  /** Makes room for one more connection or socket of `owner`. */
  makeRoomForConnection(owner: FlowOwner, now: number): Refusal | undefined {
    const { maxTcpConnections } = this.#options.settings.limits;
    const ceiling = now < this.#ceilingUntil ? this.#ceiling : Infinity;
    const limit = Math.min(maxTcpConnections, ceiling);
    while (this.connections.total >= limit) {
      const giver = this.connections.donor(owner, limit);
      if (giver === undefined || now < (this.#busyUntil.get(giver) ?? 0)) return "full";
      const idlest = this.table.idlest("tcp", giver)!;
      const idleAt = idlest.lastActivity + IDLE_MS;
      if (now < idleAt) {
        this.#busyUntil.set(giver, idleAt); // looking again sooner would find nothing
        return "full";
      }
      idlest.carrier!.end("evicted");
      this.#logEviction(owner, giver, limit, now);
    }
    return undefined;
  }

  /** Looks at every live flow again: maps, subnets, listeners, limits or peers have changed. */
  review(): number {
    this.generation++;
    const ended = this.table.review((flow) => {
      if (!this.#options.isHeld(flow.source, flow.owner)) return false;
      // Own addresses may be impossible to find out, without descriptors say: that ends no connection.
      const verdict = this.decide(flow, false);
      return typeof verdict !== "string" && verdict.equals(flow.dialled!);
    });
    const { limits } = this.#options.settings;
    return ended + this.#trim("tcp", this.connections, limits.maxTcpConnections) +
      this.#trim("udp", this.sessions, limits.maxUdpSessions) +
      this.#trim("icmp", this.pings, limits.maxPingSessions);
  }

  #trim(protocol: FlowProtocol, shares: Shares, limit: number): number {
    let ended = 0;
    for (; shares.total > limit; ended++) {
      const flow = this.table.idlest(protocol, shares.greediest()!);
      if (flow === undefined) break;
      flow.carrier?.end("revoked");
    }
    return ended;
  }

  #makeRoomForDial(flow: Flow, now: number): Refusal | undefined {
    const { maxDials } = this.#options.settings.limits;
    if (this.dials.isCapped(flow, maxDials, now)) return "dials";
    if (this.dials.size < maxDials) return undefined;
    const dial = this.dials.displaced(flow, maxDials, now);
    if (dial === undefined) return "dials";
    dial.carrier!.end("evicted");
    return undefined;
  }

  #logEviction(owner: FlowOwner, giver: FlowOwner, limit: number, now: number): void {
    this.#evicted++;
    if (now - this.#loggedAt < LOG_EVERY_MS) return;
    log.warn(
      "all {limit} connections are in use: idle ones of {from} were reset for others ({count} so far), the last for {for}",
      {
        limit,
        from: giver.name,
        count: this.#evicted,
        for: owner.name,
      },
    );
    this.#loggedAt = now;
  }
}

/** Has the most idle session of the owner with the most end, if as many as `limit` are open. */
function makeRoom(
  shares: Shares,
  limit: number,
  owner: FlowOwner,
  idlest: (giver: FlowOwner) => FlowCarrier | undefined,
): void {
  if (shares.total < limit) return;
  const giver = shares.donor(owner, limit) ?? shares.greediest() ?? owner;
  idlest(giver)?.end("evicted");
}
