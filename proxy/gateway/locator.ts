/**
 * Where a peer may be: the addresses of its `Endpoint`, tried one after the other while handshakes are
 * not answered, as Happy Eyeballs does it for connections (RFC 8305), an attempt per handshake.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import type { Endpoint, Peer } from "../../wireguard/mod.ts";
import { parseIpAddress } from "../address.ts";
import { getLogger } from "../log/logger.ts";
import { peerName } from "./peer_name.ts";
import { alternateFamilies, type Resolve } from "./resolver.ts";

const log = getLogger(["wirestack", "engine"]);

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;
/** How often an address is tried at which the peer was before this process began. */
export const HINT_ATTEMPTS = 3;

/** Where a peer is: an address or a name, IPv6 without brackets. */
export interface PeerLocation {
  readonly hostname: string;
  readonly port: number;
}

/** What locators share. */
export interface LocatorOptions {
  readonly resolve: Resolve;
  /** How old the addresses of a name must be before failing handshakes have it looked up again, ms. */
  readonly resolveAgainMs: number;
  now(): number;
  endpoint(address: IpAddress, port: number): Endpoint;
  /** Starts a handshake with a peer, as soon as its turn comes. */
  initiate(peer: Peer): void;
  /** Something is to be sent, or {@link PeerLocator.retryAt} is another. */
  changed(locator: PeerLocator): void;
}

export class PeerLocator {
  /** When a name that was not found is looked up again; Infinity if none is to be. */
  retryAt = Infinity;
  /** As configured; undefined for a peer that is only remembered. */
  readonly location: PeerLocation | undefined;
  readonly #peer: Peer;
  readonly #options: LocatorOptions;
  #candidates: readonly Endpoint[] = [];
  /** Where the peer was before this process began: tried last, and not often. */
  #hint: Endpoint | undefined;
  #hintAttempts = 0;
  /** The endpoint that last worked, as text. */
  #worked: string | undefined;
  readonly #tried = new Set<string>();
  #receivedBytes = 0;
  #retryMs = FIRST_RETRY_MS;
  #lookedUpAt = -Infinity;
  #isName = false;
  #isBusy = false;
  #isClosed = false;

  constructor(
    peer: Peer,
    location: PeerLocation | undefined,
    hint: Endpoint | undefined,
    options: LocatorOptions,
  ) {
    this.#peer = peer;
    this.location = location;
    this.#hint = hint;
    this.#options = options;
  }

  /** Moves the peer to the first address. Until a name is found it stays where it is. */
  start(): void {
    if (this.location === undefined) {
      if (this.#hint !== undefined) this.#moveTo(this.#hint);
      this.#call();
      return;
    }
    const { hostname, port } = this.location;
    const address = parseIpAddress(hostname);
    if (address === undefined) {
      this.#isName = true;
      this.#lookUp();
      return;
    }
    this.#candidates = [this.#options.endpoint(address, port)];
    this.#moveTo(this.#candidates[0]!);
    this.#call();
  }

  /** An initiation was not answered: the next goes to the next address. */
  handshakeUnanswered(attempt: number): void {
    const peer = this.#peer;
    const isAlive = peer.hasSession && (attempt < 2 || peer.receivedBytes > this.#receivedBytes);
    this.#receivedBytes = peer.receivedBytes;
    if (isAlive) return; // a message was lost, and the session goes on
    this.#tried.add(`${peer.endpoint}`);
    if (this.#hint !== undefined && `${peer.endpoint}` === `${this.#hint}`) this.#hintFailed();
    const next = this.#next();
    if (next !== undefined) {
      this.#moveTo(next);
      return;
    }
    // All of them failed: from the beginning, while the name is looked up.
    this.#tried.clear();
    const first = this.#next();
    if (first !== undefined) this.#moveTo(first);
    const { now, resolveAgainMs } = this.#options;
    if (!this.#isName || this.retryAt !== Infinity) return;
    if (now() - this.#lookedUpAt >= resolveAgainMs) this.#lookUp();
  }

  /** The peer's current endpoint works: it is tried first from now on. */
  handshakeComplete(): void {
    this.#tried.clear();
    this.#worked = `${this.#peer.endpoint}`;
    this.#hint = undefined;
  }

  /** To be called at {@link retryAt}. */
  handleTimeout(now: number): void {
    if (now >= this.retryAt) this.#lookUp();
  }

  close(): void {
    this.#isClosed = true;
    this.retryAt = Infinity;
  }

  /** The socket was replaced: endpoints are made anew for the new one. */
  rebound(): void {
    const { endpoint } = this.#options;
    const again = ({ address, port }: Endpoint) => endpoint(new IpAddress(address), port);
    this.#candidates = this.#candidates.map(again);
    this.#hint = this.#hint && again(this.#hint);
  }

  /** The first that was not tried since the last that worked. */
  #next(): Endpoint | undefined {
    const all = this.#hint === undefined ? this.#candidates : [...this.#candidates, this.#hint];
    const left = all.filter((endpoint) => !this.#tried.has(`${endpoint}`));
    return left.find((endpoint) => `${endpoint}` === this.#worked) ?? left[0];
  }

  #hintFailed(): void {
    if (++this.#hintAttempts < HINT_ATTEMPTS) return;
    // No endpoint is configured: the peer may initiate from wherever it is.
    if (this.#candidates.length === 0) this.#peer.setEndpoint(undefined);
    this.#hint = undefined;
  }

  #moveTo(endpoint: Endpoint): void {
    const peer = this.#peer;
    if (`${peer.endpoint}` !== `${endpoint}`) peer.setEndpoint(endpoint);
  }

  /** Starts a handshake if there is a reason to. */
  #call(): void {
    const peer = this.#peer;
    const isWanted = peer.persistentKeepalive > 0 || peer.stagedPackets > 0 ||
      this.#hint !== undefined;
    if (isWanted && !peer.hasSession) this.#options.initiate(peer);
    this.#options.changed(this);
  }

  async #lookUp(): Promise<void> {
    if (this.#isBusy || this.#isClosed) return;
    const { hostname, port } = this.location!;
    const { resolve, now, endpoint } = this.#options;
    this.#isBusy = true;
    this.retryAt = Infinity;
    this.#lookedUpAt = now();
    let found: readonly IpAddress[] | undefined;
    try {
      const addresses = await resolve(hostname);
      found = alternateFamilies("version" in addresses ? [addresses] : addresses);
    } catch (error) {
      if (!this.#isClosed) this.#retryLater(hostname, error as Error);
    }
    this.#isBusy = false;
    if (found === undefined || this.#isClosed) return;
    this.#retryMs = FIRST_RETRY_MS;
    this.#candidates = found.map((address) => endpoint(address, port));
    this.#tried.clear();
    const first = this.#next();
    if (first !== undefined) this.#moveTo(first);
    this.#call();
  }

  #retryLater(hostname: string, error: Error): void {
    log.warn("{peer}: endpoint {hostname} is not found, trying again in {seconds} s: {error}", {
      peer: peerName(this.#peer),
      hostname,
      seconds: this.#retryMs / 1000,
      error: error.message,
    });
    this.retryAt = this.#options.now() + this.#retryMs;
    this.#retryMs = Math.min(LAST_RETRY_MS, this.#retryMs * 2);
    this.#options.changed(this);
  }
}
