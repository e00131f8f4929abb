/**
 * Keeps a running gateway's endpoint file current.
 *
 * @module
 */

import { IpAddress } from "../../netstack/mod.ts";
import type { Peer } from "../../wireguard/mod.ts";
import { encodeKey } from "../base64.ts";
import { Backoff } from "../bind/stream/backoff.ts";
import { UdpAddress } from "../bind/udp_address.ts";
import { getLogger } from "../log/logger.ts";
import {
  endpointFile,
  readEndpoints,
  type RememberedEndpoint,
  type RememberedEndpoints,
  removeEndpointsBefore,
  writeEndpoints,
} from "./endpoint_file.ts";
import { prepareStateDirectory } from "../state/directory.ts";

const log = getLogger(["wirestack", "engine"]);

/**
 * A change is written after this delay, with other changes; then nothing for the longer interval, which
 * grows with what is written: that takes some 5 µs for each peer, in which no packet passes.
 */
const DELAY_MS = 1_000;
const PAUSE_MS = 10_000;
const PAUSE_PER_PEER_MS = 20;
/** What cannot be written is tried again after this, then later and later. */
const FIRST_RETRY_MS = 10_000;
const MAX_RETRY_MS = 600_000;
/** How much older than the peer's last handshake the time in the file may be. */
const RENEW_MS = 600_000;
/** A peer silent for longer has no session any more, and will initiate when it needs one. */
const MAX_AGE_MS = 3_600_000;

export interface EndpointMemoryOptions {
  /** The first that can be written to is used. */
  readonly directories: readonly string[];
  /** Monotonic, and since the Unix epoch; ms. */
  now(): number;
  wallClock(): number;
  publicKey(): Uint8Array;
  peers(): Iterable<Peer>;
}

export class EndpointMemory {
  readonly #options: EndpointMemoryOptions;
  /** Undefined if nothing can be remembered. */
  readonly #directory: string | undefined;
  /** What the file holds. */
  #kept: RememberedEndpoints = new Map();
  #saveAt = Infinity;
  #savedAt = -Infinity;
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, lastMs: MAX_RETRY_MS });
  #isFailing = false;

  constructor(options: EndpointMemoryOptions) {
    this.#options = options;
    const { directories } = options;
    const problems: [string, Error][] = [];
    this.#directory = prepareStateDirectory(directories, (...problem) => problems.push(problem));
    if (this.#directory === undefined) {
      if (directories.length > 0) tellNotRemembered(...problems);
      return;
    }
    try {
      this.#kept = readEndpoints(this.#file(this.#directory));
    } catch (error) {
      log.info("the endpoints that were remembered are not used: {error}", {
        error: (error as Error).message,
      });
    }
    // All in them is too old by now. A gateway that runs writes again when it hears a peer.
    removeEndpointsBefore(this.#directory, options.wallClock() - MAX_AGE_MS);
  }

  /** Where a peer was when an earlier gateway ended, if that was not long ago. */
  of(publicKey: Uint8Array): RememberedEndpoint | undefined {
    const found = this.#kept.get(encodeKey(publicKey));
    return found !== undefined && this.#isFresh(found.heardAt) ? found : undefined;
  }

  /**
   * A peer has moved, has a new session, or is gone.
   *
   * @param peer Undefined if it is gone.
   */
  changed(peer?: Peer): void {
    if (this.#directory === undefined || this.#saveAt !== Infinity) return;
    if (peer !== undefined && this.#isKnown(peer)) return;
    const pauseMs = Math.max(PAUSE_MS, PAUSE_PER_PEER_MS * this.#kept.size);
    this.#saveAt = Math.max(this.#options.now() + DELAY_MS, this.#savedAt + pauseMs);
  }

  pollTimeout(): number {
    return this.#saveAt;
  }

  handleTimeout(now: number): void {
    if (now >= this.#saveAt) this.save();
  }

  /** Writes the file, now. */
  save(): void {
    this.#saveAt = Infinity;
    const directory = this.#directory;
    if (directory === undefined) return;
    const now = this.#options.now();
    this.#savedAt = now;
    try {
      const current = this.#current();
      writeEndpoints(this.#file(directory), current);
      this.#kept = current;
    } catch (error) {
      if (!this.#isFailing) tellNotRemembered([directory, error as Error]);
      this.#isFailing = true;
      this.#saveAt = now + this.#backoff.next();
      return;
    }
    if (this.#isFailing) log.info("peers' endpoints are remembered again");
    this.#isFailing = false;
    this.#backoff.reset();
  }

  #current(): RememberedEndpoints {
    const current = new Map<string, RememberedEndpoint>();
    for (const peer of this.#options.peers()) {
      const { endpoint, lastHandshake, publicKey } = peer;
      const key = encodeKey(publicKey);
      // Not heard yet: what an earlier gateway knew is still the best there is.
      const known = this.#kept.get(key);
      if (lastHandshake === 0) {
        if (known !== undefined && this.#isFresh(known.heardAt)) current.set(key, known);
      } else if (endpoint instanceof UdpAddress && this.#isFresh(lastHandshake)) {
        const { address, port } = endpoint;
        current.set(key, { address: new IpAddress(address), port, heardAt: lastHandshake });
      }
    }
    return current;
  }

  /** Whether the file has it: a handshake of a peer that has not moved need not be written. */
  #isKnown({ endpoint, lastHandshake, publicKey }: Peer): boolean {
    const known = this.#kept.get(encodeKey(publicKey));
    return known !== undefined && endpoint?.port === known.port &&
      known.address.equals(new IpAddress(endpoint.address)) &&
      lastHandshake < known.heardAt + RENEW_MS;
  }

  #isFresh(heardAt: number): boolean {
    const age = this.#options.wallClock() - heardAt;
    return age >= 0 && age <= MAX_AGE_MS;
  }

  #file(directory: string): string {
    return endpointFile(directory, this.#options.publicKey());
  }
}

function tellNotRemembered(...problems: readonly [directory: string, error: Error][]): void {
  const reason = problems.map(([directory, { message }]) => `${directory}: ${message}`).join("; ");
  // A permission that is denied is the user's decision.
  const isWanted = problems.some(([, error]) => !(error instanceof Deno.errors.NotCapable));
  log[isWanted ? "info" : "debug"](
    "peers' endpoints are not remembered for the next start, expected a writable folder in " +
      "STATE_DIRECTORY, XDG_STATE_HOME or HOME: {reason}",
    { reason },
  );
}
