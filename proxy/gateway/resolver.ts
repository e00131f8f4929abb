/**
 * Peers whose `Endpoint` is a name: looked up at start until that succeeds, and again when a
 * handshake keeps failing, because the name may have moved.
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import { getLogger } from "../log/logger.ts";
import type { IpAddress } from "../../netstack/mod.ts";
import { parseIpAddress } from "../address.ts";

const log = getLogger(["wirestack", "engine"]);

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
/** Not to bother the name server at every failed handshake of 5 s. */
const MIN_AGE_MS = 15_000;

export type Resolve = (hostname: string) => Promise<IpAddress>;

/** Keeps one name's address current. */
export class PeerEndpoint {
  readonly #hostname: string;
  readonly #onAddress: (address: IpAddress) => void;
  readonly #resolve: Resolve;
  readonly #minAgeMs: number;
  #retryMs = FIRST_RETRY_MS;
  #lookedUpAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isBusy = false;
  #isClosed = false;

  /**
   * @param onAddress Called with every address found, the same as before included.
   * @param minAgeMs How old an address must be to be doubted.
   */
  constructor(
    hostname: string,
    onAddress: (address: IpAddress) => void,
    resolve: Resolve = resolveBySystem,
    minAgeMs: number = MIN_AGE_MS,
  ) {
    this.#hostname = hostname;
    this.#onAddress = onAddress;
    this.#resolve = resolve;
    this.#minAgeMs = minAgeMs;
  }

  /** Looks the name up, and again with growing pauses until it is found. */
  async start(): Promise<void> {
    if (this.#isBusy || this.#isClosed) return;
    this.#isBusy = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#lookedUpAt = performance.now();
    let address: IpAddress | undefined;
    try {
      address = await this.#resolve(this.#hostname);
    } catch (error) {
      if (!this.#isClosed) this.#retry(error as Error);
    }
    this.#isBusy = false;
    if (address === undefined || this.#isClosed) return;
    this.#retryMs = FIRST_RETRY_MS;
    this.#onAddress(address);
  }

  /** A handshake was not answered. */
  handshakeFailed(): void {
    if (this.#timer !== undefined) return; // not found yet, and tried anyway
    if (performance.now() - this.#lookedUpAt >= this.#minAgeMs) this.start();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #retry(error: Error): void {
    log.warn("the peer's endpoint {hostname} is not found, trying again in {seconds} s: {error}", {
      hostname: this.#hostname,
      seconds: this.#retryMs / 1000,
      error: error.message,
    });
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.start();
    }, this.#retryMs);
    this.#retryMs = Math.min(LAST_RETRY_MS, this.#retryMs * 2);
  }
}

/** As the rest of the system resolves names: hosts file, then DNS, in the system's own order. */
async function resolveBySystem(hostname: string): Promise<IpAddress> {
  const { address } = await lookup(hostname);
  const ip = parseIpAddress(address.replace(/%.*/, ""));
  if (ip === undefined) throw new Error(`the system gave ${address}`);
  return ip;
}
