/**
 * The link of NIC 1: packets leave through WireGuard.
 *
 * @module
 */

import { copyBytes, type Link, LINK_HEADROOM } from "../../netstack/mod.ts";
import { type Device, SendResult } from "../../wireguard/mod.ts";
import type { TransmitPool } from "../arena/transmit_pool.ts";

export class WireguardLink implements Link {
  readonly buffer: Uint8Array;
  /** Forwarded packets for which no slot was free. */
  noSlot = 0;
  readonly #pool: TransmitPool;
  readonly #device: Device;

  constructor(pool: TransmitPool, device: Device) {
    this.buffer = pool.buffer;
    this.#pool = pool;
    this.#device = device;
  }

  allocate(): number {
    const slot = this.#pool.take();
    return slot < 0 ? -1 : slot + LINK_HEADROOM;
  }

  release(offset: number): void {
    this.#pool.give(offset);
  }

  transmit(_buffer: Uint8Array, offset: number, length: number, now: number): void {
    this.#send(offset, length, now);
  }

  /** From peer to peer: the packet still lies where it was received. */
  forward(buffer: Uint8Array, offset: number, length: number, now: number): boolean {
    const at = this.allocate();
    if (at < 0) {
      this.noSlot++;
      return true;
    }
    copyBytes(buffer, offset, this.buffer, at, length);
    const result = this.#send(at, length, now);
    return result !== SendResult.NoPeer && result !== SendResult.NoEndpoint;
  }

  #send(at: number, length: number, now: number): SendResult {
    const result = this.#device.sendPacket(this.buffer, at, length, now);
    // Staged or dropped (the device counts why): nothing is reading the slot.
    if (!this.#pool.isInFlight(at)) this.#pool.give(at);
    return result;
  }
}

/** The link of NIC 2, which only receives: what its forwarders answer leaves by NIC 1. */
export const NO_LINK: Link = {
  buffer: new Uint8Array(0),
  allocate: () => -1,
  release() {},
  transmit() {},
  forward: () => false,
};
