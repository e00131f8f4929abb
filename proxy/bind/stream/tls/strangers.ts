/**
 * Those who have connected and not shown who they are. One costs a socket, and no TLS before all of its
 * first message has come and its turn has.
 *
 * @module
 */

import type { Socket } from "node:net";
import { socketAddress } from "../../../address.ts";
import { type Pending, PendingConnections } from "./pending.ts";
import { remoteAddress } from "./secured.ts";
import { Turns } from "./turns.ts";

export interface StrangerLimits {
  /** Connections whose first message has not come; as many that wait for their turn, or have had it. */
  readonly pending: number;
  readonly pendingPerAddress: number;
  /** From the connection to the end of the handshake. */
  readonly handshakeMs: number;
  /** Handshakes that begin. */
  readonly startsPerSecond: number;
  readonly startsAtOnce: number;
}

export const STRANGER_LIMITS: StrangerLimits = {
  pending: 512,
  pendingPerAddress: 64,
  handshakeMs: 10_000,
  // A quarter of a processor's time.
  startsPerSecond: 120,
  startsAtOnce: 60,
};

/** The first bytes of TLS (RFC 8446 §5.1): a record of the handshake, and its length. */
const HANDSHAKE = 0x16;
const HEADER_SIZE = 5;
const MAX_RECORD = 1 << 14;
/** How long a connection stays whose end is to be heard. */
const GOODBYE_MS = 1_000;

export interface Stranger {
  readonly socket: Socket;
  /** Address and port. */
  readonly from: string;
  /** It is none any more. */
  over(): void;
  /** Its handshake comes to nothing. @param reason One line. */
  fail(reason: string): void;
}

export class Strangers {
  readonly #limits: StrangerLimits;
  readonly #failed: (from: string, reason: string) => void;
  readonly #begin: (stranger: Stranger, first: Uint8Array) => void;
  readonly #silent: PendingConnections;
  readonly #waiting: PendingConnections;
  readonly #shaking: PendingConnections;
  readonly #turns: Turns;

  /** @param begin A handshake begins, with the first message. */
  constructor(
    limits: StrangerLimits,
    failed: (from: string, reason: string) => void,
    begin: (stranger: Stranger, first: Uint8Array) => void,
  ) {
    this.#limits = limits;
    this.#failed = failed;
    this.#begin = begin;
    const { pending, pendingPerAddress } = limits;
    this.#silent = new PendingConnections(pending, pendingPerAddress, "newest");
    this.#waiting = new PendingConnections(pending, pendingPerAddress, "oldest");
    this.#shaking = new PendingConnections(pending, pendingPerAddress, "newest");
    this.#turns = new Turns(limits.startsPerSecond, limits.startsAtOnce);
  }

  get size(): number {
    return this.#sets.reduce((sum, { size }) => sum + size, 0);
  }

  /** Those who had to go, for others to come. */
  get evicted(): number {
    return this.#sets.reduce((sum, { evicted }) => sum + evicted, 0);
  }

  add(socket: Socket): void {
    const ip = remoteAddress(socket);
    const from = socketAddress(ip, socket.remotePort ?? 0);
    const address = ip.version === 4 ? `${ip}` : ip.bytes.subarray(0, 8).toHex();
    const pending: Pending = { address, evict: () => socket.destroy() };
    let callOff = () => {};
    const over = () => {
      clearTimeout(timer);
      callOff();
      for (const set of this.#sets) set.delete(pending);
    };
    const fail = (reason: string) => {
      over();
      this.#failed(from, reason);
      socket.destroySoon();
      const timer = setTimeout(() => socket.destroy(), GOODBYE_MS);
      socket.once("close", () => clearTimeout(timer));
    };
    const { handshakeMs } = this.#limits;
    const timer = setTimeout(
      () => fail(`no handshake within ${handshakeMs / 1000} s`),
      handshakeMs,
    );
    this.#silent.add(pending);
    socket.on("error", () => {}); // "close" follows
    socket.once("close", over);
    let first = new Uint8Array(0);
    const begin = () => {
      this.#waiting.delete(pending);
      this.#shaking.add(pending);
      this.#begin({ socket, from, over, fail }, first);
    };
    const onData = (bytes: Uint8Array) => {
      first = first.length === 0 ? Uint8Array.from(bytes) : joined(first, bytes);
      if (first[0] !== HANDSHAKE || recordLength(first) > MAX_RECORD) fail("it does not speak TLS");
      else if (first.length < HEADER_SIZE + recordLength(first)) return;
      else {
        this.#silent.delete(pending);
        if (this.#waiting.add(pending)) callOff = this.#turns.wait(address, begin);
      }
      socket.off("data", onData);
      socket.pause();
    };
    socket.on("data", onData);
  }

  close(): void {
    for (const set of this.#sets) set.clear();
  }

  get #sets(): readonly PendingConnections[] {
    return [this.#silent, this.#waiting, this.#shaking];
  }
}

/** Of the first record; as long as one may be if that is not known yet. */
function recordLength(bytes: Uint8Array): number {
  return bytes.length < HEADER_SIZE ? MAX_RECORD : bytes[3]! << 8 | bytes[4]!;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
