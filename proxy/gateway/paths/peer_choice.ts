/**
 * The choice of a path for one peer of a running gateway: its chooser, wired to WireGuard's peer and to
 * the fallbacks' connections.
 *
 * @module
 */

import type { Endpoint, Peer, PeerPaths, Sender } from "../../../wireguard/mod.ts";
import type { HasCarrierStats } from "../../bind/stream/mod.ts";
import { type PathActions, PathChooser, type PathState, type SwitchReason } from "./chooser.ts";
import { CHOOSER_SETTINGS, type ChooserSettings } from "./settings.ts";

/** The end of a fallback, as a `DialledEndpoint`. */
export interface Fallback extends Endpoint, HasCarrierStats {
  readonly state: PathState;
  /** What travels by it: `tls`, `grpc`. */
  readonly bind: { readonly name: string };
  onState: (state: PathState) => void;
  open(): void;
  close(): void;
}

/** What choices share. */
export interface ChoiceHost {
  now(): number;
  /** A choice has something to do, or a deadline. */
  changed(): void;
  /** The path in use is another. */
  switched(peer: Peer, transport: string, reason: SwitchReason): void;
  /** UDP does not answer where the peer is said to be: it may be at another of its addresses. */
  tryElsewhere(peer: Peer): void;
}

export class PeerChoice implements PeerPaths {
  readonly peer: Peer;
  /** In order. */
  readonly fallbacks: readonly Fallback[];
  readonly #host: ChoiceHost;
  readonly #chooser: PathChooser;
  /** Where the peer is by UDP, while a fallback is in use. */
  #udp: Endpoint | undefined;
  /** When it does without an address, if none is found before. */
  #unknownAt: number;

  /** @param fallbacks At least one, closed. */
  constructor(
    peer: Peer,
    fallbacks: readonly Fallback[],
    host: ChoiceHost,
    settings: ChooserSettings = CHOOSER_SETTINGS,
  ) {
    this.peer = peer;
    this.fallbacks = fallbacks;
    this.#host = host;
    this.#udp = peer.endpoint;
    this.#unknownAt = peer.endpoint === undefined
      ? host.now() + settings.udp.leaveAfterMs
      : Infinity;
    this.#chooser = new PathChooser(fallbacks.length, viewOf(peer), this.#actions(), settings);
    fallbacks.forEach((fallback, i) => {
      fallback.onState = (state) => {
        this.#chooser.carrierChanged(i + 1, state, host.now());
        host.changed();
      };
    });
    peer.paths = this;
  }

  /** Whether UDP is in use. */
  get isByUdp(): boolean {
    return this.#chooser.current === 0;
  }

  /** Where the peer is by UDP, whatever is in use. */
  get udp(): Endpoint | undefined {
    return this.isByUdp ? this.peer.endpoint : this.#udp;
  }

  /** It is to be looked for there, by UDP. Undefined: it is not known where. */
  setUdp(endpoint: Endpoint | undefined): void {
    this.#udp = endpoint;
    this.#unknownAt = Infinity;
    if (this.isByUdp) this.peer.setEndpoint(endpoint);
    this.#chooser.udpChanged(endpoint !== undefined, this.#host.now());
    this.#host.changed();
  }

  handshakeGivenUp(): void {
    this.#chooser.handshakeGivenUp(this.#host.now());
    this.#host.changed();
  }

  trafficBegan(isKeepalive: boolean, now: number): void {
    this.#chooser.trafficBegan(isKeepalive, now);
    this.#host.changed();
  }

  heardElsewhere(from: Sender, moves: boolean, now: number): boolean {
    const path = this.#pathOf(from);
    this.#chooser.heard(path, moves, now);
    this.#host.changed();
    return path === 0 && this.isByUdp; // there it roams as ever
  }

  handshakeAnswered(from: Sender, now: number): void {
    this.#chooser.handshakeAnswered(this.#pathOf(from), now);
    this.#host.changed();
  }

  probeAnswered(from: Sender, id: number, now: number): void {
    this.#chooser.probeAnswered(this.#pathOf(from), id, now);
    this.#host.changed();
  }

  pollTimeout(): number {
    return Math.min(this.#chooser.pollTimeout(), this.#unknownAt);
  }

  handleTimeout(now: number): void {
    if (now >= this.#unknownAt) {
      this.setUdp(this.udp);
      const { persistentKeepalive, stagedPackets } = this.peer;
      if (persistentKeepalive > 0 || stagedPackets > 0) this.peer.initiate(now);
    }
    this.#chooser.handleTimeout(now);
  }

  /** Closes the fallbacks. The peer stays where it is by UDP. */
  close(): void {
    this.peer.paths = undefined;
    this.peer.setEndpoint(this.udp);
    for (const fallback of this.fallbacks) fallback.onState = () => {};
    this.#chooser.close();
  }

  #pathOf(from: Sender): number {
    return this.fallbacks.findIndex((fallback) => from.isAt(fallback)) + 1;
  }

  #endpoint(path: number): Endpoint | undefined {
    return path === 0 ? this.udp : this.fallbacks[path - 1];
  }

  #actions(): PathActions {
    const { peer } = this;
    let current = 0;
    return {
      probe: (path, id, claims) => {
        const endpoint = this.#endpoint(path);
        return endpoint !== undefined && peer.probe(endpoint, id, claims, this.#host.now());
      },
      initiate: (path) => {
        const endpoint = this.#endpoint(path);
        if (endpoint !== undefined) peer.initiateTo(endpoint);
      },
      open: (path) => this.fallbacks[path - 1]!.open(),
      close: (path) => this.fallbacks[path - 1]!.close(),
      use: (path, reason) => {
        if (current === 0) this.#udp = peer.endpoint;
        current = path;
        peer.setEndpoint(path === 0 ? this.#udp : this.fallbacks[path - 1]);
        const transport = path === 0 ? "udp" : this.fallbacks[path - 1]!.bind.name;
        this.#host.switched(peer, transport, reason);
      },
      udpFailed: () => this.#host.tryElsewhere(peer),
    };
  }
}

function viewOf(peer: Peer) {
  return {
    get unansweredSince() {
      return peer.unansweredSince;
    },
    get receivedBytes() {
      return peer.receivedBytes;
    },
    hasSession: (now: number) => peer.maySend(now),
    awaitTraffic: () => peer.awaitTraffic(),
  };
}
