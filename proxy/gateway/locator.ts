/**
 * Where a peer may be: the addresses of its `Endpoint`s.
 *
 * Several may be replicas that share one key, and each replica has sessions of its own. So which one is
 * nearest is found out only while there is no session: one initiation goes to all of them, whose answer
 * comes first has the session. While that lives nothing is sent to another, since a handshake there
 * would take the session, and all connections that end in the first replica, away. When it dies, they
 * all get the next initiation.
 *
 * Of a name that has addresses of both families those of one are tried together; they are mostly the
 * same hosts. The other family has the next attempt (as by RFC 8305, an attempt per handshake).
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import type { Endpoint, Peer } from "../../wireguard/mod.ts";
import { getLogger } from "../log/logger.ts";
import { LocationAddresses, type PeerLocation } from "./location_addresses.ts";
import { peerName } from "./peer_name.ts";
import type { Resolve } from "./resolver.ts";

export type { PeerLocation } from "./location_addresses.ts";

const log = getLogger(["wirestack", "engine"]);

/** How often an address is tried at which the peer was before this process began. */
const HINT_ATTEMPTS = 3;
/** How long addresses that are known wait for names that are not, so that all are asked together. */
const NAMES_WAIT_MS = 1_000;
/** Addresses that an initiation is sent to at most. */
const MAX_TOGETHER = 8;

/** What locators share. */
export interface LocatorOptions {
  readonly resolve: Resolve;
  /** How old the addresses of a name must be before failing handshakes have it looked up again, ms. */
  readonly resolveAgainMs: number;
  now(): number;
  endpoint(address: IpAddress, port: number): Endpoint;
  /** Where the peer is by UDP, or was last: it may be reached by something else at the moment. */
  endpointOf(peer: Peer): Endpoint | undefined;
  moveTo(peer: Peer, endpoint: Endpoint | undefined): void;
  /** Starts a handshake with a peer, as soon as its turn comes. */
  initiate(peer: Peer): void;
  /** Something is to be sent, or {@link PeerLocator.retryAt} is another. */
  changed(locator: PeerLocator): void;
}

export class PeerLocator {
  /** As configured, in order; none for a peer that is only remembered. */
  readonly locations: readonly PeerLocation[];
  readonly #peer: Peer;
  readonly #options: LocatorOptions;
  readonly #places: readonly LocationAddresses[];
  #candidates: readonly Endpoint[] = [];
  /** Where the peer was before this process began: tried last, and not often. */
  #hint: Endpoint | undefined;
  #hintAttempts = 0;
  /** The endpoint that last worked, as text. */
  #worked: string | undefined;
  readonly #tried = new Set<string>();
  /** When names that are not found yet are waited for no more. */
  #startAt = Infinity;
  /** Whether the peer has been moved to one of its addresses. */
  #isPlaced = false;
  #receivedBytes = 0;

  constructor(
    peer: Peer,
    locations: readonly PeerLocation[],
    hint: Endpoint | undefined,
    options: LocatorOptions,
  ) {
    this.#peer = peer;
    this.locations = locations;
    this.#hint = hint;
    this.#options = options;
    this.#places = locations.map((location) =>
      new LocationAddresses(location, {
        resolve: options.resolve,
        resolveAgainMs: options.resolveAgainMs,
        now: options.now,
        found: () => this.#found(),
        notFound: (hostname, retryMs, error) => this.#notFound(hostname, retryMs, error),
      })
    );
  }

  /** When {@link handleTimeout} is due: a name is looked up again, or not waited for any more. */
  get retryAt(): number {
    return this.#places.reduce((at, place) => Math.min(at, place.retryAt), this.#startAt);
  }

  /** Moves the peer to the first address. Until a name is found it stays where it is. */
  start(): void {
    if (this.#places.length === 0) {
      if (this.#hint !== undefined) this.#moveTo(this.#hint);
      this.#call();
      return;
    }
    // With a name among them: when it is found too, so that all are tried together.
    this.#startAt = this.#options.now() + NAMES_WAIT_MS;
    for (const place of this.#places) place.start();
    if (this.#places.every((place) => place.isKnown)) this.#found();
    else this.#options.changed(this);
  }

  /** An initiation was not answered: the next goes to the next addresses. */
  handshakeUnanswered(attempt: number): void {
    const peer = this.#peer;
    const isAlive = peer.hasSession && (attempt < 2 || peer.receivedBytes > this.#receivedBytes);
    this.#receivedBytes = peer.receivedBytes;
    if (isAlive) return; // a message was lost, and the session goes on
    // While nothing was known to be wrong the initiation went to the peer's endpoint alone.
    const asked = !peer.hasSession || peer.isSearched ? peer.otherEndpoints : [];
    const endpoint = this.#endpoint;
    for (const one of [endpoint, ...asked]) this.#tried.add(`${one}`);
    if (this.#hint !== undefined && `${endpoint}` === `${this.#hint}`) this.#hintFailed();
    peer.isSearched = true;
    if (this.#moveOn()) return;
    // All of them failed: from the beginning, while names are looked up.
    this.#tried.clear();
    this.#moveOn();
    for (const place of this.#places) place.refresh();
  }

  /** The peer's current endpoint works: it is asked first from now on, and alone while it does. */
  handshakeComplete(): void {
    const peer = this.#peer;
    peer.isSearched = false;
    this.#tried.clear();
    this.#worked = `${this.#endpoint}`;
    this.#hint = undefined;
    this.#askTogether(this.#endpoint);
  }

  /** The peer is reached by something else, and does not answer by UDP: it may be at another address. */
  tryElsewhere(): void {
    const here = `${this.#endpoint}`;
    const at = this.#candidates.findIndex((endpoint) => `${endpoint}` === here);
    const next = this.#candidates[(at + 1) % this.#candidates.length];
    if (next !== undefined) this.#moveTo(next);
    for (const place of this.#places) place.refresh();
  }

  /** To be called at {@link retryAt}. */
  handleTimeout(now: number): void {
    if (now >= this.#startAt && this.#places.some((place) => place.isKnown)) this.#found();
    if (now >= this.#startAt) this.#startAt = Infinity;
    for (const place of this.#places) place.handleTimeout(now);
  }

  close(): void {
    for (const place of this.#places) place.close();
    this.#startAt = Infinity;
    this.#peer.otherEndpoints = [];
    this.#peer.isSearched = false;
  }

  /** The socket was replaced: endpoints are made anew for the new one. */
  rebound(): void {
    const { endpoint } = this.#options;
    const again = ({ address, port }: Endpoint) => endpoint(new IpAddress(address), port);
    this.#candidates = this.#candidates.map(again);
    this.#peer.otherEndpoints = this.#peer.otherEndpoints.map(again);
    this.#hint = this.#hint && again(this.#hint);
  }

  /**
   * To the first that was not tried since the last that worked, and those that are asked with it.
   *
   * @returns false if there is none.
   */
  #moveOn(): boolean {
    const all = this.#hint === undefined ? this.#candidates : [...this.#candidates, this.#hint];
    const left = all.filter((endpoint) => !this.#tried.has(`${endpoint}`));
    const next = left.find((endpoint) => `${endpoint}` === this.#worked) ?? left[0];
    this.#askTogether(next);
    if (next === undefined) return false;
    this.#moveTo(next);
    return true;
  }

  /** Has those asked too that were not tried since the last that worked. */
  #askTogether(first: Endpoint | undefined): void {
    const family = first?.address.length;
    // Of a peer with one address nothing is to be found out, wherever it has been heard since.
    const others = this.#candidates.length < 2
      ? []
      : this.#candidates.filter((endpoint) =>
        endpoint.address.length === family && `${endpoint}` !== `${first}` &&
        !this.#tried.has(`${endpoint}`)
      );
    this.#peer.otherEndpoints = others.slice(0, MAX_TOGETHER - 1);
  }

  #hintFailed(): void {
    if (++this.#hintAttempts < HINT_ATTEMPTS) return;
    // No endpoint is configured: the peer may initiate from wherever it is.
    if (this.#candidates.length === 0) this.#options.moveTo(this.#peer, undefined);
    this.#hint = undefined;
  }

  get #endpoint(): Endpoint | undefined {
    return this.#options.endpointOf(this.#peer);
  }

  #moveTo(endpoint: Endpoint): void {
    if (`${this.#endpoint}` !== `${endpoint}`) this.#options.moveTo(this.#peer, endpoint);
  }

  /** Starts a handshake if there is a reason to. */
  #call(): void {
    const peer = this.#peer;
    const isWanted = peer.persistentKeepalive > 0 || peer.stagedPackets > 0 ||
      this.#hint !== undefined;
    if (isWanted && !peer.hasSession) this.#options.initiate(peer);
    this.#options.changed(this);
  }

  /** Addresses are known, perhaps others than before. */
  #found(): void {
    const all = this.#places.flatMap(({ addresses, location: { port } }) =>
      addresses.map((address) => this.#options.endpoint(address, port))
    );
    this.#candidates = [...new Map(all.map((one) => [`${one}`, one])).values()];
    if (this.#places.every((place) => place.isKnown)) this.#startAt = Infinity;
    else if (!this.#isPlaced && this.#options.now() < this.#startAt) return;
    const { hasSession, isSearched } = this.#peer;
    this.#tried.clear();
    // Found later than the others: what works goes on.
    if (this.#isPlaced && hasSession && !isSearched) this.#askTogether(this.#endpoint);
    else this.#moveOn();
    this.#isPlaced = true;
    this.#call();
  }

  #notFound(hostname: string, retryMs: number, error: Error): void {
    log.warn("{peer}: endpoint {hostname} is not found, trying again in {seconds} s: {error}", {
      peer: peerName(this.#peer),
      hostname,
      seconds: retryMs / 1000,
      error: error.message,
    });
    this.#options.changed(this);
  }
}
