/**
 * What the forwarders of UDP and of pings have in common: sessions of clients, each with sockets of its
 * own, that end when nothing went either way for long enough.
 *
 * @module
 */

import type { TurnSource } from "../engine/engine.ts";
import type { Flow, FlowCarrier, FlowEnd, FlowOwner } from "../flow/flow.ts";
import { Idlest } from "../flow/idlest.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { Shares } from "../flow/shares.ts";
import { Deadlines, type IpAddress, Roster, type Timed } from "../../netstack/mod.ts";
import type { UdpTargetsOptions } from "../target/udp.ts";
import type { NamedTargets, NoTarget } from "./named_targets.ts";
import { type ForwarderOptions, type ForwardTimeouts, hasChanged } from "./options.ts";
import type { SessionCounters } from "./session_counters.ts";

export interface SessionForwarderOptions<Sockets> extends ForwarderOptions {
  /** Resolves the names that rules dial. Missing: no name has an address. */
  readonly targets?: Pick<NamedTargets, "resolve">;
  /** Whether the tunnel takes more replies. */
  hasRoom(): boolean;
  /** A socket could not be opened. @returns whether for lack of a descriptor. */
  onNoSocket(error: unknown): boolean;
  /** Ends something idle for want of a descriptor. Default: a session of this forwarder's. */
  giveWay?(owner: FlowOwner, now: number): boolean;
  /** Opens what makes sockets towards targets. */
  openTargets(options: UdpTargetsOptions): Sockets;
}

/** All sockets towards targets of one protocol. */
interface TargetSockets extends TurnSource {
  close(): Promise<void>;
}

interface ForwardedSession extends Timed, Pick<FlowCarrier, "end"> {
  rosterIndex: number;
  /** Milliseconds, monotonic. */
  lastActivity: number;
  readonly peer: FlowOwner;
}

/** A session idle for this long may be ended when another needs its descriptor, ms. */
const GIVE_WAY_MS = 5_000;
/** When there was none, how long before looking again, ms. */
const GIVE_WAY_EVERY_MS = 250;

/** Sessions that are given other deadlines in one go, some half a millisecond of them. */
const RETIME_STEP = 1_024;

/** Flows per allowed session; with more in all, every session is kept to a few. */
const FLOWS_PER_SESSION = 4;

export abstract class SessionForwarder<
  Session extends ForwardedSession,
  Sockets extends TargetSockets,
> implements TurnSource {
  abstract readonly counters: SessionCounters;
  protected readonly options: SessionForwarderOptions<Sockets>;
  protected isClosing = false;
  readonly #sessions = new Roster<Session, "rosterIndex">("rosterIndex");
  readonly #deadlines = new Deadlines<Session>();
  readonly #idlest = new Idlest<Session>({
    all: this.#sessions.items,
    isOf: ({ peer }, owner) => peer === owner,
    activityOf: ({ lastActivity }) => lastActivity,
    isLive: ({ rosterIndex }) => rosterIndex >= 0,
  });
  #sockets: Sockets | undefined;
  /** Sessions that have the deadlines of earlier timeouts yet: so many from the first on. */
  #retimeLeft = 0;
  #retimeAt = 0;
  /** Flows of all sessions. */
  #flows = 0;
  #busyUntil = -Infinity;

  constructor(options: SessionForwarderOptions<Sockets>) {
    this.options = options;
  }

  /** Sessions of each peer. */
  protected abstract readonly shares: Shares;
  protected abstract readonly maxSessions: number;
  /** How long nothing may go either way, ms. */
  protected abstract idleMs(session: Session): number;

  /** Sessions. */
  get size(): number {
    return this.#sessions.size;
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return Math.min(this.#retimeLeft > 0 ? this.#retimeAt : Infinity, this.#deadlines.next());
  }

  handleTimeout(now: number): void {
    if (this.#retimeLeft > 0 && now >= this.#retimeAt) this.#retime(now);
    for (let session; (session = this.#deadlines.popDue(now)) !== undefined;) {
      this.counters.idle++;
      session.end("idle");
    }
  }

  /** No new sessions from now on. */
  close(): void {
    this.isClosing = true;
  }

  /** Ends every session. Resolves when no socket is left. */
  async abort(): Promise<void> {
    this.isClosing = true;
    for (const session of [...this.#sessions.items]) session.end("aborted");
    await this.#sockets?.close();
  }

  /** Opened with the first session. */
  get sockets(): Sockets {
    return this.#sockets ??= this.options.openTargets({
      counters: this.counters,
      now: () => this.options.now(),
      wake: () => this.options.wake(),
      hasRoom: () => this.options.hasRoom(),
    });
  }

  get hasReady(): boolean {
    return this.#sockets !== undefined && this.#sockets.hasReady;
  }

  drain(now: number): void {
    this.#sockets?.drain(now);
  }

  flush(): void {
    this.#sockets?.flush();
  }

  /** Whether there are so many flows in all that no session may have many. */
  get isCrowded(): boolean {
    return this.#flows >= FLOWS_PER_SESSION * this.maxSessions;
  }

  /** Finds an address for a flow to a name: see `NamedTargets.resolve`. */
  resolve(flow: Flow, found: (target: IpAddress | NoTarget, now: number) => void): () => void {
    const { targets } = this.options;
    const tell = (target: IpAddress | NoTarget) => {
      found(target, this.options.now());
      this.options.wake();
    };
    if (targets !== undefined) return targets.resolve(flow, tell);
    queueMicrotask(() => tell("host-unreachable"));
    return () => {};
  }

  /** Whether an address is this host's, or may be. */
  isOwnHost(address: IpAddress): boolean {
    return this.options.admission.isOwnHost(address);
  }

  /** Something went either way. */
  touch(session: Session, now: number): void {
    session.lastActivity = now;
    this.#deadlines.set(session, now + this.idleMs(session));
  }

  /** A socket could not be opened. The client's next packet tries again. */
  onNoSocket({ peer }: Session, error: unknown): void {
    this.counters.socketErrors++;
    if (!this.options.onNoSocket(error)) return;
    const { admission, now } = this.options;
    const { giveWay = (owner, now) => this.giveWay(owner, now) } = this.options;
    if (giveWay(peer, now())) return;
    admission.noteExhausted(now());
    admission.makeRoomForConnection(peer, now());
  }

  /**
   * There is no descriptor for a socket of `owner`: ends a session that has been idle for a while, of
   * whoever is furthest above an equal share, else of `owner` itself.
   *
   * @returns whether there was one.
   */
  giveWay(owner: FlowOwner, now: number): boolean {
    if (now < this.#busyUntil) return false;
    const { shares } = this;
    for (const giver of [shares.donor(owner, shares.total), owner]) {
      const session = giver && this.idlest(giver);
      if (session === undefined || now - session.lastActivity < GIVE_WAY_MS) continue;
      session.end("evicted");
      return true;
    }
    this.#busyUntil = now + GIVE_WAY_EVERY_MS;
    return false;
  }

  onFlowEnded(flow: Flow, why: FlowEnd): void {
    this.#flows--;
    if (why === "evicted" || why === "revoked" || why === "killed") this.counters[why]++;
    this.options.admission.table.remove(flow, why);
  }

  onEnded(session: Session): void {
    this.#deadlines.remove(session);
    this.#sessions.delete(session);
    this.shares.give(session.peer);
  }

  protected begin(session: Session): void {
    this.shares.take(session.peer);
    this.#sessions.add(session);
    this.counters.sessions++;
  }

  /** @returns what is answered. */
  protected countRefusal(why: Refusal): "drop" | "prohibited" {
    const isFull = why === "peer-full" || why === "rule-full";
    this.counters[isFull ? "overQuota" : "forbidden"]++;
    return why === "dropped" ? "drop" : "prohibited";
  }

  protected noteAdmitted(): void {
    this.#flows++;
  }

  /**
   * Gives sessions the deadlines that they would have by the present timeouts. Of more than some thousand
   * the rest in the turns that follow.
   */
  timeoutsChanged(before: ForwardTimeouts): void {
    const { timeouts } = this.options.settings;
    if (!hasChanged(timeouts, before, "udpIdleMs", "udpDnsIdleMs", "icmpIdleMs")) return;
    this.#retimeLeft = this.#sessions.size;
    this.#retime(this.options.now());
    this.options.wake();
  }

  /** The next few, from the last on: what takes the place of one that goes comes from behind it. */
  #retime(now: number): void {
    const { items } = this.#sessions;
    let left = Math.min(this.#retimeLeft, items.length);
    for (let count = RETIME_STEP; count > 0 && left > 0; count--) {
      const session = items[--left]!;
      this.touch(session, session.lastActivity);
    }
    this.#retimeLeft = left;
    this.#retimeAt = now; // there are others, whose turn is before the next
  }

  /** The session of a peer that has been idle longest. */
  protected idlest(peer: FlowOwner): Session | undefined {
    return this.#idlest.of(peer);
  }
}
