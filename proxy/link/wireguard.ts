/**
 * The link of NIC 1: packets leave through WireGuard.
 *
 * @module
 */

import { copyBytes, type Link, type NextHop } from "../../netstack/mod.ts";
import { type Device, SendResult } from "../../wireguard/protocol.ts";
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
    return this.#pool.allocate();
  }

  release(offset: number): void {
    this.#pool.give(offset);
  }

  transmit(
    _buffer: Uint8Array,
    offset: number,
    length: number,
    now: number,
    hop?: NextHop,
  ): void {
    this.#send(offset, length, now, hop);
  }

  /** From peer to peer: the packet still lies where it was received. */
  forward(buffer: Uint8Array, offset: number, length: number, now: number): boolean {
    const at = this.#pool.isSpokenFor ? -1 : this.allocate();
    if (at < 0) {
      this.noSlot++;
      return true;
    }
    copyBytes(buffer, offset, this.buffer, at, length);
    return this.#send(at, length, now);
  }

  /** @param offset Of a packet in a slot. */
  #send(offset: number, length: number, now: number, hop?: NextHop): boolean {
    const result = this.#device.sendPacket(this.buffer, offset, length, now, hop);
    // Otherwise it was copied or dropped, and the device has counted why.
    if (result !== SendResult.Taken) this.#pool.give(offset);
    return result !== SendResult.NoPeer && result !== SendResult.NoEndpoint;
  }
}

/** The link of NIC 2, which never sends: what its forwarders answer leaves by NIC 1. */
export const NO_LINK: Link = {
  buffer: new Uint8Array(0),
  allocate: () => -1,
  release() {},
  transmit() {},
  forward: () => false,
};
