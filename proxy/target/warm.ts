/**
 * Warm connections: some to each target that asks for them, kept ready, so that a flow need not wait
 * for its dial.
 *
 * A target that speaks first, or that closes what is idle, has none that stay: what has arrived on a
 * connection belongs to nobody yet.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { ByteStream, Dial, StreamHandler } from "../flow/stream.ts";
import { getLogger } from "../log/logger.ts";
import { dialNamed, type DialTools } from "./named_dial.ts";

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
/** One that was open for less has failed, ms. */
const SHORT_MS = 5_000;
/** Being made at once, to one target. */
const MAX_DIALS = 8;
/** How long one may take, ms. */
const DIAL_MS = 10_000;
/** How often there is another look whether there is room, ms. */
const NO_ROOM_MS = 5_000;

/** Totals since the start. */
export interface WarmCounters {
  opened: number;
  /** Given to a flow. */
  used: number;
  /** Closed by the target, or it spoke, before a flow came. */
  spoilt: number;
}

export class WarmPool {
  readonly counters: WarmCounters = { opened: 0, used: 0, spoilt: 0 };
  readonly #options: WarmOptions;
  readonly #targets = new Map<string, WarmConnections>();

  constructor(options: WarmOptions) {
    this.#options = options;
  }

  /** Connections that are ready, or being made. */
  get size(): number {
    let size = 0;
    for (const target of this.#targets.values()) size += target.size;
    return size;
  }

  /** Keeps connections to these targets ready and to no others. Of one that comes twice, the most. */
  set(targets: readonly WarmTarget[]): void {
    const wanted = new Map<string, WarmTarget>();
    for (const target of targets) {
      const key = keyOf(target.to, target.port);
      if (target.count > (wanted.get(key)?.count ?? 0)) wanted.set(key, target);
    }
    for (const [key, target] of this.#targets) {
      if (wanted.has(key)) continue;
      target.close();
      this.#targets.delete(key);
    }
    for (const [key, target] of wanted) {
      let known = this.#targets.get(key);
      if (known === undefined) {
        known = new WarmConnections(target, this.#options, this.counters);
        this.#targets.set(key, known);
      }
      known.setCount(target.count);
    }
  }

  /**
   * A connection for one flow, which waits for a turn of the event loop and then looks whether it is
   * still {@link WarmConnection.isReady}.
   */
  take(to: IpAddress | string, port: number): WarmConnection | undefined {
    if (this.#targets.size === 0) return undefined;
    return this.#targets.get(keyOf(to, port))?.take();
  }

  /** This host has no descriptors left: what nobody needs yet is closed, and not made again for a while. */
  giveUp(): void {
    for (const target of this.#targets.values()) target.giveUp();
  }

  close(): void {
    this.set([]);
  }
}

function keyOf(to: IpAddress | string, port: number): string {
  return `${to} ${port}`;
}

/** An idle connection to a target. */
export class WarmConnection implements StreamHandler {
  readonly stream: ByteStream;
  readonly address: IpAddress;
  readonly openedAt: number;
  readonly #spoilt: (connection: WarmConnection, hasSpoken: boolean) => void;
  /** Nothing has come on it, neither data nor its end. */
  isReady = true;

  constructor(
    stream: ByteStream,
    address: IpAddress,
    now: number,
    spoilt: (connection: WarmConnection, hasSpoken: boolean) => void,
  ) {
    this.stream = stream;
    this.address = address;
    this.openedAt = now;
    this.#spoilt = spoilt;
    stream.handler = this;
    stream.resume();
  }

  data(): boolean {
    this.#spoil(true);
    return false;
  }

  appetite(): number {
    return 1;
  }

  ended(): void {
    this.#spoil(false);
  }

  drained(): void {}

  closed(): void {
    this.#spoil(false);
  }

  /** It is the flow's from now on. */
  give(): ByteStream {
    this.isReady = false;
    this.stream.handler = undefined;
    return this.stream;
  }

  close(): void {
    this.isReady = false;
    this.stream.reset();
  }

  #spoil(hasSpoken: boolean): void {
    if (!this.isReady) return;
    this.close();
    this.#spoilt(this, hasSpoken);
  }
}

/** Those to one target. */
class WarmConnections {
  readonly #target: WarmTarget;
  readonly #options: WarmOptions;
  readonly #counters: WarmCounters;
  /** The oldest first. */
  readonly #ready: WarmConnection[] = [];
  readonly #dials = new Set<Dial>();
  #count = 0;
  #failures = 0;
  /** Until the next attempt; undefined if it need not be waited for. */
  #stopWaiting: (() => void) | undefined;
  #stopWatching: (() => void) | undefined;
  #hasWarned = false;
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
    if (this.#options.now() - connection.openedAt < SHORT_MS) this.#retry();
    else {
      this.#failures = 0;
      this.#fill();
    }
  }

  /** Later and later. */
  #retry(): void {
    if (this.#stopWaiting !== undefined) return;
    this.#fillAfter(Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures++));
  }

  /** Resolves the name again whenever its time is over, and closes what leads elsewhere now. */
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
