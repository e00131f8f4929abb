/**
 * Answers for TCP targets behind NIC 2 (or NIC 1): dials first, then completes the client's
 * handshake, so that a closed port looks closed and a silent one silent.
 *
 * @module
 */

import { getLogger } from "../log/logger.ts";
import {
  Deadlines,
  type IpAddress,
  type KeepAlive,
  type Prefix,
  type TcpForwarderHandler,
  type TcpForwarderRequest,
} from "../../netstack/mod.ts";
import type { ProxyLimits, ProxyTimeouts } from "../config/config.ts";
import type { DialError } from "../target/tcp.ts";
import { isInspector, type TargetPolicy } from "../flow/safe_targets.ts";
import { TcpRelay, type TcpRelayOwner, WriteBuffers } from "./tcp_relay.ts";

const log = getLogger(["wirestack", "tcp"]);

/** Totals since the start, by reason. */
export interface TcpForwarderCounters {
  requests: number;
  connected: number;
  refused: number;
  timedOut: number;
  unreachable: number;
  /** A dial failed for a reason of this host: no file descriptor, no permission. */
  failed: number;
  /** The client gave up, or asked anew, while the target was dialled. */
  abandoned: number;
  /** Not proxied for TCP, or the policy does not allow the target. */
  forbidden: number;
  /** Dropped, for the client to try again: as many dials in flight as are allowed. */
  tooManyDials: number;
  tooManyConnections: number;
  /** Refused because the gateway is closing. */
  closing: number;
  resetByClient: number;
  resetByTarget: number;
  halfClosedTooLong: number;
  bytesUp: number;
  bytesDown: number;
}

export interface TcpForwarderOptions {
  readonly policy: TargetPolicy;
  /** Whether the protocol is proxied for an address. */
  isProxied(address: IpAddress, protocol: "tcp" | "udp"): boolean;
  /**
   * Whom a client's dials are counted with, where several share the gateway: one of them has at most
   * half of the dials that may be in flight.
   */
  sharerOf(client: IpAddress): object | undefined;
  /** May change while running. */
  readonly settings: { readonly timeouts: ProxyTimeouts; readonly limits: ProxyLimits };
  /** Milliseconds, monotonic. */
  now(): number;
  /** A deadline was set outside of the engine's turn. */
  wake(): void;
}

export class TcpForwarder implements TcpForwarderHandler, TcpRelayOwner {
  readonly counters: TcpForwarderCounters = {
    requests: 0,
    connected: 0,
    refused: 0,
    timedOut: 0,
    unreachable: 0,
    failed: 0,
    abandoned: 0,
    forbidden: 0,
    tooManyDials: 0,
    tooManyConnections: 0,
    closing: 0,
    resetByClient: 0,
    resetByTarget: 0,
    halfClosedTooLong: 0,
    bytesUp: 0,
    bytesDown: 0,
  };
  readonly #options: TcpForwarderOptions;
  readonly #relays = new Set<TcpRelay>();
  readonly #deadlines = new Deadlines<TcpRelay>();
  readonly #buffers = new WriteBuffers();
  #dials = 0;
  readonly #dialsOf = new Map<object, number>();
  #isClosing = false;

  constructor(options: TcpForwarderOptions) {
    this.#options = options;
  }

  /** For a connection that begins now. */
  get keepAlive(): KeepAlive {
    const { tcpKeepAliveIdleMs, tcpKeepAliveIntervalMs, tcpKeepAliveCount } =
      this.#options.settings.timeouts;
    return {
      idle: tcpKeepAliveIdleMs,
      interval: tcpKeepAliveIntervalMs,
      count: tcpKeepAliveCount,
    };
  }

  /** Connections and dials that are not over. */
  get size(): number {
    return this.#relays.size;
  }

  /** Dials in flight. */
  get dials(): number {
    return this.#dials;
  }

  relays(): Iterable<TcpRelay> {
    return this.#relays;
  }

  /** Whether a connection is to a target in `prefix`. */
  uses(prefix: Prefix): boolean {
    for (const { request } of this.#relays) {
      if (prefix.contains(request.target)) return true;
    }
    return false;
  }

  request(request: TcpForwarderRequest): void {
    const { counters } = this;
    const { policy, isProxied, sharerOf, settings, now } = this.#options;
    const { limits, timeouts } = settings;
    counters.requests++;
    if (this.#isClosing) {
      counters.closing++;
      request.reject("reset");
      return;
    }
    const target = isProxied(request.target, "tcp") ? policy.resolve(request.target) : undefined;
    if (target === undefined || isInspector(target, request.targetPort)) {
      counters.forbidden++;
      log.debug("{client}: {target} port {port} is refused", {
        client: request.client,
        target: request.target,
        port: request.targetPort,
      });
      request.reject("reset");
      return;
    }
    const sharer = sharerOf(request.client);
    const share = sharer === undefined ? 0 : this.#dialsOf.get(sharer) ?? 0;
    if (this.#dials >= limits.maxDials || share >= Math.ceil(limits.maxDials / 2)) {
      counters.tooManyDials++;
      request.reject("drop");
      return;
    }
    if (this.#relays.size >= limits.maxTcpConnections) {
      counters.tooManyConnections++;
      request.reject("reset");
      return;
    }
    const relay = new TcpRelay(this, this.#buffers, request, target, now(), sharer);
    this.#relays.add(relay);
    this.#dials++;
    if (sharer !== undefined) this.#dialsOf.set(sharer, share + 1);
    this.#deadlines.set(relay, now() + timeouts.tcpDialMs);
    try {
      relay.start();
    } catch (error) { // not permitted by the runtime
      log.error("{target} port {port}: {error}", { target, port: request.targetPort, error });
      relay.targetFailed("failed");
    }
  }

  /** When {@link handleTimeout} is due, ms; Infinity for never. */
  pollTimeout(): number {
    return this.#deadlines.next();
  }

  handleTimeout(now: number): void {
    for (let relay; (relay = this.#deadlines.popDue(now)) !== undefined;) {
      if (relay.isConnected) this.counters.halfClosedTooLong++;
      relay.expire();
    }
  }

  /** No new connections from now on; those that are stay. */
  close(): void {
    this.#isClosing = true;
  }

  /** Resets everything that is left. */
  abort(): void {
    for (const relay of [...this.#relays]) relay.abort();
  }

  onConnected(relay: TcpRelay): void {
    this.#dialDone(relay);
    this.counters.connected++;
    this.#deadlines.remove(relay);
    log.debug("{client} port {clientPort}: connected to {target} port {port}", addresses(relay));
  }

  onDialFailed(relay: TcpRelay, why: DialError | "aborted"): void {
    this.#dialDone(relay);
    this.counters[FAILURES[why]]++;
    log.debug("{client} port {clientPort}: {target} port {port}: {why}", {
      ...addresses(relay),
      why,
    });
  }

  onHalfClosed(relay: TcpRelay): void {
    this.#deadlines.set(
      relay,
      this.#options.now() + this.#options.settings.timeouts.tcpHalfCloseMs,
    );
    this.#options.wake();
  }

  onReset(_relay: TcpRelay, by: "client" | "target"): void {
    if (by === "client") this.counters.resetByClient++;
    else this.counters.resetByTarget++;
  }

  onEnded(relay: TcpRelay): void {
    this.counters.bytesUp += relay.bytesUp;
    this.counters.bytesDown += relay.bytesDown;
    this.#deadlines.remove(relay);
    this.#relays.delete(relay);
  }

  #dialDone({ sharer }: TcpRelay): void {
    this.#dials--;
    if (sharer === undefined) return;
    const left = this.#dialsOf.get(sharer)! - 1;
    if (left === 0) this.#dialsOf.delete(sharer);
    else this.#dialsOf.set(sharer, left);
  }
}

const FAILURES = {
  refused: "refused",
  timeout: "timedOut",
  host: "unreachable",
  net: "unreachable",
  prohibited: "unreachable",
  failed: "failed",
  aborted: "abandoned",
} as const satisfies Record<DialError | "aborted", keyof TcpForwarderCounters>;

function addresses({ request, target }: TcpRelay) {
  const { client, clientPort, targetPort: port } = request;
  return { client, clientPort, target, port };
}
