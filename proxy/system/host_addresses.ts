/**
 * What names of hosts stand for, asked for again and again.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import type { Resolve } from "../gateway/resolver.ts";
import { getLogger } from "../log/logger.ts";

const log = getLogger(["wirestack", "system"]);

/** From one look at the names to the next, ms. */
const EVERY_MS = 60_000;
/** An address that a name does not stand for any more is kept for so long, ms. */
export const KEPT_MS = 3_600_000;
/** Of one name. */
const MAX_ADDRESSES = 64;

export interface HostAddressesOptions {
  /** Names and addresses of hosts, asked for at every look. */
  hosts(): Iterable<string>;
  readonly resolve: Resolve;
  /** Milliseconds, monotonic. */
  now(): number;
  /** From one look to the next. Default: a minute. */
  readonly everyMs?: number;
}

export class HostAddresses {
  readonly #options: HostAddressesOptions;
  /** Of names: when each address was last found. */
  readonly #found = new Map<string, Map<string, { readonly address: IpAddress; at: number }>>();
  #looked: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(options: HostAddressesOptions) {
    this.#options = options;
  }

  /** Of one host; none of a name that was never found. */
  of(host: string): IpAddress[] {
    const address = parseIpAddress(host);
    if (address !== undefined) return [address];
    return Array.from(this.#found.get(host)?.values() ?? [], ({ address }) => address);
  }

  /** Of all that were found lately, each once for each host. */
  get all(): IpAddress[] {
    const literal = [...this.#options.hosts()].map(parseIpAddress);
    const named = Array.from(this.#found.keys(), (host) => this.of(host)).flat();
    return [...literal.filter((address) => address !== undefined), ...named];
  }

  /** Looks once. A name that is not found keeps what it stood for. @returns those not found. */
  async look(): Promise<{ readonly host: string; readonly reason: string }[]> {
    const { hosts, resolve, now } = this.#options;
    const names = [...new Set(hosts())].filter((host) => parseIpAddress(host) === undefined);
    // Without an answer the last one counts, however old: the way to a name server may be the tunnel's.
    const unknown = new Set<string>();
    const missing = await Promise.all(names.map(async (host) => {
      try {
        const found = [await resolve(host)].flat() as IpAddress[];
        const known = this.#found.get(host) ?? new Map();
        for (const address of found.slice(0, MAX_ADDRESSES)) {
          known.set(`${address}`, { address, at: now() });
        }
        this.#found.set(host, known);
        return [];
      } catch (error) {
        const { message: reason } = error as Error;
        unknown.add(host);
        log.debug("{host}: not found ({reason}), what it stood for counts on", { host, reason });
        return [{ host, reason }];
      }
    }));
    for (const [host, known] of this.#found) {
      if (unknown.has(host)) continue;
      for (const [text, { at }] of known) if (now() - at > KEPT_MS) known.delete(text);
      if (known.size === 0) this.#found.delete(host);
    }
    return missing.flat();
  }

  /** Looks again and again. @param looked Called after each look. */
  start(looked: () => void): void {
    this.#looked = looked;
    this.#lookIn(this.#options.everyMs ?? EVERY_MS);
  }

  /** Looks now, if it has been started: there may be other hosts. */
  lookSoon(): void {
    if (this.#looked !== undefined && !this.#isClosed) this.#lookIn(0);
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      this.#timer = undefined;
      await this.look();
      if (this.#isClosed) return;
      this.#looked!();
      // Unless somebody has asked meanwhile.
      if (this.#timer === undefined) this.#lookIn(this.#options.everyMs ?? EVERY_MS);
    }, ms);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}
