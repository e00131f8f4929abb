/**
 * The addresses of one `Endpoint`: its own, or those of its name, which is looked up again when it was
 * not found, or when nobody answers there any more.
 *
 * @module
 */

import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";
import { Backoff } from "../bind/stream/backoff.ts";
import { alternateFamilies, type Resolve } from "./resolver.ts";

/** Where a peer is: an address or a name, IPv6 without brackets. */
export interface PeerLocation {
  readonly hostname: string;
  readonly port: number;
}

export interface LocationOptions {
  readonly resolve: Resolve;
  /** How old the addresses of a name must be before it is looked up again, ms. */
  readonly resolveAgainMs: number;
  now(): number;
  /** A name's addresses are known, perhaps others than before. */
  found(): void;
  /** It has none. {@link LocationAddresses.retryAt} is when it is looked up again. */
  notFound(hostname: string, retryMs: number, error: Error): void;
}

export class LocationAddresses {
  readonly location: PeerLocation;
  /** In the order in which they are to be tried; none until a name is found. */
  addresses: readonly IpAddress[];
  /** When a name that was not found is looked up again; Infinity if none is to be. */
  retryAt = Infinity;
  readonly #options: LocationOptions;
  readonly #isName: boolean;
  readonly #backoff = new Backoff();
  #lookedUpAt = -Infinity;
  #isBusy = false;
  #isClosed = false;

  constructor(location: PeerLocation, options: LocationOptions) {
    this.location = location;
    this.#options = options;
    const address = parseIpAddress(location.hostname);
    this.#isName = address === undefined;
    this.addresses = address === undefined ? [] : [address];
  }

  /** Whether there is nothing to wait for. */
  get isKnown(): boolean {
    return !this.#isName || this.addresses.length > 0;
  }

  /** Looks a name up for the first time. */
  start(): void {
    if (this.#isName) this.#lookUp();
  }

  /** Nobody answers: a name is looked up again, unless it just was. */
  refresh(): void {
    if (!this.#isName || this.retryAt !== Infinity) return;
    if (this.#options.now() - this.#lookedUpAt >= this.#options.resolveAgainMs) this.#lookUp();
  }

  /** To be called at {@link retryAt}. */
  handleTimeout(now: number): void {
    if (now >= this.retryAt) this.#lookUp();
  }

  close(): void {
    this.#isClosed = true;
    this.retryAt = Infinity;
  }

  async #lookUp(): Promise<void> {
    if (this.#isBusy || this.#isClosed) return;
    const { hostname } = this.location;
    const { resolve, now } = this.#options;
    this.#isBusy = true;
    this.retryAt = Infinity;
    this.#lookedUpAt = now();
    let found: readonly IpAddress[] | undefined;
    try {
      const addresses = await resolve(hostname);
      found = alternateFamilies("version" in addresses ? [addresses] : addresses);
    } catch (error) {
      if (!this.#isClosed) this.#retryLater(error as Error);
    }
    this.#isBusy = false;
    if (found === undefined || this.#isClosed) return;
    this.#backoff.reset();
    this.addresses = found;
    this.#options.found();
  }

  #retryLater(error: Error): void {
    const { now, notFound } = this.#options;
    const retryMs = this.#backoff.next();
    this.retryAt = now() + retryMs;
    notFound(this.location.hostname, retryMs, error);
  }
}
