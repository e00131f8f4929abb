/**
 * Answers for UDP targets behind NIC 2 (or NIC 1): one socket per client address and port, as a NAT
 * with endpoint-independent mapping and address-and-port-dependent filtering (RFC 4787 §4.1, §5).
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import {
  Deadlines,
  type IpAddress,
  type Prefix,
  type UdpFlow,
  type UdpForwarderHandler,
} from "../../netstack/mod.ts";
import type { ProxyLimits, ProxyTimeouts } from "../config/config.ts";
import type { TurnSource } from "../engine/engine.ts";
import type { TargetPolicy } from "../flow/safe_targets.ts";
import type { TargetCounters, TargetSockets } from "../target/udp.ts";
import { openTargetSockets } from "../target/udp_open.ts";
import { UdpSession, type UdpSessionOwner } from "./udp_session.ts";

const log = getLogger(["wirestack", "udp"]);

/** Totals since the start, by reason. */
export interface UdpForwarderCounters extends TargetCounters {
  sessions: number;
  /** Sessions that ended because nothing went either way. */
  idle: number;
  /** The idlest session of the peer with the most, given up for a new one. */
  evicted: number;
  /** Not proxied for UDP, or the policy does not allow the target. */
  forbidden: number;
  /** Dropped because the gateway is closing. */
  closing: number;
  /** No socket could be opened. */
  socketErrors: number;
  datagramsUp: number;
  bytesUp: number;
  datagramsDown: number;
  bytesDown: number;
  /** From an address that the client has not asked. */
  unasked: number;
  /** The tunnel had no room for a reply. */
  noRoom: number;
  /** What became of a datagram, passed on to the client as ICMP. */
  reports: number;
}

export interface UdpForwarderOptions {
  readonly policy: TargetPolicy;
  /** Whether the protocol is proxied for an address. */
  isProxied(address: IpAddress, protocol: "tcp" | "udp"): boolean;
  /** Whether a target is the gateway's own WireGuard socket. */
  isOwnSocket(target: IpAddress, port: number): boolean;
  /** Whom a client's sessions are counted with, where several share the gateway. */
  sharerOf(client: IpAddress): object | undefined;
  /** May change while running. */
  readonly settings: { readonly timeouts: ProxyTimeouts; readonly limits: ProxyLimits };
  /** Milliseconds, monotonic. */
  now(): number;
  /** A deadline was set outside of the engine's turn, or there is something to send or to receive. */
  wake(): void;
  /** Whether the tunnel takes more replies. */
  hasRoom(): boolean;
  /** Whether sockets are over FFI. */
  readonly ffi: boolean;
}

type UdpVerdict = ReturnType<UdpForwarderHandler["datagram"]>;

export class UdpForwarder implements UdpForwarderHandler, UdpSessionOwner, TurnSource {
  readonly counters: UdpForwarderCounters = {
    sessions: 0,
    idle: 0,
    evicted: 0,
    forbidden: 0,
    closing: 0,
    socketErrors: 0,
    datagramsUp: 0,
    bytesUp: 0,
    datagramsDown: 0,
    bytesDown: 0,
    sendErrors: 0,
    noBuffer: 0,
    receiveErrors: 0,
    unasked: 0,
    noRoom: 0,
    reports: 0,
  };
  readonly #options: UdpForwarderOptions;
  readonly #sessions = new Set<UdpSession>();
  readonly #sessionsOf = new Map<object | undefined, number>();
  #sockets: TargetSockets | undefined;
  readonly #deadlines = new Deadlines<UdpSession>();
  #isClosing = false;

  constructor(options: UdpForwarderOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#sessions.size;
  }

  sessions(): Iterable<UdpSession> {
    return this.#sessions;
  }

  /** Whether a session is with a target in `prefix`. */
  uses(prefix: Prefix): boolean {
    for (const session of this.#sessions) {
      if (session.hasAsked(prefix)) return true;
    }
    return false;
  }

  datagram(
    flow: UdpFlow,
    destination: IpAddress,
    destinationPort: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): UdpVerdict {
    let session = flow.session as UdpSession | undefined;
    if (session === undefined) {
      if (this.#isClosing) {
        this.counters.closing++;
        return "drop";
      }
      if (this.resolve(destination, destinationPort) === undefined) {
        return this.#forbid(flow, destination, destinationPort);
      }
      session = this.#open(flow, now);
    }
    const asked = session.ask(destination, destinationPort);
    if (asked === undefined) return this.#forbid(flow, destination, destinationPort);
    this.touch(session, now);
    session.send(asked, buffer, offset, length);
    return "accept";
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return this.#deadlines.next();
  }

  handleTimeout(now: number): void {
    for (let session; (session = this.#deadlines.popDue(now)) !== undefined;) {
      this.counters.idle++;
      session.end();
    }
  }

  /** No new sessions from now on. */
  close(): void {
    this.#isClosing = true;
  }

  /** Ends every session. Resolves when no socket is left. */
  async abort(): Promise<void> {
    this.#isClosing = true;
    for (const session of [...this.#sessions]) session.end();
    await this.#sockets?.close();
  }

  /** Opened with the first session. */
  get sockets(): TargetSockets {
    return this.#sockets ??= openTargetSockets(
      {
        counters: this.counters,
        now: () => this.#options.now(),
        wake: () => this.#options.wake(),
        hasRoom: () => this.#options.hasRoom(),
      },
      this.#options.ffi,
    );
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

  resolve(destination: IpAddress, port: number): IpAddress | undefined {
    const { policy, isProxied, isOwnSocket } = this.#options;
    if (port === 0 || !isProxied(destination, "udp")) return undefined;
    const target = policy.resolve(destination);
    // A peer could send itself through the tunnel into the tunnel, and every round would be another.
    return target !== undefined && isOwnSocket(target, port) ? undefined : target;
  }

  touch(session: UdpSession, now: number): void {
    session.lastActivity = now;
    const { udpIdleMs, udpDnsIdleMs } = this.#options.settings.timeouts;
    this.#deadlines.set(session, now + (session.isDnsOnly ? udpDnsIdleMs : udpIdleMs));
  }

  onEnded(session: UdpSession): void {
    this.#deadlines.remove(session);
    this.#sessions.delete(session);
    this.#count(session.sharer, -1);
  }

  #open(flow: UdpFlow, now: number): UdpSession {
    if (this.#sessions.size >= this.#options.settings.limits.maxUdpSessions) this.#evict();
    const session = new UdpSession(this, flow, this.#options.sharerOf(flow.client), now);
    flow.session = session;
    this.#sessions.add(session);
    this.#count(session.sharer, 1);
    this.counters.sessions++;
    this.#options.wake();
    return session;
  }

  /** A peer that opens port after port loses its own sessions, not those of the others. */
  #evict(): void {
    let greediest: object | undefined;
    let most = 0;
    for (const [sharer, count] of this.#sessionsOf) {
      if (count <= most) continue;
      greediest = sharer;
      most = count;
    }
    let idlest: UdpSession | undefined;
    for (const session of this.#sessions) {
      if (session.sharer !== greediest) continue;
      if (idlest === undefined || session.lastActivity < idlest.lastActivity) idlest = session;
    }
    if (idlest === undefined) return;
    this.counters.evicted++;
    idlest.end();
  }

  #count(sharer: object | undefined, change: 1 | -1): void {
    const count = (this.#sessionsOf.get(sharer) ?? 0) + change;
    if (count === 0) this.#sessionsOf.delete(sharer);
    else this.#sessionsOf.set(sharer, count);
  }

  #forbid(flow: UdpFlow, target: IpAddress, port: number): UdpVerdict {
    this.counters.forbidden++;
    log.debug("{client}: {target} port {port} is refused", {
      client: flow.client,
      target,
      port,
    });
    return "prohibited";
  }
}
