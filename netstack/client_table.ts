/**
 * Flows of clients, by where they come in, the client's address, and a number that tells its flows
 * apart: UDP's port, a ping's identifier.
 *
 * @module
 */

import { type Inbound } from "./transport.ts";
import type { Nic } from "./nic.ts";
import { HalfSipHash } from "./siphash.ts";

/** What the table needs of a flow. */
export interface ClientFlow<F> {
  /** As {@link ClientTable.keyOf} gave it. */
  readonly key: number;
  /** Chain of those with the same key. */
  next: F | undefined;
  /** Where the client's packets are delivered. */
  readonly nic: Nic;
  /** Where they come in and the answers leave. */
  readonly ingress: Nic;
  /** Whether a packet with that number belongs here. */
  isOf(inbound: Inbound, number: number): boolean;
  close(): void;
}

export class ClientTable<F extends ClientFlow<F>> {
  readonly #hash: HalfSipHash;
  readonly #chains = new Map<number, F>();
  #size = 0;

  /** @param random Fills an array with secret bytes: a client must not choose who shares a chain. */
  constructor(random: (out: Uint8Array) => void) {
    this.#hash = new HalfSipHash(random);
  }

  get size(): number {
    return this.#size;
  }

  /** @param number 16 bits. */
  keyOf({ ingress, buffer, source, version }: Inbound, number: number): number {
    const hash = this.#hash;
    hash.begin();
    hash.word(ingress.id << 16 | number);
    hash.bytes(buffer, source, version === 4 ? 4 : 16);
    return hash.end();
  }

  find(key: number, inbound: Inbound, number: number): F | undefined {
    let flow = this.#chains.get(key);
    while (flow !== undefined && !flow.isOf(inbound, number)) flow = flow.next;
    return flow;
  }

  add(flow: F): void {
    flow.next = this.#chains.get(flow.key);
    this.#chains.set(flow.key, flow);
    this.#size++;
  }

  /** One that is there. */
  remove(flow: F): void {
    this.#size--;
    let before = this.#chains.get(flow.key);
    if (before === flow) {
      if (flow.next === undefined) this.#chains.delete(flow.key);
      else this.#chains.set(flow.key, flow.next);
      return;
    }
    while (before !== undefined && before.next !== flow) before = before.next;
    if (before !== undefined) before.next = flow.next;
  }

  /** Closes every flow that came in by `nic` or was delivered there. */
  closeAll(nic: Nic): void {
    for (const chain of [...this.#chains.values()]) {
      for (let flow: F | undefined = chain; flow !== undefined; flow = flow.next) {
        if (flow.ingress === nic || flow.nic === nic) flow.close();
      }
    }
  }
}
