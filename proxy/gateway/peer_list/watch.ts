/**
 * Keeps a gateway's peers like a signed list that is watched. A list that is not good, or cannot be had,
 * changes nothing: the last good one stays, over a restart too.
 *
 * @module
 */

import { isSameKey } from "../../base64.ts";
import type { PeerListConfig } from "../../config/checked.ts";
import { getLogger } from "../../log/logger.ts";
import type { PeerSources } from "../peer_sources.ts";
import { type PeerList, readPeerList } from "./content.ts";
import { type Addresses, type ListPlace, openPlace } from "./place.ts";
import { PeerListStore } from "./store.ts";
import { type ListRefusal, PeerListError, verifyPeerList } from "./text.ts";

const log = getLogger(["wirestack", "config"]);

/** A file is looked at so often: it costs one system call. */
const FILE_INTERVAL_MS = 2_000;
/** After a failure the next look comes so soon, then later and later, up to the interval. */
const FIRST_RETRY_MS = 5_000;
/** Of an interval, either way: a thousand gateways do not come at once. */
const JITTER = 0.2;
/** The longest wait that a timer takes. */
const MAX_WAIT_MS = 2 ** 31 - 1;

/** Time, for simulations to give another. */
export interface ListTime {
  /** Ms since the Unix epoch. */
  now(): number;
  /** From 0, below 1. */
  random(): number;
  /** Resolves after `ms`, or when the signal is aborted. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

export interface PeerListOptions {
  readonly config: PeerListConfig;
  readonly sources: PeerSources;
  /** The gateway's: a list may be every hub's, with the hubs in it. */
  publicKey(): Uint8Array;
  /** Where the list is kept for the next start; the first that works. */
  readonly stateDirectories: readonly string[];
  /** Where the list's host is to be called. Default: as the system resolves names. */
  readonly addresses?: Addresses | undefined;
  /** The list that is used already, of the same key; what peers there are is its. */
  readonly known?: KnownList | undefined;
  /** Counted on. Default: from 0. */
  readonly refused?: Record<ListRefusal, number>;
  readonly time?: ListTime;
  readonly place?: ListPlace;
}

/** A watched list as it is now. Times are ms since the Unix epoch. */
export interface PeerListStats {
  readonly place: string;
  /** Null before the first good list. */
  readonly serial: number | null;
  /** Null if it has no end. */
  readonly notAfter: number | null;
  /** Of the list, whether or not each of them counts; 0 when it has expired. */
  readonly peers: number;
  /** When its place was last read, or had nothing new; null for never. */
  readonly lastRead: number | null;
  /** Since the start, why lists were not taken. */
  readonly refused: Readonly<Record<ListRefusal, number>>;
}

/** A list that is used. */
export interface KnownList {
  readonly list: PeerList;
  readonly body: string;
}

export function noRefusals(): Record<ListRefusal, number> {
  return { unreachable: 0, format: 0, signature: 0, content: 0, serial: 0, expired: 0 };
}

export class PeerListWatch {
  readonly #options: PeerListOptions;
  readonly #time: ListTime;
  readonly #place: ListPlace;
  readonly #store: PeerListStore;
  readonly #closed = new AbortController();
  #wake = new AbortController();
  #current: KnownList | undefined;
  #isExpired = false;
  #lastRead: number | null = null;
  #failures = 0;
  /** What was last said, not to say it again. */
  #said: string | undefined;
  readonly #refused: Record<ListRefusal, number>;

  constructor(options: PeerListOptions) {
    this.#options = options;
    this.#time = options.time ?? HOST_TIME;
    this.#place = options.place ?? openPlace(options.config, options.addresses);
    this.#refused = options.refused ?? noRefusals();
    this.#current = options.known;
    this.#store = new PeerListStore(options.stateDirectories, options.publicKey());
  }

  /** The list of an earlier run, unless one is known, and of a file what is in it. Then it is watched. */
  async open(): Promise<void> {
    if (this.#current === undefined) await this.#restore();
    else this.#isExpired = this.#time.now() >= this.#current.list.notAfter;
    if (this.#closed.signal.aborted) return;
    // Of a list that another key has signed, which nobody vouches for any more.
    if (this.#current === undefined) this.#options.sources.replace("list", []);
    if (!this.#place.isRemote) await this.check();
    this.#watch();
  }

  stats(): PeerListStats {
    const list = this.#current?.list;
    return {
      place: this.#place.name,
      serial: list?.serial ?? null,
      notAfter: list === undefined || list.notAfter === Infinity ? null : list.notAfter,
      peers: list === undefined || this.#isExpired ? 0 : list.peers.length,
      lastRead: this.#lastRead,
      refused: { ...this.#refused },
    };
  }

  /** The list that is used; undefined before the first good one. */
  get known(): KnownList | undefined {
    return this.#current;
  }

  /** Looks at once. */
  refresh(): void {
    this.#wake.abort();
  }

  close(): void {
    this.#closed.abort();
    this.#wake.abort();
    this.#place.close();
  }

  /** Looks once. */
  async check(): Promise<void> {
    try {
      const bytes = await this.#place.read(this.#closed.signal);
      if (this.#closed.signal.aborted) return;
      this.#lastRead = this.#time.now();
      if (bytes !== undefined) await this.#take(bytes);
      if (this.#failures > 0) {
        // Of a file that was bad and has not changed nothing is heard again.
        if (bytes === undefined && !this.#place.isRemote) return;
        log.info("peer list {place}: read again", { place: this.#place.name });
      }
      this.#failures = 0;
      this.#said = undefined;
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      if (error instanceof PeerListError) this.#refuse(error);
      // The gateway goes on with the peers that it has.
      else log.error("peer list {place}: a defect: {error}", { place: this.#place.name, error });
    }
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closed;
    // A file has been looked at already.
    let pause = this.#place.isRemote ? 0 : this.#pause();
    let due = this.#time.now() + pause;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      if (this.#time.now() >= due) {
        await this.check();
        pause = this.#pause();
        due = this.#time.now() + pause;
      }
      const now = this.#time.now();
      due = Math.min(due, now + pause); // the clock may have been set back
      const next = Math.min(due, this.#expiresAt, now + MAX_WAIT_MS);
      await this.#time.wait(Math.max(0, next - now), this.#wake.signal);
      if (signal.aborted) return;
      this.#expire();
      this.#revive();
      if (this.#wake.signal.aborted) due = -Infinity;
    }
  }

  #pause(): number {
    const { intervalMs } = this.#options.config;
    const interval = this.#place.isRemote ? intervalMs : FILE_INTERVAL_MS;
    const pause = this.#failures === 0
      ? interval
      : Math.min(interval, FIRST_RETRY_MS * 2 ** Math.min(this.#failures - 1, 20));
    return pause * (1 - JITTER + 2 * JITTER * this.#time.random());
  }

  get #expiresAt(): number {
    return this.#isExpired ? Infinity : this.#current?.list.notAfter ?? Infinity;
  }

  async #restore(): Promise<void> {
    const bytes = this.#store.load();
    if (bytes === undefined) return;
    try {
      const body = await verifyPeerList(bytes, this.#options.config.key);
      const list = await readPeerList(body);
      if (this.#closed.signal.aborted) return;
      this.#current = { list, body };
      this.#expire();
      if (this.#isExpired) return;
      this.#apply(list);
      log.info("peer list {place}: {peers} peers of serial {serial}, of an earlier run", {
        place: this.#place.name,
        peers: list.peers.length,
        serial: list.serial,
      });
    } catch (error) {
      if (!(error instanceof PeerListError)) throw error;
      // Another key signs now, most likely: its lists begin anew.
      log.info("peer list {place}: that of an earlier run is not used: it {reason}", {
        place: this.#place.name,
        reason: error.message,
      });
    }
  }

  /** @throws {PeerListError} if it is not to be used. */
  async #take(bytes: Uint8Array): Promise<void> {
    const body = await verifyPeerList(bytes, this.#options.config.key);
    if (this.#closed.signal.aborted) return;
    const before = this.#current;
    if (before !== undefined && body === before.body) {
      this.#place.accept();
      return;
    }
    const list = await readPeerList(body);
    if (this.#closed.signal.aborted) return;
    const { serial } = list;
    if (before !== undefined && serial <= before.list.serial) {
      throw new PeerListError(
        "serial",
        serial === before.list.serial
          ? `has the serial ${serial} of the list that is used, and is another, expected a higher one`
          : `has the serial ${serial}, expected one above ${before.list.serial}`,
      );
    }
    if (this.#time.now() >= list.notAfter) {
      throw new PeerListError(
        "expired",
        `counts until ${textOf(list.notAfter)}, which is over, expected a newer one`,
      );
    }
    this.#current = { list, body };
    this.#isExpired = false;
    this.#place.accept();
    this.#store.save(bytes);
    const { added, removed, changed } = this.#apply(list);
    log.info(
      "peer list {place}: serial {serial}, {added} peers added, {removed} removed, {changed} changed",
      { place: this.#place.name, serial, added, removed, changed },
    );
  }

  #apply({ peers }: PeerList) {
    const own = this.#options.publicKey();
    return this.#options.sources.replace(
      "list",
      peers.filter(({ publicKey }) => !isSameKey(publicKey, own)),
    );
  }

  /** Peers of a list whose time is over are peers no more: who gave it a time wants that. */
  #expire(): void {
    if (this.#time.now() < this.#expiresAt) return;
    this.#isExpired = true;
    const { notAfter, serial } = this.#current!.list;
    const { removed } = this.#options.sources.replace("list", []);
    log.warn(
      "peer list {place}: serial {serial} counted until {time}, {removed} peers removed, expected a " +
        "newer list",
      { place: this.#place.name, serial, time: textOf(notAfter), removed },
    );
  }

  /** The clock was wrong when the list's time seemed to be over: its place may have no other. */
  #revive(): void {
    if (!this.#isExpired || this.#time.now() >= this.#current!.list.notAfter) return;
    this.#isExpired = false;
    const { list } = this.#current!;
    const { added } = this.#apply(list);
    log.info("peer list {place}: serial {serial} counts again, {added} peers added", {
      place: this.#place.name,
      serial: list.serial,
      added,
    });
  }

  #refuse({ refusal, message }: PeerListError): void {
    this.#refused[refusal]++;
    this.#failures++;
    if (message === this.#said) return;
    this.#said = message;
    const { name: place } = this.#place;
    const serial = this.#current?.list.serial;
    if (serial === undefined) {
      log.warn("peer list {place}: {reason}; there is none yet", { place, reason: message });
    } else {
      const properties = { place, reason: message, serial };
      log.warn("peer list {place}: {reason}; serial {serial} stays", properties);
    }
  }
}

function textOf(time: number): string {
  return new Date(time).toISOString().replace(".000Z", "Z");
}

const HOST_TIME: ListTime = {
  now: () => Date.now(),
  random: () => Math.random(),
  wait: (ms, signal) =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const timer = setTimeout(end, ms);
      Deno.unrefTimer(timer);
      signal.addEventListener("abort", end, { once: true });
      function end() {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        resolve();
      }
    }),
};
