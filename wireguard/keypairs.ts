/**
 * The keypairs of one peer, at most three at a time: packets that were on their way when a new one
 * was agreed on still arrive under the old (whitepaper §6.3).
 *
 * @module
 */

import type { IndexTable } from "./index_table.ts";
import type { Keypair } from "./keypair.ts";

export class Keypairs<Peer> {
  /** Used for sending. */
  current: Keypair<Peer> | undefined = undefined;
  /** Only received under. */
  previous: Keypair<Peer> | undefined = undefined;
  /** Agreed on as responder; not used for sending before the initiator has shown it has the key. */
  next: Keypair<Peer> | undefined = undefined;

  readonly #indices: IndexTable<Peer>;

  constructor(indices: IndexTable<Peer>) {
    this.#indices = indices;
  }

  /** After a response was received: the key is proven, since only the responder could answer. */
  addAsInitiator(keypair: Keypair<Peer>): void {
    this.#indices.addKeypair(keypair);
    if (this.next !== undefined) {
      // Both sides initiated at once. The unconfirmed session may still carry the peer's packets.
      this.#drop(this.previous);
      this.#drop(this.current);
      this.previous = this.next;
      this.next = undefined;
    } else {
      this.#drop(this.previous);
      this.previous = this.current;
    }
    this.current = keypair;
  }

  /** After a response was sent. */
  addAsResponder(keypair: Keypair<Peer>): void {
    this.#indices.addKeypair(keypair);
    this.#drop(this.next);
    this.#drop(this.previous);
    this.previous = undefined;
    this.next = keypair;
  }

  /** The initiator's first authenticated packet under {@link next} has come: now it may be used. */
  confirmNext(): void {
    this.#drop(this.previous);
    this.previous = this.current;
    this.current = this.next;
    this.next = undefined;
  }

  /** Nothing more is sent under any key; what is on its way may still be received. */
  expire(): void {
    if (this.current !== undefined) this.current.sendable = false;
    if (this.next !== undefined) this.next.sendable = false;
  }

  /** Wipes all keys. */
  clear(): void {
    this.#drop(this.current);
    this.#drop(this.previous);
    this.#drop(this.next);
    this.current = this.previous = this.next = undefined;
  }

  #drop(keypair: Keypair<Peer> | undefined): void {
    if (keypair === undefined) return;
    this.#indices.remove(keypair.localIndex);
    keypair.destroy();
  }
}
