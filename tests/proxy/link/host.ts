/**
 * What stands for the engine to a link: it keeps what comes, and can be slow.
 *
 * @module
 */

import type { PacketLink } from "../../../proxy/link/packet_link.ts";

export class LinkHost {
  readonly received: Uint8Array[] = [];
  /** Turns asked for. */
  roused = 0;
  turns = 0;
  closed: (Error | undefined)[] = [];
  /** While false nothing is drained. */
  hasRoom = true;
  readonly link: PacketLink;
  #isScheduled = false;

  constructor(link: PacketLink) {
    this.link = link;
    link.start({
      receive: (buffer, offset, length) => {
        this.received.push(buffer.slice(offset, offset + length));
      },
      onReadable: () => {
        this.roused++;
        this.wake();
      },
      onClosed: (error) => void this.closed.push(error),
    });
  }

  wake(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.hasRoom && this.link.hasReady) this.link.drain(0);
      this.link.flush(false);
      this.turns++;
      if (this.hasRoom && this.link.hasReady) this.wake();
    });
  }

  /** A packet of the stack's own. @returns whether there was a slot. */
  send(bytes: Uint8Array): boolean {
    const { link } = this;
    const slot = link.allocate();
    if (slot < 0) return false;
    link.buffer.set(bytes, slot);
    link.transmit(link.buffer, slot, bytes.length, 0);
    this.wake();
    return true;
  }

  forward(bytes: Uint8Array): void {
    this.link.forward(bytes, 0, bytes.length, 0);
    this.wake();
  }

  /** Resolves when `isSo` is true; rejects after a minute. */
  async until(isSo: () => boolean, what = "what was waited for"): Promise<void> {
    const limit = performance.now() + 60_000;
    while (!isSo()) {
      if (performance.now() > limit) throw new Error(`${what}: not within a minute`);
      await new Promise<void>((resolve) => setTimeout(resolve, 2));
    }
  }
}

/** An IPv4 header's worth, and `size` bytes more, all alike. */
export function fakePacket(fill: number, size = 0): Uint8Array {
  const bytes = new Uint8Array(20 + size).fill(fill);
  bytes[0] = 0x45;
  return bytes;
}
