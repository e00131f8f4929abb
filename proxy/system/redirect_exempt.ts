/**
 * Where this process itself connects to, by sockets that cannot be marked: those addresses are not
 * redirected. What names stand for is asked for again and again.
 *
 * @module
 */

import { type IpAddress, Prefix } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import type { Resolve } from "../gateway/resolver.ts";
import { getLogger } from "../log/logger.ts";

const log = getLogger(["wirestack", "system"]);

/** From one look at the names to the next, ms. */
const EVERY_MS = 60_000;
/** An address that a name does not stand for any more stays exempt for so long, ms. */
export const KEPT_MS = 3_600_000;
/** Of one name. */
const MAX_ADDRESSES = 64;

export interface ExemptOptions {
  /** Names and addresses of hosts, asked for at every look. */
  hosts(): Iterable<string>;
  /** Exempt in any case. */
  readonly prefixes: readonly Prefix[];
  readonly resolve: Resolve;
  /** Milliseconds, monotonic. */
  now(): number;
  /** Has all of them exempt, and nothing else. Called when they have changed. */
  apply(exempt: readonly Prefix[]): void;
  /** From one look to the next. Default: a minute. */
  readonly everyMs?: number;
}

export class ExemptHosts {
  readonly #options: ExemptOptions;
  /** Of names: when each address was last found. */
  readonly #found = new Map<string, { readonly address: IpAddress; at: number }>();
  #applied = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(options: ExemptOptions) {
    this.#options = options;
  }

  /** What is exempt now. */
  get prefixes(): Prefix[] {
    const { hosts, prefixes } = this.#options;
    const literal = [...hosts()].map(parseIpAddress).filter((address) => address !== undefined);
    const named = Array.from(this.#found.values(), ({ address }) => address);
    return [...prefixes, ...[...literal, ...named].map(single)];
  }

  /** Looks once. A name that is not found keeps what it stood for. */
  async look(): Promise<void> {
    const { hosts, resolve, now } = this.#options;
    const names = [...hosts()].filter((host) => parseIpAddress(host) === undefined);
    await Promise.all([...new Set(names)].map(async (name) => {
      try {
        const found = [await resolve(name)].flat() as IpAddress[];
        for (const address of found.slice(0, MAX_ADDRESSES)) {
          this.#found.set(`${name} ${address}`, { address, at: now() });
        }
      } catch (error) {
        log.debug("{host}: not found ({reason}), what it stood for stays exempt", {
          host: name,
          reason: (error as Error).message,
        });
      }
    }));
    for (const [key, { at }] of this.#found) if (now() - at > KEPT_MS) this.#found.delete(key);
  }

  /** Applies what is exempt now, and looks again and again. */
  start(): void {
    this.#apply();
    this.#again();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #again(): void {
    this.#timer = setTimeout(async () => {
      await this.look();
      if (this.#isClosed) return;
      this.#apply();
      this.#again();
    }, this.#options.everyMs ?? EVERY_MS);
  }

  #apply(): void {
    const exempt = this.prefixes;
    const text = exempt.map(String).sort().join(" ");
    if (text === this.#applied) return;
    try {
      this.#options.apply(exempt);
      this.#applied = text;
    } catch (error) {
      log.error("{problem}", { problem: `what is not redirected: ${(error as Error).message}` });
    }
  }
}

function single(address: IpAddress): Prefix {
  return new Prefix(address, address.bytes.length * 8);
}
