/**
 * Which way each peer of a gateway is reached, and the choice for those that have fallbacks.
 *
 * @module
 */

import type { Endpoint, Peer } from "../../../wireguard/mod.ts";
import { getLogger } from "../../log/logger.ts";
import { ThinnedLines } from "../../log/thinning.ts";
import { peerName } from "../peer_name.ts";
import type { SwitchReason } from "./chooser.ts";
import { type ChoiceHost, type Fallback, PeerChoice } from "./peer_choice.ts";
import { CHOOSER_SETTINGS, type ChooserSettings } from "./settings.ts";

const log = getLogger(["wirestack", "relay"]);

const REASONS: Readonly<Record<SwitchReason, string>> = {
  "unanswered": "nothing came back by the one before",
  "lost": "the connection before is lost",
  "returned": "UDP answers again",
  "unknown": "its address is not known",
  "given-up": "nothing answers anywhere",
};

/** How a peer is reached. */
export interface Transport {
  /** `udp`, `tls`, `grpc`. */
  name: string;
  /** ms, of the engine's clock. */
  since: number;
  /** How often it was another before. */
  switches: number;
}

export interface PathsOptions {
  now(): number;
  /** A deadline may have come nearer. */
  wake(): void;
  /** UDP does not answer where the peer is said to be. */
  tryElsewhere(peer: Peer): void;
  /** The peer is reached by another transport. */
  switched?(peer: Peer): void;
  readonly settings?: ChooserSettings;
}

export class Paths {
  /** Changes to a transport, of all peers, by its name. */
  readonly switches = new Map<string, number>();
  readonly #options: PathsOptions;
  readonly #host: ChoiceHost;
  readonly #choices = new Map<Peer, PeerChoice>();
  readonly #transports = new WeakMap<Peer, Transport>();
  /** A peer heard by two transports at once moves with every datagram. */
  readonly #moves = new ThinnedLines<Peer>();
  /** When something is due; undefined if it has to be looked for. */
  #next: number | undefined = Infinity;

  constructor(options: PathsOptions) {
    this.#options = options;
    this.#host = {
      now: options.now,
      changed: () => {
        this.#next = undefined;
        options.wake();
      },
      switched: (peer, transport, reason) => this.#switched(peer, transport, reason),
      tryElsewhere: (peer) => options.tryElsewhere(peer),
    };
  }

  /** The choice of a peer that has fallbacks. */
  of(peer: Peer): PeerChoice | undefined {
    return this.#choices.get(peer);
  }

  /** The peer has these, from now on. The ones before are closed. */
  setFallbacks(peer: Peer, fallbacks: readonly Fallback[]): void {
    this.remove(peer);
    if (fallbacks.length === 0) return;
    const settings = this.#options.settings ?? CHOOSER_SETTINGS;
    this.#choices.set(peer, new PeerChoice(peer, fallbacks, this.#host, settings));
    this.transportOf(peer);
    this.#host.changed();
  }

  remove(peer: Peer): void {
    this.#choices.get(peer)?.close();
    this.#choices.delete(peer);
    this.#next = undefined;
  }

  /** Where the peer is by UDP, or was last. */
  udpOf(peer: Peer): Endpoint | undefined {
    const choice = this.#choices.get(peer);
    return choice === undefined ? peer.endpoint : choice.udp;
  }

  setUdpOf(peer: Peer, endpoint: Endpoint | undefined): void {
    const choice = this.#choices.get(peer);
    if (choice === undefined) peer.setEndpoint(endpoint);
    else choice.setUdp(endpoint);
    this.transportOf(peer);
  }

  /** How the peer is reached; undefined while it is not known where it is. */
  transportOf(peer: Peer): Readonly<Transport> | undefined {
    const endpoint = peer.endpoint as Endpoint & { readonly bind?: { readonly name: string } };
    const name = endpoint?.bind?.name;
    if (name === undefined) return this.#transports.get(peer);
    return this.#transport(peer, name).transport;
  }

  /** The peer has been heard elsewhere, and is there now. @returns whether its transport is another. */
  moved(peer: Peer): boolean {
    const before = this.#transports.get(peer)?.name;
    const now = this.transportOf(peer);
    if (now === undefined || before === undefined || now.name === before) return false;
    this.#options.switched?.(peer);
    const suppressed = this.#moves.next(peer, this.#options.now());
    if (suppressed !== undefined) say(peer, now.name, "where it was heard", suppressed);
    return true;
  }

  pollTimeout(): number {
    if (this.#next === undefined) {
      this.#next = Infinity;
      for (const choice of this.#choices.values()) {
        this.#next = Math.min(this.#next, choice.pollTimeout());
      }
    }
    return this.#next;
  }

  handleTimeout(now: number): void {
    for (const choice of this.#choices.values()) {
      if (choice.pollTimeout() <= now) choice.handleTimeout(now);
    }
    this.#next = undefined;
  }

  close(): void {
    for (const peer of [...this.#choices.keys()]) this.remove(peer);
  }

  #switched(peer: Peer, transport: string, reason: SwitchReason): void {
    const { isOther } = this.#transport(peer, transport);
    if (!isOther) return;
    this.#options.switched?.(peer);
    say(peer, transport, REASONS[reason]);
  }

  #transport(peer: Peer, name: string): { transport: Transport; isOther: boolean } {
    const known = this.#transports.get(peer);
    if (known?.name === name) return { transport: known, isOther: false };
    const isFirst = known === undefined;
    const transport = known ?? { name, since: 0, switches: -1 };
    transport.name = name;
    transport.since = this.#options.now();
    transport.switches++;
    this.#transports.set(peer, transport);
    if (!isFirst) this.switches.set(name, (this.switches.get(name) ?? 0) + 1);
    return { transport, isOther: true };
  }
}

/** @param suppressed Such lines that were left out before. */
function say(peer: Peer, transport: string, reason: string, suppressed = 0): void {
  const more = suppressed > 0 ? " ({suppressed} moves went unlogged before)" : "";
  log.info(`peer {peer}: by {transport} now, {reason}${more}`, {
    peer: peerName(peer),
    transport,
    reason,
    ...(suppressed > 0 && { suppressed }),
  });
}
