/**
 * Whether a flow is allowed: the one place that decides, for TCP, UDP and pings alike, whichever peer
 * or inbound they come from. When the rules change, live flows are decided again.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { Dials } from "./dials.ts";
import type { Flow, FlowCarrier, FlowOwner, FlowProtocol, FlowRequest } from "./flow.ts";
import { type HostGuard, namesAddress } from "./host_guard.ts";
import { AddressMaps, dialledAs, inPrefix, isSingle, mapAddress, namesOwnHost } from "./maps.ts";
import type { AddressMap } from "./maps.ts";
import type { OwnListeners } from "./own_listeners.ts";
import type { Pacing } from "./pacing.ts";
import { Quotas } from "./quotas.ts";
import { FlowReview } from "./review.ts";
import type { Rule, RuleAction, RuleOptions, RuleState } from "./rule.ts";
import { RuleSet } from "./rules.ts";
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

/** What has been decided about a request. */
export type Verdict = Allowed | Refused;

export interface Allowed {
  readonly refusal?: undefined;
  /** The one that matched. */
  readonly rule: Rule | undefined;
  /** What is to be dialled; a name is yet to be resolved, and {@link Admission.checkTarget} follows. */
  readonly target: IpAddress | string;
  readonly port: number;
}

export interface Refused {
  readonly refusal: Refusal;
  readonly rule: Rule | undefined;
}

/** The rules as they are configured, in order. */
export interface RuleSettings {
  readonly rules: readonly RuleOptions[];
  /** For what no rule matches. */
  readonly defaultAction: RuleAction;
}

export interface AdmissionOptions {
  readonly table: FlowTable;
  /** Whether the protocol is proxied for an address. */
  isProxied(address: IpAddress, protocol: FlowProtocol): boolean;
  /** Whether a target, not loopback, is an address of this host; undefined if that is not known. */
  isOwnAddress(target: IpAddress): boolean | undefined;
  /** Whether an address is this end of the tunnel's own, which only a rewrite or a map proxies. */
  isTunnels?(address: IpAddress): boolean;
  /** Whether an address can be reached by the tunnel, or a link. Default: none can. */
  isTunnelled?(address: IpAddress): boolean;
  /** Whether what is sent to `source` still goes to `owner`. */
  isHeld(source: IpAddress, owner: FlowOwner): boolean;
  /** Default: what passes through is asked of the rules alone. */
  readonly guard?: HostGuard | undefined;
  readonly listeners: OwnListeners;
  /** The longest `from` first. */
  readonly maps: readonly AddressMap[];
  /** Default: none, and what is proxied is allowed. */
  readonly rules?: RuleSettings;
  /** May change while running. */
  readonly settings: { readonly limits: FlowLimits };
  readonly pacing: Pacing;
}

const NO_RULES: RuleSettings = { rules: [], defaultAction: "allow" };
const REFUSALS = { reject: "rejected", drop: "dropped" } as const;

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
  readonly pacing: Pacing;
  readonly #options: AdmissionOptions;
  readonly #quotas: Quotas;
  readonly #review: FlowReview;
  /** After a review, while it is under way: what is above the limits ends. */
  #trimming: Generator<undefined, void, undefined> | undefined;
  readonly #maps: AddressMaps;
  #rules: RuleSet;
  /** Until when an owner has no connection that has been idle for long enough. */
  readonly #busyUntil = new WeakMap<FlowOwner, number>();
  /** Changes with every {@link review}: what was decided before may be decided otherwise. */
  generation = 0;
  #evicted = 0;
  #loggedAt = -Infinity;
  /** Most connections until {@link #ceilingUntil}: the system has no descriptors for more. */
  #ceiling = Infinity;
  #ceilingUntil = -Infinity;

  // Made once, not for every flow.
  readonly #isOwn = (target: IpAddress): boolean =>
    target.isLoopback || this.#options.isOwnAddress(target) === true;
  readonly #mayBeOwn = (target: IpAddress): boolean =>
    target.isLoopback || this.#options.isOwnAddress(target) !== false;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.table = options.table;
    this.pacing = options.pacing;
    this.#quotas = new Quotas(options.table);
    this.#review = new FlowReview(options.table, {
      look: (flow) => this.#mayGoOn(flow),
      finished: () => {
        this.#trimming = this.#trim();
        return this.#trimOn();
      },
    });
    this.#maps = new AddressMaps(options.maps);
    const { rules, defaultAction } = options.rules ?? NO_RULES;
    this.#rules = new RuleSet(rules, defaultAction);
    this.pacing.setRules(this.#rules.rules);
  }

  /** The rules in force. */
  get rules(): RuleSet {
    return this.#rules;
  }

  /** Replaces the rules; one that is the same keeps its state. {@link review} follows. */
  setRules({ rules, defaultAction }: RuleSettings): void {
    this.#rules = new RuleSet(rules, defaultAction, this.#rules);
    this.pacing.setRules(this.#rules.rules);
  }

  /** Replaces the maps. {@link review} follows. */
  setMaps(maps: readonly AddressMap[]): void {
    this.#maps.set(maps);
  }

  /**
   * Lets a flow begin: sets its rule and what is dialled for it, and enters it into the table. Its
   * carrier takes it out again. What is refused is told to the table's observers.
   *
   * @param makeRoom Called last, for what else it needs, if nothing speaks against it.
   */
  admit(flow: Flow, now: number, makeRoom?: () => Refusal | undefined): Refusal | undefined {
    const refusal = this.#admit(flow, now) ?? makeRoom?.();
    if (refusal !== undefined) {
      this.table.refuse(flow, refusal);
      return refusal;
    }
    this.pacing.apply(flow);
    this.table.add(flow);
    return undefined;
  }

  #admit(flow: Flow, now: number): Refusal | undefined {
    const verdict = this.decide(flow);
    flow.rule = verdict.rule;
    if (verdict.refusal !== undefined) return verdict.refusal;
    const { target, port } = verdict;
    if (typeof target === "string") flow.dialledName = target;
    else flow.dialled = target;
    flow.dialledPort = port;
    if (this.#quotas.isFull(flow.rule, now)) return "rule-full";
    if (flow.protocol === "tcp" && !flow.isTransit) {
      const refusal = this.#quotas.connection(flow.owner, this.connections, now) ??
        this.#makeRoomForDial(flow, now) ??
        this.makeRoomForConnection(flow.owner, now);
      if (refusal !== undefined) return refusal;
      this.connections.take(flow.owner);
      this.dials.begin(flow, now);
    }
    return undefined;
  }

  /**
   * Decides by rules and maps alone, without the limits.
   *
   * @param inDoubt Whether a target counts as this host's own if that cannot be found out.
   * @param held As for {@link RuleSet.match}.
   */
  decide(request: FlowRequest, inDoubt = true, held?: RuleState): Verdict {
    const { protocol, destination, destinationPort } = request;
    if (request.isTransit) return this.#decideTransit(request, inDoubt, held);
    if (request.owner.isInbound) return this.#decideInbound(request, held);
    if (!this.#options.isProxied(destination, protocol)) {
      return { refusal: "not-proxied", rule: undefined };
    }
    const rule = this.#rules.match(request, held);
    const action = rule?.action ?? this.#rules.defaultAction;
    if (action !== "allow") return { refusal: REFUSALS[action], rule };
    const rewrite = rule?.rewrite;
    const to = rewrite?.to;
    const port = rewrite?.port !== undefined && protocol !== "icmp"
      ? rewrite.port
      : destinationPort;
    if (typeof to === "string") return { rule, target: to, port };
    // A rewrite takes the map's place.
    const map = to === undefined ? this.#maps.find(destination) : undefined;
    let target: IpAddress;
    let isNamed = false;
    if (to !== undefined) {
      target = dialledAs(inPrefix(to, destination));
      isNamed = isSingle(to);
      if (!isNamed && !isSafeTarget(target)) return { refusal: "unsafe", rule };
    } else if (map !== undefined) {
      target = mapAddress(destination, map);
      isNamed = namesOwnHost(map);
    } else {
      if (this.#options.isTunnels?.(destination)) return { refusal: "not-proxied", rule };
      if (!isSafeTarget(destination)) return { refusal: "unsafe", rule };
      target = dialledAs(destination);
    }
    let refusal = this.#checkHost(protocol, target, port, isNamed, inDoubt);
    // Only a map that names it leads to a link-local address, a metadata service and the like.
    if (map !== undefined && !isNamed && !isSafeTarget(target)) refusal ??= "unsafe";
    return refusal === undefined ? { rule, target, port } : { refusal, rule };
  }

  /** What a program of this host sends into the tunnel can go nowhere else than it asks for. */
  #decideInbound(request: FlowRequest, held: RuleState | undefined): Verdict {
    const { destination } = request;
    const verdict = this.#decideUnchanged(request, held);
    if (verdict.refusal !== undefined) return verdict;
    const { rule } = verdict;
    if (!isSafeTarget(destination)) return { refusal: "unsafe", rule };
    if (this.#options.isTunnels?.(destination)) return { refusal: "own-host", rule };
    return this.#options.isTunnelled?.(destination) ? verdict : { refusal: "no-peer", rule };
  }

  /** What passes through can go nowhere else than it asks for. */
  #decideTransit(
    request: FlowRequest,
    inDoubt: boolean,
    held: RuleState | undefined,
  ): Verdict {
    const verdict = this.#decideUnchanged(request, held);
    if (verdict.refusal !== undefined) return verdict;
    const { rule } = verdict;
    const refusal = this.#checkGuarded(request, rule, inDoubt);
    return refusal === undefined ? verdict : { refusal, rule };
  }

  /** By rules alone, where a rewrite cannot be done. */
  #decideUnchanged(request: FlowRequest, held: RuleState | undefined): Verdict {
    const rule = this.#rules.match(request, held);
    const action = rule?.action ?? this.#rules.defaultAction;
    if (action !== "allow") return { refusal: REFUSALS[action], rule };
    if (rule?.rewrite !== undefined) return { refusal: "rejected", rule };
    return { rule, target: request.destination, port: request.destinationPort };
  }

  /** What may not pass to this host's own network, nor to this host. */
  #checkGuarded(
    request: FlowRequest,
    rule: Rule | undefined,
    inDoubt: boolean,
  ): Refusal | undefined {
    const { guard } = this.#options;
    if (guard === undefined || !guard.covers(request)) return undefined;
    const { protocol, destination, destinationPort } = request;
    if (protocol === "icmp" && guard.isTunnels(destination)) return undefined;
    const isNamed = namesAddress(rule, destination);
    if (!isNamed && !isSafeTarget(destination)) return "unsafe";
    return this.#checkHost(protocol, destination, destinationPort, isNamed, inDoubt);
  }

  /**
   * Whether an address that a name was resolved to may be dialled for a flow: a name hands out neither
   * this host nor what is unsafe.
   */
  checkTarget(
    { protocol }: Pick<FlowRequest, "protocol">,
    address: IpAddress,
    port: number,
  ): Refusal | undefined {
    if (!isSafeTarget(address)) return "unsafe";
    return this.#checkHost(protocol, dialledAs(address), port, false, true);
  }

  /** Whether an address that the configuration itself names may be dialled. */
  checkNamed(protocol: FlowProtocol, address: IpAddress, port: number): Refusal | undefined {
    return this.#checkHost(protocol, dialledAs(address), port, true, true);
  }

  /** @param isNamed Whether the configuration itself names the target, or nothing but loopback. */
  #checkHost(
    protocol: FlowProtocol,
    target: IpAddress,
    port: number,
    isNamed: boolean,
    inDoubt: boolean,
  ): Refusal | undefined {
    const { listeners } = this.#options;
    const isOwn = inDoubt ? this.#mayBeOwn : this.#isOwn;
    if (!isNamed) {
      if (isOwn(target)) return "own-host";
      if (target.version === 6 && carriedIpv4(target).some(isOwn)) return "own-host";
    }
    return listeners.has(protocol, target, port, isOwn) ? "own-listener" : undefined;
  }

  /** Whether an address is this host's. If that cannot be found out it counts as one. */
  isOwnHost(address: IpAddress): boolean {
    return this.#mayBeOwn(address);
  }

  /** The address at which a client reaches `target`; undefined if it may not. */
  reverse(request: Omit<FlowRequest, "destination">, target: IpAddress): IpAddress | undefined {
    for (const destination of this.#sources(target)) {
      const verdict = this.decide({ ...request, destination });
      if (leadsTo(verdict, target, request.destinationPort)) return destination;
    }
    return undefined;
  }

  /** The destinations that may lead to `target`. The caller checks which does. */
  *#sources(target: IpAddress): Iterable<IpAddress> {
    for (const { to, rewrite } of this.#rules.rewriting) {
      if (typeof rewrite.to === "string" || !rewrite.to.contains(target)) continue;
      for (const one of to) if (typeof one !== "string") yield inPrefix(one, target);
    }
    yield* this.#maps.sources(target);
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
    now: number,
  ): Refusal | undefined {
    const refusal = this.#quotas.session(owner, this.sessions, () => idlest(owner), now);
    if (refusal !== undefined) return refusal;
    makeRoom(this.sessions, this.#options.settings.limits.maxUdpSessions, owner, idlest);
    return undefined;
  }

  /** The same for one more session of pings, which no peer's own limit counts. */
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

  /**
   * Looks at every live flow again: maps, subnets, listeners, limits or peers have changed. Of many
   * only at the first: see {@link reviewOn}.
   *
   * @returns how many have ended.
   */
  review(): number {
    this.generation++;
    return this.#review.begin();
  }

  /** Whether {@link reviewOn} has more to look at. */
  get isReviewing(): boolean {
    return this.#review.isUnderWay || this.#trimming !== undefined;
  }

  /** The next few of a {@link review}. @returns how many have ended. */
  reviewOn(): number {
    return this.#review.isUnderWay ? this.#review.step() : this.#trimOn();
  }

  /** Whether a live flow may go on; then it has the rule and the rates that are its own now. */
  #mayGoOn(flow: Flow): boolean {
    const { owner, source } = flow;
    if (!owner.isInbound && !this.#options.isHeld(source, owner)) return false;
    // Own addresses may be impossible to find out, without descriptors say: that ends no connection.
    const verdict = this.decide(flow, false, flow.rule?.state);
    if (!leadsTo(verdict, flow.dialledName ?? flow.dialled!, flow.dialledPort)) return false;
    if (flow.rule !== verdict.rule) this.table.setRule(flow, verdict.rule);
    this.pacing.apply(flow);
    return true;
  }

  /** The next few of what is above limits that have changed. @returns how many have ended. */
  #trimOn(): number {
    const before = this.#quotas.trimmed;
    if (this.#trimming?.next().done) this.#trimming = undefined;
    return this.#quotas.trimmed - before;
  }

  /** Ends what is above limits, the most idle of it. */
  *#trim(): Generator<undefined, void, undefined> {
    const { settings } = this.#options;
    const quotas = this.#quotas;
    yield* quotas.trimRules(this.#rules.rules);
    yield* quotas.trim("tcp", this.connections);
    yield* quotas.trim("udp", this.sessions);
    yield* quotas.trimTotal("tcp", this.connections, () => settings.limits.maxTcpConnections);
    yield* quotas.trimTotal("udp", this.sessions, () => settings.limits.maxUdpSessions);
    yield* quotas.trimTotal("icmp", this.pings, () => settings.limits.maxPingSessions);
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

function leadsTo(verdict: Verdict, to: IpAddress | string, port: number): boolean {
  if (verdict.refusal !== undefined || verdict.port !== port) return false;
  const { target } = verdict;
  return typeof target === "string" || typeof to === "string" ? target === to : target.equals(to);
}
