/**
 * Prefixes that several peers speak for, of which the first that is alive holds each.
 *
 * @module
 */

import type { TransmitPool } from "../../arena/transmit_pool.ts";
import type { TimeoutSource } from "../../engine/engine.ts";
import { getLogger } from "../../log/logger.ts";
import { IpAddress, type Prefix, type Stack } from "../../../netstack/mod.ts";
import { type Device, type Peer, SendResult } from "../../../wireguard/protocol.ts";
import { toAllowedIp, toPrefix } from "../allowed_ip.ts";
import { peerName } from "../peer_name.ts";
import { FlowMemory, type FlowMemoryCounters } from "./flow_memory.ts";
import { type Member, Members } from "./members.ts";
import { writeQuestion } from "./question.ts";
import { SharedRoute } from "./shared_route.ts";
import { nextTurn } from "./turns.ts";

const log = getLogger(["wirestack", "engine"]);

/** Whose questions are without an address: no peer answers these, but WireGuard says that it got one. */
const NOBODY = IpAddress.v4(0, 0, 0, 0);

export interface TwinsOptions {
  readonly device: Device;
  readonly stack: Stack;
  readonly pool: TransmitPool;
  /** The gateway's own in the tunnel: questions come from these. */
  readonly addresses: readonly IpAddress[];
  random(out: Uint8Array): void;
  now(): number;
  /** See {@link MemberSettings}. Default: the peers call. */
  readonly calls?: boolean;
  /** The peer is to hold the prefix from now on. */
  give(prefix: Prefix, peer: Peer): void;
  /** Deadlines may be others than before. */
  changed(): void;
}

/** A prefix, and who speaks for it in the order of preference. */
export interface SharedBy {
  readonly prefix: Prefix;
  /** Two or more. */
  readonly peers: readonly Peer[];
}

/** As somebody who looks at a peer sees it. */
export interface SharedPrefixStats {
  readonly prefix: string;
  /** Whether packets for it go to this peer. */
  readonly isHeld: boolean;
}

export class TwinsCounters {
  /** Prefixes that went from a peer that was lost to another. */
  lost = 0;
  /** Prefixes that went back to one that is preferred. */
  back = 0;
  /** Prefixes that went to the one that was heard first, at the start. */
  first = 0;
}

export class Twins implements TimeoutSource {
  readonly counters: TwinsCounters = new TwinsCounters();
  readonly #options: TwinsOptions;
  readonly #members: Members;
  /** By prefix as text. */
  readonly #routes = new Map<string, SharedRoute>();
  #flows: FlowMemory | undefined;
  #sequence = 0;
  #dueAt = Infinity;

  constructor(options: TwinsOptions) {
    this.#options = options;
    this.#members = new Members(options.random, { calls: options.calls ?? false });
  }

  /** How many flows others displaced or moved, once there is a shared prefix. */
  get flowCounters(): Readonly<FlowMemoryCounters> | undefined {
    return this.#flows?.counters;
  }

  /** Whose turn it is to hold a prefix; undefined if it is not shared. */
  holderOf(prefix: Prefix): Peer | undefined {
    return this.#routes.get(`${prefix}`)?.holder.peer;
  }

  /** Whether it was asked and is not there, which is known long before a session is over. */
  isLost(peer: Peer): boolean {
    return peer.isTwin && this.#members.of(peer)?.liveness.standing === "lost";
  }

  /** What a peer shares with others. */
  of(peer: Peer): SharedPrefixStats[] {
    if (!peer.isTwin) return [];
    return [...this.#routes.values()].filter((route) => route.has(peer)).map((route) => ({
      prefix: `${route.prefix}`,
      isHeld: route.holder.peer === peer,
    }));
  }

  /** Makes this all that is shared. Who held a prefix goes on to, if it still speaks for it. */
  update(shared: readonly SharedBy[]): void {
    const { device, stack, random, now, changed, calls = false } = this.#options;
    const before = new Map(this.#routes);
    const members = new Set(shared.flatMap(({ peers }) => peers));
    for (const { peer, seat } of this.#members.keep(members)) {
      this.#flows?.forget(seat);
      peer.isTwin = peer.isFollowed = false;
    }
    this.#routes.clear();
    for (const { prefix, peers } of shared) {
      const known = before.get(`${prefix}`);
      this.#flows ??= new FlowMemory(random, this.#members);
      const seated = peers.map((peer) => this.#members.seat(peer, now()));
      const current = device.holderOf(toAllowedIp(prefix));
      const holder = known?.holder ?? seated.find(({ peer }) => peer === current);
      const route = new SharedRoute(prefix, seated, this.#flows, this.#members, holder);
      route.isHeld = known?.isHeld ?? !calls;
      route.isReported = known?.isReported ?? false;
      const first = known?.members.find((member) => seated.includes(member));
      if (calls) route.members = nearestFirst(seated, first ?? seated[0]!);
      this.#routes.set(`${prefix}`, route);
      before.delete(`${prefix}`);
      for (const peer of peers) {
        peer.isTwin = true;
        peer.isFollowed = calls;
      }
      device.sharePrefix(toAllowedIp(prefix), route);
    }
    for (const { prefix } of before.values()) device.sharePrefix(toAllowedIp(prefix), undefined);
    for (const member of this.#members) {
      member.address = this.#addressOf(member.peer);
    }
    stack.onEchoReply = this.#routes.size === 0 ? undefined : this.#members.answered;
    this.#dueAt = this.#routes.size === 0 ? Infinity : now();
    changed();
  }

  pollTimeout(): number {
    return this.#dueAt;
  }

  handleTimeout(now: number): void {
    if (now < this.#dueAt) return;
    let next = Infinity;
    for (const member of this.#members) {
      const { liveness } = member;
      if (now >= liveness.dueAt && liveness.look(this.#heardAt(member, now), now)) {
        this.#ask(member, now);
      }
      next = Math.min(next, liveness.dueAt);
    }
    this.#dueAt = next;
    const isOther = this.#options.calls === true && this.#measure();
    for (const route of this.#routes.values()) {
      if (isOther) route.members = nearestFirst(route.members, route.members[0]!);
      this.#turn(route, now);
    }
  }

  /**
   * When a member was heard last. One that this side calls is left alone while nothing was sent that
   * should be answered, but for a question now and then: a thousand callers would keep a hub busy.
   */
  #heardAt(member: Member, now: number): number {
    const { peer, liveness } = member;
    if (!this.#options.calls || liveness.standing !== "alive") return peer.lastHeard;
    if (peer.lastHeard > member.waitsSince) member.waitsSince = Infinity;
    if (peer.probesAnswered > member.answers) {
      member.answers = peer.probesAnswered;
      liveness.answered();
    }
    const isLeft = peer.unansweredSince === Infinity && member.waitsSince === Infinity &&
      now - peer.lastHeard < IDLE_MS;
    return isLeft ? now : peer.lastHeard;
  }

  /** Takes the time of new handshakes. @returns whether there were any. */
  #measure(): boolean {
    let isOther = false;
    for (const member of this.#members) {
      const { peer } = member;
      if (peer.handshakeMs < 0 || peer.lastHandshake === member.measured) continue;
      member.measured = peer.lastHandshake;
      member.tripMs = member.tripMs === Infinity
        ? peer.handshakeMs
        : member.tripMs + (peer.handshakeMs - member.tripMs) / 4;
      isOther = true;
    }
    return isOther;
  }

  #turn(route: SharedRoute, now: number): void {
    const { members } = route;
    const turn = nextTurn(
      members.map(({ liveness }) => liveness),
      members.indexOf(route.holder),
      now,
      route.isHeld,
    );
    route.isHeld ||= turn !== undefined || route.holder.liveness.standing === "alive";
    if (turn === undefined) {
      this.#reportAll(route);
      return;
    }
    const current = this.#options.device.holderOf(toAllowedIp(route.prefix));
    if (current !== undefined && !route.has(current)) return; // somebody was given it: wg set
    const from = route.holder;
    const to = members[turn.to]!;
    route.holder = to;
    route.isReported = false;
    this.counters[turn.why]++;
    this.#options.give(route.prefix, to.peer);
    // Nobody may have held it for a moment.
    this.#options.device.sharePrefix(toAllowedIp(route.prefix), route);
    if (from === to) return; // at the start the first of all was heard first
    const properties = {
      prefix: `${route.prefix}`,
      from: peerName(from.peer),
      to: peerName(to.peer),
    };
    if (turn.why === "lost") {
      log.warn("prefix {prefix}: {to} has it now, {from} was not heard for {seconds} s", {
        ...properties,
        seconds: Math.round(from.liveness.silentMs(now) / 100) / 10,
      });
    } else if (this.#options.calls) {
      log.info("prefix {prefix}: {to} has it now, not {from}: it answers within {ms} ms", {
        ...properties,
        ms: Math.round(to.tripMs),
      });
    } else {
      log.info(
        "prefix {prefix}: {to} has it again, not {from}, for it has been there for {seconds} s",
        {
          ...properties,
          seconds: to.liveness.patienceMs / 1000,
        },
      );
    }
  }

  /** Once, until it is somebody's again. */
  #reportAll(route: SharedRoute): void {
    const { members, prefix } = route;
    const isLost = members.every(({ liveness }) => liveness.standing === "lost");
    if (isLost && !route.isReported) {
      log.warn("prefix {prefix}: none of its {count} peers is heard", {
        prefix: `${prefix}`,
        count: members.length,
      });
    }
    route.isReported = isLost;
  }

  #ask(member: Member, now: number): void {
    const { peer, address, identifier } = member;
    const { device, pool, addresses, calls } = this.#options;
    if (calls ? !peer.maySend(now) : !peer.hasSession) {
      // Nobody knows whether it can be called; if not, this does nothing.
      peer.initiate(now);
      return;
    }
    if (calls) {
      member.waitsSince = Math.min(member.waitsSince, now);
      if (peer.endpoint !== undefined) peer.probe(peer.endpoint, identifier, false, now);
      // Another implementation knows no probes; a ping it may answer.
      if (peer.probesAnswered > 0 || address === undefined) return;
    }
    const source = addresses.find(({ version }) => version === address?.version) ?? addresses[0];
    const slot = pool.allocate();
    if (slot < 0) return;
    const destination = address?.version === source?.version ? address : undefined;
    const from = source ?? NOBODY;
    this.#sequence = this.#sequence + 1 & 0xffff;
    const length = writeQuestion(
      ...[pool.buffer, slot, from, destination ?? from, identifier, this.#sequence] as const,
    );
    const result = device.sendTo(peer, pool.buffer, slot, length, now);
    if (result !== SendResult.Taken) pool.give(slot);
  }

  /** One that is nobody else's. */
  #addressOf(peer: Peer): IpAddress | undefined {
    const own = peer.allowedIps.filter(({ address, length }) => length === address.length * 8)
      .map(toPrefix)
      .filter((prefix) => !this.#routes.has(`${prefix}`))
      .map(({ address }) => address);
    const { addresses } = this.#options;
    return own.find(({ version }) => addresses.some((mine) => mine.version === version)) ?? own[0];
  }
}

/** How much faster another must be to come before the first, and by how many ms. */
const NEARER = 0.8;
const NEARER_MS = 5;
/** How often one that is called is asked while nothing is to be answered: a NAT keeps it in mind. */
const IDLE_MS = 20_000;

/** By the time of their handshakes. The first stays that unless another is clearly nearer. */
function nearestFirst(members: readonly Member[], first: Member): Member[] {
  const sorted = members.toSorted((a, b) => a.tripMs === b.tripMs ? 0 : a.tripMs - b.tripMs);
  const [nearest] = sorted as [Member];
  const isNearer = nearest.tripMs < first.tripMs * NEARER &&
    nearest.tripMs < first.tripMs - NEARER_MS;
  return isNearer ? sorted : [first, ...sorted.filter((member) => member !== first)];
}
