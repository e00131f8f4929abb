/**
 * A TUN device as the link of a NIC: packets to and from the kernel of this host.
 *
 * @module
 */

import { TunDevice, type TunOpenOptions } from "../../ffi/tun/mod.ts";
import type { Arena } from "../arena/arena.ts";
import { TransmitPool } from "../arena/transmit_pool.ts";
import type { LinkDropStats } from "./drops.ts";
import type { PacketLink, PacketLinkCounters, PacketLinkEvents } from "./packet_link.ts";

/** Packets that a turn hands over: as many as three pieces of the kernel's are cut into. */
const DRAIN_BUDGET = 144;
/** Turns in a row, some 0.3 ms each, after which what was put together leaves though more is at hand. */
const MAX_TURNS = 4;
/** For packets of the stack's own: each has left its slot when `transmit` returns. */
const SLOTS = 4;

export interface TunLinkOptions extends TunOpenOptions {
  /** Of the NIC, bytes. The interface's own is its owner's to set. */
  readonly mtu: number;
  /**
   * Whether what comes from the kernel has somewhere to go. While it has not, nothing is read: the
   * interface's own queue fills, and who sends into it is held back. Default: always.
   */
  readonly hasRoom?: () => boolean;
}

/** The device's figures, as links have them. */
class TunLinkCounters implements PacketLinkCounters {
  readonly #device: TunDevice;
  readonly drops: LinkDropStats;

  constructor(device: TunDevice) {
    const { counters } = device;
    this.#device = device;
    this.drops = {
      get malformed() {
        return counters.malformed;
      },
      get rejected() {
        return counters.rejected;
      },
    };
  }

  get packetsIn(): number {
    return this.#device.counters.packetsIn;
  }

  get bytesIn(): number {
    return this.#device.counters.bytesIn;
  }

  get packetsOut(): number {
    return this.#device.counters.packetsOut;
  }

  get bytesOut(): number {
    return this.#device.counters.bytesOut;
  }
}

export class TunLink implements PacketLink {
  readonly name: string;
  readonly device: TunDevice;
  readonly buffer: Uint8Array;
  readonly counters: PacketLinkCounters;
  readonly #slots: TransmitPool;
  readonly #hasRoom: () => boolean;
  #events: PacketLinkEvents | undefined;
  /** Something waits for the kernel; nothing is read meanwhile. */
  #isWaiting = false;
  #isClosed = false;
  /** Turns since what is put together last left. */
  #turns = 0;
  readonly #woken = () => {
    this.#isWaiting = false;
    if (!this.#isClosed) this.#events!.onReadable();
  };

  /**
   * Opens the device, in memory of the arena's.
   *
   * @throws {RangeError} for a name of another length.
   * @throws {TunError} with the reason.
   */
  static open(arena: Arena, options: TunLinkOptions): TunLink {
    const { mtu, hasRoom = () => true, ...open } = options;
    const slots = SLOTS * TransmitPool.slotBytes(mtu);
    // Refused before memory is set apart, which is for good.
    const device = TunDevice.open({
      ...open,
      memory: () => {
        const { memory, offset } = arena.deviceRegion(TunDevice.bytes);
        return { memory, offset, ...(arena.sum && { sum: arena.sum }) };
      },
    });
    return new TunLink(device, new TransmitPool(mtu, arena.deviceRegion(slots)), hasRoom);
  }

  private constructor(device: TunDevice, slots: TransmitPool, hasRoom: () => boolean) {
    this.device = device;
    this.name = device.name;
    this.counters = new TunLinkCounters(device);
    this.buffer = slots.buffer;
    this.#slots = slots;
    this.#hasRoom = hasRoom;
  }

  get hasReady(): boolean {
    return !this.#isWaiting && !this.#isClosed && this.#events !== undefined;
  }

  start(events: PacketLinkEvents): void {
    this.#events = events;
    events.onReadable();
  }

  drain(now: number): void {
    const { device } = this;
    const events = this.#events!;
    try {
      for (let left = DRAIN_BUDGET; left > 0; left--) {
        if (!this.#hasRoom()) return;
        if (!device.next()) break;
        events.receive(device.memory, device.offset, device.length, now);
        if (left === 1) return;
      }
    } catch (error) {
      this.#end(error as Error);
      return;
    }
    if (this.#isClosed) return;
    this.#isWaiting = true;
    device.readable().then(this.#woken);
  }

  allocate(): number {
    return this.#slots.allocate();
  }

  release(offset: number): void {
    this.#slots.give(offset);
  }

  transmit(buffer: Uint8Array, offset: number, length: number): void {
    this.device.write(buffer, offset, length);
    this.#slots.give(offset);
  }

  forward(buffer: Uint8Array, offset: number, length: number): boolean {
    this.device.write(buffer, offset, length);
    return true;
  }

  /**
   * While more is at hand, what is being put together goes on in the next turn: a piece that a turn's end
   * cuts short costs the kernel as much as a full one, and has an acknowledgment of its own.
   */
  flush(isMoreAtHand: boolean): void {
    if (isMoreAtHand && ++this.#turns < MAX_TURNS) return;
    this.#turns = 0;
    this.device.flush();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.device.close();
  }

  /** The interface is gone. */
  #end(error: Error): void {
    this.#isClosed = true;
    this.#events!.onClosed(error);
  }
}
