/**
 * Answers for the pings of targets behind NIC 2 (or NIC 1) with what the targets answer, by sockets of
 * this host's: never for a target that says nothing.
 *
 * @module
 */

import { Flow, type FlowOwner } from "../flow/flow.ts";
import type { Refusal } from "../flow/refusal.ts";
import type { Shares } from "../flow/shares.ts";
import { REFUSAL_WORDS } from "../flow/words.ts";
import { getLogger } from "../log/logger.ts";
import {
  type EchoFlow,
  type EchoVerdict,
  type IcmpForwarderHandler,
  type IpAddress,
  TokenBucket,
} from "../../netstack/mod.ts";
import type { IcmpTargets } from "../target/icmp.ts";
import { HeldBytes } from "./held_bytes.ts";
import { type IcmpForwarderCounters, newIcmpCounters } from "./icmp_counters.ts";
import { IcmpSession, type IcmpSessionOwner } from "./icmp_session.ts";
import { SessionForwarder, type SessionForwarderOptions } from "./session_forwarder.ts";

const log = getLogger(["wirestack", "icmp"]);

export type IcmpForwarderOptions = SessionForwarderOptions<IcmpTargets>;

/** A peer's pings may come in bursts of as many as it may send in this time, ms, and a few at least. */
const BURST_MS = 250;
const LEAST_BURST = 50;

/** What a peer may still send. */
interface Allowance {
  /** Pings per second. */
  readonly rate: number;
  readonly bucket: TokenBucket;
}

export class IcmpForwarder extends SessionForwarder<IcmpSession, IcmpTargets>
  implements IcmpForwarderHandler, IcmpSessionOwner {
  readonly counters: IcmpForwarderCounters = newIcmpCounters();
  readonly held: HeldBytes = new HeldBytes();
  readonly #allowances = new WeakMap<FlowOwner, Allowance>();

  echo(
    client: EchoFlow,
    destination: IpAddress,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): EchoVerdict {
    if (this.isClosing) {
      this.counters.closing++;
      return "drop";
    }
    const known = client.session as IcmpSession | undefined;
    const peer = known?.peer ?? this.options.ownerOf(client.from, client.client);
    if (!this.#mayPing(peer, now)) {
      this.counters.flooded++;
      return "drop";
    }
    let entry = known?.find(destination);
    let session = known;
    if (entry === undefined) {
      const flow = new Flow("icmp", peer, client.client, client.identifier, destination, 0, now);
      const refusal = this.options.admission.admit(flow, now);
      if (refusal !== undefined) return this.#refuse(flow, refusal);
      this.noteAdmitted();
      session ??= this.#begin(client, peer, now);
      this.touch(session, now);
      entry = session.add(flow);
    } else this.touch(session!, now);
    session!.send(entry, buffer, offset, length, now);
    return "accept";
  }

  protected get shares(): Shares {
    return this.options.admission.pings;
  }

  protected get maxSessions(): number {
    return this.options.settings.limits.maxPingSessions;
  }

  protected idleMs(): number {
    return this.options.settings.timeouts.icmpIdleMs;
  }

  /** The first ping of a client's identifier. */
  #begin(client: EchoFlow, peer: FlowOwner, now: number): IcmpSession {
    this.options.admission.makeRoomForPing(peer, (giver) => this.idlest(giver));
    const session = new IcmpSession(this, client, peer, now);
    client.session = session;
    this.begin(session);
    this.options.wake(); // its deadline is new
    return session;
  }

  #mayPing(peer: FlowOwner, now: number): boolean {
    const { maxPingRate: rate } = this.options.settings.limits;
    let allowance = this.#allowances.get(peer);
    if (allowance === undefined || allowance.rate !== rate) {
      const burst = Math.max(LEAST_BURST, rate * BURST_MS / 1000);
      allowance = { rate, bucket: new TokenBucket(rate, burst) };
      this.#allowances.set(peer, allowance);
    }
    return allowance.bucket.take(now, 1);
  }

  #refuse({ owner, source, sourcePort, destination }: Flow, why: Refusal): EchoVerdict {
    log.debug("{peer}, {client} identifier {identifier}: ping of {target} is refused: {why}", {
      peer: owner.name,
      client: source,
      identifier: sourcePort,
      target: destination,
      why: REFUSAL_WORDS[why],
    });
    return this.countRefusal(why);
  }
}
