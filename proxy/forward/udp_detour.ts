/**
 * What happens to a UDP flow's datagrams on their way, where a rule says so: they wait until the name
 * that they go to is resolved, and each gets a header of the PROXY protocol.
 *
 * @module
 */

import { copyBytes } from "../../netstack/mod.ts";
import type { Flow, FlowOwner } from "../flow/flow.ts";
import { encodeProxyHeader } from "../target/proxy_protocol.ts";
import type { HeldBytes } from "./held_bytes.ts";

/** Of one flow: as many as a program sends before it waits for an answer. */
const MAX_HELD = 16;
const MAX_DATAGRAM = 65_535;

export class UdpDetour {
  /** In front of each datagram. */
  readonly header: Uint8Array;
  /** Nobody waits for the name any more. */
  stopResolving: (() => void) | undefined = undefined;
  readonly #owner: FlowOwner;
  readonly #total: HeldBytes;
  /** Undefined once the name is resolved, or if there is none. */
  #held: Uint8Array[] | undefined;

  /** @returns undefined for a flow whose datagrams are simply sent. */
  static of(flow: Flow, total: HeldBytes): UdpDetour | undefined {
    const hasHeader = flow.rule?.sendProxyProtocol === "v2";
    return hasHeader || flow.dialled === undefined
      ? new UdpDetour(flow, hasHeader, total)
      : undefined;
  }

  constructor(flow: Flow, hasHeader: boolean, total: HeldBytes) {
    this.header = hasHeader ? encodeProxyHeader("v2", "udp", flow) : NOTHING;
    this.#owner = flow.owner;
    this.#total = total;
    this.#held = flow.dialled === undefined ? [] : undefined;
  }

  /** Whether datagrams wait. */
  get isWaiting(): boolean {
    return this.#held !== undefined;
  }

  /** Keeps a copy. @returns false if there is no room for it. */
  hold(buffer: Uint8Array, offset: number, length: number): boolean {
    const held = this.#held!;
    if (held.length === MAX_HELD || !this.#total.take(this.#owner, length)) return false;
    held.push(buffer.slice(offset, offset + length));
    return true;
  }

  /** Ends the wait. @returns the datagrams that waited, oldest first. */
  release(): Uint8Array[] {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.stopResolving?.();
    this.stopResolving = undefined;
    for (const { length } of held) this.#total.give(this.#owner, length);
    return held;
  }

  /**
   * The datagram behind its header, at the beginning of a buffer that the next call writes over.
   *
   * @returns the length of both; 0 if they are too long for any datagram.
   */
  write(buffer: Uint8Array, offset: number, length: number): number {
    const start = this.header.length;
    if (start + length > MAX_DATAGRAM) return 0;
    SCRATCH.set(this.header);
    copyBytes(buffer, offset, SCRATCH, start, length);
    return start + length;
  }
}

const NOTHING = new Uint8Array(0);
/** See {@link UdpDetour.write}. */
export const SCRATCH = new Uint8Array(MAX_DATAGRAM);
