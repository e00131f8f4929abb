/**
 * A host whose work takes simulated time: the engine's loop around a device, with a socket buffer
 * that overflows when the loop is late. What it measures is who waits for whom, not how fast this
 * machine is.
 *
 * @module
 */

import { fastCrypto } from "../preset.ts";
import type { Crypto, PlainEndpoint } from "../../wireguard/mod.ts";
import { type Datagram, Host } from "./pair.ts";

/** Microseconds, as measured by `bench/handshake_bench.ts` on a slow core. */
const COST = { datagram: 5, data: 25, x25519: 80, cookieReply: 30 };

/** As the engine has them. */
const RECEIVES_PER_TURN = 32;
const HANDSHAKE_BUDGET = 4;

/** Of the default socket buffer, in full datagrams; more small ones fit. */
const SOCKET_BUFFER = 92;

interface Arrival {
  readonly datagram: Datagram;
  readonly from: PlainEndpoint;
  readonly at: number;
}

/** Where datagrams come from: called with ever later times. */
export type Source = (from: number, to: number, send: (arrival: Arrival) => void) => void;

export class BusyHost {
  readonly host: Host;
  /** Datagrams the socket had no room for. */
  overflows = 0;
  /** ms between arrival at the socket and delivery of the inner packet, at worst. */
  worstDelay = 0;
  longestTurn = 0;
  readonly #waiting: Arrival[] = [];
  #spentUs = 0;
  #x25519 = 0;

  constructor(seed: number, address: PlainEndpoint) {
    const { x25519, aead } = fastCrypto();
    const crypto: Crypto = {
      aead,
      x25519: {
        publicKey: (key) => (this.#x25519++, x25519.publicKey(key)),
        sharedSecret: (key, publicKey) => (this.#x25519++, x25519.sharedSecret(key, publicKey)),
      },
    };
    this.host = new Host(seed, address, { crypto });
  }

  get now(): number {
    return this.host.now;
  }

  /** Lives until `end`. What it sends goes to `deliver` at once. */
  run(end: number, source: Source, deliver: (datagram: Datagram) => void): void {
    let heardUntil = this.now;
    const hear = (to: number) => {
      source(heardUntil, to, (arrival) => {
        if (this.#waiting.length < SOCKET_BUFFER) this.#waiting.push(arrival);
        else this.overflows++;
      });
      heardUntil = to;
    };
    while (this.now < end) {
      hear(this.now);
      const { device } = this.host;
      if (this.#waiting.length === 0 && device.pollTimeout() > this.now) {
        this.host.now += 0.1;
        continue;
      }
      const start = this.now;
      const now = start;
      for (const arrival of this.#waiting.splice(0, RECEIVES_PER_TURN)) {
        const before = this.host.received.length;
        this.host.receive(arrival.datagram, arrival.from);
        this.#spentUs += arrival.datagram.type === 4 ? COST.data : COST.datagram;
        if (this.host.received.length > before) {
          this.worstDelay = Math.max(this.worstDelay, now + this.#spentUs / 1000 - arrival.at);
        }
      }
      if (device.pollTimeout() <= now) device.handleTimeout(now);
      device.handleHandshakes(now, HANDSHAKE_BUDGET);
      const sent = this.host.outbox.splice(0);
      this.#spentUs += this.#x25519 * COST.x25519;
      this.#spentUs += sent.filter(({ type }) => type === 3).length * COST.cookieReply;
      this.#x25519 = 0;
      this.host.now += Math.max(0.01, this.#spentUs / 1000);
      this.#spentUs = 0;
      this.longestTurn = Math.max(this.longestTurn, this.now - start);
      for (const datagram of sent) deliver(datagram);
    }
  }
}
