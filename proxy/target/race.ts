/**
 * One connection to whichever of a name's addresses answers first: Happy Eyeballs, RFC 8305.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import type { ByteStream, Dial, Dialer, DialError, DialHandler } from "../flow/stream.ts";
import type { After } from "./names.ts";

/** RFC 8305 §5: between the beginnings of two attempts, ms. */
const ATTEMPT_DELAY_MS = 250;
/** Attempts for one connection, each with a descriptor while it lasts. */
const MAX_ATTEMPTS = 16;

export interface RaceOptions {
  readonly dialer: Dialer;
  readonly port: number;
  readonly after: After;
  connected(stream: ByteStream, address: IpAddress): void;
  failed(why: DialError): void;
}

/** Addresses may be added while it runs: those of the other family come later. */
export class Race implements Dial {
  readonly #options: RaceOptions;
  readonly #known: IpAddress[] = [];
  /** Not tried yet, the preferred first. */
  readonly #left: IpAddress[] = [];
  readonly #running = new Set<Dial>();
  #lastVersion = 0;
  #attempts = 0;
  #isComplete = false;
  #isOver = false;
  #why: DialError | undefined;
  #stopWaiting: (() => void) | undefined;

  constructor(options: RaceOptions) {
    this.#options = options;
  }

  /** Whether any address was dialled. */
  get hasTried(): boolean {
    return this.#attempts > 0;
  }

  /** @param isLast Whether no more will be added. If none ever was, the race fails. */
  add(addresses: readonly IpAddress[], isLast: boolean): void {
    if (this.#isOver) return;
    for (const address of addresses) {
      if (this.#known.some((known) => known.equals(address))) continue;
      this.#known.push(address);
      this.#left.push(address);
    }
    this.#isComplete = isLast;
    if (this.#stopWaiting === undefined) this.#next();
  }

  abort(): void {
    this.#isOver = true;
    this.#stopWaiting?.();
    for (const dial of this.#running) dial.abort();
    this.#running.clear();
  }

  /** Begins another attempt, and waits before the one after it. */
  #next(): void {
    this.#stopWaiting?.();
    this.#stopWaiting = undefined;
    const address = this.#attempts < MAX_ATTEMPTS ? this.#take() : undefined;
    if (address === undefined) {
      if (this.#running.size === 0 && this.#isComplete) this.#fail();
      return;
    }
    this.#attempts++;
    this.#lastVersion = address.version;
    const { dialer, port, after } = this.#options;
    const attempt: DialHandler = {
      connected: (stream) => {
        this.#running.delete(dial);
        this.abort();
        this.#options.connected(stream, address);
      },
      dialFailed: (why) => {
        this.#running.delete(dial);
        if (RANK.indexOf(why) < RANK.indexOf(this.#why ?? "failed")) this.#why = why;
        this.#why ??= why;
        this.#next();
      },
    };
    const dial = dialer.dial(address, port, attempt);
    this.#running.add(dial);
    if (this.#left.length === 0 && this.#isComplete) return; // there is no other to wait for
    this.#stopWaiting = after(ATTEMPT_DELAY_MS, () => this.#next());
  }

  /** §4: of the other family than the last, if there is one. */
  #take(): IpAddress | undefined {
    const other = this.#left.findIndex(({ version }) => version !== this.#lastVersion);
    return this.#left.splice(Math.max(0, other), 1)[0];
  }

  #fail(): void {
    this.#isOver = true;
    this.#options.failed(this.#why ?? "host");
  }
}

/** Of several reasons the client is told the one that says most. */
const RANK: readonly DialError[] = [
  "refused",
  "prohibited",
  "timeout",
  "host",
  "net",
  "exhausted",
  "failed",
];
