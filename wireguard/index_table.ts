/**
 * Receiver indices (whitepaper §5.4): 32 random bits per handshake and session, so that nobody can
 * guess one. The index of a handshake becomes that of its session.
 *
 * @module
 */

import { readI32 } from "./bytes.ts";
import type { Keypair } from "./keypair.ts";

/** Indices are handled as signed 32-bit numbers, which V8 keeps unboxed. */
export class IndexTable<Peer> {
  readonly #keypairs = new Map<number, Keypair<Peer>>();
  readonly #handshakes = new Map<number, Peer>();
  readonly #random: (out: Uint8Array) => void;
  readonly #scratch = new Uint8Array(4);

  constructor(random: (out: Uint8Array) => void) {
    this.#random = random;
  }

  /** Number of handshakes and sessions. */
  get size(): number {
    return this.#keypairs.size + this.#handshakes.size;
  }

  /** A new index for a handshake this side has begun. */
  addHandshake(peer: Peer): number {
    const index = this.unused();
    this.#handshakes.set(index, peer);
    return index;
  }

  /** An index that is in no use. */
  unused(): number {
    for (;;) {
      this.#random(this.#scratch);
      const index = readI32(this.#scratch, 0);
      if (!this.#keypairs.has(index) && !this.#handshakes.has(index)) return index;
    }
  }

  /** Enters a session under its own index. */
  addKeypair(keypair: Keypair<Peer>): void {
    this.#handshakes.delete(keypair.localIndex);
    this.#keypairs.set(keypair.localIndex, keypair);
  }

  keypair(index: number): Keypair<Peer> | undefined {
    return this.#keypairs.get(index);
  }

  /** The peer to which this side has sent an initiation under this index. */
  handshake(index: number): Peer | undefined {
    return this.#handshakes.get(index);
  }

  remove(index: number): void {
    this.#keypairs.delete(index);
    this.#handshakes.delete(index);
  }
}
