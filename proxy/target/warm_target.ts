/**
 * The connections to one target that are kept ready: made, watched, and made again.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { Backoff } from "../bind/stream/backoff.ts";
import type { Dial } from "../flow/stream.ts";
import { getLogger } from "../log/logger.ts";
import { dialNamed, type DialTools } from "./named_dial.ts";
import { WarmConnection } from "./warm_connection.ts";

const log = getLogger(["wirestack", "target"]);

/** A target, and how many connections to it are kept ready. */
export interface WarmTarget {
  readonly to: IpAddress | string;
  readonly port: number;
  readonly count: number;
}

export interface WarmOptions extends DialTools {
  /** Milliseconds, monotonic. */
  now(): number;
  /** @param to The target as it is named. */
  isAllowed(to: IpAddress | string, address: IpAddress, port: number): boolean;
  /** Whether this host should open another connection that nobody needs yet. */
  hasRoom(): boolean;
}

/** Between attempts that fail, ms. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
/** A connection that was open for less counts as a failure, ms. */
const SHORT_MS = 5_000;
/**
 * Failures in a row before a line is logged: seven seconds' worth. A target that restarts causes
 * fewer.
 */
const WORTH_SAYING = 4;
/** Dials to one target at the same time. */
const MAX_DIALS = 8;
/** How long a dial may take, ms. */
const DIAL_MS = 10_000;
/** When there was no room, how long before looking again, ms. */
const NO_ROOM_MS = 5_000;

/** Totals since the start. */
export interface WarmCounters {
  opened: number;
  /** Given to a flow. */
  used: number;
  /** Closed by the target, or it spoke, before a flow came. */
  spoilt: number;
}

/** The connections to one target. */
export class WarmConnections {
  readonly #target: WarmTarget;
  readonly #options: WarmOptions;
  readonly #counters: WarmCounters;
  /** The oldest first. */
  readonly #ready: WarmConnection[] = [];
  readonly #dials = new Set<Dial>();
  #count = 0;
  #failures = 0;
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, lastMs: LAST_RETRY_MS });
  /** Cancels the wait before the next attempt; undefined if none is under way. */
  #stopWaiting: (() => void) | undefined;
  #stopWatching: (() => void) | undefined;
  #hasWarned = false;
  /** The log has said that the target is out of reach. */
  #hasSaidSo = false;
  #isClosed = false;

  constructor(target: WarmTarget, options: WarmOptions, counters: WarmCounters) {
    this.#target = target;
    this.#options = options;
    this.#counters = counters;
    if (typeof target.to === "string") this.#watch(target.to);
  }

  get size(): number {
    return this.#ready.length + this.#dials.size;
  }

  setCount(count: number): void {
    this.#count = count;
    while (this.#ready.length > count) this.#ready.shift()!.close();
    this.#fill();
  }

  take(): WarmConnection | undefined {
    const connection = this.#ready.shift();
    if (connection === undefined) return undefined;
    this.#counters.used++;
    if (this.#isOld(connection)) this.#works();
    if (this.#stopWaiting === undefined) this.#fillAfter(0);
    return connection;
  }

  giveUp(): void {
    for (const connection of this.#ready.splice(0)) connection.close();
    this.#fillAfter(LAST_RETRY_MS);
  }

  close(): void {
    this.#isClosed = true;
    this.#stopWaiting?.();
    this.#stopWatching?.();
    for (const connection of this.#ready.splice(0)) connection.close();
    for (const dial of this.#dials) dial.abort();
    this.#dials.clear();
  }

  #fill(): void {
    while (
      !this.#isClosed && this.#stopWaiting === undefined && this.size < this.#count &&
      this.#dials.size < MAX_DIALS
    ) {
      if (this.#options.hasRoom()) this.#dial();
      else this.#fillAfter(NO_ROOM_MS);
    }
  }

  #fillAfter(ms: number): void {
    this.#stopWaiting?.();
    this.#stopWaiting = this.#options.after(ms, () => {
      this.#stopWaiting = undefined;
      this.#fill();
    });
  }

  #dial(): void {
    const { to, port } = this.#target;
    // A name that leads nowhere is found out by its dial; an address is known.
    if (typeof to !== "string" && !this.#options.isAllowed(to, to, port)) {
      this.#fillAfter(LAST_RETRY_MS);
      return;
    }
    const dial = dialNamed(this.#options, {
      to,
      port,
      isAllowed: (address) => this.#options.isAllowed(to, address, port),
      connected: (stream, address) => {
        stopTimer();
        this.#dials.delete(limited);
        this.#counters.opened++;
        const spoilt = (connection: WarmConnection, hasSpoken: boolean) =>
          this.#spoilt(connection, hasSpoken);
        this.#ready.push(new WarmConnection(stream, address, this.#options.now(), spoilt));
        if (this.#ready.length > this.#count) this.#ready.shift()!.close();
        this.#fill();
      },
      failed: () => {
        stopTimer();
        this.#dials.delete(limited);
        this.#retry();
      },
    });
    const stopTimer = this.#options.after(DIAL_MS, () => {
      dial.abort();
      this.#dials.delete(limited);
      this.#retry();
    });
    const limited: Dial = {
      abort() {
        stopTimer();
        dial.abort();
      },
    };
    this.#dials.add(limited);
  }

  #spoilt(connection: WarmConnection, hasSpoken: boolean): void {
    const place = this.#ready.indexOf(connection);
    if (place < 0) return; // a flow has it, and finds out
    this.#ready.splice(place, 1);
    this.#counters.spoilt++;
    if (hasSpoken && !this.#hasWarned) {
      this.#hasWarned = true;
      const { to, port } = this.#target;
      log.warn(
        "{to} port {port} speaks before its client does: WarmConnections is of no use there",
        {
          to,
          port,
        },
      );
    }
    if (this.#isOld(connection)) {
      this.#works();
      this.#fill();
    } else this.#retry();
  }

  #isOld({ openedAt }: WarmConnection): boolean {
    return this.#options.now() - openedAt >= SHORT_MS;
  }

  #works(): void {
    this.#backoff.reset();
    this.#failures = 0;
    this.#hasSaidSo = false;
  }

  /** Tries again, each time after a longer wait. */
  #retry(): void {
    if (this.#stopWaiting !== undefined) return;
    this.#fillAfter(this.#backoff.next());
    if (++this.#failures < WORTH_SAYING || this.#hasSaidSo || this.#hasWarned) return;
    this.#hasSaidSo = true;
    const { to, port } = this.#target;
    log.warn("{to} port {port}: no connection stays ready, tried again later and later", {
      to,
      port,
    });
  }

  /**
   * Resolves the name again whenever its TTL is over, and closes connections to addresses that it
   * no longer has.
   */
  #watch(name: string): void {
    const { names, after, now } = this.#options;
    const found: IpAddress[] = [];
    let isDone = false;
    const lookup = names.resolve(name, {
      found: (addresses, isLast) => {
        found.push(...addresses);
        isDone = isLast;
        if (!isLast) return;
        if (found.length > 0) this.#keep(found);
        const wait = Math.max(FIRST_RETRY_MS, names.renewAt(name) - now());
        this.#stopWatching = after(wait, () => this.#watch(name));
      },
    });
    if (!isDone) this.#stopWatching = () => lookup.cancel();
  }

  #keep(addresses: readonly IpAddress[]): void {
    const isCurrent = ({ address }: WarmConnection) => addresses.some((one) => one.equals(address));
    const [kept, others] = [
      this.#ready.filter(isCurrent),
      this.#ready.filter((connection) => !isCurrent(connection)),
    ];
    if (others.length === 0) return;
    this.#ready.splice(0, Infinity, ...kept);
    for (const connection of others) connection.close();
    this.#fill();
  }
}
