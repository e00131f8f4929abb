/**
 * Answers for the pings of targets behind NIC 2 (or NIC 1) with what the targets answer, by sockets of
 * this host's: never for a target that says nothing.
 *
 * @module
 */

import type { TurnSource } from "../engine/engine.ts";
import { Flow, type FlowEnd, type FlowOwner } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import { REFUSAL_WORDS } from "../flow/words.ts";
import { getLogger } from "../log/logger.ts";
import {
  Deadlines,
  type EchoFlow,
  type EchoVerdict,
  type IcmpForwarderHandler,
  type IpAddress,
  Roster,
  TokenBucket,
} from "../../netstack/mod.ts";
import type { IcmpTargets, IcmpTargetsOptions } from "../target/icmp.ts";
import { type IcmpForwarderCounters, newIcmpCounters } from "./icmp_counters.ts";
import { IcmpSession, type IcmpSessionOwner } from "./icmp_session.ts";
import type { NamedTargets, NoTarget } from "./named_targets.ts";
import type { ForwarderOptions, ForwardTimeouts } from "./options.ts";

const log = getLogger(["wirestack", "icmp"]);

export interface IcmpForwarderOptions extends ForwarderOptions {
  /** Whether the tunnel takes more replies. */
  hasRoom(): boolean;
  /** A socket could not be opened. @returns whether for lack of a descriptor. */
  onNoSocket(error: unknown): boolean;
  /** Opens what makes sockets towards targets. */
  openTargets(options: IcmpTargetsOptions): IcmpTargets;
  /** Resolves the names that rules dial. Missing: none are. */
  readonly targets?: Pick<NamedTargets, "resolve">;
}

/** Flows per allowed session; with more in all, every session is kept to a few. */
const FLOWS_PER_SESSION = 4;
/** A peer's pings may come in bursts of as many as it may send in this time, ms, and a few at least. */
const BURST_MS = 250;
const LEAST_BURST = 50;

/** What a peer may still send. */
interface Allowance {
  /** Pings per second. */
  readonly rate: number;
  readonly bucket: TokenBucket;
}

export class IcmpForwarder implements IcmpForwarderHandler, IcmpSessionOwner, TurnSource {
  readonly counters: IcmpForwarderCounters = newIcmpCounters();
  readonly #options: IcmpForwarderOptions;
  readonly #sessions = new Roster<IcmpSession, "rosterIndex">("rosterIndex");
  readonly #deadlines = new Deadlines<IcmpSession>();
  readonly #allowances = new WeakMap<FlowOwner, Allowance>();
  #sockets: IcmpTargets | undefined;
  /** Flows of all sessions. */
  #flows = 0;
  #isClosing = false;

  constructor(options: IcmpForwarderOptions) {
    this.#options = options;
  }

  /** Sessions. */
  get size(): number {
    return this.#sessions.size;
  }

  echo(
    client: EchoFlow,
    destination: IpAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): EchoVerdict {
    if (this.#isClosing) {
      this.counters.closing++;
      return "drop";
    }
    const known = client.session as IcmpSession | undefined;
    const peer = known?.peer ?? this.#options.ownerOf(client.from, client.client);
    if (!this.#mayPing(peer, now)) {
      this.counters.flooded++;
      return "drop";
    }
    let entry = known?.find(destination);
    let session = known;
    if (entry === undefined) {
      const flow = new Flow("icmp", peer, client.client, client.identifier, destination, 0, now);
      const refusal = this.#options.admission.admit(flow, now);
      if (refusal !== undefined) return this.#refuse(flow, refusal);
      this.#flows++;
      session ??= this.#begin(client, peer, now);
      this.touch(session, now);
      entry = session.add(flow);
    } else this.touch(session!, now);
    session!.send(entry, buffer, offset, length, now);
    return "accept";
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return this.#deadlines.next();
  }

  handleTimeout(now: number): void {
    for (let session; (session = this.#deadlines.popDue(now)) !== undefined;) {
      this.counters.idle++;
      session.end("idle");
    }
  }

  /** No more pings from now on. */
  close(): void {
    this.#isClosing = true;
  }

  /** Ends every session. Resolves when no socket is left. */
  async abort(): Promise<void> {
    this.#isClosing = true;
    for (const session of [...this.#sessions.items]) session.end("aborted");
    await this.#sockets?.close();
  }

  /** Opened with the first session. */
  get sockets(): IcmpTargets {
    return this.#sockets ??= this.#options.openTargets({
      counters: this.counters,
      now: () => this.#options.now(),
      wake: () => this.#options.wake(),
      hasRoom: () => this.#options.hasRoom(),
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

  get isCrowded(): boolean {
    return this.#flows >= FLOWS_PER_SESSION * this.#options.settings.limits.maxPingSessions;
  }

  resolve(flow: Flow, found: (target: IpAddress | NoTarget, now: number) => void): () => void {
    const { targets } = this.#options;
    const tell = (target: IpAddress | NoTarget) => {
      found(target, this.#options.now());
      this.#options.wake();
    };
    if (targets !== undefined) return targets.resolve(flow, tell);
    queueMicrotask(() => tell("host-unreachable"));
    return () => {};
  }

  isOwnHost(address: IpAddress): boolean {
    return this.#options.admission.isOwnHost(address);
  }

  /** Gives sessions the deadlines that they would have by the present timeouts. */
  timeoutsChanged(before: ForwardTimeouts): void {
    if (this.#options.settings.timeouts.icmpIdleMs === before.icmpIdleMs) return;
    for (const session of this.#sessions.items) this.touch(session, session.lastActivity);
    this.#options.wake();
  }

  touch(session: IcmpSession, now: number): void {
    session.lastActivity = now;
    this.#deadlines.set(session, now + this.#options.settings.timeouts.icmpIdleMs);
  }

  onNoSocket({ peer }: IcmpSession, error: unknown): void {
    this.counters.socketErrors++;
    if (!this.#options.onNoSocket(error)) return;
    const { admission, now } = this.#options;
    admission.noteExhausted(now());
    admission.makeRoomForConnection(peer, now()); // the client's next ping tries again
  }

  onFlowEnded(flow: Flow, why: FlowEnd): void {
    this.#flows--;
    if (why === "evicted" || why === "revoked" || why === "killed") this.counters[why]++;
    this.#options.admission.table.remove(flow, why);
  }

  onEnded(session: IcmpSession): void {
    this.#deadlines.remove(session);
    this.#sessions.delete(session);
    this.#options.admission.pings.give(session.peer);
  }

  /** The first ping of a client's identifier. */
  #begin(client: EchoFlow, peer: FlowOwner, now: number): IcmpSession {
    const { admission } = this.#options;
    admission.makeRoomForPing(peer, (giver) => this.#idlest(giver));
    admission.pings.take(peer);
    const session = new IcmpSession(this, client, peer, now);
    client.session = session;
    this.#sessions.add(session);
    this.counters.sessions++;
    this.#options.wake(); // its deadline is new
    return session;
  }

  #mayPing(peer: FlowOwner, now: number): boolean {
    const { maxPingRate: rate } = this.#options.settings.limits;
    let allowance = this.#allowances.get(peer);
    if (allowance === undefined || allowance.rate !== rate) {
      const burst = Math.max(LEAST_BURST, rate * BURST_MS / 1000);
      allowance = { rate, bucket: new TokenBucket(rate, burst) };
      this.#allowances.set(peer, allowance);
    }
    return allowance.bucket.take(now, 1);
  }

  #idlest(peer: FlowOwner): IcmpSession | undefined {
    let found: IcmpSession | undefined;
    for (const session of this.#sessions.items) {
      if (session.peer !== peer) continue;
      if (found === undefined || session.lastActivity < found.lastActivity) found = session;
    }
    return found;
  }

  #refuse({ owner, source, sourcePort, destination }: Flow, why: Refusal): EchoVerdict {
    const isFull = why === "peer-full" || why === "rule-full";
    this.counters[isFull ? "overQuota" : "forbidden"]++;
    log.debug("{peer}, {client} identifier {identifier}: ping of {target} is refused: {why}", {
      peer: owner.name,
      client: source,
      identifier: sourcePort,
      target: destination,
      why: REFUSAL_WORDS[why],
    });
    return why === "dropped" ? "drop" : "prohibited";
  }
}
